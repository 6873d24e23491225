"""Text to blocks of tokens: against the authors' way, `datasets` map with a tokenising and a grouping function.

    python -m benchmarks.packing --text FILE... --tokenizer FOLDER --block 512

"dropped" is the share of the tokens that no block holds, "bytes/token" what the result takes on the disk, "repeated" the share of the
positions that are read twice because a block goes back to the start of a paragraph.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import main, timed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DOCUMENT_CHARACTERS = 9_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", nargs="+", type=Path, default=sorted((DATA / "corpora" / "ru").glob("*.txt"))[:8])
    parser.add_argument("--tokenizer", type=Path, default=DATA / "tokenizers" / "mistral-7b-v0.1")
    parser.add_argument("--megabytes", type=float, default=16.0, help="at most this much of the text")
    parser.add_argument("--block", type=int, default=512, help="tokens of a block")


def grouped_map(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Tokenise each text with its control tokens, join a thousand of them, cut into blocks and drop the rest."""
    from datasets import Dataset, disable_caching, disable_progress_bars

    from lep_core.models import load_tokenizer

    disable_caching()
    disable_progress_bars()
    tokenizer, block, figures = load_tokenizer(arguments.tokenizer), arguments.block, {}
    texts = Dataset.from_dict({"text": _documents(arguments)})
    total = 0

    def tokenize(batch: dict[str, Any]) -> dict[str, Any]:
        nonlocal total
        found = tokenizer([text + (tokenizer.eos_token or "") for text in batch["text"]])
        total += sum(map(len, found["input_ids"]))
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    def group(batch: dict[str, Any]) -> dict[str, Any]:
        joined = {key: list(chain(*batch[key])) for key in batch}
        length = len(joined["input_ids"]) // block * block
        blocks = {key: [values[i : i + block] for i in range(0, length, block)] for key, values in joined.items()}
        return {**blocks, "labels": [list(ids) for ids in blocks["input_ids"]]}

    folder = Path(tempfile.mkdtemp())
    try:
        with timed(figures):
            tokens = texts.map(tokenize, batched=True, remove_columns=["text"])
            blocks = tokens.map(group, batched=True)
            blocks.save_to_disk(folder / "blocks")
        size = sum(path.stat().st_size for path in (folder / "blocks").rglob("*") if path.is_file())
    finally:
        shutil.rmtree(folder)
    held = len(blocks) * block
    return {**figures, "dropped": 1 - held / total, "bytes/token": size / held, "repeated": 0.0}


def lep_studio(arguments: argparse.Namespace) -> Mapping[str, float]:
    """LEP Studio's packing."""
    from lep_core.models import load_tokenizer
    from lep_core.training.packing import Encoder, pack

    tokenizer, figures = load_tokenizer(arguments.tokenizer), {}
    encoder, texts = Encoder(tokenizer, rows=len(tokenizer), eos=None), _documents(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens"
        with timed(figures):
            packed = pack(texts, encoder, path, block_size=arguments.block)
        assert packed is not None
        total = len(packed.tokens)
        covered = min(int(packed.starts[-1]) + arguments.block, total)
        return {
            **figures,
            "dropped": 1 - covered / total,
            "bytes/token": path.stat().st_size / total,
            "repeated": packed.repeated_share,
        }


def _documents(arguments: argparse.Namespace) -> list[str]:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    left, found = int(arguments.megabytes * 1e6), []
    for path in arguments.text:
        data = path.read_bytes()[:left]
        left -= len(data)
        text = data.decode("utf-8", "ignore")
        found += [text[start : start + DOCUMENT_CHARACTERS] for start in range(0, len(text), DOCUMENT_CHARACTERS)]
    return found


def work(arguments: argparse.Namespace) -> tuple[float, str]:
    return sum(len(text.encode()) for text in _documents(arguments)) / 1e6, "MB"


CONTENDERS = {"datasets map": grouped_map, "LEP Studio": lep_studio}

if __name__ == "__main__":
    main("Packing text into blocks", CONTENDERS, add_arguments, work=work)
