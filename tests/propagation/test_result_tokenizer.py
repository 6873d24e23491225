"""Merged tokenizers: every added token of the instruct model has one id, its flags and its place in the post-processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from lep_core.propagation.result_tokenizer import merge_tokenizers
from tests.factories import CHAT_TOKENS, save_tokenizer, tiny_tokenizer

Tiny = Callable[..., Path]


def with_added(source: Path, output: Path, *tokens: AddedToken) -> Path:
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_tokens(list(tokens))
    save_tokenizer(tokenizer, output)
    return output


def test_instruct_tokens_follow_the_adapted_vocabulary(tmp_path: Path) -> None:
    adapted, instruct = tiny_tokenizer(tmp_path / "a", vocab_size=430), tiny_tokenizer(tmp_path / "i", chat=True)
    merged = merge_tokenizers(adapted, instruct)
    assert merged.appended == list(CHAT_TOKENS)
    assert merged.size == 434
    assert merged.special_ids == {0: 0, 1: 1, 2: 2, 430: 400, 431: 401, 432: 402, 433: 403}


def test_tokens_that_both_have_are_not_doubled(tmp_path: Path) -> None:
    adapted, instruct = tiny_tokenizer(tmp_path / "a", vocab_size=430, chat=True), tiny_tokenizer(tmp_path / "i", chat=True)
    merged = merge_tokenizers(adapted, instruct)
    assert (merged.appended, merged.size) == ([], 434)
    assert len(merged.definition["added_tokens"]) == 7


def test_added_tokens_that_are_not_special_keep_their_flags(tmp_path: Path) -> None:
    plain = tiny_tokenizer(tmp_path / "plain")
    instruct = with_added(plain, tmp_path / "i", AddedToken("<think>", special=False, lstrip=True, normalized=False))
    merged = merge_tokenizers(tiny_tokenizer(tmp_path / "a", vocab_size=430), instruct)
    tokenizer = Tokenizer.from_str(json.dumps(merged.definition))
    token = tokenizer.get_added_tokens_decoder()[430]
    assert (token.content, token.special, token.lstrip, token.normalized) == ("<think>", False, True, False)


def test_adapted_tokenizers_own_added_tokens_stay(tmp_path: Path) -> None:
    adapted = with_added(tiny_tokenizer(tmp_path / "plain", vocab_size=430), tmp_path / "a", AddedToken("<mine>", special=True))
    merged = merge_tokenizers(adapted, tiny_tokenizer(tmp_path / "i", chat=True))
    tokenizer = Tokenizer.from_str(json.dumps(merged.definition))
    assert tokenizer.token_to_id("<mine>") == 430
    assert [tokenizer.token_to_id(token) for token in CHAT_TOKENS] == [431, 432, 433, 434]
    assert 430 not in merged.special_ids
