"""The parts of a `tokenizer.json` that this product changes: vocabulary, merges or scores, added tokens, template ids.

Working on the JSON keeps everything else exactly as the model's authors wrote it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lep_core.errors import TokenizerError
from lep_core.tokenizer.bytes import Family, components, family_of
from lep_core.tokenizer.load import read_definition, tokenizer_from_definition

Merge = tuple[str, str]


@dataclass(frozen=True)
class Definition:
    """A BPE or Unigram tokenizer as data. `vocab` holds the added tokens too, each under the id that it really has.

    BPE has `merges`, Unigram has `scores` (log probabilities of the tokens in `model.vocab`); the other of the two is empty.
    """

    data: dict[str, Any]
    vocab: dict[str, int]
    merges: list[Merge]
    family: Family
    scores: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> Definition:
        """Read and check the `tokenizer.json` of a folder; the library looks first at what is relied on here."""
        data = read_definition(folder)
        tokenizer = tokenizer_from_definition(data, f"{folder} holds a tokenizer that cannot be used")
        definition = cls.parse(data, str(folder))
        # The library numbers added tokens outside the model by itself, whatever the file says.
        moved = next((token for token in definition.added if tokenizer.token_to_id(token["content"]) != token["id"]), None)
        if moved:
            raise TokenizerError(
                f"the added token {moved['content']!r} of {folder} has the id {moved['id']} in tokenizer.json, "
                f"but is read as {tokenizer.token_to_id(moved['content'])}",
                "Get a sound copy of tokenizer.json, or save it anew with save_pretrained",
            )
        return definition

    @classmethod
    def parse(cls, data: dict[str, Any], where: str = "tokenizer.json") -> Definition:
        """Check that the content of a `tokenizer.json` can be adapted.

        Args:
            data: the parsed content.
            where: the file or folder that it came from, for messages.

        Raises:
            TokenizerError: neither BPE nor Unigram, of another family, or inconsistent.
        """
        model = data["model"]
        kind = _kind(model)
        if kind is None:
            raise TokenizerError(
                f"the tokenizer of {where} is of the kind {model.get('type')}, only BPE and Unigram can be adapted",
                "Choose a model with a BPE or Unigram tokenizer, such as LLaMA, Mistral, Qwen or GPT-NeoX",
            )
        for name in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(name):
                raise TokenizerError(
                    f"the BPE tokenizer of {where} uses {name}={model[name]!r}",
                    "Choose a model with a byte-level or SentencePiece-style tokenizer",
                )
        try:
            scores = _scores(model) if kind == "Unigram" else {}
            vocab = _whole_vocabulary(data, dict(zip(scores, range(len(scores)), strict=True)) if kind == "Unigram" else model.get("vocab"))
            merges = [_merge(entry) for entry in model["merges"]] if kind == "BPE" else []
        except ValueError as error:
            raise TokenizerError(f"{where} is damaged: {error}", "Get a sound copy of tokenizer.json") from error
        family = family_of(data)
        if kind == "Unigram" and family == "sentencepiece" and not model.get("byte_fallback"):
            raise TokenizerError(
                f"the Unigram tokenizer of {where} has no byte fallback, so it loses characters that it does not know",
                "Choose a model whose tokenizer falls back to bytes, such as LLaMA, Mistral, Qwen or GPT-NeoX",
            )
        return cls(data=data, vocab=vocab, merges=merges, family=family, scores=scores)

    @property
    def is_unigram(self) -> bool:
        """Whether tokens are chosen by score instead of joined by merges."""
        return self.data["model"].get("type") == "Unigram"

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
        unknown = self.unknown
        return {token["content"] for token in self.added} | ({unknown} if unknown else set())

    @property
    def unknown(self) -> str | None:
        """The token for what the vocabulary cannot spell, if there is one."""
        if self.is_unigram:
            index = self.data["model"].get("unk_id")
            return None if index is None else list(self.scores)[index]
        return self.data["model"].get("unk_token")

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

    def extended(self, tokens: Sequence[str], merges: Sequence[Merge] = (), scores: Mapping[str, float] | None = None) -> Definition:
        """The same tokenizer with `tokens` after the last id, and `merges` after the last merge or with `scores`.

        Added tokens that lived outside `model.vocab` (LLaMA-3) are first written into it with their ids: the library numbers
        such tokens from the size of `model.vocab`, so they would move otherwise.
        """
        vocab = dict(sorted(self.vocab.items(), key=lambda item: item[1]))
        size = self.size
        for offset, token in enumerate(tokens):
            if vocab.setdefault(token, size + offset) != size + offset:
                raise TokenizerError(f"the token {token!r} would be added twice", "Please report this as a bug")
        return self.replaced(vocab, [*self.merges, *merges], self.added, scores={**self.scores, **scores} if scores else self.scores)

    def replaced(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[Merge],
        added: Sequence[Mapping[str, Any]],
        *,
        scores: Mapping[str, float] | None = None,
    ) -> Definition:
        """The same normaliser, pre-tokeniser, decoder and template around another vocabulary: Unigram when there are `scores`, else BPE.

        A Unigram vocabulary must have no holes: its ids are places in a list.
        """
        data = {name: value if name == "model" else copy.deepcopy(value) for name, value in self.data.items()}
        if scores:
            data["model"] = self._unigram(vocab, scores)
        elif self.is_unigram:
            data["model"] = {"type": "BPE", "dropout": None, "unk_token": self.unknown, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                             "fuse_unk": True, "byte_fallback": self.family == "sentencepiece", "ignore_merges": False,
                             "vocab": dict(vocab), "merges": [list(merge) for merge in merges]}  # fmt: skip
        else:
            data["model"] = {**self.data["model"], "vocab": dict(vocab), "merges": self._written(merges)}
        data["added_tokens"] = sorted((dict(token) for token in added), key=lambda token: token["id"])
        update_template_ids(data.get("post_processor"), vocab)
        return Definition(data=data, vocab=dict(vocab), merges=list(merges), family=self.family, scores=dict(scores or {}))

    def _unigram(self, vocab: Mapping[str, int], scores: Mapping[str, float]) -> dict[str, Any]:
        ordered = sorted(vocab, key=vocab.__getitem__)
        unknown = self.unknown
        lowest = min(scores.values())
        return {
            "type": "Unigram",
            "unk_id": vocab.get(unknown) if unknown else None,
            "vocab": [[token, scores.get(token, lowest)] for token in ordered],
            "byte_fallback": self.family == "sentencepiece",
        }

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


def _kind(model: Mapping[str, Any]) -> str | None:
    if model.get("type", "BPE") == "BPE" and isinstance(model.get("merges"), list):
        return "BPE"
    return "Unigram" if model.get("type") == "Unigram" and isinstance(model.get("vocab"), list) else None


def _scores(model: Mapping[str, Any]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for entry in model["vocab"]:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str) or type(entry[1]) not in (int, float):
            raise ValueError(f"{str(entry)[:80]} is not a token with a score")
        if entry[0] in scores:
            raise ValueError(f"the token {entry[0]!r} is there twice")
        scores[entry[0]] = float(entry[1])
    return scores


def _whole_vocabulary(data: Mapping[str, Any], vocab: Any) -> dict[str, int]:
    """Tokens of the model and added tokens with their ids; a `ValueError` says what does not fit."""
    added = data.get("added_tokens") or []
    if not isinstance(vocab, dict) or not all(type(index) is int and index >= 0 for index in vocab.values()):
        raise ValueError("its vocabulary is not a table of tokens and ids")
    if not vocab:
        raise ValueError("its vocabulary is empty")
    if not all(isinstance(token, dict) and isinstance(token.get("content"), str) and type(token.get("id")) is int for token in added):
        raise ValueError("its added tokens lack content or id")
    whole = dict(vocab)
    for token in added:
        known = whole.setdefault(token["content"], token["id"])
        if known != token["id"]:
            raise ValueError(f"the added token {token['content']!r} has the id {token['id']}, but {known} in the vocabulary")
    if len(set(whole.values())) != len(whole):
        raise ValueError(f"{len(whole)} tokens share {len(set(whole.values()))} ids")
    return whole


def _merge(entry: Any) -> Merge:
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"the merge {str(entry)[:80]} is not a pair of tokens")
    return parts[0], parts[1]
