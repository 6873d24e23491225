"""Demands on an answer that a program can check, after IFEval (Zhou et al. 2023, arXiv 2311.07911), for any language.

Each type has its values and a check; docs/evaluation.md lists them. Differences from IFEval's own program, so that the checks hold for
every script: words are runs of letters, marks and digits of any script; sentences end at . ! ? and their kin in other scripts; keywords
are plain texts, not regular expressions; a language is known by its script only, so languages that share one are not told apart.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lep_core.evaluation.items import Constraint
from lep_core.evaluation.language import may_be_in
from lep_core.evaluation.words import words

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": operator.ge,
    "at most": operator.le,
    "more than": operator.gt,
    "less than": operator.lt,
    "exactly": operator.eq,
}
YES_NO_MAYBE = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
PARAGRAPH_DIVIDER = "***"
RESPONSE_DIVIDER = "******"
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'»”’)\]]*(?=\s|$))|[。！？।॥؟]+")
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL | re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\[[^\[\]]*\]")
_HIGHLIGHT = re.compile(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*")
_BULLET = re.compile(r"^\s*(?:\*(?!\*)|[-•])\s*\S", re.MULTILINE)
_TITLE = re.compile(r"<<([^\n]+?)>>")


def follows(answer: str, constraint: Constraint) -> bool:
    """Whether an answer keeps to a constraint; an empty one keeps to none."""
    return bool(answer.strip()) and TYPES[constraint.type].check(answer, **constraint.values)


def loose_variants(answer: str) -> list[str]:
    """What IFEval's loose scores also accept: the answer without its first line, last line or both, each also without asterisks."""
    lines = answer.split("\n")
    cut = [answer, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip()]
    return [*cut, *(one.replace("*", "") for one in cut)]


def follows_loosely(answer: str, constraint: Constraint) -> bool:
    """Whether any of the loose variants keeps to a constraint."""
    return any(follows(one, constraint) for one in loose_variants(answer))


def sentences(text: str) -> int:
    """Stretches with a letter or digit that end at a sentence mark or at the end of the text."""
    return sum(bool(words(part)) for part in _SENTENCE_END.split(text))


def paragraphs(text: str, divider: str | None) -> list[str]:
    """Parts between dividers (by default blank lines); those with text."""
    parts = re.split(r"\n\s*\n", text) if divider is None else text.split(divider)
    return [part.strip() for part in parts if part.strip()]


def _occurrences(text: str, keyword: str) -> int:
    return text.casefold().count(keyword.casefold())


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()) is not None


def _keywords(answer: str, *, keywords: list[str]) -> bool:
    return all(_occurrences(answer, one) for one in keywords)


def _forbidden(answer: str, *, keywords: list[str]) -> bool:
    return not any(_has_word(answer, one) for one in keywords)


def _keyword_frequency(answer: str, *, keyword: str, count: int, relation: str) -> bool:
    return RELATIONS[relation](_occurrences(answer, keyword), count)


def _letter_frequency(answer: str, *, letter: str, count: int, relation: str) -> bool:
    return RELATIONS[relation](_occurrences(answer, letter), count)


def _words(answer: str, *, count: int, relation: str) -> bool:
    return RELATIONS[relation](len(words(answer)), count)


def _sentences(answer: str, *, count: int, relation: str) -> bool:
    return RELATIONS[relation](sentences(answer), count)


def _paragraphs(answer: str, *, count: int, relation: str = "exactly", divider: str | None = None) -> bool:
    if divider and not all(part.strip() for part in answer.split(divider)[1:-1]):
        return False
    return RELATIONS[relation](len(paragraphs(answer, divider)), count)


def _paragraph_start(answer: str, *, paragraph: int, word: str, count: int | None = None) -> bool:
    parts = paragraphs(answer, None)
    if len(parts) < paragraph or (count is not None and len(parts) != count):
        return False
    return words(parts[paragraph - 1])[: len(words(word))] == words(word)


def _bullets(answer: str, *, count: int, relation: str = "exactly") -> bool:
    return RELATIONS[relation](len(_BULLET.findall(answer)), count)


def _highlights(answer: str, *, count: int) -> bool:
    return sum(bool((double or single).strip()) for double, single in _HIGHLIGHT.findall(answer)) >= count


def _sections(answer: str, *, divider: str, count: int) -> bool:
    return len(re.findall(rf"{re.escape(divider)}\s?\d+", answer)) >= count


def _placeholders(answer: str, *, count: int) -> bool:
    return len(_PLACEHOLDER.findall(answer)) >= count


def _postscript(answer: str, *, marker: str) -> bool:
    spaced = r"\s?".join(re.escape(one) for one in marker.casefold() if not one.isspace())
    return re.search(rf"^\s*{spaced}", answer.casefold(), re.MULTILINE) is not None


def _json(answer: str) -> bool:
    text = answer.strip()
    if match := _FENCE.match(text):
        text = match.group(1)
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str) -> bool:
    return any(found.strip("<> ") for found in _TITLE.findall(answer))


def _one_of(answer: str, *, options: list[str] | tuple[str, ...] = YES_NO_MAYBE) -> bool:
    return any(one in answer for one in options)


def _two_responses(answer: str) -> bool:
    parts = [part.strip() for part in answer.split(RESPONSE_DIVIDER)]
    inner, kept = parts[1:-1], [part for part in parts if part]
    return all(inner) and len(kept) == 2 and kept[0] != kept[1]


def _repeats(answer: str, *, text: str) -> bool:
    return answer.strip().casefold().startswith(text.strip().casefold())


def _start(answer: str, *, text: str) -> bool:
    return _repeats(answer.strip().lstrip("\"«“'"), text=text)


def _end(answer: str, *, text: str) -> bool:
    return answer.strip().rstrip("\"»”'").casefold().endswith(text.strip().casefold())


def _quotation(answer: str) -> bool:
    text = answer.strip()
    return len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("«", "»"), ("“", "”"), ("„", "“"))


def _upper(answer: str, *, language: str | None = None) -> bool:
    return answer.isupper() and (language is None or may_be_in(answer, language))


def _lower(answer: str, *, language: str | None = None) -> bool:
    return answer.islower() and (language is None or may_be_in(answer, language))


def _capital_words(answer: str, *, count: int, relation: str) -> bool:
    return RELATIONS[relation](sum(one.isupper() for one in re.findall(r"\w+", answer)), count)


def _no_comma(answer: str) -> bool:
    return not set(answer) & set(",，、،")


@dataclass(frozen=True)
class Type:
    """A check and the values that it takes; values in `optional` may be left out."""

    check: Callable[..., bool]
    values: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


TYPES: dict[str, Type] = {
    "words": Type(_words, ("count", "relation")),
    "sentences": Type(_sentences, ("count", "relation")),
    "paragraphs": Type(_paragraphs, ("count",), ("relation", "divider")),
    "paragraph_start": Type(_paragraph_start, ("paragraph", "word"), ("count",)),
    "keywords": Type(_keywords, ("keywords",)),
    "forbidden_words": Type(_forbidden, ("keywords",)),
    "keyword_frequency": Type(_keyword_frequency, ("keyword", "count", "relation")),
    "letter_frequency": Type(_letter_frequency, ("letter", "count", "relation")),
    "capital_words": Type(_capital_words, ("count", "relation")),
    "language": Type(may_be_in, ("language",)),
    "upper_case": Type(_upper, (), ("language",)),
    "lower_case": Type(_lower, (), ("language",)),
    "no_comma": Type(_no_comma),
    "json": Type(_json),
    "bullets": Type(_bullets, ("count",), ("relation",)),
    "highlights": Type(_highlights, ("count",)),
    "sections": Type(_sections, ("divider", "count")),
    "title": Type(_title),
    "placeholders": Type(_placeholders, ("count",)),
    "postscript": Type(_postscript, ("marker",)),
    "one_of": Type(_one_of, (), ("options",)),
    "two_responses": Type(_two_responses),
    "repeat_prompt": Type(_repeats, ("text",)),
    "start": Type(_start, ("text",)),
    "end": Type(_end, ("text",)),
    "quotation": Type(_quotation),
}
IFEVAL: Mapping[str, tuple[str, Mapping[str, str], Mapping[str, Any]]] = {
    # IFEval's id -> our type, their names of our values, values that theirs implies
    "keywords:existence": ("keywords", {"keywords": "keywords"}, {}),
    "keywords:frequency": ("keyword_frequency", {"keyword": "keyword", "frequency": "count", "relation": "relation"}, {}),
    "keywords:forbidden_words": ("forbidden_words", {"forbidden_words": "keywords"}, {}),
    "keywords:letter_frequency": ("letter_frequency", {"letter": "letter", "let_frequency": "count", "let_relation": "relation"}, {}),
    "language:response_language": ("language", {"language": "language"}, {}),
    "length_constraints:number_sentences": ("sentences", {"num_sentences": "count", "relation": "relation"}, {}),
    "length_constraints:number_paragraphs": ("paragraphs", {"num_paragraphs": "count"}, {"divider": PARAGRAPH_DIVIDER}),
    "length_constraints:number_words": ("words", {"num_words": "count", "relation": "relation"}, {}),
    "length_constraints:nth_paragraph_first_word": (
        "paragraph_start",
        {"num_paragraphs": "count", "nth_paragraph": "paragraph", "first_word": "word"},
        {},
    ),
    "detectable_content:number_placeholders": ("placeholders", {"num_placeholders": "count"}, {}),
    "detectable_content:postscript": ("postscript", {"postscript_marker": "marker"}, {}),
    "detectable_format:number_bullet_lists": ("bullets", {"num_bullets": "count"}, {}),
    "detectable_format:constrained_response": ("one_of", {}, {}),
    "detectable_format:number_highlighted_sections": ("highlights", {"num_highlights": "count"}, {}),
    "detectable_format:multiple_sections": ("sections", {"section_spliter": "divider", "num_sections": "count"}, {}),
    "detectable_format:json_format": ("json", {}, {}),
    "detectable_format:title": ("title", {}, {}),
    "combination:two_responses": ("two_responses", {}, {}),
    "combination:repeat_prompt": ("repeat_prompt", {"prompt_to_repeat": "text"}, {}),
    "startend:end_checker": ("end", {"end_phrase": "text"}, {}),
    "startend:quotation": ("quotation", {}, {}),
    "change_case:capital_word_frequency": ("capital_words", {"capital_frequency": "count", "capital_relation": "relation"}, {}),
    "change_case:english_capital": ("upper_case", {}, {"language": "en"}),
    "change_case:english_lowercase": ("lower_case", {}, {"language": "en"}),
    "punctuation:no_comma": ("no_comma", {}, {}),
}
