"""Variant `bpe`: a new vocabulary from nothing in the family of the model's tokenizer (method, section 1).

Normaliser, pre-tokeniser, decoder and template stay; every byte keeps a token, so that the result is lossless; special and other added
tokens stay, with new ids. Tokens that came first in the old vocabulary (SentencePiece's `<unk> <s> </s>`) come first, others last.
Numbers are split as before: the old vocabulary's own number tokens and their merges are taken over, and nothing new holds a digit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer, models

from lep_core.errors import ConfigError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import BYTE_TO_CHARACTER, SPACE_MARK, Family, byte_token, from_byte_level, to_byte_level
from lep_core.tokenizer.conventions import MAX_TOKEN_CHARACTERS, admissible_sentencepiece_from_nothing
from lep_core.tokenizer.definition import Definition, Merge
from lep_core.tokenizer.merges import apply_merges, pair_key
from lep_core.tokenizer.pieces import cut_outside, learn_pieces

CHARACTER_COVERAGE = (
    0.9995  # share of the text whose characters get a token of their own; the rest is spelled in bytes (SentencePiece's default)
)
_BATCH = 20_000
_ASCII = [chr(code) for code in range(33, 127)]
_DIGITS = re.compile(r"(\d)")
_NUMBER = {"byte-level": re.compile("Ġ?[0-9]+"), "sentencepiece": re.compile(f"{SPACE_MARK}?[0-9]+")}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """New tokens in the order of their ids, and the merges that make them. `characters`: how many of the tokens are single characters without a merge."""

    tokens: list[str]
    merges: list[Merge]
    characters: int = 0


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """What a vocabulary from nothing begins with: control tokens, bytes, characters and numbers.

    `first` to `last` in the order of ids: control tokens, bytes, characters (SentencePiece only), numbers; new tokens; control tokens.
    """

    first: list[str]
    bytes: list[str]
    characters: list[str]
    numbers: list[str]
    number_merges: list[Merge]
    last: list[str]

    @property
    def before(self) -> list[str]:
        """Everything that comes before new tokens."""
        return [*self.first, *self.bytes, *self.characters, *self.numbers]


@dataclass(frozen=True, kw_only=True)
class FromNothing:
    """A vocabulary that replaces the old one. `learned`: its new tokens with the two parts of each (none for Unigram)."""

    definition: Definition
    learned: dict[str, tuple[str, ...]] = field(default_factory=dict)


def train_from_nothing(
    definition: Definition, words: Mapping[str, int], *, vocab_size: int, min_frequency: int, reporter: Reporter = SILENT
) -> FromNothing:
    """A BPE tokenizer of `vocab_size` tokens, or fewer when the corpus holds too little.

    Raises:
        ConfigError: `vocab_size` has no room for bytes, numbers and special tokens.
    """
    base = foundation(definition, words, vocab_size=vocab_size)
    room = vocab_size - len(base.before) - len(base.last)
    learned = learn_separate(definition.family, words, base, tokens=room, min_frequency=min_frequency)
    reporter.progress(len(learned.tokens), room, "tokens")
    vocab = {token: index for index, token in enumerate([*base.before, *learned.tokens, *base.last])}
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added]
    merges = [*base.number_merges, *learned.merges]
    return FromNothing(
        definition=definition.replaced(vocab, merges, added),
        learned=dict(zip(learned.tokens, learned.merges, strict=True)),
    )


def foundation(definition: Definition, words: Mapping[str, int], *, vocab_size: int) -> Foundation:
    """Control tokens, bytes, frequent characters and the model's own numbers.

    Raises:
        ConfigError: they alone take `vocab_size` or more.
    """
    first, last = added_tokens_around(definition)
    sentencepiece = definition.family == "sentencepiece"
    control = {*first, *last}
    needed = [byte_token(byte) for byte in range(256)] if sentencepiece else sorted(BYTE_TO_CHARACTER)
    needed = [token for token in needed if token not in control]
    numbers, merges = number_tokens(definition)
    known = {*control, *needed}
    characters = [SPACE_MARK, *_ASCII] if sentencepiece else []
    characters = [character for character in characters if character not in known]
    known.update(characters)
    numbers = [token for token in numbers if token not in known]
    taken = len(known) + len(numbers)
    if vocab_size <= taken:
        raise ConfigError(
            "vocab_size",
            f"the vocabulary size is {vocab_size}, but bytes, numbers and special tokens alone take {taken}",
            f"Give --vocab-size at least {taken + 1}, better some thousands",
        )
    if sentencepiece:
        frequent = frequent_characters(words, coverage=CHARACTER_COVERAGE, at_most=max(1, (vocab_size - taken) // 2) + 1)
        known.update(numbers)
        characters += [character for character in frequent if character not in known]
    return Foundation(first=first, bytes=needed, characters=characters, numbers=numbers, number_merges=merges, last=last)


def number_tokens(definition: Definition) -> tuple[list[str], list[Merge]]:
    """The tokens that are numbers, with or without a space in front, in the order of their ids, and the merges among them."""
    number = _NUMBER[definition.family]
    control = definition.control
    found = {token for token in definition.vocab if number.fullmatch(token) and token not in control}
    parts = found | {"Ġ", SPACE_MARK}
    merges = [(left, right) for left, right in definition.merges if left + right in found and left in parts and right in parts]
    return sorted(found, key=definition.vocab.__getitem__), merges


def learn_separate(family: Family, words: Mapping[str, int], base: Foundation, *, tokens: int, min_frequency: int) -> Learned:
    """Merges on top of single bytes or characters until there are `tokens` new tokens, each with exactly one merge."""
    if tokens <= 0:
        return Learned(tokens=[], merges=[])
    alphabet = letters(family, base)
    fragments = cut_words(family, words, alphabet)
    longest = MAX_TOKEN_CHARACTERS if family == "sentencepiece" else 4 * MAX_TOKEN_CHARACTERS
    pieces = learn_pieces(fragments, alphabet, pieces=tokens, longest=longest)
    if family == "sentencepiece":
        pieces = [piece for piece in pieces if admissible_sentencepiece_from_nothing(piece)]
    made = _one_merge_each(pieces[:tokens], alphabet)
    counts = _how_often_made(made, alphabet, fragments)
    kept = [token for token in made if counts[token] >= min_frequency]
    return Learned(tokens=kept, merges=[made[token] for token in kept])


def letters(family: Family, base: Foundation) -> list[str]:
    """What new tokens are made of: bytes, or characters with a token of their own; no digits."""
    singles = base.characters if family == "sentencepiece" else base.bytes
    return [character for character in singles if len(character) == 1 and not character.isdecimal()]


def cut_words(family: Family, words: Mapping[str, int], alphabet: Sequence[str]) -> Counter[str]:
    """Stretches of the words that tokens may be learned from: never across a digit or a character without a token of its own."""
    inside = frozenset(alphabet)
    fragments: Counter[str] = Counter()
    for word, count in words.items():
        if family == "byte-level":
            stretches = _between_digits(word)
        else:
            stretches = (part for stretch in cut_outside(word, inside) for part in _space_runs_apart(stretch))
        for stretch in stretches:
            if len(stretch) > 1:
                fragments[stretch] += count
    return fragments


def frequent_characters(words: Mapping[str, int], *, coverage: float, at_most: int) -> list[str]:
    """The most frequent characters that together make up `coverage` of the text; the space mark always."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    # Line breaks and other controls stay bytes, as in the vocabularies that SentencePiece makes.
    ranked = sorted(((c, n) for c, n in counts.items() if c.isprintable() and c != SPACE_MARK), key=lambda item: (-item[1], item[0]))
    chosen, covered, total = [SPACE_MARK], 0, sum(count for _, count in ranked)
    for character, count in ranked:
        if covered >= coverage * total or len(chosen) >= at_most:
            break
        chosen.append(character)
        covered += count
    return chosen


def _between_digits(word: str) -> list[str]:
    """A byte-level word cut at digits of any script; each such digit that is more than a byte stays a stretch of its own."""
    if word.isascii():
        return [part for part in _DIGITS.split(word) if not part.isdecimal()]
    data = from_byte_level(word)
    if data is None:
        return []
    text = data.decode("utf-8", "surrogateescape")
    if _DIGITS.search(text) is None:
        return [word]
    return [to_byte_level(part.encode("utf-8", "surrogateescape")) for part in _DIGITS.split(text) if part and part not in "0123456789"]


def _space_runs_apart(stretch: str) -> Iterator[str]:
    """All leading spaces but the last are a stretch of their own: a token is spaces only, or begins with at most one."""
    body = stretch.lstrip(SPACE_MARK)
    spaces = len(stretch) - len(body)
    if spaces > 1:
        yield SPACE_MARK * (spaces - 1 if body else spaces)
    if body:
        yield SPACE_MARK * min(spaces, 1) + body


def _one_merge_each(pieces: Sequence[str], alphabet: Sequence[str]) -> dict[str, Merge]:
    """The merge that makes each piece out of what the merges before it make of its text."""
    ids = {text: index for index, text in enumerate(alphabet)}
    names = list(alphabet)
    ranks: dict[int, tuple[int, int]] = {}
    made: dict[str, Merge] = {}
    for piece in pieces:
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        if len(splits) != 1:  # several ways to cut it, so see how it is really cut
            parts = [names[index] for index in apply_merges([ids[character] for character in piece], ranks)]
            splits = [(parts[0], parts[1])] if len(parts) == 2 else []
        if splits and piece not in ids:
            left, right = splits[0]
            ids[piece] = len(names)
            names.append(piece)
            ranks[pair_key(ids[left], ids[right])] = (len(ranks), ids[piece])
            made[piece] = (left, right)
    return made


def _how_often_made(made: Mapping[str, Merge], alphabet: Sequence[str], fragments: Mapping[str, int]) -> Counter[str]:
    """How often each merge applies in the corpus: where its token stays and where it went into a longer one."""
    vocab = {text: index for index, text in enumerate([*alphabet, *made])}
    names = list(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, list(made.values())))
    listed = list(fragments)
    counts: Counter[str] = Counter()
    for start in range(0, len(listed), _BATCH):
        batch = listed[start : start + _BATCH]
        for fragment, encoding in zip(batch, tokenizer.encode_batch_fast(batch), strict=True):
            for index in encoding.ids:
                counts[names[index]] += fragments[fragment]
    for token in reversed(list(made)):
        for part in made[token]:
            counts[part] += counts[token]
    return counts


def added_tokens_around(definition: Definition) -> tuple[list[str], list[str]]:
    """Added and unknown tokens that precede all ordinary ones, and those that do not, each in the order of their ids."""
    control = sorted(definition.control & definition.vocab.keys(), key=definition.vocab.__getitem__)
    ordinary = min((index for token, index in definition.vocab.items() if token not in definition.control), default=0)
    return [token for token in control if definition.vocab[token] < ordinary], [
        token for token in control if definition.vocab[token] >= ordinary
    ]
