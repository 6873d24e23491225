"""The verb `generate`: several models answer the same prompt.

python -m lep_core generate --model original adapted --prompt "Where is the key?"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lep_core.config import GenerateConfig
from lep_core.inference.bodies import group_by_body
from lep_core.inference.engine import Answer, Delta, Request
from lep_core.inference.family import Family
from lep_core.inference.generator import Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.inference.variant import Variant
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

__all__ = ["Answer", "Delta", "GenerateReport", "GenerationSettings", "Generator", "generate"]


@dataclass(frozen=True, kw_only=True)
class GenerateReport:
    """One answer per model."""

    answers: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {"answers": list(self.answers)}

    def to_summary(self) -> dict[str, Any]:
        """For people: the answers in full, which a table would cut off."""
        rows = [{name: value for name, value in one.items() if name != "text"} for one in self.answers]
        return {"answers": rows, **{f"text of {one['model']}": f"\n{one['text']}" for one in self.answers}}


def generate(config: GenerateConfig, reporter: Reporter = SILENT) -> GenerateReport:
    """Let models answer one prompt; chat models through their own template unless `config.plain`.

    Models of one body are loaded together and answer at the same time, the others one after the other.
    """
    all_names = distinct_names(config.model)
    names = dict(zip(reversed(config.model), reversed(all_names), strict=True))
    answers: dict[str, dict[str, Any]] = {}
    for group in group_by_body(config.model):
        if reporter.should_stop():
            break
        reporter.stage(f"answering with {', '.join(names[source] for source in group)}")
        reporter.progress(len(answers), len(names), "models")
        family = Family(group[0], device=config.device, precision=config.precision, threads=config.threads, prove=False)
        for source in group[1:]:
            family.add(source)
        answers |= _answers(family, config, names, reporter)
        reporter.progress(len(answers), len(names), "models")
    # A model that is named twice answers once.
    named = zip(config.model, all_names, strict=True)
    return GenerateReport(answers=tuple({"model": name, **answers[source]} for source, name in named if source in answers))


def _answers(family: Family, config: GenerateConfig, names: Mapping[str, str], reporter: Reporter) -> dict[str, dict[str, Any]]:
    """The answers of all models of a family, written at the same time."""
    settings = GenerationSettings(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        repetition_penalty=config.repetition_penalty,
        seed=config.seed,
    )
    engine, asked = family.engine(), {}
    for source, variant in family.variants.items():
        options = _prompt_options(variant, config, names[source], reporter)
        request = Request(variant, variant.prompts.encode(**options), settings, chat="messages" in options)
        engine.add(request)
        asked[request] = source
    found: dict[str, dict[str, Any]] = {}
    while engine.busy:
        if reporter.should_stop():
            for request in asked:
                request.stop()
        for request, part in engine.step():
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, Answer):
                source, variant = asked[request], request.variant
                found[source] = {"path": str(variant.path), "fingerprint": variant.fingerprint, **part.to_json()}
    return found


def _prompt_options(variant: Variant, config: GenerateConfig, name: str, reporter: Reporter) -> dict[str, Any]:
    if config.plain or not variant.is_chat:
        if config.system:
            reporter.message(f"{name} continues plain text: the system prompt is not used")
        return {"prompt": config.prompt}
    system = [{"role": "system", "content": config.system}] if config.system else []
    return {"messages": [*system, {"role": "user", "content": config.prompt}]}
