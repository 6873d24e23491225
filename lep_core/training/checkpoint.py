"""Checkpoints to go on from: only what learns, written whole or not at all.

    checkpoints/step-000500/   tensors.safetensors  float32 matrices and optimizer moments
                               state.json           step, counters, the settings that the future depends on
                               manifest.json        sizes and SHA-256 of both

Everything random in training is a function of (seed, pass), so no generator state is needed: the step is the whole data position. A folder
appears under its name only when it is complete and on the disk. Damaged ones are named and skipped, never deleted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lep_core.config import flag
from lep_core.errors import OutputError, ResourceError, TrainingError
from lep_core.files import (
    atomic_folder,
    check_free_space,
    clear_partials,
    make_folder,
    manifest_of,
    matches_manifest,
    read_json,
    remove_folder,
    translated_errors,
    write_json,
)
from lep_core.progress import SILENT, Reporter

# What the settings of checkpoints mean that were written before there was an anchor.
NO_ANCHOR = {"anchor": 0.0, "anchor_rows": None}
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_FOLDER = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A sound checkpoint: its tensors by name and the JSON values saved with them."""

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The matrices and moments, read from the file."""
        return load_file(self.path / TENSORS, device=str(device))


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int) -> Path:
    """Write `folder/step-NNNNNN` and then remove the oldest ones beyond `keep`.

    Raises:
        ResourceError: the disk is full; the older checkpoints are untouched.
    """
    final = folder / f"step-{step:06d}"
    if final.exists():
        if damage(final) is None:
            return final
        _step_aside(final)
    needed = sum(tensor.nbytes for tensor in tensors.values()) + 2**20
    with _numbers_when_full(folder, needed), atomic_folder(final) as partial:
        check_free_space(folder, needed)
        _write_tensors(partial / TENSORS, tensors)
        write_json(partial / STATE, {"step": step, **state})
        write_json(partial / MANIFEST, manifest_of(partial))
    for old in checkpoint_folders(folder)[keep:]:
        remove_folder(old)
    return final


def latest_sound_checkpoint(folder: Path, reporter: Reporter = SILENT) -> Checkpoint | None:
    """The newest checkpoint that matches its manifest; None when there is no checkpoint at all.

    Raises:
        TrainingError: there are checkpoints, but all are damaged.
    """
    found = checkpoint_folders(folder)
    for path in found:
        problem = damage(path)
        if problem is None:
            state = read_json(path / STATE)
            return Checkpoint(path=path, step=state["step"], state=state)
        reporter.message(f"checkpoint {path.name} is damaged and was skipped: {problem}")
    if found:
        raise TrainingError(
            f"all {len(found)} checkpoints in {folder} are damaged", "Start again without --resume, with another --checkpoints folder"
        )
    return None


def checkpoint_folders(folder: Path) -> list[Path]:
    """Checkpoint folders, newest step first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name)) and path.is_dir()]
    return [path for _, path in sorted(found, reverse=True)]


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint folder; None when it is as it was written."""
    try:
        manifest = read_json(path / MANIFEST)
        if not isinstance(manifest, dict) or {TENSORS, STATE} - manifest.keys():
            return f"{MANIFEST} is not that of a checkpoint"
        problem = matches_manifest(path, manifest)
        if problem is None and f"step-{read_json(path / STATE)['step']:06d}" != path.name:
            return f"{STATE} belongs to another checkpoint"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__} while reading it"
    return problem


def prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make the checkpoint folder; leftovers of killed writers go, foreign checkpoints stop a fresh training.

    Raises:
        OutputError: a fresh training would mix its checkpoints with those of an earlier one.
    """
    with translated_errors(folder):
        make_folder(folder)
        clear_partials(folder)
        earlier = checkpoint_folders(folder)
        if earlier and not resume:
            if not overwrite:
                raise OutputError(
                    f"{folder} holds checkpoints of an earlier training, up to {earlier[0].name}",
                    "Add --resume to go on from there, --overwrite to drop them, or choose another --checkpoints",
                )
            for path in earlier:
                remove_folder(path)


def check_same_training(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Refuse to resume under settings, a model or a text that would give another result than the training that was begun.

    Raises:
        TrainingError: names the first difference with both values.
    """
    for name, value in present.items():
        before = saved.get(name, NO_ANCHOR.get(name))
        if before == value:
            continue
        if name.endswith("fingerprint"):
            what = "replay text" if name.startswith("replay") else "corpus"
            raise TrainingError(
                f"the {what} changed since the checkpoint: its tokens hash to {str(value)[:12]}, then to {str(before)[:12]}",
                "Give the same text and tokenizer as before, or start again without --resume",
            )
        if name == "frozen_sha256":
            raise TrainingError(
                f"the checkpoint belongs to another model: its frozen weights hash to {str(before)[:12]}, those of --model to"
                f" {str(value)[:12]}",
                "Resume with the same --model, or start again without --resume",
            )
        if name == "frozen_rows_sha256":
            raise TrainingError(
                "other rows count as new than at the checkpoint: the vocabulary of --initial changed",
                "Resume with the same --initial, or start again without --resume",
            )
        raise TrainingError(
            f"{flag(name)} changed since the checkpoint: it was {json.dumps(before)}, now it is {json.dumps(value)}",
            "Give the value of before, or start again without --resume",
        )


def load_tensors(checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Tensors of a checkpoint, checked against the matrices that they replace.

    Raises:
        TrainingError: the checkpoint belongs to a model of another shape.
    """
    try:
        tensors = checkpoint.tensors()
    except SafetensorError as error:
        raise TrainingError(f"{checkpoint.path / TENSORS} cannot be read ({error})", "Start again without --resume") from error
    for name, shape in shapes.items():
        if name not in tensors or tensors[name].shape != shape:
            before = tuple(tensors[name].shape) if name in tensors else "missing"
            raise TrainingError(
                f"the {name} matrix in {checkpoint.path.name} is {before}, the model's is {tuple(shape)}", "Resume with the same --model"
            )
    return tensors


@contextmanager
def _numbers_when_full(folder: Path, needed_bytes: int) -> Generator[None, None, None]:
    """Say how much was needed and is free when the disk fills up while a checkpoint is written."""
    try:
        yield
    except ResourceError as error:
        free = shutil.disk_usage(folder).free
        raise ResourceError(
            f"the disk of {folder} is full: a checkpoint needs {needed_bytes / 2**20:,.1f} MiB, {free / 2**20:,.1f} MiB are free",
            "Free some space, then resume: the last checkpoint is kept",
        ) from error


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    with translated_errors(path):
        try:
            save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
        except SafetensorError as error:
            # The Rust writer gives a full disk as its own error; the operating system's words are inside.
            if "No space left" in str(error) or "os error 28" in str(error):
                raise OSError(28, os.strerror(28), str(path)) from error
            raise


def _step_aside(path: Path) -> None:
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
