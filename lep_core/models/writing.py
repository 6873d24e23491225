"""Write a model folder that is another one with a new vocabulary, without ever constructing the model.

Weight files that hold neither embedding nor head are hard-linked (copied where the file system cannot link), the others are streamed
into new files without them, and both matrices go into `model-embeddings.safetensors`. The next change of vocabulary then only links.
Linked files must never be edited in place; all writers here replace files, they never rewrite them.

The body is written in a thread from the start, and each matrix as soon as it is ready: the disk works while the next one is computed.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lep_core import files
from lep_core.errors import ModelError
from lep_core.models.folder import (
    DTYPES,
    INDEX_NAME,
    INPUT_NAME,
    OUTPUT_NAME,
    SINGLE_NAME,
    ModelFolder,
    check_own_files,
    read_json_object,
    read_vocabulary,
    vocabulary_of,
)
from lep_core.models.metadata import (
    edited_config,
    edited_tokenizer_config,
    effective_tokenizer,
    id_changes,
    named_ids,
    with_moved_ids,
    with_moved_processor,
)
from lep_core.models.safetensors_files import (
    DTYPE_BYTES,
    TensorSlot,
    copy_file,
    copy_tensors,
    header_bytes,
    read_header,
    tensor_pieces,
)
from lep_core.models.streams import FileWriter

if TYPE_CHECKING:
    from torch import Tensor

    TensorChange = Callable[[Tensor], Tensor]

EMBEDDINGS_FILE = "model-embeddings.safetensors"
BODY_FILE = "model-body.safetensors"
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
CAST_BYTES = 1 << 25
LEGAL = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


@dataclass(frozen=True, kw_only=True)
class EmbeddingPair:
    """Input embedding and head, both V x D; the head is None when the model is tied."""

    input_VD: Tensor
    output_VD: Tensor | None

    @property
    def tied(self) -> bool:
        return self.output_VD is None

    @property
    def rows(self) -> int:
        return len(self.input_VD)


@dataclass(frozen=True, kw_only=True)
class WriteReport:
    """What was written: bytes in new files, weight files that were linked, copied whole, or rewritten without embeddings."""

    bytes_written: int
    shards_linked: int
    shards_copied: int
    shards_rewritten: int

    def to_json(self) -> dict[str, int]:
        return dict(vars(self))


def write_model(
    *,
    source: ModelFolder,
    embeddings: EmbeddingPair,
    tokenizer_source: Path,
    output: Path,
    config_changes: Mapping[str, Any] | None = None,
    tokenizer_json: Mapping[str, Any] | None = None,
    tokenizer_config_source: Path | None = None,
    tensor_changes: Mapping[str, TensorChange] | None = None,
) -> WriteReport:
    """Write `source` with other embeddings and another tokenizer into the existing folder `output`.

    Args:
        source: model whose body, config.json and generation_config.json are kept (ids and sizes are adjusted).
        embeddings: new matrices, cast to the source's dtype; a missing head makes the result tied.
        tokenizer_source: folder of the new tokenizer.json.
        output: an existing empty folder, normally the temporary one of `files.atomic_folder`.
        config_changes: further keys of config.json, applied last.
        tokenizer_json: the new tokenizer.json itself, when it is not yet a file.
        tokenizer_config_source: folder of tokenizer_config.json and chat template; by default `tokenizer_source` if it has one, else
            the source.
        tensor_changes: new values of further tensors, computed one at a time while their files are rewritten.
    """
    with ModelWriter(source=source, output=output, rows=embeddings.rows, tied=embeddings.tied, tensor_changes=tensor_changes) as writer:
        writer.write_small_files(
            tokenizer_source=tokenizer_source,
            config_changes=config_changes,
            tokenizer_json=tokenizer_json,
            tokenizer_config_source=tokenizer_config_source,
        )
        writer.begin()
        writer.put(INPUT_NAME, embeddings.input_VD)
        if embeddings.output_VD is not None:
            writer.put(OUTPUT_NAME, embeddings.output_VD)
        return writer.finish()


class ModelWriter:
    """`write_model` in steps, for embeddings that are computed one after the other: small files, begin, a `put` for each, finish.

    Left with an error, it stops its threads and leaves what is written so far to the owner of the folder.
    """

    def __init__(
        self, *, source: ModelFolder, output: Path, rows: int, tied: bool, tensor_changes: Mapping[str, TensorChange] | None = None
    ) -> None:
        self._source, self._output, self._rows = source, Path(output), rows
        self._changes = dict(tensor_changes or {})
        self._names = [INPUT_NAME] if tied else [INPUT_NAME, OUTPUT_NAME]
        if absent := self._changes.keys() - source.slots.keys():
            raise ValueError(f"{source.path} has no tensor {min(absent)}")
        self._planned = _planned(source, self._changes)
        # One thread for the body and one for the embeddings, whose matrices follow each other in one file.
        self._body_thread, self._row_thread = (ThreadPoolExecutor(1) for _ in range(2))
        self._stopped = threading.Event()
        self._body: Future[_Body] | None = None
        self._puts: list[Future[None]] = []
        self._file: FileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in (self._body_thread, self._row_thread):
            thread.shutdown(cancel_futures=True)
        if self._file is not None:
            self._file.close(whole=False)

    def write_small_files(
        self,
        *,
        tokenizer_source: Path,
        config_changes: Mapping[str, Any] | None = None,
        tokenizer_json: Mapping[str, Any] | None = None,
        tokenizer_config_source: Path | None = None,
    ) -> None:
        """All but the weights, first: whatever is wrong with these files shows before gigabytes are written. See `write_model`."""
        tokenizer = dict(tokenizer_json) if tokenizer_json is not None else effective_tokenizer(Path(tokenizer_source))
        if tokenizer_config_source is None:
            has_config = (Path(tokenizer_source) / "tokenizer_config.json").is_file()
            tokenizer_config_source = Path(tokenizer_source) if has_config else self._source.path
        with files.translated_errors(self._output):
            new_ids = _write_tokenizer(self._output, tokenizer, Path(tokenizer_config_source))
            if max(new_ids.values(), default=-1) >= self._rows:
                raise ModelError(
                    f"the tokenizer has {max(new_ids.values()) + 1} tokens and the embedding {self._rows} rows",
                    "Give the matching tokenizer",
                )
            sizes = {"vocab_size": self._rows, "tie_word_embeddings": len(self._names) == 1}
            _write_configs(self._output, self._source, new_ids, sizes | dict(config_changes or {}))
            _copy_legal_files(self._source.path, self._output)

    def begin(self) -> None:
        """Start writing the weights."""
        embedding_bytes = self._matrix_bytes * len(self._names)
        _check_space(self._output, self._planned, embedding_bytes)
        with files.translated_errors(self._output):
            self._file = FileWriter(self._output / EMBEDDINGS_FILE, embedding_bytes)
            shape, code = (self._rows, self._source.hidden_size), self._source.slots[INPUT_NAME].dtype
            self._file.write(header_bytes((name, code, shape, self._matrix_bytes) for name in self._names))
        self._body = self._body_thread.submit(_write_body, self._output, self._planned, self._changes, self._stopped)

    def put(self, name: str, *parts: Tensor) -> None:
        """The next matrix, from top to bottom; it must stay as it is until the model is finished. Cast to the source's dtype."""
        if name != self._names[len(self._puts)]:
            raise ValueError(f"{self._names[len(self._puts)]} comes before {name}")
        if sum(len(part) for part in parts) != self._rows or any(part.shape[1] != self._source.hidden_size for part in parts):
            raise ValueError(f"{name} must be {self._rows} x {self._source.hidden_size}")
        if self._body is not None and self._body.done():
            with files.translated_errors(self._output):
                self._body.result()  # a full disk is told now, not after the next matrix
        self._puts.append(self._row_thread.submit(self._write_rows, [part.detach() for part in parts]))

    def finish(self) -> WriteReport:
        """Wait for the weights, and write their index."""
        if self._body is None or self._file is None or len(self._puts) != len(self._names):
            raise ValueError("not all matrices were put")
        with files.translated_errors(self._output):
            for done in self._puts:
                done.result()
            file, self._file = self._file, None
            file.close()
            body = self._body.result()
            weight_map = body.weight_map | dict.fromkeys(self._names, EMBEDDINGS_FILE)
            total = sum(slot.bytes for planned in self._planned for slot in planned.kept) + self._matrix_bytes * len(self._names)
            _write_json(self._output / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})
        return WriteReport(
            bytes_written=body.bytes_written + file.bytes,
            shards_linked=body.linked,
            shards_copied=body.copied,
            shards_rewritten=sum(planned.rewritten for planned in self._planned),
        )

    @property
    def _matrix_bytes(self) -> int:
        return self._rows * self._source.hidden_size * DTYPE_BYTES[self._source.slots[INPUT_NAME].dtype]

    def _write_rows(self, parts: list[Tensor]) -> None:
        import torch

        dtype = getattr(torch, self._source.dtype)
        for part in parts:
            for block_BD in part.split(max(1, CAST_BYTES // (8 * part.shape[1]))):
                if self._stopped.is_set() or self._file is None:
                    return
                self._file.write(_memory(block_BD.to(device="cpu", dtype=dtype)))


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> int:
    """Write tensors to one new safetensors file, straight from their memory; returns its size in bytes."""
    import torch

    codes = {getattr(torch, name): code for code, name in DTYPES.items()}
    with FileWriter(path, sum(tensor.nbytes for tensor in tensors.values())) as file:
        file.write(header_bytes((name, codes[tensor.dtype], tensor.shape, tensor.nbytes) for name, tensor in tensors.items()))
        for tensor in tensors.values():
            file.write(_memory(tensor))
    return file.bytes


def _memory(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, without a copy where it is contiguous."""
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def link_or_copy(source: Path, target: Path) -> bool:
    """Make `target` the same file as `source`; True when linked, False when it had to be copied."""
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:  # Another disk, a file system without links, or a protected file: copying says what is really wrong.
        copy_file(real, target)
        return False
    return True


def _write_tokenizer(output: Path, tokenizer: dict[str, Any], config_source: Path) -> Mapping[str, int]:
    """Write tokenizer files and chat template; returns token -> id."""
    new_ids = vocabulary_of(tokenizer)[0]
    tokenizer["post_processor"] = with_moved_processor(tokenizer.get("post_processor"), new_ids)
    check_own_files(config_source, TEMPLATE_FILE, TEMPLATE_FOLDER)
    _write_json(output / "tokenizer.json", tokenizer, indent=None)
    _write_json(output / "tokenizer_config.json", edited_tokenizer_config(config_source, tokenizer, new_ids))
    if (config_source / TEMPLATE_FILE).is_file():
        shutil.copyfile(config_source / TEMPLATE_FILE, output / TEMPLATE_FILE)
    if (config_source / TEMPLATE_FOLDER).is_dir():
        shutil.copytree(config_source / TEMPLATE_FOLDER, output / TEMPLATE_FOLDER)
    return new_ids


def write_small_files(source: ModelFolder, output: Path, *, config_changes: Mapping[str, Any]) -> None:
    """Write all of a model folder but its weights: config, generation config, tokenizer, chat template and legal files."""
    new_ids = _write_tokenizer(output, effective_tokenizer(source.path), source.path)
    _write_configs(output, source, new_ids, config_changes)
    _copy_legal_files(source.path, output)


def _write_configs(output: Path, source: ModelFolder, new_ids: Mapping[str, int], changes: Mapping[str, Any]) -> None:
    ids = None
    if (source.path / "tokenizer.json").is_file():
        ids = id_changes(read_vocabulary(source.path)[0], new_ids)
    named = named_ids(read_json_object(output / "tokenizer_config.json"), new_ids)
    _write_json(output / "config.json", edited_config(source.config, ids=ids, named=named, changes=changes))
    if source.generation_config is not None:
        generation = source.generation_config if ids is None else with_moved_ids(source.generation_config, ids, named)
        _write_json(output / "generation_config.json", generation)


def check_space(output: Path, source: ModelFolder, *, rows: int, tensor_changes: Mapping[str, TensorChange] | None = None) -> None:
    """Raise ResourceError now if `write_model` with that many rows would meet a full disk."""
    embeddings = rows * source.hidden_size * DTYPE_BYTES[source.slots[INPUT_NAME].dtype] * (1 if source.tied else 2)
    _check_space(output, _planned(source, tensor_changes or {}), embeddings)


@dataclass(frozen=True, kw_only=True)
class _PlannedFile:
    """A weight file of the source and what becomes of it: linked as it is, or rewritten with the slots that are kept."""

    source: Path
    name: str
    kept: list[TensorSlot]
    rewritten: bool


def _planned(source: ModelFolder, changes: Mapping[str, TensorChange]) -> list[_PlannedFile]:
    by_file: dict[Path, list[TensorSlot]] = {}
    for slot in source.slots.values():
        by_file.setdefault(slot.path, []).append(slot)
    planned = []
    for path, slots in sorted(by_file.items()):
        kept = [slot for slot in slots if slot.name not in (INPUT_NAME, OUTPUT_NAME)]
        if not kept:
            continue
        # A file called model.safetensors would be taken for the whole model, and the embeddings' name is needed for themselves.
        name = BODY_FILE if path.name == SINGLE_NAME else f"rest-{path.name}" if path.name == EMBEDDINGS_FILE else path.name
        rewritten = len(kept) < len(slots) or _holds_more(path, slots) or any(slot.name in changes for slot in kept)
        planned.append(_PlannedFile(source=path, name=name, kept=kept, rewritten=rewritten))
    return planned


@dataclass(frozen=True, kw_only=True)
class _Body:
    """What became of the weight files without embedding and head."""

    weight_map: dict[str, str]
    bytes_written: int
    linked: int
    copied: int


def _write_body(output: Path, planned: list[_PlannedFile], changes: Mapping[str, TensorChange], stopped: threading.Event) -> _Body:
    changed = {name: partial(_changed_bytes, change) for name, change in changes.items()}
    weight_map: dict[str, str] = {}
    written = linked = copied = 0
    for file in planned:
        if file.rewritten:
            written += copy_tensors(file.kept, output / file.name, changed=changed, stopped=stopped.is_set)
        elif link_or_copy(file.source, output / file.name):
            linked += 1
        else:
            copied += 1
            written += file.source.stat().st_size
        weight_map |= {slot.name: file.name for slot in file.kept}
    return _Body(weight_map=weight_map, bytes_written=written, linked=linked, copied=copied)


def _changed_bytes(change: TensorChange, slot: TensorSlot) -> memoryview:
    """A tensor after a change, in the dtype of its file."""
    import torch

    dtype = getattr(torch, DTYPES[slot.dtype])
    raw = bytearray().join(tensor_pieces(slot))
    return _memory(change(torch.frombuffer(raw, dtype=dtype).reshape(slot.shape)).to(dtype))


def _holds_more(path: Path, slots: list[TensorSlot]) -> bool:
    """Whether a file holds tensors that the index does not list; linking would carry a stale embedding along."""
    return len(read_header(path)) != len(slots)


def _check_space(output: Path, planned: list[_PlannedFile], embedding_bytes: int) -> None:
    place = files.nearest_existing_parent(output)
    needed = embedding_bytes + (1 << 24)
    for file in planned:
        if file.rewritten or file.source.resolve().stat().st_dev != place.stat().st_dev:
            needed += sum(slot.bytes for slot in file.kept)
    files.check_free_space(output, needed)


def _copy_legal_files(source: Path, output: Path) -> None:
    for pattern in LEGAL:
        for path in source.glob(pattern):
            if path.is_file() and not (output / path.name).exists():
                check_own_files(source, path.name)
                shutil.copyfile(path, output / path.name)


def _write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    # Indented JSON is written by slow Python code; for a tokenizer with its merges that is seconds.
    # The folder as a whole becomes visible and durable at once (files.atomic_folder), so no file needs its own rename.
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n", encoding="utf-8")
