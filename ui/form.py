"""Forms made from the config dataclasses: one input per field, with its explanation, unit and default.

The config is the only place where a setting is described (`lep_core.config`); the form adds nothing but a label. Advanced
fields are folded away. Values are checked by the config itself when a run is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import gradio as gr

from lep_core.config import Config, base_type, field_type, is_optional, is_repeatable
from lep_core.errors import ConfigError
from ui.i18n import Translator
from ui.messages import core_words, escape

HIDDEN = ("output", "overwrite", "checkpoints", "resume")
"""Fields that a run directory decides itself."""
LONGEST_NARROW_CHOICE = 32
"""Characters of a choice's label that fit into a third of the page; longer ones make the field as wide as the page."""


def multi_choice(label: str, *, elem_id: str, **options: Any) -> gr.Dropdown:
    """A dropdown of several values; paths that are not on its list may be typed in."""
    given: dict[str, Any] = {"choices": [], "multiselect": True, "allow_custom_value": True, "interactive": True, **options}
    return gr.Dropdown(label=label, elem_id=elem_id, **given)


class Form:
    """The inputs of one config class, in the order of its fields.

    Build it inside a Gradio layout: plain fields first, advanced ones in an accordion. Fields named in `leave_out` get no input; when
    `only` is given, nothing but the fields it names does. `groups` folds fields into accordions of their own (title -> names; names that
    the config lacks are passed over), all accordions in one called `folded_under` if that is given; advanced fields named in `unfold` are
    shown with the plain ones. `wide_per_row` sets that many long inputs side by side.
    """

    def __init__(
        self,
        config_class: type[Config],
        t: Translator,
        *,
        prefix: str,
        leave_out: Sequence[str] = (),
        only: Sequence[str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        unfold: Sequence[str] = (),
        folded_under: str | None = None,
        wide_per_row: int = 1,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.config_class = config_class
        self.t = t
        self.prefix = prefix
        self.components: dict[str, Any] = {}
        self.folds: dict[str, gr.Accordion] = {}
        self._wide_per_row = wide_per_row
        given = values or {}
        items = {item.name: item for item in dataclasses.fields(config_class) if item.name not in (*HIDDEN, *leave_out)}
        if only is not None:
            items = {name: item for name, item in items.items() if name in only}
        grouped = {title: [items.pop(name) for name in names if name in items] for title, names in (groups or {}).items()}
        advanced = [item for item in items.values() if item.metadata["advanced"] and item.name not in unfold]
        self._rows([item for item in items.values() if item not in advanced], given)
        grouped[t("form.advanced")] = advanced
        with gr.Accordion(folded_under, open=False, elem_id=f"{prefix}-settings") if folded_under else nullcontext() as self._outer:
            for number, (title, folded) in enumerate(grouped.items(), start=1):
                if folded:
                    name = f"{prefix}-advanced" if number == len(grouped) else f"{prefix}-group-{number}"
                    with gr.Accordion(title, open=False, elem_id=name) as fold:
                        self._rows(folded, given)
                    self.folds |= {item.name: fold for item in folded}

    @property
    def inputs(self) -> list[Any]:
        """The components, in the order that `values` expects."""
        return list(self.components.values())

    def values(self, entered: Sequence[Any]) -> dict[str, Any]:
        """Config values from what the components hold; empty inputs mean the default."""
        result: dict[str, Any] = {}
        for name, value in zip(self.components, entered, strict=True):
            hint = field_type(self.config_class, name)
            if is_repeatable(hint):
                several = [value] if isinstance(value, str) and value else list(value or [])
                numbers = base_type(hint) in (int, float)
                result[name] = [self._number(name, one) if numbers and isinstance(one, str) else one for one in several]
            elif value is None or (isinstance(value, str) and not value.strip()):
                default = self.config_class.__dataclass_fields__[name].default
                result[name] = "" if default is dataclasses.MISSING else default
            elif isinstance(value, str) and base_type(hint) in (int, float):
                result[name] = self._number(name, value)
            else:
                result[name] = value
        return result

    def with_problems(self, problems: Sequence[Mapping[str, Any]]) -> dict[Any, Any]:
        """Updates that write each problem beside the input of its `field`, open the fold it lies in, and clear all others."""
        said: dict[str, list[str]] = {}
        for problem in problems:
            sentences = (core_words(problem.get(part) or "", self.t) for part in ("message", "hint"))
            said.setdefault(str(problem.get("field")), []).append(f"**{escape('⚠ ' + '. '.join(sentences).strip())}**")
        changes: dict[Any, Any] = {}
        for name, component in self.components.items():
            usual = self.t.field_info(self.config_class, name)
            changes[component] = gr.update(info="  \n".join([*said.get(name, []), usual]))
            if name in said and name in self.folds:
                changes |= dict.fromkeys(filter(None, [self.folds[name], self._outer]), gr.update(open=True))
        return changes

    @property
    def marked(self) -> list[Any]:
        """What `with_problems` may change."""
        return [*self.inputs, *dict.fromkeys(self.folds.values()), *filter(None, [self._outer])]

    def _number(self, name: str, text: str) -> float:
        try:
            return float(text.replace(" ", "").replace("\u202f", "").replace(",", "."))
        except ValueError:
            raise ConfigError(name, self.t("error.not_a_number", text=text), self.t("error.give_number")) from None

    def _rows(self, items: Sequence[dataclasses.Field[Any]], given: Mapping[str, Any]) -> None:
        wide = [item for item in items if self._is_wide(item)]
        narrow = [item for item in items if item not in wide]
        for start in range(0, len(wide), self._wide_per_row):
            with gr.Row():
                for item in wide[start : start + self._wide_per_row]:
                    self.components[item.name] = self._component(item, given)
        for start in range(0, len(narrow), 3):
            with gr.Row():
                for item in narrow[start : start + 3]:
                    self.components[item.name] = self._component(item, given)
        order = [item.name for item in dataclasses.fields(self.config_class)]
        self.components = dict(sorted(self.components.items(), key=lambda pair: order.index(pair[0])))

    def _is_wide(self, item: dataclasses.Field[Any]) -> bool:
        choices = item.metadata["choices"] or ()
        return (
            item.metadata["kind"] in ("model", "tokenizer", "text", "items", "prompt")
            or bool(choices and is_repeatable(field_type(self.config_class, item.name)))
            or any(len(self.t.choice(choice)) > LONGEST_NARROW_CHOICE for choice in choices)
        )

    def _component(self, item: dataclasses.Field[Any], given: Mapping[str, Any]) -> Any:
        name, hint = item.name, field_type(self.config_class, item.name)
        limits = item.metadata
        default = None if item.default is dataclasses.MISSING else item.default
        value = given.get(name, default)
        shared: dict[str, Any] = {
            "label": self.t.field_label(name),
            "info": self.t.field_info(self.config_class, name),
            "elem_id": f"{self.prefix}-{name.replace('_', '-')}",
            "interactive": True,
        }
        if limits["choices"]:
            choices = [(self.t.choice(choice), choice) for choice in limits["choices"]]
            many = is_repeatable(hint)
            if many:
                return multi_choice(choices=choices, value=list(value or ()), allow_custom_value=False, **shared)
            return gr.Dropdown(choices=choices, value=value, **shared)
        kind = base_type(hint)
        if kind is bool:
            return gr.Checkbox(value=bool(value), **shared)
        if kind in (int, float) and is_optional(hint):
            # Gradio shows an empty number as 0; a text input can be really empty.
            return gr.Textbox(value="" if value is None else str(value), max_lines=1, placeholder=self.t("form.empty"), **shared)
        if kind in (int, float) and not is_repeatable(hint):
            whole = 0 if kind is int else None
            return gr.Number(value=value, precision=whole, min_width=140, **shared)
        if is_repeatable(hint):
            values = list(value or ())
            offered = [(f"{one:g}", f"{one:g}") for one in values] if kind in (int, float) else []
            return multi_choice(choices=offered, value=[chosen for _, chosen in offered] or values, **shared)
        if limits["kind"] in ("model", "tokenizer"):
            return gr.Dropdown(choices=[], value=value, allow_custom_value=True, **shared)
        return gr.Textbox(value=value or "", lines=2 if limits["kind"] == "prompt" else 1, **shared)
