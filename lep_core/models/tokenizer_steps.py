"""What no tokenizer.json may ask for: steps that let text grow without bounds, cuts at random, template ids that are no token's.

The native library obeys all of these. A text that each of forty steps doubles ends the whole process, because the library does not
survive a lack of memory; so the steps are read here first, from the file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lep_core.errors import TokenizerError

MOST_STEPS = 100
# Real tokenizers have one or two steps that lengthen text, by a character or two.
MOST_GROWTH = 256.0
LONGEST_TOKEN = 10_000
PARTS = ("normalizer", "pre_tokenizer", "decoder", "post_processor")
_INNER = ("normalizers", "pretokenizers", "decoders", "processors")
HINT = "Get a sound copy of tokenizer.json, for example from the model's page"


def check_steps(definition: Mapping[str, Any], ids: Mapping[str, int], what: str) -> None:
    """Refuse what the docstring above says.

    Args:
        definition: the parsed content of tokenizer.json.
        ids: token -> id, all of them.
        what: the file, for messages.

    Raises:
        TokenizerError: the first such thing.
    """
    for name in PARTS:
        growth = 1.0
        for count, part in enumerate(_flat(definition.get(name)), 1):
            growth *= _growth(part)
            if count > MOST_STEPS:
                raise TokenizerError(f"{what}: its {name} has more than {MOST_STEPS} steps", HINT)
        if growth > MOST_GROWTH:
            raise TokenizerError(f"{what}: its {name} can let a text grow more than {MOST_GROWTH:g} times", HINT)
    model = definition.get("model")
    if isinstance(model, Mapping) and model.get("dropout"):
        raise TokenizerError(f"{what}: it cuts text at random (dropout {model['dropout']})", "Set its dropout to null")
    longest = max(map(len, ids), default=0)
    if longest > LONGEST_TOKEN:
        raise TokenizerError(f"{what}: it has a token of {longest:,} letters, more than {LONGEST_TOKEN:,}", HINT)
    _check_template(definition.get("post_processor"), ids, what)


def _flat(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part and all steps nested in it, without recursion: nesting may be as deep as JSON allows."""
    pending = [part]
    while pending:
        one = pending.pop()
        if not isinstance(one, Mapping):
            continue
        yield one
        for name in _INNER:
            inner = one.get(name)
            pending += inner if isinstance(inner, list) else []


def _growth(step: Mapping[str, Any]) -> float:
    """How many times longer one step can make a text."""
    kind = step.get("type")
    if kind == "ByteLevel":
        return 4.0
    if kind == "Precompiled":
        return 8.0
    if kind == "Replace":
        pattern = step.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, Mapping) else pattern
        # A regular expression may match between any two characters.
        return max(1.0, len(str(step.get("content") or "")) / max(1, len(literal)) if isinstance(literal, str) else 2.0)
    return 1.0


def _check_template(processor: Any, ids: Mapping[str, int], what: str) -> None:
    known = {value for value in ids.values() if isinstance(value, int)}
    for part in _flat(processor):
        table = part.get("special_tokens")
        entries = list(table.values()) if isinstance(table, Mapping) else []
        used = [number for entry in entries if isinstance(entry, Mapping) for number in entry.get("ids") or []]
        used += [pair[1] for name in ("sep", "cls") if isinstance(pair := part.get(name), list) and len(pair) == 2]
        wrong = next((number for number in used if type(number) is not int or number not in known), None)
        if wrong is not None:
            raise TokenizerError(f"{what}: its template adds the id {str(wrong)[:40]}, which no token has", HINT)
