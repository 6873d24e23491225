"""Export a model as one GGUF file for llama.cpp and what is built on it, with a model card, a Modelfile for Ollama, and what was checked.

    python -m lep_core export --model MODEL --format gguf --output OUTPUT

What llama.cpp cannot have is refused before anything is written; what may differ there is said before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lep_core.config import ExportConfig
from lep_core.export.gguf_check import LogitCheck, TokenizerCheck, WeightCheck, as_fields, check_logits, check_tokenizer, check_weights
from lep_core.export.gguf_file import About, check_package, check_quantization, shape_remarks, write_gguf
from lep_core.export.gguf_tensors import main_format
from lep_core.export.gguf_vocabulary import GgufVocabulary, gguf_vocabulary
from lep_core.export.remarks import Remark
from lep_core.export.samples import sample_lines
from lep_core.export.snippets import MODELFILE, Snippet, gguf_snippets, modelfile
from lep_core.models.folder import ModelFolder
from lep_core.models.metadata import effective_tokenizer
from lep_core.progress import Reporter
from lep_core.tokenizer.definition import Definition

SLUG = re.compile(r"[^\w.-]+")


def prepare(source: ModelFolder, quantization: str, texts: Iterable[str] = ()) -> tuple[GgufVocabulary, tuple[Remark, ...]]:
    """The tokenizer for the file, and everything to know beforehand.

    Raises:
        LepError: no GGUF file can hold this model or its tokenizer; the reason is in the message.
    """
    check_package()
    check_quantization(source, quantization)
    remarks = shape_remarks(source, quantization)
    vocabulary = gguf_vocabulary(source, texts)
    return vocabulary, (*remarks, *vocabulary.remarks)


def file_name(title: str, source: ModelFolder, quantization: str) -> str:
    """Such as `my-model-BF16.gguf`, as files on the hub are called."""
    return f"{SLUG.sub('-', title).strip('-.') or 'model'}-{main_format(source, quantization)}.gguf"


def write_checked(
    source: ModelFolder, output: Path, config: ExportConfig, about: About, texts: list[str], reporter: Reporter
) -> tuple[dict[str, Any], tuple[Remark, ...]]:
    """Write the file, read it back, and return the report's fields with what there is to know."""
    reporter.stage("checking that llama.cpp can have this tokenizer")
    vocabulary, remarks = prepare(source, config.quantization, texts)
    for remark in remarks:
        if remark.warns:
            reporter.message(f"note: {remark.in_english()}")
    file = output / file_name(about.name, source, config.quantization)
    reporter.stage("writing the GGUF file")
    planned = write_gguf(source, vocabulary, file, quantization=config.quantization, about=about, reporter=reporter)
    (output / MODELFILE).write_text(modelfile(file.name, source), encoding="utf-8")
    # The hub knows by it what kind of model this is, and `--overwrite` that the folder is one of ours.
    (output / "config.json").write_text(json.dumps(source.config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    reporter.stage("reading the file back")
    definition = Definition.parse(effective_tokenizer(source.path), str(source.path))
    checks: tuple[WeightCheck, TokenizerCheck, LogitCheck] = (
        check_weights(file, planned),
        check_tokenizer(file, source, sample_lines(definition, texts)),
        check_logits(file, source, format=main_format(source, config.quantization)),
    )
    fields = as_fields(*checks) | {"files_linked": 0, "quantization": main_format(source, config.quantization).lower()}
    return fields, remarks


def snippets_of(about: About, source: ModelFolder, config: ExportConfig) -> list[Snippet]:
    """How to use the file."""
    file = file_name(about.name, source, config.quantization)
    return gguf_snippets(file, name=SLUG.sub("-", about.name).lower(), chat=source.has_chat_template)
