"""Text to equal blocks of tokens on disk (method section 3: causal language modelling on packed raw text).

Documents are encoded as `bos text eos` (bos where the model's tokenizer adds one) and written one after the other to a flat file of
uint16, or uint32 for vocabularies above 65,536 tokens. A block is a window of that file. The first begins with the first document;
each next one begins at the last document or paragraph start (a token after a line end) that its predecessor still reaches, so:

* no token is dropped, and the last block is filled up with positions that have no loss;
* a paragraph that a block cuts is read again, whole, by the next block: those tokens are seen twice (`repeated_share` says how many);
* only a paragraph longer than a block goes on in the middle: the alternatives, dropping or repeating most of a block, cost more.

Special tokens that occur in the text (`<s>`, `<|im_end|>`) are encoded as ordinary text, never as control ids. Text is streamed: memory
does not grow with the corpus.
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
from lep_core.training.loss import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_BATCH_CHARACTERS = 1_000_000
_BATCH_DOCUMENTS = 1_000


class Encoder:
    """Encodes documents for training: one tokenizer with its control ids and two tables over its vocabulary.

    Attributes:
        bos, eos: ids put around a document, or None.
        token_bytes_V: int32, UTF-8 bytes of each token; 0 for control tokens and padded rows.
        ends_part_V: bool, a document or paragraph may begin behind this token: its bytes end with a line feed, or it is eos.
        begins_no_part_V: bool, no block begins with this token: eos, and tokens of nothing but line feeds.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, rows: int, eos: int | None) -> None:
        from tokenizers import Tokenizer

        # A copy: truncation, padding and special tokens of the caller's tokenizer stay as they are.
        self._tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        bos = tokenizer.bos_token_id
        self.bos = bos if bos is not None and self._tokenizer.encode("a").ids[:1] == [bos] else None
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

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16 where all ids fit, else uint32."""
        return np.dtype(np.uint16 if self.rows <= 2**16 else np.uint32)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, without bos and eos."""
        documents = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        highest = max((max(ids) for ids in documents if ids), default=0)
        if highest >= self.rows:
            raise TokenizerError(
                f"the tokenizer gives token id {highest}, the model's embedding has {self.rows} rows",
                "Initialize the model with this tokenizer",
            )
        return documents

    def document(self, ids: list[int]) -> list[int]:
        """Ids with bos and eos around them."""
        head = [] if self.bos is None else [self.bos]
        tail = [] if self.eos is None else [self.eos]
        return [*head, *ids, *tail]


@dataclass(frozen=True, eq=False)
class PackedText:
    """Blocks of `block_size` tokens over a memory-mapped file of token ids.

    Attributes:
        starts: int64, where each block begins in `tokens`.
        fingerprint: SHA-256 of the token stream (as little-endian uint32), whatever the file's integer size.
        repeated_share: share of the tokens read that lie in two blocks.
    """

    tokens: np.ndarray
    starts: np.ndarray
    block_size: int
    fingerprint: str
    documents: int
    text_bytes: int
    _pad: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def repeated_share(self) -> float:
        return 1 - len(self.tokens) / max(1, self._positions())

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
            ids = list(chain.from_iterable(encoder.document(ids) for ids in encoder.encode(batch) if ids))
            flat = np.array(ids, dtype="<u4")
            digest.update(flat.tobytes())
            stream.write(flat.astype(encoder.dtype).tobytes())
            documents, total = documents + len(batch), total + len(flat)
            text_bytes += sum(len(text.encode("utf-8", "surrogatepass")) for text in batch)
            reporter.progress(documents, None, "documents")
    if total < block_size:
        raise CorpusError(f"the {what} has {total} tokens, one block needs {block_size}", "Give more text or a smaller --block-size")
    tokens = np.memmap(path, dtype=encoder.dtype, mode="r")
    return PackedText(
        tokens=tokens,
        starts=block_starts(tokens, encoder, block_size),
        block_size=block_size,
        fingerprint=digest.hexdigest(),
        documents=documents,
        text_bytes=text_bytes,
        _pad=encoder.eos or 0,
    )


def block_starts(tokens: np.ndarray, encoder: Encoder, block_size: int) -> np.ndarray:
    """Where blocks begin: at the last document or paragraph start that the block before still reaches, else right behind it."""
    starts = [0]
    while starts[-1] + block_size < len(tokens):
        start = starts[-1]
        window = tokens[start : start + block_size + 1]
        following = window[1:]
        begins = encoder.ends_part_V[window[:-1]] & ~encoder.begins_no_part_V[following]
        if encoder.bos is not None:
            # A document begins with its bos, also where the tokenizer has no eos to end the one before.
            begins |= following == encoder.bos
        found = np.flatnonzero(begins)
        starts.append(start + (int(found[-1]) + 1 if len(found) else block_size))
    return np.array(starts, dtype=np.int64)
