"""Data sets of the hub as text: streamed from a hub on this machine; offline out of what was downloaded before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lep_core.config import AddCorpusConfig
from lep_core.corpus.load import read_documents
from lep_core.errors import CorpusError
from lep_core.pipeline import add_corpus
from tests.corpus.hub import COMMIT, FILES, NAME, hub

ROOT = Path(__file__).resolve().parents[2]
READ = """
import json, sys
from lep_core.corpus.load import read_documents
from lep_core.errors import LepError
for name in sys.argv[1:]:
    try:
        print(json.dumps([document.text for document in read_documents([name])]))
    except LepError as error:
        print(json.dumps(str(error)))
"""


def test_a_data_set_is_streamed_split_by_split_and_a_wrong_name_is_one_sentence(tmp_path: Path) -> None:
    names = (f"hf://{NAME}", f"hf://{NAME}?split=test", f"hf://{NAME}?split=nowhere", "hf://acme/nothing")
    with hub() as address:
        # A process of its own: the hub's address is read when its library is loaded.
        given = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
        given |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", READ, *names], env=given, capture_output=True, text=True, timeout=300, check=True)
    train, test, no_split, no_name = (json.loads(line) for line in done.stdout.splitlines())
    assert train == [json.loads(line)["text"] for line in FILES["data/train.jsonl"].splitlines()]
    assert test == ["line of the test"]
    assert "Available splits: ['train', 'test']" in no_split
    assert no_name.startswith("hf://acme/nothing cannot be read")
    assert not list(tmp_path.rglob("*.jsonl")), "it was streamed, not kept"


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `hf download acme/words --repo-type dataset` leaves on a machine that is offline from then on."""
    repository = tmp_path / "hub" / f"datasets--{NAME.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for name, content in FILES.items():
        path = repository / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_offline_a_data_set_that_was_downloaded_becomes_a_corpus(downloaded: None, tmp_path: Path) -> None:
    report = add_corpus(AddCorpusConfig(input=(f"hf://{NAME}",), output=str(tmp_path / "corpus"))).to_json()
    assert report["documents"] == 50
    assert [document.text for document in read_documents([f"hf://{NAME}?split=test"])] == ["line of the test"]


def test_offline_one_that_was_not_is_refused_with_the_command_that_downloads_it(downloaded: None) -> None:
    with pytest.raises(CorpusError) as refused:
        list(read_documents(["hf://acme/nothing"]))
    assert "offline" in refused.value.message
    assert "hf download acme/nothing --repo-type dataset" in refused.value.hint
