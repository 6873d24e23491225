"""Errors and notes as people should read them: what happened, and what to do.

Every event handler of the interface goes through `action` (buttons) or `view` (things that only show). A `LepError` becomes a
note beside the button, naming the field where there is one; anything else is a bug: its traceback goes to the log and the
page says so. `BaseException` is caught on purpose: a panic of a native library or a SystemExit inside a handler must not
stop the server.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from lep_core.config import flag
from lep_core.errors import ConfigError, LepError
from ui.error_words import in_language
from ui.i18n import Translator

logger = logging.getLogger("lep.ui")

LIGHT_HANDLERS = 16
"""How many light handlers of one kind may run at once (Gradio's default of 1 makes ten browsers wait for each other)."""

Changes = Mapping[Any, Any]

_ESCAPES = {ord(sign): f"&#{ord(sign)};" for sign in "&<>\"'\\`*_{}[]()#+!|~$:"} | {ord("\n"): "<br>"}


def escape(text: object) -> str:
    """Text that Markdown shows as it is: no markup, no links, no images."""
    return str(text).translate(_ESCAPES)


def explain(error: LepError, t: Translator) -> str:
    """A Markdown note: what happened and what to do, with the label of the field that is meant."""
    where, message = "", in_language(error.message, t)
    if isinstance(error, ConfigError):
        # The label names the field here, as the flag does on the command line.
        message = re.sub(rf"^{re.escape(flag(error.field))}(:| )\s*", "", message)
        try:
            where = f"**{t.field_label(error.field)}** – "
        except KeyError:
            where = f"**{escape(error.field)}** – "
    hint = core_words(error.hint, t)
    return f"⚠ {where}{escape(_with_labels(message, t))}.  \n{t('error.what_to_do')} {escape(hint)}."


def core_words(text: str, t: Translator) -> str:
    """A sentence of the core for a page: in its language, and `--block-size` becomes the label of that field."""
    return _with_labels(in_language(text, t), t)


def _with_labels(text: str, t: Translator) -> str:
    def label(match: re.Match[str]) -> str:
        try:
            return t("quoted", text=t.field_label(match.group(1).replace("-", "_")))
        except KeyError:
            return match.group(0)

    return re.sub(r"--([a-z][a-z-]*[a-z])", label, text)


def both(error: LepError, t: Translator) -> str:
    """What happened and what to do in one line of plain text."""
    return f"{core_words(error.message, t)}. {core_words(error.hint, t)}."


def unexpected(error: BaseException, t: Translator) -> str:
    """A Markdown note for a bug; the traceback is in the log."""
    logger.error("a handler of the user interface failed", exc_info=error)
    return f"⚠ {t('error.unexpected', kind=type(error).__name__)}"


def action(
    trigger: Callable[..., Any],
    work: Callable[..., Changes | None],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    note: gr.Markdown,
    t: Translator,
    **options: Any,
) -> Any:
    """Connect a button with `work`, which returns {component: update}; errors land in `note`.

    Returns:
        Gradio's dependency, so that `.then` can follow.
    """

    def handler(*values: Any) -> Changes:
        try:
            changes = work(*values) or {}
            return {note: gr.update(value="", visible=False), **changes}
        except LepError as error:
            return {note: gr.update(value=explain(error, t), visible=True)}
        except BaseException as error:  # noqa: BLE001 - the boundary of the interface, see the module docstring
            return {note: gr.update(value=unexpected(error, t), visible=True)}

    # Gradio tells the state of an event to each component that was ever named here, at the beginning and the end of every other event.
    shared = {"show_progress": "minimal", "show_progress_on": [note], "concurrency_limit": LIGHT_HANDLERS, "api_visibility": "private"}
    return trigger(handler, inputs=list(inputs), outputs=_unique([note, *outputs]), **{**shared, **options})


def view(
    trigger: Callable[..., Any],
    work: Callable[..., Changes | None],
    *,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    t: Translator,
    **options: Any,
) -> Any:
    """Connect an event with `work` that only shows something: light, outside the queue, errors as a toast."""

    def handler(*values: Any) -> Changes:
        try:
            return work(*values) or {outputs[0]: gr.skip()}
        except LepError as error:
            gr.Warning(both(error, t))
        except BaseException as error:  # noqa: BLE001 - the boundary of the interface, see the module docstring
            gr.Warning(unexpected(error, t))
        return {outputs[0]: gr.skip()}

    shared = {"show_progress": "hidden", "show_progress_on": [], "queue": False, "api_visibility": "private"}
    return trigger(handler, inputs=list(inputs), outputs=_unique(outputs), **{**shared, **options})


def note_area(elem_id: str) -> gr.Markdown:
    """Where `action` shows its errors: beside the button, empty at first."""
    return gr.Markdown("", visible=False, elem_id=elem_id, elem_classes=["note"])


def _unique(components: Sequence[Any]) -> list[Any]:
    seen: dict[int, Any] = {}
    for component in components:
        seen.setdefault(id(component), component)
    return list(seen.values())
