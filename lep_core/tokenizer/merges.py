"""Byte-pair encoding on counted words (Sennrich et al. 2016): join the most frequent pair of neighbours, again and again.

Works on id sequences, so it serves a vocabulary from nothing (ids of bytes or characters) as well as continuation (ids that the
model's own merges produce). The sequences kept here are always exactly what a BPE encoder with the merges learned so far would
give, which is what makes every learned token reachable.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_SHIFT = 32  # a pair of ids as one integer: cheaper to hash than a tuple
_MASK = (1 << _SHIFT) - 1


@dataclass(frozen=True, slots=True)
class LearnedMerge:
    """Neighbours `left` and `right` (ids) become `token`; `is_new` is False when another merge made that token before."""

    left: int
    right: int
    token: int
    text: str
    count: int
    is_new: bool


class MergeLearner:
    """Learn merges one after another; iterate over `learn()`.

    Args:
        words: id sequences of the distinct words; changed in place.
        counts: how often each word occurs.
        texts: vocabulary string of each id; None for ids that take part in no merge (byte-fallback and control tokens).
        vocab: vocabulary string -> id of all present tokens. A pair that spells one of these is not joined: that token has its own
            merges, and one more way to it would change how old text is tokenised.
        first_id: id of the first new token.
        admissible: whether a string may become a token.
        min_frequency: pairs that occur less often are not joined.
    """

    def __init__(
        self,
        words: list[list[int]],
        counts: Sequence[int],
        *,
        texts: Sequence[str | None],
        vocab: dict[str, int],
        first_id: int,
        admissible: Callable[[str], bool],
        min_frequency: int,
    ) -> None:
        self.words = words
        self.counts = counts
        self._texts: dict[int, str] = {index: text for index, text in enumerate(texts) if text is not None}
        self._old = vocab
        self._learned: dict[str, int] = {}
        self._ranks: dict[int, tuple[int, int]] = {}  # pair -> (rank, token) of learned merges
        self._next_id = first_id
        self._admissible = admissible
        self._min_frequency = max(1, min_frequency)
        self._pair_counts: dict[int, int] = {}
        self._pair_words: dict[int, list[int]] = {}
        self._heap: list[tuple[int, int]] = []
        self._count_pairs()

    def learn(self) -> Iterator[LearnedMerge]:
        """Merges from the most frequent pair down, until no pair is frequent enough. Ties go to the smaller ids."""
        heap, pair_counts = self._heap, self._pair_counts
        while heap:
            negative, pair = heapq.heappop(heap)
            count = pair_counts.get(pair, 0)
            if count != -negative:
                # Counts fall without telling the heap; the entry is put right when it surfaces.
                if count >= self._min_frequency:
                    heapq.heappush(heap, (-count, pair))
                continue
            left, right = pair >> _SHIFT, pair & _MASK
            text = self._joined(left, right)
            if text is None or pair in self._ranks:
                continue
            known = self._learned.get(text)
            token = self._next_id if known is None else known
            self._ranks[pair] = (len(self._ranks), token)
            if known is None:
                self._learned[text] = token
                self._texts[token] = text
                self._next_id += 1
                self._join(left, right, token)
            else:
                self._settle(pair)
            yield LearnedMerge(left=left, right=right, token=token, text=text, count=count, is_new=known is None)

    def _joined(self, left: int, right: int) -> str | None:
        """The string of the joined pair when it may become a token."""
        first, second = self._texts.get(left), self._texts.get(right)
        if first is None or second is None:
            return None
        text = first + second
        return text if text not in self._old and self._admissible(text) else None

    def _count_pairs(self) -> None:
        pair_counts, pair_words = self._pair_counts, self._pair_words
        for index, (word, count) in enumerate(zip(self.words, self.counts, strict=True)):
            previous = -1
            for token in word:
                if previous >= 0:
                    pair = previous << _SHIFT | token
                    if pair in pair_counts:
                        pair_counts[pair] += count
                        pair_words[pair].append(index)
                    else:
                        pair_counts[pair] = count
                        pair_words[pair] = [index]
                previous = token
        self._heap.extend((-count, pair) for pair, count in pair_counts.items() if count >= self._min_frequency)
        heapq.heapify(self._heap)

    def _join(self, left: int, right: int, token: int) -> None:
        """Replace `left right` by the new `token` in every word, leftmost first, and keep the counts right."""
        pair = left << _SHIFT | right
        pair_counts, pair_words, words, counts = self._pair_counts, self._pair_words, self.words, self.counts
        risen: set[int] = set()
        for index in pair_words.pop(pair):
            word, count = words[index], counts[index]
            position = 0
            while True:
                try:
                    position = word.index(left, position)
                except ValueError:
                    break
                if position + 1 < len(word) and word[position + 1] == right:
                    if position:
                        before = word[position - 1]
                        pair_counts[before << _SHIFT | left] -= count
                        risen.add(self._rise(before << _SHIFT | token, index, count))
                    if position + 2 < len(word):
                        after = word[position + 2]
                        pair_counts[right << _SHIFT | after] -= count
                        risen.add(self._rise(token << _SHIFT | after, index, count))
                    word[position : position + 2] = [token]
                position += 1
        del pair_counts[pair]
        self._push(risen)

    def _settle(self, pair: int) -> None:
        """Apply all learned merges again to the words that hold `pair`, as an encoder would.

        Needed when a merge leads to a token that an earlier merge made: that token's own, earlier merges apply at once.
        """
        risen: set[int] = set()
        for index in set(self._pair_words.pop(pair)):
            word, count = self.words[index], self.counts[index]
            for left, right in itertools.pairwise(word):
                self._pair_counts[left << _SHIFT | right] -= count
            word[:] = apply_merges(word, self._ranks)
            for left, right in itertools.pairwise(word):
                risen.add(self._rise(left << _SHIFT | right, index, count))
        self._pair_counts.pop(pair, None)
        self._push(risen)

    def _rise(self, pair: int, index: int, count: int) -> int:
        if pair in self._pair_counts:
            self._pair_counts[pair] += count
        else:
            self._pair_counts[pair] = count
        self._pair_words.setdefault(pair, []).append(index)
        return pair

    def _push(self, pairs: set[int]) -> None:
        for pair in pairs:
            count = self._pair_counts.get(pair, 0)
            if count >= self._min_frequency:
                heapq.heappush(self._heap, (-count, pair))


def apply_merges(word: Sequence[int], ranks: dict[int, tuple[int, int]], *, until: int = 1) -> list[int]:
    """Encode: apply the merge of lowest rank, leftmost first, until none applies or `until` ids are left. `ranks` is keyed by `pair_key`."""
    result = list(word)
    while True:
        if len(result) <= until:
            return result
        best: tuple[int, int, int] | None = None
        for position in range(len(result) - 1):
            found = ranks.get(result[position] << _SHIFT | result[position + 1])
            if found is not None and (best is None or found[0] < best[0]):
                best = (found[0], position, found[1])
        if best is None:
            return result
        result[best[1] : best[1] + 2] = [best[2]]


def pair_key(left: int, right: int) -> int:
    """Two ids as one integer."""
    return left << _SHIFT | right
