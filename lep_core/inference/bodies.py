"""Which model folders share one body: everything but embedding, head and vocabulary is equal.

LEP changes embeddings only, so the original and its propagated variants differ in two matrices of a model that may have hundreds. The
fingerprint of a body is a hash over its tensors (name, dtype, shape, bytes; however they are spread over files) and the config without
what belongs to the vocabulary. Models with equal fingerprints can be answered by one body in memory, see `shared.py`.

A body counts as shareable only where the forward pass is known to be: embedding rows, layers, norm, head; nothing is scaled or capped in
between. Files are hashed once for each (device, inode, size, time of change), so hard links, which propagation makes for untouched
shards, cost nothing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import LepError, ModelError
from lep_core.models.adapters import ADAPTER_FOLDER, CONFIG_NAME
from lep_core.models.folder import IGNORED, INPUT_NAME, OUTPUT_NAME, read_json_object, read_slots, resolve
from lep_core.models.metadata import ID_KEYS, ID_LIST_KEYS
from lep_core.models.safetensors_files import TensorSlot, tensor_pieces

# Decoders whose forward pass was read and is tested: embedding -> layers -> norm -> head, attention through the common interface.
SHAREABLE = frozenset(
    {
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Olmo2ForCausalLM",
        "Phi3ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "SmolLM3ForCausalLM",
        "Starcoder2ForCausalLM",
    }
)
# The other kinds of rotary embedding change with the longest sequence of a batch: a row would depend on its company.
ROTARY_KINDS = frozenset({"default", "linear", "llama3", "yarn"})
VOCABULARY_KEYS = frozenset(
    {
        *ID_KEYS,
        *ID_LIST_KEYS,
        "vocab_size",
        "tie_word_embeddings",
        # Names, versions and the type that transformers would load by itself say nothing about the body.
        "_name_or_path",
        "transformers_version",
        "torch_dtype",
        "dtype",
    }
)
HASHING_THREADS = 4

FileKey = tuple[int, int, int, int]

_digests: dict[FileKey, dict[str, str]] = {}
_digests_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class BodyFiles:
    """The body of a folder as its headers describe it; `layout` is equal for folders whose bodies may be equal."""

    layout: str
    slots: tuple[TensorSlot, ...]

    def fingerprint(self) -> str:
        """Hash over layout and bytes; reads the files unless their digests are known."""
        by_file: dict[Path, list[TensorSlot]] = {}
        for slot in self.slots:
            by_file.setdefault(slot.path, []).append(slot)
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            found = list(pool.map(_file_digests, by_file, by_file.values()))
        named = {slot.name: digests[slot.name] for digests, slots in zip(found, by_file.values(), strict=True) for slot in slots}
        return hashlib.sha256(json.dumps([self.layout, sorted(named.items())]).encode()).hexdigest()


def body_files(path: str | Path) -> BodyFiles | None:
    """What headers and config tell of a folder's body; None when it cannot be shared.

    Raises:
        ModelError: no model folder, or a damaged one.
    """
    folder = resolve(path)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json", "Give the folder of a Hugging Face model")
    config = read_json_object(folder / "config.json")
    if not is_shareable(config) or (folder / ADAPTER_FOLDER / CONFIG_NAME).is_file() or (folder / CONFIG_NAME).is_file():
        return None
    slots = sorted((slot for slot in read_slots(folder).values() if _is_body(slot.name)), key=lambda slot: slot.name)
    facts = [_body_config(config), [(slot.name, slot.dtype, slot.shape) for slot in slots]]
    layout = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return BodyFiles(layout=layout, slots=tuple(slots))


def body_fingerprint(path: str | Path) -> str | None:
    """The fingerprint of a folder's body; None when its layout is not known to be shareable.

    Raises:
        ModelError: no model folder, or a damaged one.
    """
    files = body_files(path)
    return None if files is None else files.fingerprint()


def group_by_body(paths: Sequence[str]) -> list[list[str]]:
    """The folders in groups of one body, in the order given; a folder that cannot be shared or read stands alone.

    Only folders whose headers agree are hashed.
    """
    files = {path: _files_or_none(path) for path in dict.fromkeys(paths)}
    layouts = [one.layout for one in files.values() if one is not None]
    groups: dict[str, list[str]] = {}
    for path, one in files.items():
        key = f"alone {path}"
        if one is not None and layouts.count(one.layout) > 1:
            key = _fingerprint_or_none(one) or key
        groups.setdefault(key, []).append(path)
    return list(groups.values())


def is_shareable(config: Mapping[str, Any]) -> bool:
    """Whether the forward pass that a config describes is one of the known plain ones."""
    if list(config.get("architectures") or []) not in [[name] for name in SHAREABLE] or config.get("quantization_config"):
        return False
    rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rotary, Mapping) or any(isinstance(value, Mapping) for value in rotary.values()):
        return False
    return rotary.get("rope_type", rotary.get("type", "default")) in ROTARY_KINDS


def known_digests(paths: Iterable[str | Path]) -> dict[str, dict[str, str]]:
    """What is known of the files of these folders, as JSON: another process of ours need not hash them again."""
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        files = _files_or_none(path)
        for file in {slot.path for slot in files.slots} if files is not None else ():
            key = _key(file)
            with _digests_lock:
                if key in _digests:
                    found[" ".join(map(str, key))] = dict(_digests[key])
    return found


def remember_digests(digests: Mapping[str, Mapping[str, str]]) -> None:
    """Take over what `known_digests` of another process gave."""
    with _digests_lock:
        for key, found in digests.items():
            device, inode, size, changed = map(int, key.split())
            _digests.setdefault((device, inode, size, changed), {}).update(found)


def _is_body(name: str) -> bool:
    return name not in (INPUT_NAME, OUTPUT_NAME) and not IGNORED.search(name)


def _body_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in VOCABULARY_KEYS and value is not None}


def _files_or_none(path: str | Path) -> BodyFiles | None:
    try:
        return body_files(path)
    except (LepError, OSError):
        return None


def _fingerprint_or_none(files: BodyFiles) -> str | None:
    try:
        return files.fingerprint()
    except (LepError, OSError):
        return None


def _key(file: Path) -> FileKey:
    state = file.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _file_digests(file: Path, slots: Sequence[TensorSlot]) -> dict[str, str]:
    """SHA-256 of the given tensors of one file."""
    key = _key(file)
    with _digests_lock:
        known = dict(_digests.get(key, {}))
    fresh = {slot.name: _tensor_digest(slot) for slot in slots if slot.name not in known}
    if fresh and _key(file) != key:
        raise ModelError(f"{file} changed while it was read", "Wait until the model folder is complete")
    with _digests_lock:
        _digests.setdefault(key, {}).update(fresh)
    return known | fresh


def _tensor_digest(slot: TensorSlot) -> str:
    digest = hashlib.sha256()
    for piece in tensor_pieces(slot):
        digest.update(piece)
    return digest.hexdigest()
