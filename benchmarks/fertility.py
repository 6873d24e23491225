"""Tokens of a text: what people write today (a loop over `encode`), the libraries' batch calls, and ours, which measures much more.

    python -m benchmarks.fertility                                                   # a generated text and a small byte-level tokenizer
    python -m benchmarks.fertility --tokenizer TOKENIZER_FOLDER --input novels.txt   # real ones

Each contender opens the tokenizer and reads the text in units of at most 1 MB; the first three count tokens, words and characters, ours makes
the whole report (words of one and of several tokens in context, vocabulary use, round trip). All must find as many tokens. tiktoken takes
part where it is installed and the tokenizer is byte-level; its merges follow the ids alone, so its count may differ for some vocabularies.
The generated text has fewer different words than real text of its size: take a real one for a figure to quote.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from benchmarks.side_by_side import Contender, main, timed
from lep_core.corpus.load import read_documents
from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.fertility import measure_fertility
from lep_core.tokenizer.load import read_definition

FOLDER = Path(tempfile.gettempdir()) / "lep-fertility-benchmark"
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BATCH_CHARACTERS = 4_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokenizer", type=Path, default=FOLDER, help="folder with tokenizer.json (default: a generated one)")
    parser.add_argument("--input", nargs="+", default=[str(FOLDER / "text.txt")], help="files or folders (default: a generated text)")
    parser.add_argument("--megabytes", type=int, default=20, help="size of the generated text")


def texts(arguments: argparse.Namespace) -> Iterator[str]:
    return (document.text for document in read_documents(tuple(arguments.input)))


def opened(arguments: argparse.Namespace) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def loop(arguments: argparse.Namespace) -> Mapping[str, float]:
    tokens = words = characters = 0
    figures: dict[str, float] = {}
    with timed(figures):
        tokenizer = opened(arguments)
        for text in texts(arguments):
            tokens += len(tokenizer.encode(text, add_special_tokens=False).ids)
            words += len(text.split())
            characters += len(text)
    return figures | {"tokens": tokens, "words": words}


def batch_fast(arguments: argparse.Namespace) -> Mapping[str, float]:
    tokens = words = characters = 0
    figures: dict[str, float] = {}
    with timed(figures):
        tokenizer = opened(arguments)
        for batch in batches(texts(arguments), characters=BATCH_CHARACTERS, most_texts=1000):
            tokens += sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False))
            words += sum(len(text.split()) for text in batch)
            characters += sum(map(len, batch))
    return figures | {"tokens": tokens, "words": words}


def tiktoken_batch(arguments: argparse.Namespace) -> Mapping[str, float]:
    tiktoken = importlib.import_module("tiktoken")  # no dependency of this project
    tokens = words = characters = 0
    figures: dict[str, float] = {}
    with timed(figures):
        definition = read_definition(arguments.tokenizer)
        splits = [part for part in (definition["pre_tokenizer"].get("pretokenizers") or ()) if part["type"] == "Split"]
        pattern = splits[0]["pattern"]["Regex"] if splits else GPT2
        ranks = {data: index for index, data in enumerate(token_bytes(arguments.tokenizer)) if data is not None}
        encoder = tiktoken.Encoding("benchmark", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        for batch in batches(texts(arguments), characters=BATCH_CHARACTERS, most_texts=1000):
            tokens += sum(map(len, encoder.encode_ordinary_batch(batch, num_threads=2)))
            words += sum(len(text.split()) for text in batch)
            characters += sum(map(len, batch))
    return figures | {"tokens": tokens, "words": words}


def ours(arguments: argparse.Namespace) -> Mapping[str, float]:
    figures: dict[str, float] = {}
    with timed(figures):
        report = measure_fertility([("tokenizer", arguments.tokenizer)], texts(arguments)).tokenizers[0]
    return figures | {"tokens": report.tokens, "words": report.words}


def prepare(arguments: argparse.Namespace) -> None:
    """Write the generated text and tokenizer if they are wanted."""
    FOLDER.mkdir(exist_ok=True)
    text = FOLDER / "text.txt"
    if str(text) in arguments.input:
        text.write_text(generated(arguments.megabytes * 1_000_000), encoding="utf-8")
    if arguments.tokenizer == FOLDER:
        tokenizer = Tokenizer(BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
        tokenizer.train_from_iterator([generated(1_000_000)], trainer)
        tokenizer.save(str(FOLDER / "tokenizer.json"))


def generated(size: int) -> str:
    """About `size` characters: invented words whose frequency falls with their rank as in natural text, with commas, full stops and lines."""
    rng = np.random.default_rng(0)
    syllables = np.array([first + second for first in "bdgklmnprstvzh" for second in "aeiouy"])
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 6))) for _ in range(100_000)])
    ranks = np.minimum(rng.zipf(1.2, size // 6), len(words) * 50) % len(words)
    ends = rng.choice(np.array(["", ",", ".", ".\n"]), len(ranks), p=[0.86, 0.07, 0.05, 0.02])
    return " ".join(np.char.add(words[ranks], ends).tolist())[:size].replace("\n ", "\n")


def work(arguments: argparse.Namespace) -> tuple[float, str]:
    return sum(len(text.encode("utf-8", "replace")) for text in texts(arguments)) / 1e6, "MB"


CONTENDERS: dict[str, Contender] = {"loop over encode": loop, "encode_batch_fast": batch_fast, "LEP Studio": ours}
if importlib.util.find_spec("tiktoken"):
    CONTENDERS["tiktoken"] = tiktoken_batch

if __name__ == "__main__":
    main("Tokens of a text", CONTENDERS, add_arguments, work=work, prepare=prepare)
