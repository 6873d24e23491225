"""Parity of languages: what the same sentences cost in one language and in another, with the same tokenizer.

The tokenization premium of Petrov et al. 2023 (arXiv 2305.15425): tokens of a language / tokens of the reference language, over parallel text.
1 means equal cost; 2 means that a user of that language pays twice as much, and has half of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lep_core.errors import ConfigError

if TYPE_CHECKING:
    from lep_core.tokenizer.fertility import FertilityReport

USUAL_REFERENCES = ("eng", "en")


@dataclass(frozen=True, kw_only=True)
class LanguageParity:
    """One language of the parallel text with one tokenizer; `ratio` is 1 for the reference language."""

    tokenizer: str
    language: str
    tokens: int
    ratio: float
    characters_per_token: float


def choose_reference(languages: Sequence[str], wanted: str | None) -> str:
    """The language that others are compared with.

    Raises:
        ConfigError: the wanted one is not among them.
    """
    if wanted is None:
        return next((name for name in USUAL_REFERENCES if name in languages), languages[0])
    if wanted not in languages:
        raise ConfigError("reference", f"there is no parallel text called {wanted!r}", f"Choose one of: {', '.join(languages)}")
    return wanted


def parity_of(report: FertilityReport, reference: str) -> list[LanguageParity]:
    """Compare the inputs of a report, one for each language."""
    entries: list[LanguageParity] = []
    for tokenizer in report.tokenizers:
        base = next(language.tokens for language in tokenizer.inputs if language.name == reference)
        entries += [
            LanguageParity(
                tokenizer=tokenizer.name,
                language=language.name,
                tokens=language.tokens,
                ratio=language.tokens / base if base else 0.0,
                characters_per_token=language.characters_per_token,
            )
            for language in tokenizer.inputs
        ]
    return entries
