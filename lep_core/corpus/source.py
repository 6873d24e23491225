"""What the user gave (files, folders, archives, data set names) as a sorted list of single sources of text.

Nothing is unpacked to the disk under a name taken from an archive: members of a zip file are read as streams, so a name such as
`../../etc/passwd` is a label and nothing else.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lep_core.errors import CorpusError

KINDS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".bz2": "bz2", ".xz": "xz"}
CORPUS_SUMMARY = "corpus.json"
CORPUS_DOCUMENTS = "documents.parquet"
HUB_PREFIX = "hf://"
READABLE = "txt, md, jsonl, ndjson, json, csv, tsv, parquet, each also as gz, zst, bz2 or xz, and zip"
MAXIMUM_MEMBERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """One stream of text: a file, a member of a zip archive, a corpus folder or a data set of the hub.

    `label` is what messages name, `name` the short form that is stored, `size` the bytes on the disk (0 = not known).
    """

    label: str
    name: str
    kind: str  # text, jsonl, json, csv, tsv, parquet, corpus, hub
    path: Path | None = None
    compression: str | None = None
    archive: zipfile.ZipFile | None = None
    member: str | None = None
    size: int = 0


def kind_of(name: str) -> tuple[str | None, str | None]:
    """Kind and compression by the file name's endings: `a.jsonl.gz` -> ("jsonl", "gz"); kind None = not known."""
    path = PurePosixPath(name.replace("\\", "/"))
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is not None:
        path = path.with_suffix("")
    kind = KINDS.get(path.suffix.lower())
    if kind is None and compression is not None and not path.suffix:
        kind = "text"  # novel.gz
    return kind, compression


def is_corpus_folder(path: Path) -> bool:
    """True for a folder that add-corpus made."""
    return (path / CORPUS_SUMMARY).is_file() and (path / CORPUS_DOCUMENTS).is_file()


def find_sources(inputs: Sequence[str], *, message: Callable[[str], None], opened: Callable[[Path], zipfile.ZipFile]) -> list[Source]:
    """All sources behind `inputs`, in the given order, folders in sorted order.

    `message` receives one line about each file that is passed over; `opened` opens a zip archive.

    Raises:
        CorpusError: nothing there, no right to read, or nothing readable inside.
    """
    sources: list[Source] = []
    for item in inputs:
        if item.startswith(HUB_PREFIX):
            sources.append(Source(label=item, name=item, kind="hub"))
            continue
        path = Path(item).expanduser()
        try:
            found = list(_sources_at(path, message, opened))
            for source in found:
                _check_name(source)
        except PermissionError as error:
            raise CorpusError(f"{error.filename or path} may not be read", "Change its permissions or choose another file") from error
        except (OSError, ValueError) as error:  # ValueError: NUL inside a path
            raise CorpusError(f"{item!r} cannot be opened: {error}", "Check the path") from error
        sources += found
    if not sources:
        raise CorpusError("no input was given", f"Give files or folders: {READABLE}")
    return sources


def _check_name(source: Source) -> None:
    """Names of sources stand in the corpus and its reports, which are UTF-8."""
    try:
        f"{source.label}{source.name}".encode()
    except UnicodeEncodeError as error:
        shown = source.label.encode("utf-8", "backslashreplace").decode()
        raise CorpusError(f"the name of the file {shown} is no UTF-8 text", "Rename the file") from error


def _sources_at(path: Path, message: Callable[[str], None], opened: Callable[[Path], zipfile.ZipFile]) -> Iterator[Source]:
    if not path.exists():
        if path.is_symlink():
            raise CorpusError(f"{path} is a link to something that does not exist", "Check the path")
        raise CorpusError(f"{path} does not exist", "Check the path; data sets of the hub are written hf://owner/name")
    if path.is_dir():
        yield from _sources_in_folder(path, message, opened)
    elif path.is_file():
        yield from _sources_of_file(path, path.name, opened, message, explicit=True)
    else:
        raise CorpusError(f"{path} is neither a file nor a folder", f"Give {READABLE}")


def _sources_in_folder(folder: Path, message: Callable[[str], None], opened: Callable[[Path], zipfile.ZipFile]) -> Iterator[Source]:
    found = False
    skipped: list[str] = []
    for path in _files_below(folder):
        if path.is_dir():
            found = True
            yield _corpus_source(path)
        elif kind_of(path.name)[0] is None and not path.name.lower().endswith(".zip"):
            skipped.append(str(path.relative_to(folder)))
        else:
            found = True
            name = str(PurePosixPath(folder.resolve().name, *path.relative_to(folder).parts))
            yield from _sources_of_file(path, name, opened, message, explicit=False)
    if skipped:
        message(f"passed over {len(skipped)} files of {folder} that hold no known kind of text, or are links: {_some(skipped)}")
    if not found:
        what = f"only links and files of unknown kinds ({_some(skipped)})" if skipped else "no files"
        raise CorpusError(f"the folder {folder} holds {what}", f"Readable are {READABLE}")


def _files_below(folder: Path) -> Iterator[Path]:
    """Files in sorted order, and corpus folders as a whole; hidden entries and links to folders (which may form rings) are left out."""
    if is_corpus_folder(folder):
        yield folder
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def _corpus_source(folder: Path) -> Source:
    documents = folder / CORPUS_DOCUMENTS
    return Source(label=str(folder), name=folder.resolve().name, kind="corpus", path=documents, size=documents.stat().st_size)


def _sources_of_file(
    path: Path, name: str, opened: Callable[[Path], zipfile.ZipFile], message: Callable[[str], None], *, explicit: bool
) -> Iterator[Source]:
    lower = path.name.lower()
    if lower.endswith(".zip"):
        yield from _sources_in_archive(path, name, opened, message)
        return
    if lower.endswith((".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".7z", ".rar")):
        raise CorpusError(f"{path} is an archive of a kind that is not read", "Unpack it, or pack the files as zip")
    kind, compression = kind_of(path.name)
    if kind is None and not explicit:
        return
    # A file that was named by hand is tried as plain text whatever its ending; binary content is refused later.
    yield Source(label=str(path), name=name, kind=kind or "text", path=path, compression=compression, size=path.stat().st_size)


def _sources_in_archive(
    path: Path, name: str, opened: Callable[[Path], zipfile.ZipFile], message: Callable[[str], None]
) -> Iterator[Source]:
    archive = opened(path)
    members = [item for item in archive.infolist() if not item.is_dir() and not _is_hidden(item.filename)]
    if len(members) > MAXIMUM_MEMBERS:
        raise CorpusError(f"{path} holds {len(members)} files, more than {MAXIMUM_MEMBERS}", "Join the texts into fewer files")
    skipped: list[str] = []
    found = False
    for item in sorted(members, key=lambda member: member.filename):
        kind, compression = kind_of(item.filename)
        if kind is None or stat.S_ISLNK(item.external_attr >> 16):
            # The content of a link is the path that it points to, no text.
            skipped.append(item.filename)
            continue
        label = f"{path}:{item.filename}"
        if item.flag_bits & 0x1:
            raise CorpusError(f"{label} is protected by a password", "Unpack the archive and give the files")
        found = True
        yield Source(
            label=label,
            name=f"{name}:{item.filename}",
            kind=kind,
            path=path,
            compression=compression,
            archive=archive,
            member=item.filename,
            size=min(item.compress_size, path.stat().st_size),
        )
    if skipped:
        message(f"passed over {len(skipped)} files of {path} that hold no known kind of text, or are links: {_some(skipped)}")
    if not found:
        what = f"only links and files of unknown kinds ({_some(skipped)})" if skipped else "no files"
        raise CorpusError(f"the archive {path} holds {what}", f"Readable are {READABLE}; archives inside archives are not")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in PurePosixPath(name).parts)


def _some(names: Sequence[str], count: int = 5) -> str:
    shown = ", ".join(names[:count])
    return f"{shown} and {len(names) - count} more" if len(names) > count else shown
