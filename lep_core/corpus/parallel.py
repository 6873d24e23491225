"""Parallel text: files with the same sentences in several languages, line i of each the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lep_core.corpus.load import read_documents
from lep_core.corpus.source import kind_of
from lep_core.errors import CorpusError


def parallel_lines(files: Sequence[str], *, encoding: str | None = None) -> dict[str, Iterator[str]]:
    """The lines of each file, streamed, by language: the name of the file without its endings.

    Raises:
        CorpusError: a file is no plain text, two have the same name, or their lines differ in number.
    """
    languages: dict[str, str] = {}
    for item in files:
        kind, compression = kind_of(item)
        if kind != "text" or Path(item).is_dir():
            raise CorpusError(f"{item} is no plain text file", "Give --parallel a text file for each language, one sentence a line")
        language = Path(Path(item).stem if compression else item).stem
        if language in languages:
            raise CorpusError(f"{languages[language]} and {item} are both called {language}", "Name each file after its own language")
        languages[language] = item

    def lines(item: str) -> Iterator[str]:
        return split_lines(document.text for document in read_documents((item,), encoding=encoding))

    counts = {item: sum(1 for _ in lines(item)) for item in languages.values()}
    for item, count in counts.items():
        if count != counts[files[0]]:
            raise CorpusError(
                f"the parallel texts differ in length: {files[0]} has {counts[files[0]]} lines, {item} has {count}",
                "Line i of every file must be the same sentence; leave an empty line where a translation is missing",
            )
    return {language: lines(item) for language, item in languages.items()}


def split_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text that arrives in pieces, without their ends: a line feed, or a carriage return and a line feed."""
    rest: list[str] = []
    for piece in pieces:
        *complete, last = piece.split("\n")
        if complete:
            yield ("".join(rest) + complete[0]).removesuffix("\r")
            yield from (line.removesuffix("\r") for line in complete[1:])
            rest = []
        rest.append(last)
    if tail := "".join(rest):
        yield tail.removesuffix("\r")
