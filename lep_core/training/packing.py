"""Text to equal blocks of tokens on disk (method section 3: causal language modelling on packed raw text).

Documents are encoded as `bos text eos` (bos where the model's tokenizer adds one) and written one after the other to a flat file of
uint16, or uint32 for vocabularies above 65,536 tokens. A block is a window of that file. The first begins with the first document.
In the paper every sequence begins at a document or paragraph start (a token after a line end). A next block that goes back to the last
start before the end of its predecessor reads the paragraph that was cut again; with blocks of some hundred tokens that is up to a third
of all positions, paid for in time and seen twice. So a block goes back only if that start lies in the last part of its predecessor, and
goes on in the middle of the paragraph otherwise. That part is as large as it can be with at most 5 % of the positions read twice: the
whole block where paragraphs are short against it, then as in the paper, else a half, a quarter, and so on. No token is
dropped; the last block is filled up with positions that have no loss.

Special tokens that occur in the text (`<s>`, `<|im_end|>`) are encoded as ordinary text, never as control ids. Text is streamed: memory
does not grow with the corpus.

Shapes: V vocabulary, T tokens of the stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lep_core.errors import CorpusError, TokenizerError
from lep_core.files import translated_errors
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.separable import is_separable
from lep_core.training.loss import IGNORED
from lep_core.training.segments import SegmentEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCH_CHARACTERS = 1_000_000
_BATCH_DOCUMENTS = 1_000
_MOST_REPEATED = 0.05
_TAILS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
_TABLE_TOKENS = 8_000_000  # tokens looked up at a time


class Encoder:
    """Encodes documents for training: one tokenizer with its control ids and two tables over its vocabulary.

    Attributes:
        bos, eos: ids put around a document, or None.
        token_bytes_V: int32, UTF-8 bytes of each token; 0 for control tokens and padded rows.
        ends_part_V: bool, a document or paragraph may begin behind this token: its bytes end with a line feed, or it is eos.
        begins_no_part_V: bool, no block begins with this token: eos, and tokens of nothing but line feeds.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, rows: int, eos: int | list[int] | None) -> None:
        from tokenizers import Tokenizer

        # A copy: truncation, padding and special tokens of the caller's tokenizer stay as they are.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        bos = tokenizer.bos_token_id
        self.bos = bos if bos is not None and self._tokenizer.encode("a").ids[:1] == [bos] else None
        eos = eos[0] if isinstance(eos, list) else eos
        eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else eos
        # Some configs name an id beyond the vocabulary: no token has it.
        self.eos = eos if eos is not None and 0 <= eos < rows else None
        self._tokenizer.encode_special_tokens = True
        self.rows = rows
        self.token_bytes_V = np.zeros(rows, dtype=np.int32)
        self.ends_part_V = np.zeros(rows, dtype=bool)
        self.begins_no_part_V = np.zeros(rows, dtype=bool)
        for token, value in enumerate(token_bytes(tokenizer)[:rows]):
            if value is not None:
                self.token_bytes_V[token] = len(value)
                self.ends_part_V[token] = value.endswith(b"\n")
                self.begins_no_part_V[token] = not value.strip(b"\r\n")
        if self.eos is not None:
            self.ends_part_V[self.eos] = self.begins_no_part_V[self.eos] = True
        self._segments = SegmentEncoder(self._tokenizer) if is_separable(self._tokenizer) else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16 where all ids fit, else uint32."""
        return np.dtype(np.uint16 if self.rows <= 2**16 else np.uint32)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, without bos and eos."""
        documents = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        self._check_rows(max((max(ids) for ids in documents if ids), default=0))
        return documents

    def stream(self, texts: list[str]) -> np.ndarray:
        """`bos text eos` of all texts that have tokens, one behind the other: int64 of shape T."""
        found = self._segments.encode(texts) if self._segments and texts else None
        if found is None:
            documents = self.encode(texts)
            found = np.fromiter(chain.from_iterable(documents), dtype=np.int64), np.array([len(ids) for ids in documents], dtype=np.int64)
        ids_T, sizes_X = found
        self._check_rows(int(ids_T.max(initial=0)))
        ends_X = np.cumsum(sizes_X[sizes_X > 0])
        if self.eos is not None:
            ids_T = np.insert(ids_T, ends_X, self.eos)
            ends_X += np.arange(1, len(ends_X) + 1)
        return ids_T if self.bos is None else np.insert(ids_T, [0, *ends_X[:-1]][: len(ends_X)], self.bos)

    def _check_rows(self, highest: int) -> None:
        if highest >= self.rows:
            raise TokenizerError(
                f"the tokenizer gives token id {highest}, the model's embedding has {self.rows} rows",
                "Initialize the model with this tokenizer",
            )


@dataclass(frozen=True, eq=False)
class PackedText:
    """Blocks of `block_size` tokens over a memory-mapped file of token ids.

    Attributes:
        starts: int64, where each block begins in `tokens`.
        fingerprint: SHA-256 of the token stream (as little-endian uint32, whatever the file's integer size) and of the blocks' starts.
        begins_share: share of the blocks that begin at a document or paragraph start.
        repeated_share: share of the tokens read that lie in two blocks.
    """

    tokens: np.ndarray
    starts: np.ndarray
    block_size: int
    fingerprint: str
    documents: int
    text_bytes: int
    begins_share: float
    _pad: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def repeated_share(self) -> float:
        return max(0.0, 1 - len(self.tokens) / max(1, self._positions()))

    def rows(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of some blocks, both int64 of shape blocks x block_size; targets are the inputs' next tokens."""
        inputs = np.full((len(blocks), self.block_size), self._pad, dtype=np.int64)
        targets = np.full((len(blocks), self.block_size), IGNORED, dtype=np.int64)
        for row, start in enumerate(self.starts[blocks]):
            window = self.tokens[start : start + self.block_size + 1]
            inputs[row, : min(len(window), self.block_size)] = window[: self.block_size]
            targets[row, : len(window) - 1] = window[1:]
        return inputs, targets

    def _positions(self) -> int:
        return int(np.minimum(self.starts + self.block_size, len(self.tokens)).sum() - self.starts.sum())


def pack(
    texts: Iterable[str], encoder: Encoder, path: Path, *, block_size: int, what: str = "text", reporter: Reporter = SILENT
) -> PackedText | None:
    """Encode `texts` into the file `path` and cut them into blocks; None when the user stopped it.

    Raises:
        CorpusError: the text has fewer tokens than one block.
        ResourceError: the disk is full.
    """
    digest, documents, text_bytes, total = hashlib.sha256(), 0, 0, 0
    with translated_errors(path), open(path, "wb") as stream:
        for batch in batches(texts, characters=_BATCH_CHARACTERS, most_texts=_BATCH_DOCUMENTS):
            if reporter.should_stop():
                return None
            flat = encoder.stream(batch).astype("<u4")
            digest.update(flat.tobytes())
            stream.write(flat.astype(encoder.dtype).tobytes())
            documents, total = documents + len(batch), total + len(flat)
            text_bytes += sum(len(text.encode("utf-8", "surrogatepass")) for text in batch)
            reporter.progress(documents, None, "documents")
    if total < block_size:
        raise CorpusError(f"the {what} has {total} tokens, one block needs {block_size}", "Give more text or a smaller --block-size")
    tokens = np.memmap(path, dtype=encoder.dtype, mode="r")
    starts, begins_share = block_starts(tokens, encoder, block_size)
    digest.update(starts.astype("<i8").tobytes())
    return PackedText(
        tokens=tokens,
        starts=starts,
        begins_share=begins_share,
        block_size=block_size,
        fingerprint=digest.hexdigest(),
        documents=documents,
        text_bytes=text_bytes,
        _pad=encoder.eos or 0,
    )


def block_starts(tokens: np.ndarray, encoder: Encoder, block_size: int) -> tuple[np.ndarray, float]:
    """Where blocks begin, and the share of them that begin at a document or paragraph start."""
    parts = _part_starts(tokens, encoder)
    for tail in _TAILS:
        starts, at_part = _starts_within(parts, len(tokens), block_size, tail)
        read = int(np.minimum(starts + block_size, len(tokens)).sum() - starts.sum())
        if read * (1 - _MOST_REPEATED) <= len(tokens):
            break
    return starts, at_part / len(starts)


def _starts_within(parts: np.ndarray, total: int, block_size: int, tail: float) -> tuple[np.ndarray, int]:
    """Block starts when a block goes back to the last part start in the `tail` of the one before; how many are part starts."""
    longest_way_back = int(tail * block_size)
    starts, at_part = [0], 1
    # A block of the last token alone would have no target: the block before has that token as one.
    while (end := starts[-1] + block_size) < total - 1:
        # The token at `end` may begin a part itself: the best case, nothing is read again.
        last = int(parts[np.searchsorted(parts, end, side="right") - 1])
        goes_back = last > starts[-1] and end - last <= longest_way_back
        at_part += goes_back
        starts.append(last if goes_back else end)
    return np.array(starts, dtype=np.int64), at_part


def _part_starts(tokens: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Positions at which a document or paragraph begins; 0 is one."""
    found = [np.zeros(1, dtype=np.int64)]
    for start in range(0, len(tokens) - 1, _TABLE_TOKENS):
        window = np.asarray(tokens[start : start + _TABLE_TOKENS + 1])
        following = window[1:]
        begins = encoder.ends_part_V[window[:-1]] & ~encoder.begins_no_part_V[following]
        if encoder.bos is not None:
            # A document begins with its bos, also where the tokenizer has no eos to end the one before.
            begins |= following == encoder.bos
        found.append(np.flatnonzero(begins) + start + 1)
    return np.concatenate(found)
