"""Variant `bpe`: a new vocabulary from nothing in the family of the model's tokenizer (method, section 1).

Normaliser, pre-tokeniser, decoder and template stay; every byte keeps a token, so that the result is lossless; special and other added
tokens stay, with new ids. Tokens that came first in the old vocabulary (SentencePiece's `<unk> <s> </s>`) come first, others last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lep_core.errors import ConfigError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import BYTE_TO_CHARACTER, SPACE_MARK, byte_token
from lep_core.tokenizer.conventions import admissible_byte_level_from_nothing, admissible_sentencepiece_from_nothing
from lep_core.tokenizer.definition import Definition, Merge
from lep_core.tokenizer.merges import MergeLearner

CHARACTER_COVERAGE = (
    0.9995  # share of the text whose characters get a token of their own; the rest is spelled in bytes (SentencePiece's default)
)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """New tokens in the order of their ids, and the merges that make them. `characters`: how many of the tokens are single characters without a merge."""

    tokens: list[str]
    merges: list[Merge]
    characters: int = 0
    stopped: bool = False


def train_from_nothing(
    definition: Definition, words: Mapping[str, int], *, vocab_size: int, min_frequency: int, reporter: Reporter = SILENT
) -> Definition:
    """A tokenizer of `vocab_size` tokens, or fewer when the corpus holds too little.

    Raises:
        ConfigError: `vocab_size` has no room for bytes and special tokens.
    """
    first, last = _added_tokens(definition)
    bytes_needed = [byte_token(byte) for byte in range(256)] if definition.family == "sentencepiece" else sorted(BYTE_TO_CHARACTER)
    base = [*first, *(token for token in bytes_needed if token not in {*first, *last})]
    needed = len(base) + len(last)
    if vocab_size <= needed:
        raise ConfigError(
            "vocab_size",
            f"the vocabulary size is {vocab_size}, but bytes and special tokens alone take {needed}",
            f"Give --vocab-size at least {needed + 1}, better some thousands",
        )
    room = vocab_size - needed
    if definition.family == "sentencepiece":
        characters = frequent_characters(words, coverage=CHARACTER_COVERAGE, at_most=max(1, room // 2))
        room -= len(characters)
        base += characters
    learned = learn_from_nothing(definition, words, base, tokens=room, min_frequency=min_frequency, reporter=reporter)
    vocab = {token: index for index, token in enumerate([*base, *learned.tokens, *last])}
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added]
    return definition.replaced(vocab, learned.merges, added)


def learn_from_nothing(
    definition: Definition, words: Mapping[str, int], base: list[str], *, tokens: int, min_frequency: int, reporter: Reporter = SILENT
) -> Learned:
    """Merges on top of single bytes or characters until there are `tokens` new tokens."""
    learner = learner_from_nothing(definition, words, base, min_frequency=min_frequency)
    texts = dict(enumerate(base))
    learned = Learned(tokens=[], merges=[])
    if tokens <= 0:
        return learned
    for merge in learner.learn():
        learned.merges.append((texts[merge.left], texts[merge.right]))
        if merge.is_new:
            texts[merge.token] = merge.text
            learned.tokens.append(merge.text)
            if len(learned.tokens) % 200 == 0:
                reporter.progress(len(learned.tokens), tokens, "tokens")
                if reporter.should_stop():
                    break
        if len(learned.tokens) >= tokens:
            break
    reporter.progress(len(learned.tokens), tokens, "tokens")
    return learned


def learner_from_nothing(definition: Definition, words: Mapping[str, int], base: list[str], *, min_frequency: int) -> MergeLearner:
    """A learner whose words are spelled in the single bytes or characters of `base` (ids are positions in it)."""
    vocab = {token: index for index, token in enumerate(base)}
    sequences = [_spell(word, vocab) for word in words]
    control = definition.control
    sentencepiece = definition.family == "sentencepiece"
    # Only single characters take part: not `<s>`, and not byte-fallback tokens, which stand for parts of rare characters.
    texts = [token if len(token) == 1 and token not in control else None for token in base]
    return MergeLearner(
        sequences,
        list(words.values()),
        texts=texts,
        vocab=vocab,
        first_id=len(base),
        admissible=admissible_sentencepiece_from_nothing if sentencepiece else admissible_byte_level_from_nothing,
        min_frequency=min_frequency,
    )


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


def _spell(word: str, vocab: Mapping[str, int]) -> list[int]:
    spelled: list[int] = []
    for character in word:
        index = vocab.get(character)
        if index is not None:
            spelled.append(index)
        else:
            spelled.extend(vocab[byte_token(byte)] for byte in character.encode())
    return spelled


def _added_tokens(definition: Definition) -> tuple[list[str], list[str]]:
    """Added and unknown tokens that precede all ordinary ones, and those that do not, each in the order of their ids."""
    control = sorted(definition.control & definition.vocab.keys(), key=definition.vocab.__getitem__)
    ordinary = min((index for token, index in definition.vocab.items() if token not in definition.control), default=0)
    return [token for token in control if definition.vocab[token] < ordinary], [
        token for token in control if definition.vocab[token] >= ordinary
    ]
