"""What an export returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lep_core.export.remarks import Remark


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """Where the result is, which model it is, and what was proven.

    `output` is the final folder, `source` the exported model's, `checkpoint` which state of its last training that is. `logits_equal`:
    bit by bit, None where the model is too large to be loaded twice or the reader cannot load it; `weights_equal`: None where the weight
    files are the source's own. `tokenizer_checked_with` names the program that gave the ids which were compared. `remarks` are what the
    export had to say beforehand, in English; `remark_codes` the same for programs. `pushed_to` is the address on the hub.
    """

    format: str
    output: str
    source: str
    fingerprint: str
    checkpoint: str | None
    files: list[str]
    bytes: int
    files_linked: int
    logits_equal: bool | None
    max_logit_difference: float | None
    ids_equal: bool
    tokenizer_checked_with: str
    logits_checked_with: str | None
    weights_equal: bool | None = None
    largest_rounding: float | None = None
    llama_cpp_logit_difference: float | None = None
    tokenizer_lines: int | None = None
    tokenizer_tokens: int | None = None
    tokenizer_lines_differing: int | None = None
    quantization: str | None = None
    remarks: tuple[str, ...] = ()
    remark_codes: tuple[dict[str, Any], ...] = ()
    pushed_to: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def said(remarks: tuple[Remark, ...]) -> dict[str, Any]:
    """Remarks as the report holds them."""
    return {
        "remarks": tuple(remark.in_english() for remark in remarks),
        "remark_codes": tuple({"code": remark.code, "values": remark.values, "warns": remark.warns} for remark in remarks),
    }
