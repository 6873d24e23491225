"""Small tokenizers laid out as those of well-known models: pre-tokenisers, normalisers and decoders are theirs, vocabularies are trained here."""

from __future__ import annotations

import io
import json
from functools import cache

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.tokenizer.conftest import ENGLISH, RUSSIAN, trained

_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LAYOUTS = ("gpt2", "gpt2-prefix-space", "qwen2", "tekken", "llama2", "llama2-legacy-metaspace", "gemma", "unigram")


@cache
def layout(name: str) -> str:
    """tokenizer.json of one of `LAYOUTS`."""
    if name in ("gpt2", "gpt2-prefix-space", "qwen2", "tekken"):
        return _byte_level(name)
    return _unigram() if name == "unigram" else _sentencepiece(name)


def _byte_level(name: str) -> str:
    tokenizer = Tokenizer(models.BPE())
    expression = {"qwen2": _QWEN2, "tekken": _TEKKEN}.get(name)
    if expression:
        split = pre_tokenizers.Split(Regex(expression), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=name == "gpt2-prefix-space")
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        (*ENGLISH, *RUSSIAN) * 3, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return tokenizer.to_str()


def _sentencepiece(name: str) -> str:
    definition = json.loads(trained("prepend"))
    if name == "llama2-legacy-metaspace":
        definition["normalizer"] = None
        definition["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    elif name == "gemma":
        definition["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        definition["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
        replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
        definition["decoder"] = {"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    return json.dumps(definition)


def _unigram() -> str:
    """What `sentencepiece` trains (Unigram, byte fallback, no normalisation), in the form that transformers converts it to."""
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in (*ENGLISH, *RUSSIAN) * 3 for line in text.splitlines() if line]),
        model_writer=written,
        model_type="unigram",
        vocab_size=400,
        byte_fallback=True,
        character_coverage=0.99,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [(processor.id_to_piece(index), processor.get_score(index)) for index in range(processor.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=processor.unk_id(), byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    return tokenizer.to_str()
