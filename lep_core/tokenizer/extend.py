"""Variants `continued-bpe` (ours, default) and `extension` with correct merges (method, section 1).

Both keep every old id and every old merge, so text in which no new token applies is tokenised as before.

continued-bpe: words of the corpus are encoded with the model's own tokenizer, and BPE goes on from those ids. Appended merges act on
exactly the sequences that the old merges produce, so every new token can be produced.

extension: a separate BPE vocabulary is trained on the corpus (or given), and the tokens that the old vocabulary lacks are appended. A token of the
separate vocabulary may be built from parts that the old merges never leave side by side; appending its own merge would leave it dead.
So its merges are laid where they apply: on what the tokenizer built so far makes of the token. When that is more than two pieces, the
parts between become tokens too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tokenizers import Tokenizer

from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import byte_token
from lep_core.tokenizer.conventions import admissible_beside, admissible_sentencepiece
from lep_core.tokenizer.definition import Definition, Merge
from lep_core.tokenizer.load import bare, rust_errors
from lep_core.tokenizer.merges import MergeLearner, apply_merges, pair_key
from lep_core.tokenizer.train import Learned, foundation, learn_separate

_BATCH = 20_000
_RARE_CHARACTER_SHARE = 1e-6  # a missing character that makes up less of the corpus stays spelled in bytes


def continue_merges(
    tokenizer: Tokenizer,
    definition: Definition,
    words: Mapping[str, int],
    *,
    new_tokens: int,
    min_frequency: int,
    reporter: Reporter = SILENT,
) -> Learned:
    """Learn up to `new_tokens` tokens on top of the model's own merges."""
    with_characters, tokenizer, characters = add_characters(
        tokenizer, definition, words, at_most=new_tokens // 2, min_frequency=min_frequency
    )
    texts = _mergeable(with_characters)
    learner = MergeLearner(
        encode_words(tokenizer, words),
        list(words.values()),
        texts=texts,
        vocab=with_characters.vocab,
        first_id=with_characters.size,
        admissible=admissible_beside(definition.family, words),
        min_frequency=min_frequency,
    )
    tokens, merges, names = list(characters), [], dict(enumerate(texts))
    for merge in learner.learn() if len(tokens) < new_tokens else ():
        merges.append((names[merge.left], names[merge.right]))
        if merge.is_new:
            names[merge.token] = merge.text
            tokens.append(merge.text)
            if len(tokens) % 200 == 0 and _stopped(reporter, len(tokens), new_tokens):
                return Learned(tokens=tokens, merges=merges, characters=len(characters))
        if len(tokens) >= new_tokens:
            break
    reporter.progress(len(tokens), new_tokens, "tokens")
    return Learned(tokens=tokens, merges=merges, characters=len(characters))


def extend_vocabulary(
    tokenizer: Tokenizer,
    definition: Definition,
    words: Mapping[str, int],
    *,
    new_tokens: int,
    min_frequency: int,
    reporter: Reporter = SILENT,
) -> Learned:
    """Train a separate vocabulary and append up to `new_tokens` of its tokens that the old vocabulary lacks."""
    wide, tokenizer, characters = add_characters(tokenizer, definition, words, at_most=new_tokens // 2, min_frequency=min_frequency)
    base = foundation(wide, words, vocab_size=1 << 30)
    # A character without a token must stay bytes in the separate vocabulary as well.
    base = replace(base, characters=[character for character in base.characters if character in wide.vocab])
    rule = admissible_beside(definition.family, words)
    size, before = 2 * new_tokens, -1
    while True:
        pieces = learn_separate(definition.family, words, base, tokens=size, min_frequency=min_frequency).tokens
        unseen = [piece for piece in pieces if piece not in wide.vocab and rule(piece)]
        if len(unseen) >= new_tokens or len(pieces) in (0, before):
            break
        size, before = 2 * size, len(pieces)
    return append_tokens(tokenizer, wide, unseen, characters=characters, new_tokens=new_tokens, reporter=reporter)


def append_tokens(
    tokenizer: Tokenizer,
    definition: Definition,
    unseen: Iterable[str],
    *,
    characters: list[str],
    new_tokens: int,
    reporter: Reporter = SILENT,
) -> Learned:
    """Append tokens with merges that reach them, until there are `new_tokens` together with the `characters` already in `definition`."""
    layer = _AppendedMerges(tokenizer, definition, room=new_tokens - len(characters))
    stopped = False
    for token in unseen:
        if layer.room <= 0 or stopped:
            break
        if token not in layer.vocab:
            layer.append(token)
            done = new_tokens - layer.room
            stopped = done % 200 == 0 and _stopped(reporter, done, new_tokens)
    tokens = [*characters, *layer.tokens]
    reporter.progress(len(tokens), new_tokens, "tokens")
    return Learned(tokens=tokens, merges=layer.merges, characters=len(characters))


class _AppendedMerges:
    """Tokens appended to a tokenizer, each with merges that apply to what the tokenizer so far makes of it."""

    def __init__(self, tokenizer: Tokenizer, definition: Definition, *, room: int) -> None:
        self.vocab: dict[str, int] = dict(definition.vocab)
        self.tokens: list[str] = []
        self.merges: list[Merge] = []
        self.room = room
        self._bare = bare(tokenizer)
        self._names: dict[int, str | None] = dict(enumerate(_mergeable(definition)))
        self._next_id = definition.size
        self._old_size = definition.size
        self._ranks: dict[int, tuple[int, int]] = {}

    def append(self, token: str) -> None:
        """Make `token` reachable, when there is room for it and for the parts between."""
        with rust_errors("the tokenizer cannot spell a new token"):
            pieces = apply_merges(self._bare.encode(token, add_special_tokens=False).ids, self._ranks)
        if len(pieces) < 2 or any(self._names.get(piece) is None for piece in pieces):
            return
        if len(pieces) - 1 > self.room and len(pieces) > 2:
            return
        while len(pieces) > 1:
            position = self._best_pair(pieces)
            if position is None:
                return
            self._add_merge(pieces[position], pieces[position + 1])
            pieces = apply_merges(pieces, self._ranks)

    def _best_pair(self, pieces: list[int]) -> int | None:
        """Leftmost pair that joins to a token that is already appended, else the leftmost that joins to a string that is no old token."""
        fallback = None
        for position, (left, right) in enumerate(itertools.pairwise(pieces)):
            index = self.vocab.get(f"{self._names[left]}{self._names[right]}")
            if index is not None and index >= self._old_size:
                return position
            if index is None and fallback is None:
                fallback = position
        return fallback

    def _add_merge(self, left: int, right: int) -> None:
        first, second = self._names[left], self._names[right]
        assert first is not None
        assert second is not None
        text = first + second
        index = self.vocab.get(text)
        if index is None:
            index = self.vocab[text] = self._next_id
            self._names[index] = text
            self._next_id += 1
            self.tokens.append(text)
            self.room -= 1
        self._ranks[pair_key(left, right)] = (len(self._ranks), index)
        self.merges.append((first, second))


def add_characters(
    tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], *, at_most: int, min_frequency: int
) -> tuple[Definition, Tokenizer, list[str]]:
    """Give characters that a SentencePiece vocabulary spells in bytes a token of their own (it needs no merge), most frequent first.

    Byte-level vocabularies are returned as they are.
    """
    if definition.family != "sentencepiece":
        return definition, tokenizer, []
    counts: Counter[str] = Counter()
    total = 0
    for word, count in words.items():
        total += len(word) * count
        for character in word:
            if character not in definition.vocab:
                counts[character] += count
    least = max(min_frequency, total * _RARE_CHARACTER_SHARE)
    frequent = sorted((-count, character) for character, count in counts.items() if count >= least and admissible_sentencepiece(character))
    characters = [character for _, character in frequent[:at_most]]
    if not characters:
        return definition, tokenizer, []
    extended = definition.extended(characters, [])
    return extended, extended.tokenizer(), characters


def encode_words(tokenizer: Tokenizer, words: Iterable[str]) -> list[list[int]]:
    """Ids that the model's merges give each word (already pre-tokenised)."""
    model, listed, sequences = bare(tokenizer), list(words), []
    with rust_errors("the tokenizer cannot encode the corpus"):
        for start in range(0, len(listed), _BATCH):
            batch = model.encode_batch_fast(listed[start : start + _BATCH], add_special_tokens=False)
            sequences.extend(encoding.ids for encoding in batch)
    return sequences


def _mergeable(definition: Definition) -> list[str | None]:
    """Vocabulary strings by id, None for tokens that no new merge may use: control tokens and byte-fallback tokens."""
    control = definition.control
    bytes_apart = {byte_token(byte) for byte in range(256)} if definition.family == "sentencepiece" else set()
    return [None if token is None or token in control or token in bytes_apart else token for token in definition.by_id]


def _stopped(reporter: Reporter, done: int, total: int) -> bool:
    reporter.progress(done, total, "tokens")
    return reporter.should_stop()
