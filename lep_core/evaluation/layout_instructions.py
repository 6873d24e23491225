"""Layouts of instructions whose keeping a program can check: our own, and IFEval's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation.constraints import IFEVAL, RELATIONS, TYPES
from lep_core.evaluation.items import Constraint, Instruction
from lep_core.evaluation.language import SCRIPTS
from lep_core.evaluation.record import Record

# Value -> what it must be, in words, and how to tell.
VALUES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "count": ("a whole number from 0 on", lambda value: type(value) is int and 0 <= value < 10**6),
    "paragraph": ("a whole number from 1 on", lambda value: type(value) is int and 1 <= value < 10**6),
    **dict.fromkeys(
        ("keywords", "options"),
        ("a list of texts", lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, str) and one for one in value)),
    ),
    **dict.fromkeys(
        ("keyword", "word", "divider", "marker", "text"), ("a text", lambda value: isinstance(value, str) and bool(value.strip()))
    ),
    "letter": ("one character", lambda value: isinstance(value, str) and len(value) == 1),
    "relation": (f"one of {', '.join(RELATIONS)}", lambda value: value in tuple(RELATIONS)),
    "language": ("the code of a language whose script is known", lambda value: isinstance(value, str) and value in SCRIPTS),
}


def own(record: Record) -> Instruction:
    """`prompt`, `constraints`: a list of `{"type": ..., its values}`."""
    listed = record.values["constraints"]
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise CorpusError(f'{record.place} has no list of objects under the key "constraints"', 'Write [{"type": "no_comma"}]')
    constraints = [_constraint(record, one.get("type"), {key: one[key] for key in one if key != "type"}) for one in listed]
    return _instruction(record, constraints)


def ifeval(record: Record) -> Instruction:
    """IFEval's own files: `prompt`, `instruction_id_list`, `kwargs` (values that do not belong to an instruction are null or absent)."""
    ids, values = record.values["instruction_id_list"], record.values.get("kwargs")
    if not isinstance(ids, list) or not isinstance(values, list) or not ids or len(ids) != len(values):
        raise CorpusError(
            f'{record.place}: "instruction_id_list" and "kwargs" are no lists of the same length', "Give the files of IFEval as they are"
        )
    constraints = []
    for name, own_values in zip(ids, values, strict=True):
        if not isinstance(name, str) or name not in IFEVAL:
            raise CorpusError(
                f"{record.place} asks for {name!r:.80}, which is not checked here",
                "Leave the instruction out; docs/evaluation.md lists those that are",
            )
        kind, names, implied = IFEVAL[name]
        given = own_values if isinstance(own_values, dict) else {}
        found = {ours: _whole(given[theirs]) for theirs, ours in names.items() if given.get(theirs) is not None}
        constraints.append(_constraint(record, kind, {**implied, **found}))
    return _instruction(record, constraints)


def _whole(value: Any) -> Any:
    """Whole numbers come as 3.0 from files that were a table in between."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _instruction(record: Record, constraints: list[Constraint]) -> Instruction:
    return Instruction(prompt=record.text("prompt"), constraints=tuple(constraints), language=record.language, group=record.group)


def _constraint(record: Record, kind: Any, values: dict[str, Any]) -> Constraint:
    if not isinstance(kind, str) or kind not in TYPES:
        raise CorpusError(f"{record.place} has a constraint of the type {kind!r:.80}, which is not known", f"Known are {', '.join(TYPES)}")
    known = TYPES[kind]
    for name in values:
        if name not in known.values + known.optional:
            takes = ", ".join(known.values + known.optional) or "no values"
            raise CorpusError(f'{record.place}: the constraint {kind} takes no "{name!s:.80}"', f"It takes {takes}")
    for name in known.values:
        if name not in values:
            raise CorpusError(f'{record.place}: the constraint {kind} lacks "{name}"', f"Give {VALUES[name][0]}")
    for name, value in values.items():
        meaning, fits = VALUES[name]
        if not fits(value):
            raise CorpusError(f'{record.place}: "{name}" of the constraint {kind} is {value!r:.80}', f"Give {meaning}")
    return Constraint(kind, values)
