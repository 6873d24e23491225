"""Export a model as a folder for transformers and vLLM, with a model card, proven to compute the same.

    python -m lep_core export --model MODEL --output OUTPUT

Weights are hard-linked where the disk allows it. The config keeps every original field; what older readers need (rope_theta, a
tokenizer class that they know) is put back when a newer transformers has left it out.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lep_core import files
from lep_core.config import ExportConfig
from lep_core.errors import ModelError, TokenizerError
from lep_core.export.lineage import Lineage, read_lineage
from lep_core.export.model_card import model_card
from lep_core.models import inspect_model, load_tokenizer
from lep_core.models.folder import INDEX_NAME, SINGLE_NAME, ModelFolder
from lep_core.models.proof import ids_equal, prove_copy
from lep_core.models.writing import link_or_copy, write_small_files
from lep_core.progress import SILENT, Reporter

# Name of the result folder in every run directory.
RUN_OUTPUT = "output"


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """Result of `export`. `logits_equal` is None where the model is too large to be loaded twice for the proof."""

    format: str
    files: list[str]
    bytes: int
    files_linked: int
    logits_equal: bool | None
    max_logit_difference: float | None
    ids_equal: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_model(config: ExportConfig, output: Path, reporter: Reporter = SILENT) -> ExportReport:
    """Write the model into the empty folder `output`.

    Raises:
        ModelError: the written model does not compute the same as its source.
        TokenizerError: transformers and tokenizers disagree on token ids.
    """
    source = inspect_model(config.model)
    files.check_apart(output, source.path)
    reporter.stage("writing the folder")
    load_tokenizer(source.path)
    with files.translated_errors(output):
        write_small_files(source, output, config_changes=portable_fields(source.config))
        linked = _link_weights(source, output)
        lineage = read_lineage(source.path)
        (output / "README.md").write_text(model_card(source, lineage, title=_title(config, lineage)), encoding="utf-8")
    reporter.stage("checking the written model")
    proof = prove_copy(source, output)
    if proof.logits_equal is False:
        raise ModelError(
            f"the exported model computes other logits than {source.path} (largest difference {proof.max_logit_difference})",
            "Please report this with the model's config.json",
        )
    same_ids = ids_equal(output)
    if not same_ids:
        raise TokenizerError(
            f"transformers reads the tokenizer of {source.path} differently from its tokenizer.json: for model type {source.model_type} it "
            "builds one of its own",
            "Build the vocabulary on the model's own tokenizer (continued-bpe or extension), which keeps its rules",
        )
    written = sorted(path for path in output.rglob("*") if path.is_file())
    return ExportReport(
        format=config.format,
        files=[str(path.relative_to(output)) for path in written],
        bytes=sum(path.stat().st_size for path in written),
        files_linked=linked,
        **asdict(proof),
        ids_equal=same_ids,
    )


def portable_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Fields that readers before transformers 5 look for, worked out of those that it writes instead."""
    fields: dict[str, Any] = {}
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" not in config and "rope_theta" in rope:
        fields["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default" and "rope_scaling" not in config:
            fields["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    if "dtype" in config and "torch_dtype" not in config:
        fields["torch_dtype"] = config["dtype"]
    return fields


def _title(config: ExportConfig, lineage: Lineage) -> str:
    """The output folder's name; a run's folder is always called "output", there the model that was adapted gives the name."""
    name = Path(config.output).resolve().name
    origin = lineage.sources.get("instruct") or lineage.sources.get("base")
    return f"{origin.split('/')[-1]}-adapted" if name == RUN_OUTPUT and origin else name


def _link_weights(source: ModelFolder, output: Path) -> int:
    """Link or copy all weight files; returns how many were linked."""
    used = {slot.path for slot in source.slots.values()}
    copies = sum(path.stat().st_size for path in used if path.resolve().stat().st_dev != output.stat().st_dev)
    files.check_free_space(output, copies + (1 << 24))
    linked = sum(link_or_copy(path, output / path.name) for path in sorted(used))
    if {path.name for path in used} != {SINGLE_NAME}:
        index = json.loads((source.path / INDEX_NAME).read_text(encoding="utf-8"))
        (output / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return linked
