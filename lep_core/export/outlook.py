"""What an export would say, before it is begun: possible or not and why, what may differ, how large it becomes. Reads headers only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lep_core.errors import LepError
from lep_core.export.remarks import Remark
from lep_core.models.folder import SMALL_MODEL_BYTES, ModelFolder, inspect_model, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class ExportOutlook:
    """`message` and `hint` say why it is not possible. `bytes` counts the weights of the result, `linked` where they take no new space."""

    possible: bool
    message: str = ""
    hint: str = ""
    remarks: tuple[Remark, ...] = ()
    bytes: int = 0
    fingerprint: str = ""
    source: str = ""
    checkpoint: str | None = None


def export_outlook(model: str | Path, format: str, quantization: str = "auto") -> ExportOutlook:
    """Look at a model folder and say what exporting it would meet. Nothing is written, no weight is read."""
    from lep_core.export.lineage import read_lineage
    from lep_core.inference.fingerprint import fingerprint

    try:
        source = inspect_model(model)
        remarks, size = _gguf(source, quantization) if format == "gguf" else _folder(source)
        return ExportOutlook(
            possible=True,
            remarks=remarks,
            bytes=size,
            fingerprint=fingerprint(source.path),
            source=str(source.path.absolute()),
            checkpoint=read_lineage(source.path).checkpoint,
        )
    except LepError as error:
        return ExportOutlook(possible=False, message=error.message, hint=error.hint)


def _gguf(source: ModelFolder, quantization: str) -> tuple[tuple[Remark, ...], int]:
    from lep_core.export.gguf_export import prepare
    from lep_core.export.gguf_tensors import planned_tensors

    _, remarks = prepare(source, quantization)
    return remarks, sum(tensor.nbytes for tensor in planned_tensors(source, quantization))


def _folder(source: ModelFolder) -> tuple[tuple[Remark, ...], int]:
    read_vocabulary(source.path)
    return folder_remarks(source), source.bytes


def folder_remarks(source: ModelFolder) -> tuple[Remark, ...]:
    """What is to be known before a Hugging Face folder is written."""
    return () if source.bytes <= SMALL_MODEL_BYTES else (Remark(code="large", warns=False),)
