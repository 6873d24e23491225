"""Every variant on tokenizers laid out as those of well-known models (layouts.py), and on their chat templates."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.checks import NASTY_TEXTS, unreachable_tokens
from tests.factories import CHAT_TOKENS, SPECIAL_TOKENS, tiny_tokenizer
from tests.tokenizer.conftest import KINDS, trained
from tests.tokenizer.layouts import LAYOUTS, layout
from tests.tokenizer.test_variants import CORPUS, SIZES, build

NUMBERS = ("12", "1234567", "3.14", "x 2004 12 12345", "a1b22 №7")


def write(folder, text):
    folder.mkdir()
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


def digits_of(tokenizer: Tokenizer, text: str) -> list[bytes]:
    """The tokens that hold digits; as bytes, because a vocabulary may spell a digit by byte fallback."""
    table = token_bytes(tokenizer)
    spelled = [table[index] or b"" for index in tokenizer.encode(text, add_special_tokens=False).ids]
    return [data for data in spelled if re.search(rb"\d", data)]


@pytest.mark.parametrize("variant", SIZES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_known_layout_stays_lossless_reachable_and_cuts_numbers_as_before(name, variant, tmp_path):
    if (name, variant) == ("unigram", "leaf-pruning"):
        pytest.skip("a Unigram tokenizer has no merges to prune by")
    size = {"keep_tokens": 390} if variant == "optimization" else {"vocab_size": 400} if variant == "leaf-pruning" else {}
    base = write(tmp_path / "base", layout(name))
    old, new, report = build(base, tmp_path, variant, **size)
    assert (report.unreachable_tokens, report.round_trip_ok) == (0, True)
    fresh = [token for token in new.get_vocab() if token not in old.get_vocab()]
    assert not unreachable_tokens(new, fresh)
    for text in (*NASTY_TEXTS, *CORPUS, "e\u0301 и\u0306 \u1100\u1161"):
        wanted = unicodedata.normalize("NFC", text) if name == "qwen2" else text
        kept = [tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, False) == wanted for tokenizer in (old, new)]
        assert kept[1] or not kept[0], text
    assert all(digits_of(new, text) == digits_of(old, text) for text in NUMBERS)
    assert {a.content for a in new.get_added_tokens_decoder().values()} == {a.content for a in old.get_added_tokens_decoder().values()}


@pytest.mark.parametrize("variant", [*SIZES, "import"])
@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
def test_a_rendered_chat_has_one_id_for_each_special_token(family, variant, tmp_path):
    import jinja2

    base = tiny_tokenizer(tmp_path / "base", family=family, chat=True)
    given = trained("byte-level" if family == "byte-level" else "prepend")
    source = {"source": str(write(tmp_path / "given", given))} if variant == "import" else {}
    old, new, _ = build(base, tmp_path, variant, **source)
    template = json.loads((tmp_path / f"out-{variant}" / "tokenizer_config.json").read_text())["chat_template"]
    messages = [{"role": role, "content": text} for role, text in zip(("system", "user", "assistant"), CORPUS, strict=False)]
    chat = jinja2.Template(template).render(messages=messages, bos_token="<s>", add_generation_prompt=True)
    ids = new.encode(chat, add_special_tokens=False).ids
    for token in (*SPECIAL_TOKENS, *CHAT_TOKENS):
        assert new.encode(token, add_special_tokens=False).ids == [new.token_to_id(token)]
        assert ids.count(new.token_to_id(token)) == chat.count(token)
    shown = new.decode(ids, skip_special_tokens=False)
    assert shown == chat or old.decode(old.encode(chat, add_special_tokens=False).ids, skip_special_tokens=False) != chat


@pytest.mark.parametrize("kind", KINDS)
def test_merges_written_as_strings_are_adapted_like_pairs(kind, tmp_path):
    pairs, strings = json.loads(trained(kind)), json.loads(trained(kind))
    strings["model"]["merges"] = [" ".join(merge) for merge in strings["model"]["merges"]]
    adapted = []
    for name, definition in (("pairs", pairs), ("strings", strings)):
        (tmp_path / name).mkdir()
        adapted.append(build(write(tmp_path / name / "base", json.dumps(definition)), tmp_path / name, "continued-bpe")[1])
    written = json.loads((tmp_path / "strings" / "out-continued-bpe" / "tokenizer.json").read_text())["model"]["merges"]
    assert all(isinstance(merge, str) for merge in written)
    assert adapted[0].get_vocab() == adapted[1].get_vocab()
    for text in (*NASTY_TEXTS, *CORPUS):
        assert adapted[0].encode(text).ids == adapted[1].encode(text).ids
