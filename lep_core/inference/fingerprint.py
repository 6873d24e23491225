"""A short fingerprint of a model folder: shows which model answers, without reading gigabytes.

SHA-256 over config.json, tokenizer.json and, for each weight file, its size, its safetensors header and samples of 4 KiB from its
start, its end and evenly between. Two folders that differ only in a few single numbers may share it; different trainings do not.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

SAMPLE_BYTES = 4096
SAMPLES = 32
HEADER_LIMIT = 64 * 2**20
LENGTH = 12


def fingerprint(folder: str | Path) -> str:
    """Twelve hexadecimal digits that tell model folders apart."""
    folder = Path(folder)
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        path = folder / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode() + b"\0" + struct.pack("<Q", path.stat().st_size))
        _add_samples(digest, path)
    return digest.hexdigest()[:LENGTH]


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(8)
        header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        digest.update(start + stream.read(min(header, HEADER_LIMIT)))
        first = min(8 + header, size)
        step = max(SAMPLE_BYTES, (size - first) // SAMPLES)
        for position in range(first, size, step):
            stream.seek(position)
            digest.update(stream.read(SAMPLE_BYTES))
        stream.seek(max(first, size - SAMPLE_BYTES))
        digest.update(stream.read(SAMPLE_BYTES))
