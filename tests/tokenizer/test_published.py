"""Published sizes, reproduced with the real tokenizers where these can be had.

Folders `llama-3`, `mistral-7b-v0.1`, `ruadapt-32000_bpe` and `ruadapt-64000_bpe` (with a `tokenizer.model`) are looked for below
LEP_TOKENIZERS and in the shared data beside the checkout.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from lep_core.config import BuildTokenizerConfig
from lep_core.tokenizer.adopt import read_given
from lep_core.tokenizer.build import build_tokenizer
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.checks import unreachable_tokens
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import as_tokenizer
from lep_core.tokenizer.paper import extend_as_published
from tests.conftest import REPOSITORY


def real(*names: str) -> list[Path]:
    places = [Path(os.environ.get("LEP_TOKENIZERS", "/nonexistent")), REPOSITORY.parent / "shared/data/tokenizers"]
    found = []
    for name in names:
        folder = next(
            (p / name for p in places if any((p / name / file).is_file() for file in ("tokenizer.json", "tokenizer.model"))), None
        )
        if folder is None:
            pytest.skip(f"the tokenizer {name} is missing: set LEP_TOKENIZERS to a folder that holds it")
        found.append(folder)
    return found


@cache
def definition(path: Path) -> Definition:
    return Definition.read(path)


def test_mistral_extended_by_32000_pieces_has_55329_tokens():
    base, given = real("mistral-7b-v0.1", "ruadapt-32000_bpe")
    extended, _ = extend_as_published(definition(base), read_given(str(given)))
    assert extended.size == extended.tokenizer().get_vocab_size() == 55_329


@pytest.mark.slow
def test_llama_3_extended_by_64000_pieces_has_174817_tokens():
    base, given = real("llama-3", "ruadapt-64000_bpe")
    extended, _ = extend_as_published(definition(base), read_given(str(given)))
    assert extended.size == extended.tokenizer().get_vocab_size() == 174_817


@pytest.mark.slow
def test_half_of_llama_3_extended_by_64000_pieces_has_114505_tokens():
    base, given = real("llama-3", "ruadapt-64000_bpe")
    extended, _ = extend_as_published(definition(base), read_given(str(given)), keep=64_000)
    assert extended.size == extended.tokenizer().get_vocab_size() == 114_505


@pytest.mark.slow
def test_llama_3_has_280147_merges_and_588_tokens_that_they_do_not_make():
    (base,) = real("llama-3")
    llama = definition(base)
    assert len(llama.merges) == 280_147
    tokens = [token for token in llama.vocab if token not in llama.control]
    assert len(unreachable_tokens(llama.tokenizer(), tokens)) == 588


@pytest.mark.slow
def test_mistral_and_llama_3_share_1174_cyrillic_tokens():
    tables = [token_bytes(folder) for folder in real("mistral-7b-v0.1", "llama-3")]
    shared = set.intersection(*({data.decode("utf-8", "ignore") for data in table if data and _is_utf8(data)} for table in tables))
    assert sum(any("а" <= character <= "я" or "А" <= character <= "Я" for character in text) for text in shared) == 1_174


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.slow
def test_as_many_new_tokens_as_in_the_published_recipe_give_at_least_as_many_characters_each(shared_data, tmp_path):
    text = (shared_data / "corpora/ru/Turgenev_OttsyIDeti.txt").read_text(encoding="utf-8")
    (base,) = real("gpt-neox-20b")
    reports = {}
    for name, changes in {"paper": {"variant": "extension", "paper": True, "new_tokens": 4000}, "ours": {}}.items():
        output = tmp_path / name
        output.mkdir()
        settings = changes or {"new_tokens": reports["paper"].new_tokens}
        config = BuildTokenizerConfig(base=str(base), input=("x",), output=str(output), **settings)
        reports[name] = build_tokenizer(config, [text], output)
    assert reports["ours"].new_tokens == reports["paper"].new_tokens
    assert reports["ours"].characters_per_token_after >= reports["paper"].characters_per_token_after
    new = as_tokenizer(tmp_path / "ours")
    merged = len(new.encode(text, add_special_tokens=False).ids)
    new.model.ignore_merges = True
    assert len(new.encode(text, add_special_tokens=False).ids) == pytest.approx(merged, rel=0.01)
