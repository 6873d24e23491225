"""The notebook of the documentation runs from top to bottom; it is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "notebook.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_holds_no_outputs_and_each_cell_is_python():
    for cell in code_cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    import torch

    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in code_cells():
        # Less of everything, so that it takes seconds.
        code = "".join(cell["source"]).replace('write_corpora(folder / "texts")', 'write_corpora(folder / "texts", russian_bytes=60_000)')
        code = code.replace("steps=200", "steps=5").replace("limit=100", "limit=4").replace("new_tokens=500", "new_tokens=50")
        exec(compile(code, cell["id"], "exec"), names)
    models = {row["model"] for row in names["report"].to_json()["results"]}
    assert len(models) == 3
    assert len(names["answers"].to_json()["answers"]) == 2
