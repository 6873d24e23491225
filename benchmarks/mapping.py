"""The matrix T between two vocabularies: the authors' way (a loop that decodes each token and encodes it again) beside ours.

    python -m benchmarks.mapping                                     # generated vocabularies
    python -m benchmarks.mapping --old MISTRAL_FOLDER --new LLAMA_3_FOLDER

Both end with a sparse V x U matrix. "wrong rows" are tokens whose old pieces do not spell the token's own bytes: decoding loses parts of
characters and the space in front.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from benchmarks.fertility import generated
from benchmarks.side_by_side import main, timed
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.mapping import build_mapping

FOLDER = Path(tempfile.gettempdir()) / "lep-mapping-benchmark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--old", type=Path, default=FOLDER / "old", help="folder with tokenizer.json (default: a generated one)")
    parser.add_argument("--new", type=Path, default=FOLDER / "new")
    parser.add_argument("--vocabulary", type=int, default=20_000, help="tokens of the new generated vocabulary; the old one has half")


def opened(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def authors(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Decode one token, encode the text, average."""
    old, new = opened(arguments.old), opened(arguments.new)
    figures: dict[str, float] = {}
    with timed(figures):
        pieces = [old.encode(new.decode([index]), add_special_tokens=False).ids for index in range(new.get_vocab_size())]
        lengths = np.array([len(ids) for ids in pieces])
        columns = np.array([piece for ids in pieces for piece in ids])
        rows = np.repeat(np.arange(len(pieces)), lengths)
        matrix_VU = csr_matrix((1.0 / lengths[rows], (rows, columns)), shape=(len(pieces), old.get_vocab_size()))
    return figures | {"entries": matrix_VU.nnz, "wrong rows": wrong_rows(old, new, pieces)}


def ours(arguments: argparse.Namespace) -> Mapping[str, float]:
    old, new = opened(arguments.old), opened(arguments.new)
    figures: dict[str, float] = {}
    with timed(figures):
        mapping = build_mapping(old, new)
        matrix_VU = mapping.matrix()
    return figures | {
        "entries": matrix_VU.nnz,
        "wrong rows": wrong_rows(old, new, [mapping.pieces_of(index) for index in range(mapping.new_size)]),
    }


def wrong_rows(old: Tokenizer, new: Tokenizer, pieces: Sequence[Sequence[int]]) -> int:
    old_bytes = token_bytes(old)
    return sum(
        data is not None and b"".join(old_bytes[piece] or b"" for piece in ids) != data
        for data, ids in zip(token_bytes(new), pieces, strict=True)
    )


def prepare(arguments: argparse.Namespace) -> None:
    """Train the generated vocabularies if they are wanted: the new one on more text."""
    for folder, size, vocabulary in (
        (arguments.old, 1_000_000, arguments.vocabulary // 2),
        (arguments.new, 4_000_000, arguments.vocabulary),
    ):
        if folder.parent == FOLDER:
            folder.mkdir(parents=True, exist_ok=True)
            tokenizer = Tokenizer(BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
            tokenizer.train_from_iterator([generated(size)], trainer)
            tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main(
        "The matrix T between two vocabularies",
        {"loop over decode and encode": authors, "LEP Studio": ours},
        add_arguments,
        prepare=prepare,
    )
