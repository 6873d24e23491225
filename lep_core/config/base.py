"""What every config shares: fields that explain and bound themselves, checks when it is made, JSON values in and out."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from lep_core.errors import ConfigError

# What file systems allow.
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4000


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    unit: str | None = None,
    choices: tuple[Any, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    kind: str = "value",
    advanced: bool = False,
) -> Any:
    """A config field.

    `kind` says what a text stands for, so that a form can offer the right input: "model" (folder or hub id), "tokenizer",
    "text" (files to read), "items" (JSONL of prompts and answers), "folder" (a result), "prompt", or "value".
    `minimum` and `maximum` are inclusive. `advanced` fields are folded away in forms.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "kind": kind,
        "advanced": advanced,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configs: checks types, ranges and choices; converts from and to JSON values."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = _checked(item, getattr(self, item.name), field_type(type(self), item.name))
            object.__setattr__(self, item.name, value)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from JSON values; unknown names are refused."""
        names = {item.name for item in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                raise ConfigError(name, f"there is no setting called {name}", f"Known settings: {', '.join(sorted(names))}")
        for item in dataclasses.fields(cls):
            if item.default is dataclasses.MISSING and item.name not in values:
                raise ConfigError(item.name, f"{flag(item.name)} is missing", f"Give {flag(item.name)}: {item.metadata['help']}")
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """JSON values, complete: `from_mapping(to_mapping())` gives an equal config."""
        return {
            item.name: list(value) if isinstance(value := getattr(self, item.name), tuple) else value for item in dataclasses.fields(self)
        }

    def replace(self, **changes: Any) -> Self:
        """A changed copy, checked again."""
        return dataclasses.replace(self, **changes)


def flag(name: str) -> str:
    """The command-line flag of a field: `block_size` -> `--block-size`."""
    return "--" + name.replace("_", "-")


@cache
def _type_hints(cls: type[Config]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def field_type(cls: type[Config], name: str) -> Any:
    """The resolved type of a config field: str, int, float, bool, one of these `| None`, or `tuple[str, ...]`."""
    return _type_hints(cls)[name]


def is_repeatable(hint: Any) -> bool:
    """True for `tuple[str, ...]` fields, whose flag takes several values and may be repeated."""
    return typing.get_origin(hint) is tuple


def base_type(hint: Any) -> type:
    """str, int, float or bool: the type of one value of the field."""
    if is_repeatable(hint):
        return typing.get_args(hint)[0]
    if isinstance(hint, types.UnionType):
        return next(item for item in typing.get_args(hint) if item is not type(None))
    return hint


def is_optional(hint: Any) -> bool:
    """True when the field may be None."""
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _checked(item: dataclasses.Field[Any], value: Any, hint: Any) -> Any:
    name, limits = item.name, item.metadata
    if is_repeatable(hint):
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(name, f"{flag(name)} must be a list", "Give one or more values")
        if not value and item.default is dataclasses.MISSING:
            raise ConfigError(name, f"{flag(name)} is empty", f"Give at least one value: {limits['help']}")
        return tuple(_checked_one(name, one, base_type(hint), limits) for one in value)
    if value is None:
        if not is_optional(hint):
            raise ConfigError(name, f"{flag(name)} is missing", f"Give {flag(name)}: {limits['help']}")
        return None
    return _checked_one(name, value, base_type(hint), limits)


def _checked_one(name: str, value: Any, wanted: type, limits: Mapping[str, Any]) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
        kinds: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ConfigError(name, f"{flag(name)} is {value!r}, not {kinds[wanted]}", f"Give {kinds[wanted]}")
    if isinstance(value, str):
        _check_text(name, value, limits)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(name, f"{flag(name)} is {value}", "Give a finite number")
    choices = limits["choices"]
    if choices is not None and value not in choices:
        raise ConfigError(name, f"{flag(name)} is {value!r}", f"Choose one of: {', '.join(map(str, choices))}")
    low, high = limits["minimum"], limits["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        allowed = (
            f"from {low} to {high}" if low is not None and high is not None else (f"at least {low}" if high is None else f"at most {high}")
        )
        raise ConfigError(name, f"{flag(name)} is {value}", f"Give a value {allowed}{' ' + limits['unit'] if limits['unit'] else ''}")
    return value


def _check_text(name: str, value: str, limits: Mapping[str, Any]) -> None:
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        # Bytes of the command line that are no UTF-8 arrive as halves of surrogate pairs; no report could hold them.
        raise ConfigError(name, f"{flag(name)} holds bytes that are no UTF-8 text", "Write it, or name the file, in UTF-8") from error
    if limits["kind"] == "prompt":
        return
    if "\0" in value:
        raise ConfigError(name, f"{flag(name)} holds a NUL character", "Remove it")
    longest = max(map(len, encoded.split(b"/")))
    if longest > LONGEST_NAME_BYTES or len(encoded) > LONGEST_PATH_BYTES:
        raise ConfigError(
            name,
            f"{flag(name)} has {len(encoded)} bytes, {longest} of them in one name",
            f"Give at most {LONGEST_PATH_BYTES} bytes, and at most {LONGEST_NAME_BYTES} for each name in a path",
        )
    if not value.strip() and limits["choices"] is None:
        raise ConfigError(name, f"{flag(name)} is empty", f"Give {limits['help']}")
