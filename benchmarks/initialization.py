"""Rows for a new vocabulary: the loop that the authors' code makes, against one mapping and a sparse product.

    python -m benchmarks.initialization
    python -m benchmarks.initialization --vocab-size 128000 --hidden 4096 --only "LEP Studio" --repeats 1

Two byte-level vocabularies are trained once on made-up words, an old one on Latin and a new one on Cyrillic and Latin letters; the
matrices are random bfloat16. The loop is what repositories for vocabulary adaptation do today: for each new token encode its text with
the old tokenizer, average the rows, assign. Both contenders fill one matrix (input embedding or head).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.side_by_side import copy_gib_per_second, main, timed

LATIN, CYRILLIC = ("bcdfghklmnprstvz", "aeiou"), ("бвгдзклмнпрст", "аеиоуя")


def tokenizers(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Files of the old and the new tokenizer."""
    folder = Path(tempfile.gettempdir()) / f"lep-benchmark-initialization-{arguments.vocab_size}"
    return folder / "old.json", folder / "new.json"


def prepare(arguments: argparse.Namespace) -> None:
    """Train both vocabularies, unless an earlier call has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    old, new = tokenizers(arguments)
    old.parent.mkdir(exist_ok=True)
    for path, alphabets, seed in ((old, (LATIN,), 0), (new, (CYRILLIC, LATIN), 1)):
        if path.exists():
            continue
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=arguments.vocab_size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(_lines(alphabets, words=6 * arguments.vocab_size, seed=seed), trainer)
        tokenizer.save(str(path))


def loop(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Encode each new token, average the rows, assign."""
    import torch
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(arguments.threads)
    old, new = (PreTrainedTokenizerFast(tokenizer_file=str(path)) for path in tokenizers(arguments))
    old_UD, figures = _rows(len(old), arguments.hidden), {}
    with timed(figures):
        new_VD = torch.empty((len(new), arguments.hidden), dtype=old_UD.dtype)
        for index in range(len(new)):
            text = new.decode([index])
            ids = old(text, add_special_tokens=False)["input_ids"]
            new_VD[index] = old_UD[ids].mean(dim=0) if ids else 0
    return figures


def ours(arguments: argparse.Namespace) -> Mapping[str, float]:
    """The mapping T and the product T E."""
    import scipy.sparse  # noqa: F401 - imports do not count
    import torch
    from tokenizers import Tokenizer

    from lep_core.embeddings.initialize import initialize_matrix
    from lep_core.tokenizer.mapping import build_mapping

    torch.set_num_threads(arguments.threads)
    old, new = (Tokenizer.from_file(str(path)) for path in tokenizers(arguments))
    old_UD, figures = _rows(old.get_vocab_size(), arguments.hidden), {}
    with timed(figures):
        mapping = build_mapping(old, new)
        new_VD, _ = initialize_matrix(old_UD, mapping, mapping.matrix("mean"))
    figures["matrix_gib"] = new_VD.nbytes / 2**30
    figures["new_tokens"] = mapping.new_size - len(mapping.shared_new_ids)
    return figures


def _rows(rows: int, hidden: int):
    import torch

    return torch.randn(rows, hidden, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)


def _lines(alphabets: tuple[tuple[str, str], ...], *, words: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(words // 10):
        consonants, vowels = rng.choice(alphabets)
        yield " ".join(
            "".join(rng.choice(consonants) + rng.choice(vowels) for _ in range(rng.randint(1, 5)))
            + rng.choice(("", rng.choice(consonants)))
            for _ in range(10)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the work."""
    parser.add_argument("--vocab-size", type=int, default=32_000, help="tokens of both vocabularies")
    parser.add_argument("--hidden", type=int, default=1024, help="length of a row")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")


CONTENDERS = {"loop over encode and mean": loop, "LEP Studio": ours}

if __name__ == "__main__":
    main(
        "Initialisation of one matrix",
        CONTENDERS,
        add_arguments,
        work=lambda arguments: (arguments.vocab_size, "tokens"),
        prepare=prepare,
        limits=lambda _: {"memory copy": f"{copy_gib_per_second():.1f} GiB/s"},
    )
