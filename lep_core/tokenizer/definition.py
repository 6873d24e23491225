"""The parts of a BPE `tokenizer.json` that this product changes: vocabulary, merges, added tokens, template ids.

Working on the JSON keeps everything else exactly as the model's authors wrote it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from lep_core.errors import TokenizerError
from lep_core.tokenizer.bytes import Family, components, family_of
from lep_core.tokenizer.load import tokenizer_from_definition

Merge = tuple[str, str]


@dataclass(frozen=True)
class Definition:
    """A BPE tokenizer as data. `vocab` holds the added tokens too, each under the id that it really has."""

    data: dict[str, Any]
    vocab: dict[str, int]
    merges: list[Merge]
    family: Family

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Definition:
        """Check that the content of a `tokenizer.json` can be adapted.

        Raises:
            TokenizerError: not BPE, of another family, or inconsistent.
        """
        model = data["model"]
        if model.get("type", "BPE") != "BPE" or not isinstance(model.get("merges"), list):
            raise TokenizerError(
                f"the model's tokenizer is of the kind {model.get('type')}, only BPE can be adapted",
                "Choose a model with a BPE tokenizer, such as LLaMA, Mistral, Qwen or GPT-NeoX",
            )
        for name in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(name):
                raise TokenizerError(
                    f"the model's BPE tokenizer uses {name}={model[name]!r}",
                    "Choose a model with a byte-level or SentencePiece-style tokenizer",
                )
        vocab = _whole_vocabulary(data)
        merges = [_merge(entry) for entry in model["merges"]]
        return cls(data=data, vocab=vocab, merges=merges, family=family_of(data))

    @cached_property
    def size(self) -> int:
        """Highest id plus one: the rows that an embedding needs."""
        return max(self.vocab.values(), default=-1) + 1

    @cached_property
    def added(self) -> list[dict[str, Any]]:
        """The added tokens (special ones among them) in the order of their ids."""
        return sorted(self.data.get("added_tokens") or [], key=lambda token: token["id"])

    @cached_property
    def control(self) -> set[str]:
        """Strings that are matched whole and never spelled by bytes."""
        unknown = self.data["model"].get("unk_token")
        return {token["content"] for token in self.added} | ({unknown} if unknown else set())

    @cached_property
    def by_id(self) -> list[str | None]:
        """Vocabulary strings by id; None for holes."""
        table: list[str | None] = [None] * self.size
        for token, index in self.vocab.items():
            table[index] = token
        return table

    def tokenizer(self) -> Tokenizer:
        """A working tokenizer."""
        return tokenizer_from_definition(self.data)

    def extended(self, tokens: Sequence[str], merges: Sequence[Merge]) -> Definition:
        """The same tokenizer with `tokens` after the last id and `merges` after the last merge.

        Added tokens that lived outside `model.vocab` (LLaMA-3) are first written into it with their ids: the library numbers
        such tokens from the size of `model.vocab`, so they would move otherwise.
        """
        vocab = dict(sorted(self.vocab.items(), key=lambda item: item[1]))
        size = self.size
        for offset, token in enumerate(tokens):
            if vocab.setdefault(token, size + offset) != size + offset:
                raise TokenizerError(f"the token {token!r} would be added twice", "Please report this as a bug")
        return self.replaced(vocab, [*self.merges, *merges], self.added)

    def replaced(self, vocab: Mapping[str, int], merges: Sequence[Merge], added: Sequence[Mapping[str, Any]]) -> Definition:
        """The same normaliser, pre-tokeniser, decoder and template around another vocabulary."""
        data = {name: value if name == "model" else copy.deepcopy(value) for name, value in self.data.items()}
        data["model"] = {**self.data["model"], "vocab": dict(vocab), "merges": self._written(merges)}
        data["added_tokens"] = sorted((dict(token) for token in added), key=lambda token: token["id"])
        update_template_ids(data.get("post_processor"), vocab)
        return Definition(data=data, vocab=dict(vocab), merges=list(merges), family=self.family)

    def _written(self, merges: Sequence[Merge]) -> list[Any]:
        """Merges in the form the original file used: pairs, or strings "a b" (older files), which cannot hold spaces."""
        original = self.data["model"]["merges"]
        as_text = bool(original) and isinstance(original[0], str) and not any(" " in part for merge in merges for part in merge)
        return [f"{left} {right}" for left, right in merges] if as_text else [list(merge) for merge in merges]

    def dump(self) -> str:
        """The text of `tokenizer.json`."""
        return json.dumps(self.data, ensure_ascii=False, indent=1)


def update_template_ids(post_processor: Any, vocab: Mapping[str, int]) -> None:
    """Give the special tokens inside a post-processor the ids that they have in `vocab` (changed in place)."""
    for part in components(post_processor):
        special = part.get("special_tokens")
        for entry in special.values() if isinstance(special, dict) else ():
            entry["ids"] = [_id_of(token, vocab) for token in entry["tokens"]]
        for name in ("sep", "cls"):  # BertProcessing and RobertaProcessing: [token, id]
            if isinstance(part.get(name), list):
                part[name][1] = _id_of(part[name][0], vocab)


def _id_of(token: str, vocab: Mapping[str, int]) -> int:
    if token not in vocab:
        raise TokenizerError(f"the template of tokenizer.json names {token!r}, which is no token", "Get a sound copy of tokenizer.json")
    return vocab[token]


def _whole_vocabulary(data: Mapping[str, Any]) -> dict[str, int]:
    vocab = data["model"].get("vocab")
    added = data.get("added_tokens") or []
    if not isinstance(vocab, dict) or not all(type(index) is int and index >= 0 for index in vocab.values()):
        raise TokenizerError("the vocabulary of tokenizer.json is not a table of tokens and ids", "Get a sound copy of tokenizer.json")
    if not all(isinstance(token, dict) and isinstance(token.get("content"), str) and type(token.get("id")) is int for token in added):
        raise TokenizerError("the added tokens of tokenizer.json lack content or id", "Get a sound copy of tokenizer.json")
    whole = dict(vocab)
    for token in added:
        known = whole.setdefault(token["content"], token["id"])
        if known != token["id"]:
            raise TokenizerError(
                f"the added token {token['content']!r} has the id {token['id']}, but {known} in the vocabulary",
                "Get a sound copy of tokenizer.json",
            )
    if len(set(whole.values())) != len(whole):
        raise TokenizerError(f"{len(whole)} tokens share {len(set(whole.values()))} ids", "Get a sound copy of tokenizer.json")
    return whole


def _merge(entry: Any) -> Merge:
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise TokenizerError(f"the merge {entry!r} is not a pair of tokens", "Get a sound copy of tokenizer.json")
    return parts[0], parts[1]
