"""The verb `generate`: several models answer the same prompt, one after the other.

python -m lep_core generate --model original adapted --prompt "Where is the key?"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lep_core.config import GenerateConfig
from lep_core.inference.generator import Answer, Delta, Generator
from lep_core.inference.sampling import GenerationSettings
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter

__all__ = ["Answer", "Delta", "GenerateReport", "GenerationSettings", "Generator", "generate"]


@dataclass(frozen=True, kw_only=True)
class GenerateReport:
    """One answer per model."""

    answers: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {"answers": list(self.answers)}


def generate(config: GenerateConfig, reporter: Reporter = SILENT) -> GenerateReport:
    """Let models answer one prompt, one after the other; chat models through their own template unless `config.plain`."""
    settings = GenerationSettings(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        repetition_penalty=config.repetition_penalty,
        seed=config.seed,
    )
    answers = []
    for number, (name, source) in enumerate(zip(distinct_names(config.model), config.model, strict=True)):
        if reporter.should_stop():
            break
        reporter.stage(f"answering with {name}")
        reporter.progress(number, len(config.model), "models")
        generator = Generator.load(source, device=config.device, precision=config.precision, threads=config.threads)
        options = _prompt_options(generator, config, name, reporter)
        answer = generator.answer(**options, settings=settings, should_stop=reporter.should_stop)
        answers.append({"model": name, "path": str(generator.path), "fingerprint": generator.fingerprint, **answer.to_json()})
        reporter.progress(number + 1, len(config.model), "models")
    return GenerateReport(answers=tuple(answers))


def _prompt_options(generator: Generator, config: GenerateConfig, name: str, reporter: Reporter) -> dict[str, Any]:
    if config.plain or not generator.is_chat:
        if config.system:
            reporter.message(f"{name} continues plain text: the system prompt is not used")
        return {"prompt": config.prompt}
    system = [{"role": "system", "content": config.system}] if config.system else []
    return {"messages": [*system, {"role": "user", "content": config.prompt}]}
