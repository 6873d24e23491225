"""What the export tab says: the outlook before the click, the proof after it, the snippets and the card. Text only, no components."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lep_core.errors import LepError, ModelError
from lep_core.export.outlook import ExportOutlook
from lep_core.export.remarks import Remark
from lep_core.export.snippets import Snippet, folder_snippets, gguf_snippets
from ui.apart import CHILD, LONG_SECONDS
from ui.i18n import Translator
from ui.messages import core_words, escape

MOST_FILES = 40
CARD = "README.md"
LONGEST_CARD = 200_000
PROGRAMS = {"hf": ("transformers", "vLLM"), "gguf": ("llama.cpp", "Ollama")}


def outlook_of(model: str, format: str, quantization: str) -> ExportOutlook:
    """`export_outlook`, computed in a process apart and once for each state of the model's folder."""
    names = ("config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json", "report.json")
    states = tuple(path.stat().st_mtime_ns if (path := Path(model) / name).is_file() else 0 for name in names)
    return _outlook(model, format, quantization, states)


@lru_cache(maxsize=64)
def _outlook(model: str, format: str, quantization: str, _states: tuple[int, ...]) -> ExportOutlook:
    try:
        found = CHILD.ask("outlook", model, format, quantization, about=model, seconds=LONG_SECONDS, kind=ModelError)
    except LepError as error:
        return ExportOutlook(possible=False, message=error.message, hint=error.hint)
    return ExportOutlook(**found | {"remarks": tuple(Remark(**remark) for remark in found["remarks"])})


def outlook_text(found: ExportOutlook, t: Translator) -> str:
    """Markdown: whether it can be exported so, which model that is, and what to know."""
    if not found.possible:
        hint = core_words(found.hint, t)
        return f"**⚠ {t('export.impossible')}.** {escape(core_words(found.message, t))}.  \n{t('error.what_to_do')} {escape(hint)}."
    facts = [t("export.this_model", fingerprint=found.fingerprint), t("export.about_size", mib=t.number(found.bytes / 2**20, 1))]
    if found.checkpoint:
        facts.append(t("export.checkpoint", checkpoint=escape(found.checkpoint)))
    lines = [f"**✔ {t('export.possible')}.** {' · '.join(facts)}"]
    lines += [f"{'⚠' if remark.warns else '✔'} {_remark(remark.code, remark.values, t)}" for remark in found.remarks]
    return "  \n".join(lines)


def _remark(code: str, values: dict[str, Any], t: Translator) -> str:
    text = t(f"export.remark.{code}", **values)
    return escape(text if text.startswith("llama.cpp") else text[:1].upper() + text[1:])


def proof_text(report: dict[str, Any], label: str, t: Translator) -> str:
    """Markdown: what was exported and what was proven about it."""
    lines = [f"**{escape(label)}**"]
    identity = [t("export.this_model", fingerprint=escape(report["fingerprint"]))] if report.get("fingerprint") else []
    identity += [t("export.checkpoint", checkpoint=escape(report["checkpoint"]))] if report.get("checkpoint") else []
    lines += [" · ".join(identity)] if identity else []
    lines += [*_logits(report, t), *_weights(report, t), *_ids(report, t)]
    for remark in report.get("remark_codes") or []:
        if remark.get("warns") and t.has(f"export.remark.{remark.get('code')}"):
            lines.append(f"⚠ {_remark(remark['code'], remark.get('values') or {}, t)}")
    files = report.get("files") or []
    if report.get("bytes") is not None:
        mib = t.number(report["bytes"] / 2**20, 1)
        linked = report.get("files_linked") or 0
        lines.append(
            t("export.size_linked", mib=mib, files=len(files), linked=linked) if linked else t("export.size", mib=mib, files=len(files))
        )
    lines.append(escape(", ".join(str(item) for item in files[:MOST_FILES])))
    if report.get("pushed_to"):
        lines.append(f"✔ {t('export.uploaded', address=escape(report['pushed_to']))}")
    return "  \n".join(line for line in lines if line)


def _logits(report: dict[str, Any], t: Translator) -> Iterator[str]:
    reader = escape(report.get("logits_checked_with") or "transformers")
    if report.get("logits_equal"):
        yield f"✔ {t('export.logits_equal', reader=reader)}"
        return
    differences = [value for name in ("max_logit_difference", "llama_cpp_logit_difference") if (value := report.get(name)) is not None]
    if differences:
        yield f"✔ {t('export.logits_near', reader=reader, difference=f'{max(differences):.3g}')}"
    else:
        yield f"– {t('export.logits_unchecked')}"


def _weights(report: dict[str, Any], t: Translator) -> Iterator[str]:
    if report.get("weights_equal"):
        yield f"✔ {t('export.weights_equal')}"
    elif report.get("weights_equal") is False:
        share = f"{report.get('largest_rounding') or 0:.2%}"
        yield f"✔ {t('export.weights_rounded', share=share)}"


def _ids(report: dict[str, Any], t: Translator) -> Iterator[str]:
    reader = escape(report.get("tokenizer_checked_with") or "AutoTokenizer")
    lines, differing = report.get("tokenizer_lines"), report.get("tokenizer_lines_differing") or 0
    if not lines:
        yield f"✔ {t('export.ids_equal', reader=reader)}"
        return
    counts = {"equal": t.number(lines - differing), "lines": t.number(lines), "tokens": t.number(report.get("tokenizer_tokens"))}
    yield f"{'⚠' if differing else '✔'} {t('export.ids_counted', reader=reader, **counts)}"


def snippets(output: Path, report: dict[str, Any]) -> list[Snippet]:
    """How to use the result where it lies."""
    chat = _has_template(output)
    if report.get("format") != "gguf":
        return folder_snippets(str(output), chat=chat)
    file = next((name for name in report.get("files") or [] if str(name).endswith(".gguf")), "model.gguf")
    return gguf_snippets(str(output / file), name=Path(file).stem.lower(), chat="--jinja" in card_source(output))


def _has_template(output: Path) -> bool:
    return (output / "chat_template.jinja").is_file() or "apply_chat_template" in card_source(output)


def card_source(output: Path) -> str:
    """The model card as it is written."""
    path = output / CARD
    return path.read_text(encoding="utf-8")[:LONGEST_CARD] if path.is_file() else ""


def card_preview(source: str, t: Translator) -> str:
    """The model card as the hub will show it: without its metadata, and without pictures from elsewhere."""
    body = re.sub(r"\A---\n.*?\n---\n", "", source, flags=re.DOTALL).replace("![", "!\\[").strip()
    return body or t("export.no_card")
