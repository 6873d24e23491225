"""Texts and tokenizers of the fertility study: what vocabularies learn from, what is measured, and the parallel text.

Held out are whole works where there are several (another author for Russian and Ukrainian), elsewhere the last fifth of each file; lines that
occur in the learned part too are taken out of it. A *passage* is a run of consecutive lines of about 2,000 characters: the unit that is
encoded, and drawn by the bootstrap.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lep_core as lep
from lep_core.files import read_json

LANGUAGES = {"ru": "rus", "uk": "ukr", "kk": "kaz", "tr": "tur", "hi": "hin"}
HELD_OUT_WORKS = ("Chekhov_Dama.txt", "Turgenev_Rudin.txt", "UKR19022_KobylianskaZemlia.txt")
LEARNED_MB, HELD_OUT_MB, PASSAGE_CHARACTERS, TAIL = 4.0, 0.4, 2_000, 0.2
TOKENIZERS = ("mistral-7b-v0.1", "gpt-neox-20b", "llama-3")


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that the study reads. `parallel`: language -> documents -> sentences; `english` names the reference among them.

    `sizes`: new tokens, or the whole vocabulary where it is replaced; `shares`: of the old vocabulary, where it only shrinks.
    """

    tokenizers: dict[str, Path]
    learned: dict[str, list[str]]
    held_out: dict[str, list[str]]
    parallel: dict[str, list[list[str]]]
    parallel_names: dict[str, str]
    sizes: tuple[int, ...]
    shares: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75)
    english: str = "eng"

    def config(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "tokenizers": list(self.tokenizers),
            "sizes": list(self.sizes),
            "shares_kept_by_leaf_pruning": list(self.shares),
            "held_out_works": list(HELD_OUT_WORKS),
            "held_out_tail_of_other_files": TAIL,
            "passage_characters": PASSAGE_CHARACTERS,
            "learned_bytes": {name: sum(len(line.encode()) + 1 for line in lines) for name, lines in self.learned.items()},
            "held_out_bytes": {name: sum(len(text.encode()) for text in texts) for name, texts in self.held_out.items()},
            "parallel_documents": len(self.parallel[self.english]),
            "parallel_sentences": sum(map(len, self.parallel[self.english])),
        }


def real_material(data: Path, tokenizers: Sequence[Path]) -> Material:
    """The data folder of docs/study.md; tokenizers are looked for in `tokenizers` and below the data folder."""
    places = [*tokenizers, data / "tokenizers"]
    found = {name: folder for name in TOKENIZERS if (folder := find_tokenizer(places, name)) is not None}
    learned, held_out = {}, {}
    for language in LANGUAGES:
        learning, rest = split_files(sorted((data / "corpora" / language).glob("*.txt")))
        learned[language] = spread(learning, LEARNED_MB)
        held_out[language] = spread(passages(without(rest, learning)), HELD_OUT_MB)
    return Material(
        tokenizers=found,
        learned=learned,
        held_out=held_out,
        parallel=parallel_documents(data / "parallel" / "ntrex"),
        parallel_names=LANGUAGES,
        sizes=(4_000, 8_000, 16_000, 32_000),
    )


def find_tokenizer(places: Iterable[Path], name: str) -> Path | None:
    """The first folder of that name that holds a tokenizer."""
    folders = (place / name for place in places)
    return next((folder for folder in folders if any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model"))), None)


def split_files(files: Sequence[Path]) -> tuple[list[str], list[str]]:
    """(lines to learn from, lines to measure)."""
    works = [file for file in files if file.name in HELD_OUT_WORKS]
    learned: list[str] = []
    held_out: list[str] = []
    for file in files:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        border = len(lines) - round(TAIL * len(lines)) if not works else 0 if file in works else len(lines)
        learned += lines[:border]
        held_out += lines[border:]
    return learned, held_out


def without(lines: Iterable[str], others: Iterable[str]) -> list[str]:
    """Lines that are not among the others, nor twice among themselves."""
    known = set(others)
    return [line for line in dict.fromkeys(lines) if line not in known]


def passages(lines: Iterable[str]) -> list[str]:
    """Consecutive lines together, until there are `PASSAGE_CHARACTERS`."""
    whole: list[str] = []
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PASSAGE_CHARACTERS:
            whole.append("\n".join(held))
            held, size = [], 0
    return whole or ["\n".join(held)]


def spread(texts: Sequence[str], megabytes: float) -> list[str]:
    """Texts taken at even distances from all of them, about so many megabytes together."""
    total = sum(len(text.encode()) for text in texts)
    share = min(1.0, 1e6 * megabytes / max(1, total))
    return [text for index, text in enumerate(texts) if int((index + 1) * share) > int(index * share)]


def parallel_documents(folder: Path) -> dict[str, list[list[str]]]:
    """language -> documents -> sentences, the same in each."""
    names = [line.split("\t")[0] for line in (folder / "DOCUMENT_IDS.tsv").read_text(encoding="utf-8").splitlines()]
    languages: dict[str, list[list[str]]] = {}
    for file in sorted(folder.glob("*.txt")):
        documents: dict[str, list[str]] = {}
        for name, sentence in zip(names, file.read_text(encoding="utf-8").removesuffix("\n").split("\n"), strict=True):
            documents.setdefault(name, []).append(sentence)
        languages[file.stem] = list(documents.values())
    return languages


def report_of(config: lep.BuildTokenizerConfig) -> dict[str, Any]:
    """The report of a vocabulary: of the one that an interrupted run has built from this text with these settings, else of a new one."""
    path = Path(config.output) / "report.json"
    if path.is_file():
        known = read_json(path)
        size = sum(Path(text).stat().st_size for text in config.input)
        if known["config"] == json.loads(json.dumps(config.to_mapping())) and known["report"]["bytes"] == size:
            return known["report"]
    return dict(lep.build_tokenizer(config).to_json())


def made_up_material(folder: Path) -> Material:
    """Generated words and a small tokenizer: no data needed, seconds to run, and nothing to conclude from."""
    pick = random.Random(0)
    texts = {name: _sentences(pick, letters) for name, letters in {"eng": "etaoinshr", "new": "абвгдежзик"}.items()}
    documents = {name: [lines[start : start + 5] for start in range(0, 100, 5)] for name, lines in texts.items()}
    return Material(
        tokenizers={"small": _small_tokenizer(folder / "small", texts["eng"][100:])},
        learned={"new": texts["new"][400:]},
        held_out={"new": passages(without(texts["new"][100:400], texts["new"][400:]))},
        parallel=documents,
        parallel_names={"new": "new"},
        sizes=(100, 400),
        shares=(0.9, 0.95),
    )


def _sentences(pick: random.Random, letters: str) -> list[str]:
    parts = ["".join(pick.choices(letters, k=pick.randint(2, 3))) for _ in range(60)]
    words = ["".join(pick.choices(parts, k=pick.randint(1, 4))) for _ in range(800)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return [" ".join(pick.choices(words, weights, k=10)).capitalize() + "." for _ in range(2_000)]


def _small_tokenizer(folder: Path, texts: Sequence[str]) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
