"""What a page looks at in foreign files may loop, fill the memory or crash: it ends in one sentence, and the next question is answered."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lep_core.errors import LepError, ModelError, TokenizerError
from tests.factories import tiny_model, tiny_tokenizer
from ui.apart import Child, inspected, token_spans

TEXT = "she reads a long letter from her brother"


@pytest.fixture(scope="module")
def child():
    made = Child(memory=2**29)
    yield made
    made.close()


@pytest.fixture
def good(tmp_path):
    return str(tiny_tokenizer(tmp_path / "good", vocab_size=300))


def test_what_takes_too_long_costs_its_limit_and_the_next_question_is_answered(child, good):
    child.ask("spans", good, TEXT, about=good)
    with pytest.raises(TokenizerError, match=r"it cannot be looked at.* 0\.1 seconds"):
        child.ask("spans", good, TEXT * 50_000, about="it", seconds=0.1, kind=TokenizerError)
    assert "".join(piece for piece, _ in child.ask("spans", good, TEXT, about=good)) == TEXT


def test_a_file_that_fills_the_memory_is_a_sentence(child, good, tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": [' + "{}," * 20_000_000 + "{}]}}", encoding="utf-8")
    with pytest.raises(LepError) as caught:
        child.ask("spans", str(tmp_path), TEXT, about="it", kind=TokenizerError)
    assert "memory" in str(caught.value) or "GiB" in str(caught.value)
    assert child.ask("spans", good, "a", about=good)


def test_errors_keep_their_kind_and_words(child, tmp_path):
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        child.ask("spans", str(tmp_path), TEXT, about="it")
    with pytest.raises(ModelError, match=r"no config\.json"):
        inspected(tmp_path)


def test_an_inspected_folder_is_the_one_that_the_app_would_read(tmp_path):
    folder = tiny_model(tmp_path, name="base")
    assert inspected(folder).vocab_size == 400
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        inspected(folder)


def test_many_threads_get_their_own_answers(good):
    found = {}

    def ask(text):
        found[text] = "".join(piece for piece, _ in token_spans(good, text))

    threads = [threading.Thread(target=ask, args=(f"text number {number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(text == spelled for text, spelled in found.items())
    assert len(found) == 12


def test_the_child_holds_no_token_and_goes_with_the_app(good, tmp_path):
    code = f"""
import os, sys
from ui.apart import CHILD, token_spans
token_spans({good!r}, "a")
print(CHILD._process.pid, flush=True)
sys.stdin.read()
"""
    root = Path(__file__).resolve().parents[2]
    environment = {"HF_TOKEN": "hf_planted", "PYTHONPATH": str(root), "PATH": "/usr/bin"}
    app = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    pid = int(app.stdout.readline())
    assert b"hf_planted" not in Path(f"/proc/{pid}/environ").read_bytes()
    app.kill()
    app.communicate()
    until = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[-1][:3]:
        assert time.monotonic() < until
        time.sleep(0.05)
