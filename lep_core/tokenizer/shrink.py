"""Smaller vocabularies: `leaf-pruning` and the first step of `optimization` (method, section 1).

leaf-pruning (ours): drop the least frequent token that is no part of another token, pour its count into its parts, again and again.

optimization: keep the tokens that occur most often in the corpus, then those with the lowest ids, which training found first. A kept token
brings its parts along.

Neither ever drops bytes, ASCII characters, numbers and control tokens. Tokens that merges cannot make go first.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer

from lep_core.errors import ConfigError, TokenizerError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.parts import indispensable_tokens, occurrences, ordinary_tokens, parts_of_tokens, reduced, spelling_of_character


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """A smaller vocabulary. `steps`: (vocabulary size, tokens of the corpus) after each token that was dropped, the first before any."""

    definition: Definition
    steps: list[tuple[int, int]]


def default_kept(definition: Definition) -> int:
    """Half of the ordinary tokens."""
    return len(ordinary_tokens(definition)) // 2


def check_kept(definition: Definition, kept: int, field: str, asked: int) -> None:
    """Refuse a number of ordinary tokens that is not between what must stay and what is there."""
    least, present = len(indispensable_tokens(definition)), len(ordinary_tokens(definition))
    control = len(definition.vocab) - present if field == "vocab_size" else 0
    name = "the vocabulary size" if field == "vocab_size" else "the number of kept tokens"
    flag = f"--{field.replace('_', '-')}"
    if kept >= present:
        raise ConfigError(
            field, f"{name} is {asked}, but the model's vocabulary has only {present + control}", f"Give {flag} below {present + control}"
        )
    if kept < least:
        raise ConfigError(
            field,
            f"{name} is {asked}, but bytes, numbers and special tokens alone take {least + control}",
            f"Give {flag} at least {least + control}",
        )


def prune_leaves(
    tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], *, vocab_size: int, reporter: Reporter = SILENT
) -> Shrunk:
    """Drop leaves until `vocab_size` tokens are left."""
    if definition.is_unigram:
        raise TokenizerError(
            "leaf-pruning follows merges, and a Unigram tokenizer has none", "Choose --variant optimization, unigram or bpe for this model"
        )
    parts = parts_of_tokens(tokenizer, definition)
    counts = Counter(occurrences(tokenizer, definition, words))
    ordinary, must_stay = ordinary_tokens(definition), indispensable_tokens(definition)
    users: Counter[str] = Counter(part for pair in parts.values() for part in pair)
    size, total = len(definition.vocab), counts.total()
    steps = [(size, total)]

    def entry(token: str) -> tuple[bool, int, int, str]:
        dead = token not in parts and len(token) > 1
        return not dead, counts[token], -definition.vocab[token], token

    heap = [entry(token) for token in ordinary if not users[token] and token not in must_stay]
    heapq.heapify(heap)
    dropped: set[str] = set()
    while heap and size > vocab_size:
        seen = heapq.heappop(heap)
        token = seen[3]
        if seen != entry(token):  # its count has risen since
            heapq.heappush(heap, entry(token))
            continue
        pieces = parts.get(token) or spelling_of_character(definition, token)
        for piece in pieces:
            counts[piece] += counts[token]
        for piece in set(parts.get(token, ())):
            users[piece] -= parts[token].count(piece)
            if not users[piece] and piece not in must_stay:
                heapq.heappush(heap, entry(piece))
        dropped.add(token)
        size -= 1
        total += counts[token] * max(0, len(pieces) - 1)
        steps.append((size, total))
        if len(dropped) % 1000 == 0:
            reporter.progress(len(dropped), len(definition.vocab) - vocab_size, "tokens")
            if reporter.should_stop():
                break
    return Shrunk(definition=reduced(definition, set(ordinary) - dropped), steps=steps)


def keep_most_useful(tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], *, kept: int) -> Definition:
    """The `kept` ordinary tokens that serve the corpus best."""
    counts = occurrences(tokenizer, definition, words)
    ordinary = ordinary_tokens(definition)
    if definition.is_unigram:
        parts, usable = {}, set(ordinary)
    else:
        parts = parts_of_tokens(tokenizer, definition)
        usable = {token for token in ordinary if token in parts or len(token) == 1}
    chosen = set(indispensable_tokens(definition))
    for token in list(chosen):
        _with_parts(token, parts, chosen)
    ranked = sorted((token for token in ordinary if token in usable), key=lambda token: (-counts.get(token, 0), definition.vocab[token]))
    for token in ranked:
        if len(chosen) >= kept:
            break
        missing = _with_parts(token, parts, set()) - chosen
        if len(chosen) + len(missing) <= kept:
            chosen |= missing
    return reduced(definition, chosen)


def _with_parts(token: str, parts: Mapping[str, tuple[str, str]], into: set[str]) -> set[str]:
    """Add a token, its parts and theirs."""
    pending = [token]
    while pending:
        one = pending.pop()
        into.add(one)
        pending.extend(part for part in parts.get(one, ()) if part not in into)
    return into
