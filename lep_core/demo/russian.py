"""Inflection of the demo's Russian words: nouns and adjectives by case and number, verbs by person, tense and gender.

Only what the little lexicon of `world.py` needs, but that much correctly: six cases, two numbers, three genders, animacy in the
accusative, spelling rules after hushing and velar consonants, and the variants of the prepositions "with" and "about".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CASES = ("nominative", "genitive", "dative", "accusative", "instrumental", "prepositional")
NUMBERS = ("singular", "plural")
GENDERS = ("masculine", "feminine", "neuter")

_VELAR, _HUSHING = "гкх", "жшчщ"
_VOWELS = "аоуэиы"
_CONSONANTS = "бвгджзйклмнпрстфхцчшщ"


@dataclass(frozen=True, kw_only=True)
class RussianNoun:
    """A noun; `genitive_plural` names the form with a fleeting vowel or zero ending where no rule gives it.

    Attributes:
        stem: what stays before the endings, for example "молотк" of "молоток".
        forms: irregular forms, keyed by (case, number).
    """

    nominative: str
    gender: str
    animate: bool
    stem: str = ""
    genitive_plural: str = ""
    forms: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def form(self, case: str, number: str = "singular") -> str:
        """The noun in a case and number."""
        if (case, number) in self.forms:
            return self.forms[case, number]
        if case == "nominative" and number == "singular":
            return self.nominative
        if case == "accusative" and not (self.gender == "feminine" and number == "singular"):
            # Masculine, neuter and plural accusatives borrow a form; feminine singular has its own.
            borrowed = "genitive" if self.animate and (number == "plural" or self.gender == "masculine") else "nominative"
            return self.form(borrowed, number)
        if case == "genitive" and number == "plural":
            return self.genitive_plural or self._genitive_plural()
        return self._stem() + self._endings(number)[case]

    def _declension(self) -> str:
        """The last letter where it decides the endings, else "" (a hard masculine noun)."""
        last = self.nominative[-1]
        return last if last in "аяоеь" else ""

    def _stem(self) -> str:
        return self.stem or (self.nominative[:-1] if self._declension() else self.nominative)

    def _genitive_plural(self) -> str:
        stem, kind = self._stem(), self._declension()
        if kind in ("а", "о"):
            return stem
        if kind == "ь" or stem[-1] in _HUSHING:
            return stem + "ей"
        return stem + "ов"

    def _endings(self, number: str) -> Mapping[str, str]:
        kind, last = self._declension(), self._stem()[-1]
        soft = kind in ("ь", "я", "е")
        y = "и" if soft or last in _VELAR + _HUSHING else "ы"
        o = "е" if soft or last in _HUSHING + "ц" else "о"
        if number == "plural":
            a = "я" if soft else "а"
            nominative = a if self.gender == "neuter" else y
            return {"nominative": nominative, "dative": f"{a}м", "instrumental": f"{a}ми", "prepositional": f"{a}х"}
        if self.gender == "feminine" and kind == "ь":
            return {"genitive": "и", "dative": "и", "accusative": "ь", "instrumental": "ью", "prepositional": "и"}
        if self.gender == "feminine":
            accusative = "ю" if soft else "у"
            return {"genitive": y, "dative": "е", "accusative": accusative, "instrumental": f"{o}й", "prepositional": "е"}
        # A stressed ending after a hushing consonant keeps "о" in speech and "о" in spelling: врачом, ножом.
        instrumental = "ем" if soft else "ом"
        return {"genitive": "я" if soft else "а", "dative": "ю" if soft else "у", "instrumental": instrumental, "prepositional": "е"}


@dataclass(frozen=True, kw_only=True)
class RussianAdjective:
    """An adjective given by its masculine nominative: новый, маленький, большой, синий."""

    nominative: str

    def form(self, gender: str, case: str, number: str = "singular", *, animate: bool = False) -> str:
        """The form that agrees with a noun of this gender, case, number and animacy."""
        stem, soft = self.nominative[:-2], self.nominative.endswith("ний")
        y = "и" if soft or stem[-1] in _VELAR + _HUSHING else "ы"
        o = "е" if soft else "о"
        if case == "accusative" and (number == "plural" or gender != "feminine"):
            case = "genitive" if animate and (number == "plural" or gender == "masculine") else "nominative"
        if number == "plural":
            return stem + y + {"nominative": "е", "genitive": "х", "dative": "м", "instrumental": "ми", "prepositional": "х"}[case]
        if gender == "feminine":
            return stem + {"nominative": "яя" if soft else "ая", "accusative": "юю" if soft else "ую"}.get(case, f"{o}й")
        if case == "nominative":
            return self.nominative if gender == "masculine" else stem + f"{o}е"
        return stem + {"genitive": f"{o}го", "dative": f"{o}му", "instrumental": f"{y}м", "prepositional": f"{o}м"}[case]


@dataclass(frozen=True, kw_only=True)
class RussianVerb:
    """A verb by its third persons of the present and the stem of its past; `case` and `preposition` are what it governs."""

    present_singular: str
    present_plural: str
    past_stem: str
    case: str = "accusative"
    preposition: str = ""

    def form(self, gender: str, number: str, tense: str) -> str:
        """The form that agrees with its subject: number in the present, gender or plural in the past."""
        if tense == "present":
            return self.present_singular if number == "singular" else self.present_plural
        ending = "ли" if number == "plural" else {"masculine": "л", "feminine": "ла", "neuter": "ло"}[gender]
        return self.past_stem + ending


def with_preposition(preposition: str, phrase: str) -> str:
    """The preposition in the shape that the next word asks for: "со слоном", "об игле"."""
    if preposition == "с" and phrase[0] in "сзшж" and phrase[1] in _CONSONANTS:
        preposition = "со"
    elif preposition == "о" and phrase[0] in _VOWELS:
        preposition = "об"
    return f"{preposition} {phrase}" if preposition else phrase
