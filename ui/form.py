"""Forms made from the config dataclasses: one input per field, with its explanation, unit and default.

The config is the only place where a setting is described (`lep_core.config`); the form adds nothing but a label. Advanced
fields are folded away. Values are checked by the config itself when a run is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from lep_core.config import Config, base_type, field_type, is_optional, is_repeatable
from lep_core.errors import ConfigError
from ui.i18n import Translator

HIDDEN = ("output", "overwrite", "checkpoints", "resume")
"""Fields that a run directory decides itself."""


class Form:
    """The inputs of one config class, in the order of its fields.

    Build it inside a Gradio layout: plain fields first, advanced ones in an accordion. Fields named in `leave_out` get no input.
    """

    def __init__(
        self,
        config_class: type[Config],
        t: Translator,
        *,
        prefix: str,
        leave_out: Sequence[str] = (),
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.config_class = config_class
        self.t = t
        self.prefix = prefix
        self.components: dict[str, Any] = {}
        given = values or {}
        items = [item for item in dataclasses.fields(config_class) if item.name not in (*HIDDEN, *leave_out)]
        plain = [item for item in items if not item.metadata["advanced"]]
        folded = [item for item in items if item.metadata["advanced"]]
        self._rows(plain, given)
        if folded:
            with gr.Accordion(t("form.advanced"), open=False, elem_id=f"{prefix}-advanced"):
                self._rows(folded, given)

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
                result[name] = [value] if isinstance(value, str) and value else list(value or [])
            elif value is None or (isinstance(value, str) and not value.strip()):
                default = self.config_class.__dataclass_fields__[name].default
                result[name] = "" if default is dataclasses.MISSING else default
            elif isinstance(value, str) and base_type(hint) in (int, float):
                result[name] = self._number(name, value)
            else:
                result[name] = value
        return result

    def _number(self, name: str, text: str) -> float:
        try:
            return float(text.replace(" ", "").replace("\u202f", "").replace(",", "."))
        except ValueError:
            raise ConfigError(name, self.t("error.not_a_number", text=text), self.t("error.give_number")) from None

    def _rows(self, items: Sequence[dataclasses.Field[Any]], given: Mapping[str, Any]) -> None:
        wide = [item for item in items if _is_wide(item, self.config_class)]
        narrow = [item for item in items if not _is_wide(item, self.config_class)]
        for item in wide:
            self.components[item.name] = self._component(item, given)
        for start in range(0, len(narrow), 3):
            with gr.Row():
                for item in narrow[start : start + 3]:
                    self.components[item.name] = self._component(item, given)
        order = [item.name for item in dataclasses.fields(self.config_class)]
        self.components = dict(sorted(self.components.items(), key=lambda pair: order.index(pair[0])))

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
            return gr.Dropdown(choices=choices, value=list(value or ()) if many else value, multiselect=many, **shared)
        kind = base_type(hint)
        if kind is bool:
            return gr.Checkbox(value=bool(value), **shared)
        if kind in (int, float) and is_optional(hint):
            # Gradio shows an empty number as 0; a text input can be really empty.
            return gr.Textbox(value="" if value is None else str(value), max_lines=1, placeholder=self.t("form.empty"), **shared)
        if kind in (int, float):
            whole = 0 if kind is int else None
            return gr.Number(value=value, precision=whole, min_width=140, **shared)
        if is_repeatable(hint):
            return gr.Dropdown(choices=[], value=list(value or ()), multiselect=True, allow_custom_value=True, **shared)
        if limits["kind"] in ("model", "tokenizer"):
            return gr.Dropdown(choices=[], value=value, allow_custom_value=True, **shared)
        return gr.Textbox(value=value or "", lines=2 if limits["kind"] == "prompt" else 1, **shared)


def _is_wide(item: dataclasses.Field[Any], config_class: type[Config]) -> bool:
    return item.metadata["kind"] in ("model", "tokenizer", "text", "items", "prompt") or (
        bool(item.metadata["choices"]) and is_repeatable(field_type(config_class, item.name))
    )
