"""Every text of the interface in English and Russian, and the translator that picks one of them.

A text is a pair (English, Russian) in one of the tables of `ui.texts`, so no text can exist in one language only. The app
builds one page per language (`ui.server` chooses by cookie, then by the browser's Accept-Language), so that labels, messages
made at run time and chart titles always agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.config import Config, field_type, is_optional
from ui.texts import calibrate, chat, common, corpus, export, fields, manage, project, propagate, results, tokenizer, train

LANGUAGES = ("en", "ru")
LANGUAGE_NAMES = {"en": "English", "ru": "Русский"}
_TABLES = (
    common.TEXTS,
    project.TEXTS,
    manage.TEXTS,
    corpus.TEXTS,
    tokenizer.TEXTS,
    train.TEXTS,
    propagate.TEXTS,
    calibrate.TEXTS,
    chat.TEXTS,
    results.TEXTS,
    export.TEXTS,
    fields.CHOICES,
)
TEXTS: dict[str, tuple[str, str]] = {key: text for table in _TABLES for key, text in table.items()}


@dataclass(frozen=True)
class Translator:
    """Texts of one language."""

    language: str = "en"

    def __call__(self, key: str, **values: object) -> str:
        """The text called `key`, with its {names} filled in."""
        text = TEXTS[key][self._column]
        return text.format(**values) if values else text

    @property
    def _column(self) -> int:
        return LANGUAGES.index(self.language)

    def has(self, key: str) -> bool:
        """True when there is a text called `key`."""
        return key in TEXTS

    def field_label(self, name: str) -> str:
        """The label of a config field."""
        return fields.LABELS[name][self._column]

    def field_info(self, config_class: type[Config], name: str) -> str:
        """What a config field does, with its unit and its default."""
        item = next(entry for entry in config_class.__dataclass_fields__.values() if entry.name == name)
        text = item.metadata["help"] if self.language == "en" else fields.HELP_RU[name]
        parts = [text[:1].upper() + text[1:]]
        unit = item.metadata["unit"]
        if unit:
            parts.append(self("form.unit", unit=fields.UNITS_RU.get(unit, unit) if self.language == "ru" else unit))
        default = item.default
        if isinstance(default, (bool, int, float)) or (isinstance(default, str) and default):
            shown = (
                self(f"form.{str(default).lower()}")
                if isinstance(default, bool)
                else f"{default:g}"
                if isinstance(default, float)
                else str(default)
            )
            parts.append(self("form.default", value=shown))
        elif default is None and is_optional(field_type(config_class, name)):
            parts.append(self("form.may_be_empty"))
        return ". ".join(part.rstrip(".") for part in parts)

    def choice(self, value: str) -> str:
        """A fixed choice of a config field, with a word of explanation where there is one."""
        key = f"choice.{value}"
        return self(key) if self.has(key) else value

    def verb(self, verb: str) -> str:
        """What a run of this verb is called."""
        key = f"verb.{verb}"
        return self(key) if self.has(key) else verb

    def stage(self, name: str) -> str:
        """What the core says it is doing, translated where the words are known."""
        return common.STAGES_RU.get(name, name) if self.language == "ru" else name

    def unit(self, name: str) -> str:
        """A unit of progress."""
        return common.UNITS_RU.get(name, name) if self.language == "ru" else name

    def number(self, value: float | int | None, digits: int = 3) -> str:
        """A number in the language's manner; a dash when there is none."""
        if value is None:
            return "–"
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
        return text.replace(",", "\u202f").replace(".", ",") if self.language == "ru" else text

    def duration(self, seconds: float | None) -> str:
        """A time span that people read: 45 s, 3 min 20 s, 2 h 05 min."""
        if seconds is None:
            return "–"
        whole = max(0, round(seconds))
        if whole < 60:
            return self("time.s", s=whole)
        if whole < 3600:
            return self("time.min", min=whole // 60, s=whole % 60)
        return self("time.h", h=whole // 3600, min=f"{whole % 3600 // 60:02d}")


def language_of(accept_language: str) -> str:
    """The interface's language for a browser's Accept-Language header: the wish with the highest weight that there is."""
    wishes: list[tuple[float, str]] = []
    for part in accept_language.split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((-float(weight or 1), name.strip().lower()[:2]))
        except ValueError:
            continue
    for _, name in sorted(wishes, key=lambda wish: wish[0]):
        if name in LANGUAGES:
            return name
    return "en"
