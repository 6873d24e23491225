"""Errors reach the person as what happened and what to do; nothing that a handler raises stops the server."""

import gradio as gr
import pytest

from lep_core.errors import ConfigError, CorpusError
from ui.i18n import Translator
from ui.messages import action, escape, explain, note_area, view


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "[a](http://x.y)", "![i](http://x.y/z.png)", "**b** _i_ `c` ~~s~~ | $x$", "# h", 'a"b']
)
def test_escaped_text_holds_no_markup(text):
    shown = escape(text)
    assert not set("<>[]()*`_|$!~\"'") & set(shown)
    assert "http:" not in shown


def test_a_config_error_names_the_label_of_its_field():
    error = ConfigError("learning_rate", "--learning-rate is 0", "Give a value of at least 1e-08")
    assert "**Learning rate**" in explain(error, Translator("en"))
    assert "**Скорость обучения**" in explain(error, Translator("ru"))


class Panic(BaseException):
    """Like the panic of a native library."""


@pytest.mark.parametrize(
    "error", [CorpusError("the file is empty", "Give another"), ValueError("a bug"), SystemExit(3), KeyboardInterrupt(), Panic("rust")]
)
def test_whatever_a_handler_raises_becomes_a_note(error):
    def work(value):
        raise error

    handler, note = _handler(action, work)
    changes = handler("x")
    assert changes[note]["visible"] is True
    assert changes[note]["value"].startswith("⚠")


def test_a_note_goes_away_after_success():
    handler, note = _handler(action, lambda value: {})
    assert handler("x")[note]["visible"] is False


def test_a_view_that_fails_leaves_the_page_as_it_is(monkeypatch):
    warned = []
    monkeypatch.setattr(gr, "Warning", warned.append)

    def work(value):
        raise ValueError("a bug")

    handler, _ = _handler(view, work)
    assert list(handler("x").values()) == [gr.skip()]
    assert warned


def _handler(connect, work):
    with gr.Blocks() as page:
        box, note, button = gr.Textbox(), note_area("n"), gr.Button()
        options = {"inputs": [box], "outputs": [box], "t": Translator("en")}
        if connect is action:
            options["note"] = note
        connect(button.click, work, **options)
    (function,) = page.fns.values()
    assert function.api_visibility == "private"
    return function.fn, note
