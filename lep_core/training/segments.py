"""Encodes text by the stretches between single spaces, each different one only once: several times faster, the same ids.

Where a tokenizer provably has a border before a single space between two other characters (`tokenizer.separable`), the ids of a text are
those of its stretches in a row. Texts repeat their words, so most stretches are known after some megabytes. New ones are encoded many at
a time, as one text; by their bytes it is checked that no token reaches across two of them.

Shapes: X texts, K stretches but the first of each text, S all stretches, T tokens.
"""

from __future__ import annotations

import re
from itertools import chain, filterfalse

import numpy as np
from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import SPACE_MARK, spelled_bytes

# The space comes first and what surrounds it is looked at then: the search for a letter is much faster than that for an assertion.
# A literal space mark becomes a space in SentencePiece.
_BORDER = re.compile(rf" (?<=[^\s{SPACE_MARK}] )(?=[^\s{SPACE_MARK}])")
_LEAD = "a"  # stands before new stretches, which all begin with a space
_JOINED_STRETCHES = 1_000
_MOST_KNOWN = 400_000  # 50 to 100 MB


class SegmentEncoder:
    """A tokenizer that has the border, and the stretches that it has met.

    Args:
        tokenizer: encodes special tokens as text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._token_bytes_V = np.array([len(data or b"") for data in spelled_bytes(tokenizer)], dtype=np.int64)
        self._forget()

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._ids_T = np.empty(0, dtype=np.int64)  # of all known stretches, one behind the other
        self._sizes_K = np.empty(0, dtype=np.int64)

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids of all texts in a row, int64 T, and how many each text has, X. None when normalisation changes a text's bytes."""
        cut = [_BORDER.split(text) for text in texts]
        keys = list(chain.from_iterable(stretches[1:] for stretches in cut))
        new = list(dict.fromkeys(filterfalse(self._numbers.__contains__, keys)))
        if new and not self._learn(new):
            return None
        heads = [encoding.ids for encoding in self._tokenizer.encode_batch_fast([s[0] for s in cut], add_special_tokens=False)]
        counts_X = np.array([len(stretches) for stretches in cut], dtype=np.int64)
        first_X = np.cumsum(counts_X) - counts_X
        numbers_S = np.empty(int(counts_X.sum()), dtype=np.int64)
        is_head_S = np.zeros(len(numbers_S), dtype=bool)
        is_head_S[first_X] = True
        numbers_S[~is_head_S] = np.fromiter(map(self._numbers.__getitem__, keys), dtype=np.int64, count=len(keys))
        numbers_S[is_head_S] = len(self._sizes_K) + np.arange(len(texts))
        ids_T = np.concatenate([self._ids_T, np.fromiter(chain.from_iterable(heads), dtype=np.int64)])
        sizes = np.concatenate([self._sizes_K, np.array([len(head) for head in heads], dtype=np.int64)])
        if len(self._numbers) > _MOST_KNOWN:
            self._forget()
        sizes_S = sizes[numbers_S]
        return _gathered(ids_T, (np.cumsum(sizes) - sizes)[numbers_S], sizes_S), np.add.reduceat(sizes_S, first_X)

    def _learn(self, new: list[str]) -> bool:
        """Encode stretches for the first time; False when their tokens do not spell them."""
        # Behind whitespace there is no border, so a stretch that ends with it stands alone.
        joinable = [key for key in new if not key[-1].isspace()]
        groups = [joinable[start : start + _JOINED_STRETCHES] for start in range(0, len(joinable), _JOINED_STRETCHES)]
        groups += [[key] for key in new if key[-1].isspace()]
        texts = [" ".join([_LEAD, *group]) for group in groups]
        ids, sizes = [self._ids_T], [self._sizes_K]
        for group, encoding in zip(groups, self._tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
            ids_T = np.array(encoding.ids, dtype=np.int64)
            edges_K = self._edges(group, ids_T)
            if edges_K is None:
                return False
            ids.append(ids_T[edges_K[0] :])
            sizes.append(np.diff(edges_K))
        for key in chain.from_iterable(groups):
            self._numbers[key] = len(self._numbers)
        self._ids_T, self._sizes_K = np.concatenate(ids), np.concatenate(sizes)
        return True

    def _edges(self, group: list[str], ids_T: np.ndarray) -> np.ndarray | None:
        """The token that each stretch of an encoded group begins with, and the number of all tokens."""
        ends_T = np.cumsum(self._token_bytes_V[ids_T])
        bytes_K = np.cumsum([len(_LEAD), *(1 + len(key.encode()) for key in group)])
        shift = int(ends_T[-1]) - int(bytes_K[-1])  # SentencePiece puts a space in front
        edges_K = np.searchsorted(ends_T, bytes_K + shift)
        return edges_K + 1 if shift in (0, 1) and (ends_T[edges_K] == bytes_K + shift).all() else None


def _gathered(values: np.ndarray, starts_S: np.ndarray, sizes_S: np.ndarray) -> np.ndarray:
    """The stretches of `values` with these starts and sizes, one behind the other."""
    before_S = np.cumsum(sizes_S) - sizes_S
    return values[np.repeat(starts_S - before_S, sizes_S) + np.arange(int(sizes_S.sum()))]
