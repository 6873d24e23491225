"""The code that people copy: the transformers part really runs, the others name the right file and route."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lep_core.export.snippets import folder_snippets, gguf_snippets, modelfile
from lep_core.models import inspect_model
from tests.factories import edit_json

Tiny = Callable[..., Path]


@pytest.mark.parametrize("chat", [True, False])
def test_the_transformers_snippet_runs(chat: bool, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny(name='with "quotes" and \\ slashes', chat=chat)
    snippet = folder_snippets(str(model), chat=chat)[0]
    assert snippet.language == "python"
    exec(compile(snippet.code.replace("max_new_tokens=64", "max_new_tokens=3"), "snippet", "exec"), {})
    assert capsys.readouterr().out.endswith("\n")


def test_shell_lines_survive_spaces_and_quotes() -> None:
    place = "/models/it's here/my model"
    for snippet in [*folder_snippets(place, chat=True)[1:], *gguf_snippets(f"{place}/m-Q8_0.gguf", name="my-model", chat=True)]:
        words = [word for line in snippet.code.replace("\\\n", " ").splitlines() if line for word in shlex.split(line, comments=True)]
        assert snippet.program == "Ollama" or any(word.startswith(place) for word in words)


def test_chat_models_are_asked_through_their_template_and_base_models_are_not() -> None:
    assert "/v1/chat/completions" in folder_snippets("m", chat=True)[1].code
    assert "/v1/completions" in folder_snippets("m", chat=False)[1].code
    assert "--jinja" in gguf_snippets("m.gguf", name="m", chat=True)[0].code
    assert "-no-cnv" in gguf_snippets("m.gguf", name="m", chat=False)[0].code


def test_the_modelfile_carries_sampling_and_every_end(tiny: Tiny) -> None:
    model = tiny(chat=True)
    edit_json(model / "generation_config.json", repetition_penalty=1.1)
    lines = modelfile("m.gguf", inspect_model(model)).splitlines()
    assert lines[0] == "FROM ./m.gguf"
    assert {"PARAMETER temperature 0.6", "PARAMETER top_p 0.9", "PARAMETER repeat_penalty 1.1"} <= set(lines)
    assert lines[-2:] == ['PARAMETER stop "<|end|>"', 'PARAMETER stop "</s>"']
