"""Files that are either whole or not there: atomic writing of files and of folders, and checks of the place they go to.

A file or folder is written under a temporary name beside its final one, flushed to the disk and renamed. Whoever is killed
half-way leaves a `.partial-*` entry behind and nothing under the final name; whoever writes to that name next removes it.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lep_core.errors import OutputError, ResourceError

PARTIAL_PREFIX = ".partial-"
# `overwrite` replaces only folders in which a file shows what they are, so that no home folder is ever deleted: one of these, or
# the config.json of a model.
RESULT_FILES = ("report.json", "corpus.json")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically and durably."""
    path = Path(path)
    with translated_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial_name(path)
        try:
            with open(partial, "x", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def atomic_folder(final: Path, *, overwrite: bool = False) -> Generator[Path, None, None]:
    """A temporary folder that becomes `final` when the block ends without an error.

    Raises:
        OutputError: `final` is a file, or a non-empty folder and `overwrite` is False, or it cannot be written.
        ResourceError: the disk is full.
    """
    final = Path(final)
    check_output(final, overwrite=overwrite)
    with translated_errors(final):
        _clear_abandoned(final)
        partial = _partial_name(final)
        make_folder(partial)
        with _held(partial):
            try:
                yield partial
                _fsync_tree(partial)
                _replace_folder(partial, final)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: something in the way is no folder. Missing rights and a full disk are left to `translated_errors`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        # "Missing" although its parents were just made: file systems such as /proc take no new folders.
        place = next(item for item in (path, *path.absolute().parents) if os.path.lexists(item))
        raise OutputError(f"{place} is no folder that can be written to ({error.strerror})", "Choose another place") from error


def check_output(final: Path, *, overwrite: bool = False) -> None:
    """Raise `OutputError` when a result may not be written to the folder `final`."""
    final = Path(final)
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise OutputError(f"{final} is not a folder", "Choose another --output")
    is_used = final.is_dir() and any(not item.name.startswith(PARTIAL_PREFIX) for item in final.iterdir())
    if is_used and not overwrite:
        raise OutputError(f"the folder {final} is not empty", "Choose another --output, or add --overwrite to replace it")
    if is_used and not _is_result_folder(final):
        raise OutputError(
            f"the folder {final} holds something else than a result of LEP Studio", "Choose another --output, or empty it yourself"
        )
    parent = final if final.exists() else nearest_existing_parent(final)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{parent} cannot be written to", "Choose a folder that you may write to")


def clear_output(final: Path, *, overwrite: bool = False) -> None:
    """Make the empty folder `final` for results that come one by one; an earlier result there goes when `overwrite` allows it."""
    final = Path(final)
    check_output(final, overwrite=overwrite)
    with translated_errors(final):
        if final.is_dir():
            shutil.rmtree(final)
        make_folder(final)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that nobody ever sees a part of it under its name."""
    aside = _partial_name(folder)
    os.replace(folder, aside)
    shutil.rmtree(aside)


def clear_partials(folder: Path) -> None:
    """Delete what killed writers left in a folder that has one owner."""
    for partial in Path(folder).glob(f"{PARTIAL_PREFIX}*"):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def check_apart(output: Path, *inputs: Path) -> None:
    """Raise `OutputError` when `output` is one of the inputs, lies inside one or holds one."""
    # Not Path.resolve: before Python 3.13 that fails on links that go in a circle.
    target = Path(os.path.realpath(output))
    for source in (Path(os.path.realpath(item)) for item in inputs):
        if target == source or target in source.parents or source in target.parents:
            raise OutputError(f"the output {output} and the input {source} lie inside each other", "Choose another --output")


def check_free_space(final: Path, needed_bytes: int) -> None:
    """Raise `ResourceError` when the volume that will hold `final` has less than `needed_bytes` free."""
    free = shutil.disk_usage(nearest_existing_parent(Path(final))).free
    if free < needed_bytes:
        raise ResourceError(
            f"the disk of {final} has {free / 2**30:.2f} GiB free, this needs {needed_bytes / 2**30:.2f} GiB",
            "Free some space or choose an output on another disk",
        )


def nearest_existing_parent(path: Path) -> Path:
    """The closest existing folder at or above `path`."""
    path = Path(path).absolute()
    while not path.is_dir():
        path = path.parent
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below `folder`, keyed by its relative path."""
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def matches_manifest(folder: Path, manifest: Mapping[str, Mapping[str, Any]]) -> str | None:
    """None when every file of `manifest` is in `folder` with its size and hash; else what is wrong."""
    for name, expected in manifest.items():
        path = Path(folder) / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, expected {expected['bytes']}"
        if sha256_of(path) != expected["sha256"]:
            return f"{name} was changed"
    return None


@contextmanager
def translated_errors(path: Path) -> Generator[None, None, None]:
    """Turn a full disk, missing rights and the like into a sentence about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"the disk is full while writing {path}", "Free some space or choose another disk") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(
                f"{error.filename or path}: {error.strerror}", "Check the rights, or choose a folder that you may write to"
            ) from error
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP):
            raise OutputError(f"{path} is no possible folder name here", "Choose another --output") from error
        raise


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial_name(final: Path) -> Path:
    # Not tempfile: what it makes is private to the user, results are to have the rights that the umask gives.
    return final.parent / f"{PARTIAL_PREFIX}{final.name}-{secrets.token_hex(6)}"


@contextmanager
def _held(folder: Path) -> Generator[None, None, None]:
    """Hold a lock on a folder, which the operating system releases when this process dies."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Some network file systems lock no folders; then a leftover stays until somebody deletes it.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _clear_abandoned(final: Path) -> None:
    """Delete what killed writers of `final` left beside it; what is still being written is locked."""
    for path in final.parent.glob(f"{PARTIAL_PREFIX}{glob.escape(final.name)}-*"):
        is_ours = re.fullmatch(r"[0-9a-f]{12}", path.name[-12:]) and len(path.name) == len(PARTIAL_PREFIX) + len(final.name) + 13
        if not is_ours or path.is_symlink() or not path.is_dir():
            continue
        # A folder that cannot be locked may be in use.
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def _is_result_folder(folder: Path) -> bool:
    if any((folder / name).is_file() for name in RESULT_FILES):
        return True
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "architectures" in config


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            # Hard-linked weight shards may be read-only; opening for reading is enough to flush them.
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    fsync_folder(folder)


def _replace_folder(partial: Path, final: Path) -> None:
    if final.exists():
        # A folder cannot be exchanged in one step everywhere: the old one steps aside first and is deleted last.
        aside = _partial_name(final)
        os.replace(final, aside)
        try:
            os.replace(partial, final)
        except BaseException:
            os.replace(aside, final)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(partial, final)
    fsync_folder(final.parent)
