"""The README.md of an exported model: what it was made from, with which settings, and what was measured.

Every number comes from a file found beside the model or from the model's own files. What is not known is left out; the licence is left
to the person who publishes, because it follows from the licences of the source models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lep_core.export.lineage import Lineage
from lep_core.models import ModelFolder

REPORTED = {
    "build-tokenizer": ("vocab_size", "new_tokens", "removed_tokens", "characters_per_token_before", "characters_per_token_after"),
    "initialize": ("vocab_size", "shared_tokens", "averaged_tokens", "special_tokens", "missing_tokens"),
    "train": ("steps", "tokens_seen", "bits_per_byte_before", "bits_per_byte_after"),
    "propagate": ("method", "vocab_size", "special_rows_kept"),
}
FIT = ("tokens", "rank", "condition_number", "relative_residual", "heldout_residual", "identity_residual", "distance_from_identity")
LICENCE_NOTE = "state the licence here: it follows from the licences of the source models"


def model_card(folder: ModelFolder, lineage: Lineage, *, title: str) -> str:
    """Markdown with a metadata block."""
    parts = [
        _metadata(lineage),
        f"# {_plain(title)}",
        _introduction(folder, lineage),
        _use(folder),
        _facts(folder),
        *_making(lineage),
        *_measurements(lineage),
        "## Licence\n\nTo be stated by the publisher; the licences of the source models apply.",
        "Made with LEP Studio (Learned Embedding Propagation, arXiv 2412.21140).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(lineage: Lineage) -> str:
    lines = ["---", f"# license: {LICENCE_NOTE}", "library_name: transformers", "pipeline_tag: text-generation"]
    hub_ids = [source for source in lineage.sources.values() if source.count("/") == 1]
    if hub_ids:
        lines += ["base_model:", *(f"- {source}" for source in hub_ids)]
    return "\n".join([*lines, "---"])


def _introduction(folder: ModelFolder, lineage: Lineage) -> str:
    made_from = " and ".join(f"{role} model **{_plain(name)}**" for role, name in lineage.sources.items())
    text = f"A {folder.architecture} with {folder.tokenizer_size:,} tokens."
    return f"{text} Made from the {made_from}." if made_from else text


def _use(folder: ModelFolder) -> str:
    # The reader puts the repository's name in place of MODEL.
    if folder.has_chat_template:
        prompt = (
            'messages = [{"role": "user", "content": "..."}]\n'
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)'
        )
        vllm = "vllm serve MODEL   # then POST /v1/chat/completions"
    else:
        prompt = 'inputs = tokenizer("...", return_tensors="pt")'
        vllm = "vllm serve MODEL   # then POST /v1/completions"
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer = AutoTokenizer.from_pretrained("MODEL")\n'
        'model = AutoModelForCausalLM.from_pretrained("MODEL", dtype="auto")\n'
        f"{prompt}\n"
        "output = model.generate(**inputs, max_new_tokens=256)\n"
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))'
    )
    return f"## Use\n\n```python\n{code}\n```\n\n```sh\n{vllm}\n```"


def _facts(folder: ModelFolder) -> str:
    rows = [
        ("parameters", f"{folder.parameters:,}"),
        ("hidden size", folder.hidden_size),
        ("layers", folder.layers),
        ("tokens", f"{folder.tokenizer_size:,}"),
        ("embedding rows", f"{folder.vocab_size:,}"),
        ("head", "shared with the embedding" if folder.tied else "separate"),
        ("precision of the weights", folder.dtype),
    ]
    return "## Model\n\n" + _table(("", ""), rows)


def _making(lineage: Lineage) -> list[str]:
    if not lineage.stages:
        return []
    parts = ["## How it was made"]
    for stage in lineage.stages:
        settings = ", ".join(f"{key} = {_value(value)}" for key, value in stage.settings.items())
        rows = [(name, stage.report[name]) for name in REPORTED.get(stage.verb, ()) if stage.report.get(name) is not None]
        parts += [f"### {_plain(stage.verb)}", f"Settings: {_plain(settings)}", _table(("reported", "value"), rows) if rows else ""]
        fits = [
            (side, stage.report[side])
            for side in ("input", "output")
            if stage.verb == "propagate" and isinstance(stage.report.get(side), dict)
        ]
        if fits:
            parts.append(_table(("fit", *FIT), [(side, *(report.get(name) for name in FIT)) for side, report in fits]))
    return parts


def _measurements(lineage: Lineage) -> list[str]:
    parts = []
    if lineage.fertility:
        columns = ("name", "characters", "tokens", "characters_per_token", "tokens_per_word")
        parts.append("### Text per token\n\n" + _table(columns, [[row.get(name) for name in columns] for row in lineage.fertility]))
    if lineage.results:
        columns = ("model", "task", "metric", "value", "low", "high", "n")
        parts.append("### Evaluation\n\n" + _table(columns, [[row.get(name) for name in columns] for row in lineage.results]))
        parts.append("`low` and `high` bound the interval, `n` is the number of documents or items.")
    return ["## Measured", *parts] if parts else []


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_value(cell) for cell in row) + " |" for row in rows)])


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    return _plain(str(value))


def _plain(text: str) -> str:
    """Text that cannot break the table or start markup."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "‹").replace(">", "›").split())
