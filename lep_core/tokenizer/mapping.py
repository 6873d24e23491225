"""The matrix T between two vocabularies (method, section 2): which old tokens spell each new token.

Shapes: V new vocabulary, U old vocabulary. T is V x U, sparse, rows sum to 1; row n weighs the old tokens that spell new token n.
Tokens are compared by canonical bytes. A token whose bytes are a token of both vocabularies is shared and keeps its row; any other is
spelled as the old tokenizer's model, without pre-tokenisation, cuts these bytes. One batched pass over strings, no loop over tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import SPACE_MARK, Family, control_tokens, family, is_byte_token, to_byte_level, token_bytes
from lep_core.tokenizer.load import as_tokenizer, bare, rust_errors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ids = NDArray[np.int64]

_BATCH = 20_000
_UNDECODABLE = re.compile("([\udc80-\udcff]+)")  # how "surrogateescape" writes bytes that are not UTF-8


@dataclass(frozen=True, kw_only=True, eq=False)
class VocabularyMapping:
    """How the new vocabulary is spelled in the old one.

    Attributes:
        old_size, new_size: highest id plus one. A model may have more rows than that (padding).
        shared_new_ids, shared_old_ids: int64, equally long: ordinary tokens with the same bytes in both, each id at most once.
        special_new_ids, special_old_ids: the same for special and added tokens, matched by their string.
        pieces_indptr, pieces_indices: CSR rows: old ids that spell each new token, in order. One entry for shared and special tokens,
            none for missing ones.
        pruned: old ids that the new vocabulary has no token for.
        missing: new ids without a spelling: special tokens that the old vocabulary lacks, ids without a token.
        space_old_ids: old ids of ordinary tokens that are whitespace only.
        fallbacks: how many tokens the old model could not cut by itself, so that the longest known pieces were taken.
    """

    old_size: int
    new_size: int
    shared_new_ids: Ids
    shared_old_ids: Ids
    special_new_ids: Ids
    special_old_ids: Ids
    pieces_indptr: Ids
    pieces_indices: Ids
    pruned: Ids
    missing: Ids
    space_old_ids: Ids
    fallbacks: int

    def pieces_of(self, new_id: int) -> list[int]:
        """Old ids that spell one new token."""
        return self.pieces_indices[self.pieces_indptr[new_id] : self.pieces_indptr[new_id + 1]].tolist()

    def matrix(self, weights: str = "mean", decay: float = 1.0, space_penalty: float = 1.0) -> csr_matrix:
        """T as a V x U float64 matrix.

        Args:
            weights: "mean": 1/K on each of the K pieces; "weighted-mean": piece k = 0.. in proportion to exp(-decay * k).
            decay: see above; 0 is the mean.
            space_penalty: factor on the weight of pieces that are whitespace only, when K > 1; 1 leaves them alone.

        Returns:
            Rows sum to 1; shared and special tokens have a single 1.0; rows of missing tokens are empty.
        """
        from scipy.sparse import csr_matrix

        row = np.repeat(np.arange(self.new_size), np.diff(self.pieces_indptr))
        if weights == "mean":
            data = np.ones(len(self.pieces_indices))
        elif weights == "weighted-mean":
            data = np.exp(-decay * (np.arange(len(self.pieces_indices)) - self.pieces_indptr[:-1][row]))
        else:
            raise ValueError(f"weights is {weights!r}, not 'mean' or 'weighted-mean'")
        if not space_penalty > 0:
            raise ValueError(f"space_penalty is {space_penalty}, not above 0")
        data[np.isin(self.pieces_indices, self.space_old_ids)] *= space_penalty  # a single piece is scaled back to 1 below
        data /= np.bincount(row, weights=data, minlength=self.new_size)[row]
        matrix = csr_matrix((data, self.pieces_indices, self.pieces_indptr), shape=(self.new_size, self.old_size))
        matrix.sum_duplicates()  # a piece that occurs twice in a token
        return matrix


def build_mapping(old_tokenizer: Any, new_tokenizer: Any, *, spelled: bool = True) -> VocabularyMapping:
    """Match two vocabularies and spell what is new. Takes `tokenizers.Tokenizer`, transformers fast tokenizers or folders.

    Without `spelled` the rows of new tokens stay empty: enough for who asks for the shared tokens only, in half of the time.
    """
    old, new = as_tokenizer(old_tokenizer), as_tokenizer(new_tokenizer)
    old_bytes, new_bytes = token_bytes(old), token_bytes(new)
    old_control, new_control = control_tokens(old), control_tokens(new)

    special = {index: old_control[token] for token, index in new_control.items() if token in old_control}
    shared = _shared(old, new, old_bytes, new_bytes)
    wanted = {index: data for index, data in enumerate(new_bytes) if data is not None and index not in shared}
    ordinary_added = {
        index: added.content.encode() for index, added in new.get_added_tokens_decoder().items() if not added.special and added.content
    }
    wanted.update((index, data) for index, data in ordinary_added.items() if index not in special)
    if not spelled:
        wanted.clear()
    spellings, fallbacks = spell(old, old_bytes, list(wanted.values())) if wanted else ([], 0)

    rows: list[Sequence[int]] = [()] * len(new_bytes)
    for index, pieces in zip(wanted, spellings, strict=True):
        rows[index] = pieces
    for index, old_index in (*shared.items(), *special.items()):
        rows[index] = (old_index,)
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    present = {data for data in new_bytes if data is not None}
    kept = set(special.values())
    return VocabularyMapping(
        old_size=len(old_bytes),
        new_size=len(new_bytes),
        shared_new_ids=_ids(shared.keys()),
        shared_old_ids=_ids(shared.values()),
        special_new_ids=_ids(special.keys()),
        special_old_ids=_ids(special.values()),
        pieces_indptr=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)]),
        pieces_indices=_ids(chain.from_iterable(rows)),
        pruned=_ids(index for index, data in enumerate(old_bytes) if (data not in present if data is not None else index not in kept)),
        missing=np.flatnonzero(lengths == 0).astype(np.int64),
        space_old_ids=_ids(index for index, data in enumerate(old_bytes) if data and data.decode("utf-8", "replace").isspace()),
        fallbacks=fallbacks,
    )


def _shared(old: Tokenizer, new: Tokenizer, old_bytes: list[bytes | None], new_bytes: list[bytes | None]) -> dict[int, int]:
    """New id -> old id of tokens with the same bytes, one to one, in the order of new ids.

    A SentencePiece vocabulary may hold one byte twice: as a character (`a`) and for byte fallback (`<0x61>`). Like goes with like first;
    a character goes before a fallback token when only one has a partner.
    """
    characters: dict[bytes, int] = {}
    fallbacks: dict[bytes, int] = {}
    for index, data in enumerate(old_bytes):
        if data is not None:
            (fallbacks if len(data) == 1 and _is_fallback(old, index) else characters)[data] = index
    shared: dict[int, int] = {}
    taken: set[int] = set()
    later: list[tuple[bool, int, bytes]] = []
    for index, data in enumerate(new_bytes):
        if data is None:
            continue
        fallback = len(data) == 1 and _is_fallback(new, index)
        match = (fallbacks if fallback else characters).get(data)
        if match is not None and match not in taken:
            shared[index] = match
            taken.add(match)
        elif len(data) == 1:
            later.append((fallback, index, data))
    for fallback, index, data in sorted(later):
        match = (characters if fallback else fallbacks).get(data)
        if match is not None and match not in taken:
            shared[index] = match
            taken.add(match)
    return dict(sorted(shared.items()))


def _is_fallback(tokenizer: Tokenizer, index: int) -> bool:
    token = tokenizer.id_to_token(index)
    return token is not None and is_byte_token(token)


def spell(old: Tokenizer, old_bytes: Sequence[bytes | None], wanted: Sequence[bytes]) -> tuple[list[list[int]], int]:
    """Old ids for each byte string, as the old model cuts it; and how often the longest known pieces had to be taken instead.

    An empty list means that the old vocabulary cannot spell these bytes at all.
    """
    kind = family(old)
    byte_ids = _byte_ids(old, old_bytes)
    segments: list[str] = []
    plans: list[list[int | bytes]] = []  # numbers of segments to encode, and bytes to spell one by one
    for data in wanted:
        plan: list[int | bytes] = []
        for part in _parts(data, kind):
            if isinstance(part, str):
                plan.append(len(segments))
                segments.append(part)
            else:
                plan.append(part)
        plans.append(plan)
    encoded = _encode(bare(old), segments)
    spelled: list[list[int]] = []
    for plan in plans:
        if len(plan) == 1 and isinstance(plan[0], int):
            spelled.append(encoded[plan[0]])
        else:
            pieces = [encoded[step] if isinstance(step, int) else [byte_ids.get(byte, -1) for byte in step] for step in plan]
            spelled.append(list(chain.from_iterable(pieces)))
    wrong = _wrong(spelled, old_bytes, wanted)
    if wrong:
        known = {token: index for index, token in enumerate(old_bytes) if token}
        known.update((bytes([byte]), index) for byte, index in byte_ids.items())
        for number in wrong:
            spelled[number] = _longest_pieces(wanted[number], known)
    return spelled, len(wrong)


def _parts(data: bytes, kind: Family) -> list[str | bytes]:
    """Strings for the model's own vocabulary, and bytes that it cannot be given as text."""
    if kind == "byte-level":
        return [to_byte_level(data)]
    text = data.decode("utf-8", "surrogateescape")
    if SPACE_MARK in text:
        return [data]  # as text this would be taken for a space
    if text.isascii() or not _UNDECODABLE.search(text):
        return [text.replace(" ", SPACE_MARK)] if text else []
    parts: list[str | bytes] = []
    for number, part in enumerate(_UNDECODABLE.split(text)):
        if part:
            parts.append(part.encode("utf-8", "surrogateescape") if number % 2 else part.replace(" ", SPACE_MARK))
    return parts


def _encode(model: Tokenizer, segments: list[str]) -> list[list[int]]:
    encoded: list[list[int]] = []
    with rust_errors("the old tokenizer cannot spell the new tokens"):
        for start in range(0, len(segments), _BATCH):
            encoded.extend(encoding.ids for encoding in model.encode_batch_fast(segments[start : start + _BATCH], add_special_tokens=False))
    return encoded


def _wrong(spelled: Sequence[list[int]], old_bytes: Sequence[bytes | None], wanted: Sequence[bytes]) -> list[int]:
    """Numbers of those whose pieces (-1: none) are not exactly the wanted bytes."""
    table = [*(data or b"" for data in old_bytes), b""]
    lengths = np.array([len(data) for data in table])
    lengths[[data is None for data in (*old_bytes, None)]] = -(1 << 30)
    pieces = np.fromiter(chain.from_iterable(spelled), dtype=np.int64)
    ends = np.cumsum([len(ids) for ids in spelled])
    sizes = np.diff(np.concatenate([[0], np.concatenate([[0], np.cumsum(lengths[pieces])])[ends]])) if len(spelled) else np.zeros(0)
    fits = np.array_equal(sizes, [len(data) for data in wanted])
    if fits and b"".join(map(table.__getitem__, pieces.tolist())) == b"".join(wanted):
        return []
    return [
        number
        for number, (ids, data) in enumerate(zip(spelled, wanted, strict=True))
        if any(index < 0 or old_bytes[index] is None for index in ids) or b"".join(map(table.__getitem__, ids)) != data
    ]


def _longest_pieces(data: bytes, known: dict[bytes, int]) -> list[int]:
    """Greedy longest match from the left; empty when some byte has no token."""
    pieces, start = [], 0
    while start < len(data):
        end = next((end for end in range(len(data), start, -1) if data[start:end] in known), None)
        if end is None:
            return []
        pieces.append(known[data[start:end]])
        start = end
    return pieces


def _byte_ids(tokenizer: Tokenizer, table: Sequence[bytes | None]) -> dict[int, int]:
    """Id of the token for each single byte; for byte fallback prefer `<0xNN>` only where there is no character token."""
    found: dict[int, int] = {}
    for index, data in enumerate(table):
        if data is not None and len(data) == 1 and (data[0] not in found or _is_fallback(tokenizer, found[data[0]])):
            found[data[0]] = index
    return found


def _ids(values: Iterable[int]) -> Ids:
    return np.fromiter(values, dtype=np.int64)
