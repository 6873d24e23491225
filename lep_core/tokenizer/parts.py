"""Which two tokens each token of a BPE vocabulary is made of, and smaller vocabularies that stay consistent (method, section 1).

A token may have many merges (LLaMA-3 has 280,147 for 128,000 tokens), but only one of them comes last when its own text is encoded.
The tokens of that merge are its parts. A set of tokens that holds the parts of each of its tokens keeps every one of them reachable:
the merges that encoding used before are all still there, in the same order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import SPACE_MARK, byte_token, is_byte_token
from lep_core.tokenizer.checks import unreachable_tokens
from lep_core.tokenizer.definition import Definition, Merge
from lep_core.tokenizer.extend import encode_words
from lep_core.tokenizer.merges import apply_merges, pair_key
from lep_core.tokenizer.train import number_tokens


def parts_of_tokens(tokenizer: Tokenizer, definition: Definition) -> dict[str, Merge]:
    """The two parts of every token that merges can make; unreachable tokens and single characters are left out."""
    ways: dict[str, list[Merge]] = defaultdict(list)
    control = definition.control
    for left, right in definition.merges:
        if left + right not in control:
            ways[left + right].append((left, right))
    reachable = set(ways) - set(unreachable_tokens(tokenizer, list(ways)))
    parts = {token: merges[0] for token, merges in ways.items() if len(merges) == 1 and token in reachable}
    unclear = [token for token, merges in ways.items() if len(merges) > 1 and token in reachable]
    if unclear:
        parts |= _last_merges(definition, unclear)
    return parts


def _last_merges(definition: Definition, tokens: Iterable[str]) -> dict[str, Merge]:
    ids: dict[str, int] = dict(definition.vocab)
    ranks: dict[int, tuple[int, int]] = {}
    for rank, (left, right) in enumerate(definition.merges):
        ranks.setdefault(pair_key(ids[left], ids[right]), (rank, ids[left + right]))
    names = definition.by_id
    found: dict[str, Merge] = {}
    for token in tokens:
        own = ids[token]
        spelled = [ids[character] for character in token]
        pair = apply_merges(spelled, ranks, until=2)
        if len(pair) == 2 and ranks.get(pair_key(*pair), (0, -1))[1] == own:
            found[token] = (str(names[pair[0]]), str(names[pair[1]]))
    return found


def ordinary_tokens(definition: Definition) -> list[str]:
    """All tokens but control tokens, in the order of their ids."""
    control = definition.control
    return [token for token in definition.by_id if token is not None and token not in control]


def indispensable_tokens(definition: Definition) -> set[str]:
    """Tokens that no smaller vocabulary goes without: bytes, the space mark, ASCII characters, numbers."""
    numbers, _ = number_tokens(definition)
    kept = set(numbers)
    for token in definition.vocab:
        if definition.family == "byte-level":
            if len(token) == 1:
                kept.add(token)
        elif is_byte_token(token) or token == SPACE_MARK or (len(token) == 1 and token.isascii()):
            kept.add(token)
    return kept - definition.control


def spelling_of_character(definition: Definition, token: str) -> list[str]:
    """Byte tokens that spell a single-character token once it is gone."""
    if definition.family == "byte-level" or len(token) != 1:
        return []
    return [name for byte in token.encode("utf-8", "replace") if (name := byte_token(byte)) in definition.vocab]


def occurrences(tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int]) -> dict[str, int]:
    """How often each token stands in the encoded corpus."""
    names = definition.by_id
    counts: dict[str, int] = defaultdict(int)
    for ids, count in zip(encode_words(tokenizer, words), words.values(), strict=True):
        for index in ids:
            counts[str(names[index])] += count
    return counts


def reduced(definition: Definition, kept: set[str]) -> Definition:
    """The same tokenizer with only `kept` ordinary tokens and all control tokens, numbered anew in the old order."""
    control = definition.control
    names = [token for token in definition.by_id if token is not None and (token in kept or token in control)]
    vocab = {token: index for index, token in enumerate(names)}
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added]
    if definition.is_unigram:
        scores = {token: definition.scores[token] for token in names if token in definition.scores}
        return definition.replaced(vocab, [], added, scores=scores)
    merges = [(left, right) for left, right in definition.merges if left in vocab and right in vocab and left + right in vocab]
    return definition.replaced(vocab, merges, added)
