"""Small tokenizers of every kind that the product adapts, trained here on a few English sentences."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ENGLISH = (
    "The old house stands by the river, and the children play there every day.",
    "She reads a long letter from her brother, who lives in another town.",
    "In winter the wind is cold; people stay at home and drink hot tea.",
    "Where is the key? The key is on the table, next to the 12 red apples.",
    "We don't know what they'll do tomorrow, but we're ready.\n\nA Привет, мир: приветствие.",
)
RUSSIAN = (
    "Старый дом стоит у реки, и дети играют там каждый день. Старый сад стоит за домом.",
    "Она читает длинное письмо от брата, который живёт в другом городе. Она читает каждый день.",
    "Зимой дует холодный ветер; люди сидят дома и пьют горячий чай. Зимой люди сидят дома.",
    "Где ключ? Ключ лежит на столе рядом с 12 красными яблоками — «красными».\n\nКлюч лежит на столе 2004.",
    "Қазақ тілі — қазақ халқының тілі. Қазақ тілінде сөйлейді.",
)
KINDS = ("byte-level", "ignore-merges", "digits-apart", "prepend", "metaspace")
_GPT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@cache
def trained(kind: str) -> str:
    """tokenizer.json of a small tokenizer of one of `KINDS`."""
    return _byte_level(kind) if kind in KINDS[:3] else _sentencepiece(kind)


def _byte_level(kind: str) -> str:
    tokenizer = Tokenizer(models.BPE())
    if kind == "ignore-merges":  # like LLaMA-3: special tokens outside model.vocab
        splits = [pre_tokenizers.Split(Regex(_GPT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    elif kind == "digits-apart":
        splits = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        splits = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        special_tokens=[] if kind == "ignore-merges" else ["<s>", "</s>"],
    )
    tokenizer.train_from_iterator(ENGLISH * 3, trainer)
    if kind == "ignore-merges":
        tokenizer.model.ignore_merges = True
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>", "<|pad|>")])
    tokenizer.add_tokens([AddedToken("    ", normalized=False)])
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", bos)])
    return tokenizer.to_str()


def _sentencepiece(kind: str) -> str:
    """Like Mistral: control tokens, 256 byte tokens, characters and pieces that keep words, digits and punctuation apart."""
    helper = Tokenizer(models.BPE())
    helper.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"▁?\p{L}+|▁?[^\s\p{L}\p{N}▁]+|."), "isolated")]
    )
    helper.train_from_iterator([text.replace("\n", " ") for text in ENGLISH * 3], trainers.BpeTrainer(vocab_size=220, show_progress=False))
    model = json.loads(helper.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    merges = [tuple(merge) for merge in model["merges"]]
    if "▁▁" not in pieces:
        pieces.append("▁▁")
        merges.append(("▁", "▁"))
    tokenizer = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(dict.fromkeys(pieces))},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    if kind == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer.to_str()


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    """Every kind of tokenizer in turn."""
    return request.param


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """`make_folder(kind, text=...)`: a tokenizer folder with a chat template."""

    def make(kind: str, *, text: str | None = None) -> Path:
        folder = tmp_path / f"base-{kind}"
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(text or trained(kind), encoding="utf-8")
        config = {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "auto_map": {"AutoTokenizer": "x.py"}}
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
        (folder / "vocab.json").write_text("{}", encoding="utf-8")
        return folder

    return make


@pytest.fixture
def real_tokenizers() -> Callable[[str], Tokenizer]:
    """`real_tokenizers(name)`: a published tokenizer from the folder in LEP_TOKENIZERS or beside the checkout; else the test is skipped."""

    def load(name: str) -> Tokenizer:
        folders = [Path(os.environ.get("LEP_TOKENIZERS", ".")), Path(__file__).resolve().parents[3] / "shared/data/tokenizers"]
        file = next((path for folder in folders if (path := folder / name / "tokenizer.json").is_file()), None)
        return Tokenizer.from_file(str(file)) if file else pytest.skip(f"no {name} tokenizer here")

    return load
