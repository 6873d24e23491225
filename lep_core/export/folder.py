"""Export a model for others: a folder for transformers and vLLM (here) or a GGUF file (`gguf_export`), with a model card, proven to compute the same.

    python -m lep_core export --model MODEL --output OUTPUT

Weights are hard-linked where the disk allows it. The config keeps every original field; what older readers need (rope_theta, a
tokenizer class that they know) is put back when a newer transformers has left it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from lep_core import files
from lep_core.config import ExportConfig
from lep_core.errors import ModelError, TokenizerError
from lep_core.export import gguf_export
from lep_core.export.gguf_file import About
from lep_core.export.lineage import Lineage, public_name, read_lineage
from lep_core.export.measurements import RUN_OUTPUT, find_measurements
from lep_core.export.model_card import CardFacts, model_card
from lep_core.export.outlook import folder_remarks
from lep_core.export.report import ExportReport, said
from lep_core.export.snippets import folder_snippets
from lep_core.inference.fingerprint import fingerprint
from lep_core.models import inspect_model, load_tokenizer
from lep_core.models.folder import INDEX_NAME, SINGLE_NAME, ModelFolder
from lep_core.models.proof import ids_equal, prove_copy
from lep_core.models.writing import link_or_copy, write_small_files
from lep_core.progress import SILENT, Reporter

CARD = "README.md"
# Texts that are read for the comparison of token ids.
MOST_TEXTS = 2_000


def export_model(config: ExportConfig, output: Path, reporter: Reporter = SILENT, texts: Iterable[str] = ()) -> ExportReport:
    """Write the model into the empty folder `output`.

    Args:
        config: the settings; `config.output` is the final place, which `output` may stand for until everything is there.
        output: an existing empty folder.
        reporter: where progress goes.
        texts: text on which token ids are compared as well.

    Raises:
        ModelError: the written model does not compute the same as its source.
        TokenizerError: what reads the result cuts text differently.
    """
    source = inspect_model(config.model)
    files.check_apart(output, source.path)
    load_tokenizer(source.path)
    lineage = read_lineage(source.path)
    about = About(name=_title(config, lineage), license=config.license, base_models=tuple(dict.fromkeys(lineage.sources.values())))
    with files.translated_errors(output):
        if config.format == "gguf":
            fields, remarks = gguf_export.write_checked(source, output, config, about, list(islice(texts, MOST_TEXTS)), reporter)
        else:
            fields, remarks = _write_folder(source, output, reporter), folder_remarks(source)
        (output / CARD).write_text(model_card(source, _facts(source, config, about, lineage, fields)), encoding="utf-8")
        written = sorted(path for path in output.rglob("*") if path.is_file())
    return ExportReport(
        format=config.format,
        output=str(Path(config.output).absolute()),
        source=str(source.path.absolute()),
        fingerprint=fingerprint(source.path),
        checkpoint=lineage.checkpoint,
        files=[str(path.relative_to(output)) for path in written],
        bytes=sum(path.stat().st_size for path in written),
        **said(remarks),
        **fields,
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


def _write_folder(source: ModelFolder, output: Path, reporter: Reporter) -> dict[str, Any]:
    """Write and check the Hugging Face folder; returns the report's fields."""
    reporter.stage("writing the folder")
    write_small_files(source, output, config_changes=portable_fields(source.config))
    linked = _link_weights(source, output)
    reporter.stage("checking the written model")
    proof = prove_copy(source, output)
    if proof.logits_equal is False:
        raise ModelError(
            f"the exported model computes other logits than {source.path} (largest difference {proof.max_logit_difference})",
            "Please report this with the model's config.json",
        )
    if not ids_equal(output):
        raise TokenizerError(
            f"transformers reads the tokenizer of {source.path} differently from its tokenizer.json: for model type {source.model_type} it "
            "builds one of its own",
            "Build the vocabulary on the model's own tokenizer (continued-bpe or extension), which keeps its rules",
        )
    return {
        **asdict(proof),
        "ids_equal": True,
        "tokenizer_checked_with": "transformers' AutoTokenizer",
        "logits_checked_with": None if proof.logits_equal is None else "transformers",
        "files_linked": linked,
    }


def _facts(source: ModelFolder, config: ExportConfig, about: About, lineage: Lineage, fields: dict[str, Any]) -> CardFacts:
    is_gguf = config.format == "gguf"
    place = config.push_to or "MODEL"  # The reader puts the repository's name in its place.
    return CardFacts(
        title=about.name,
        lineage=lineage,
        measurements=find_measurements(source.path, lineage),
        snippets=gguf_export.snippets_of(about, source, config) if is_gguf else folder_snippets(place, chat=source.has_chat_template),
        fingerprint=fingerprint(source.path),
        license=config.license,
        library=None if is_gguf else "transformers",
        tags=("gguf",) if is_gguf else (),
        proof=list(_proof(fields)),
    )


def _proof(fields: dict[str, Any]) -> Iterable[str]:
    """What was checked, in sentences."""
    if fields["logits_equal"]:
        yield f"Loaded with {fields['logits_checked_with']} it computes logits that are equal bit by bit"
    elif fields["logits_checked_with"]:
        differences = [fields.get("max_logit_difference"), fields.get("llama_cpp_logit_difference")]
        largest = max(value for value in differences if value is not None)
        yield f"Loaded with {fields['logits_checked_with']} its logits differ from the original's by at most {largest:.3g}"
    if fields.get("weights_equal") is not None:
        off = f"rounded, by at most {fields['largest_rounding'] or 0:.2%} of the largest weight nearby"
        yield f"All weights, read back from the file, are {'equal bit by bit' if fields['weights_equal'] else off}"
    if fields.get("tokenizer_tokens"):
        lines, off = fields["tokenizer_lines"], fields["tokenizer_lines_differing"]
        yield f"Token ids by {fields['tokenizer_checked_with']}: {lines - off:,} of {lines:,} lines ({fields['tokenizer_tokens']:,} tokens) equal"
    else:
        yield f"Token ids by {fields['tokenizer_checked_with']} are those of tokenizer.json"


def _title(config: ExportConfig, lineage: Lineage) -> str:
    """The repository's or the output folder's name; a run's folder is always called "output", there the model that was adapted gives it."""
    if config.push_to:
        return config.push_to.split("/")[1]
    name = Path(config.output).absolute().name
    if name != RUN_OUTPUT:
        return name
    origin = lineage.sources.get("instruct") or lineage.sources.get("base")
    return f"{origin.split('/')[-1]}-adapted" if origin else public_name(config.model).split("/")[-1]


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
