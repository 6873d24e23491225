"""The main job in a real browser: corpus, fertility, tokenizer, training, propagation, chat, benchmark, export, with defaults.

Clicks are counted; nothing may be asked from outside and the console must stay free of errors. LEP_SCREENSHOTS=1 writes the pictures
of the README into assets/screenshots.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from lep_core.demo.corpora import write_corpora
from tests.e2e.conftest import ROOT, App, new_page, start_app
from tests.e2e.outline import Outline, differences, outline, write_outlines

JOB_SECONDS = 900
MOST_CLICKS = 15
SCREENSHOTS = ROOT / "assets" / "screenshots"
OUTLINES: dict[str, Outline] = {}
STEPS = "20" if os.environ.get("LEP_SCREENSHOTS") != "1" else None


class Person:
    """Clicks, counts the clicks, waits for jobs and takes pictures."""

    def __init__(self, page, app: App, pictures: Path) -> None:
        self.page, self.app, self.pictures, self.clicks = page, app, pictures, 0
        pictures.mkdir(parents=True, exist_ok=True)

    def click(self, element: str) -> None:
        self.clicks += 1
        self.page.locator(f"#{element}").click()

    def upload(self, element: str, path: Path) -> None:
        self.page.locator(f"#{element} input[type=file]").set_input_files(path)
        shows(self.page, element, re.escape(path.stem))

    def picture(self, name: str) -> None:
        self.page.wait_for_timeout(700)
        OUTLINES[name] = outline(self.page)
        self.page.screenshot(path=self.pictures / f"{name}.png")

    def wait_for(self, verb: str, count: int = 1) -> list[Path]:
        """Folders of at least `count` succeeded runs of a verb, once no job is left."""
        until = time.monotonic() + JOB_SECONDS
        states: dict[str, str] = {}
        while time.monotonic() < until:
            states = self.states()
            assert "failed" not in states.values(), self.failures()
            done = [run for run, state in states.items() if run.startswith(f"{verb}-2") and state == "succeeded"]
            if len(done) >= count and all(state == "succeeded" for state in states.values()):
                self.page.wait_for_timeout(2500)
                return [self.runs / run for run in sorted(done)]
            time.sleep(0.5)
        raise AssertionError(f"{verb} did not end within {JOB_SECONDS} s: {states}")

    @property
    def runs(self) -> Path:
        return self.app.workspace / "demo" / "runs"

    def states(self) -> dict[str, str]:
        from lep_core.runs.run import Run

        return {path.name: Run(path).status().state for path in sorted(self.runs.iterdir()) if (path / "run.json").is_file()}

    def failures(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.runs.glob("*/log.txt"))


@pytest.fixture(scope="module")
def person(app, chromium, tmp_path_factory):
    wanted = os.environ.get("LEP_SCREENSHOTS") == "1"
    pictures = SCREENSHOTS if wanted else tmp_path_factory.mktemp("screenshots")
    return Person(new_page(chromium, app), app, pictures)


def test_the_demo_project_is_ready(person):
    assert person.page.locator("#project-select input").input_value() == "Demo"
    person.page.wait_for_selector("#project-diagnosis table")
    person.picture("1-project")


def test_an_uploaded_text_becomes_a_corpus(person, tmp_path):
    text = write_corpora(tmp_path).russian_corpus.rename(tmp_path / "my-text.txt")
    person.click("next-project")
    person.upload("corpus-upload", text)
    person.click("corpus-add")
    (added,) = person.wait_for("add-corpus")
    (used,) = json.loads((added / "run.json").read_text())["config"]["input"]
    assert Path(used).read_bytes() == text.read_bytes()
    person.page.wait_for_selector("#corpus-lengths .js-plotly-plot")
    person.picture("2-corpus")


def test_a_tokenizer_is_measured_and_built(person):
    person.click("next-corpus")
    person.click("fertility-measure")
    person.click("build-start")
    person.wait_for("measure-fertility", 2)
    assert "fewer tokens" in person.page.locator("#fertility-headline").inner_text()
    person.picture("3-tokenizer")


def test_training_survives_a_reload(person, chromium, app):
    person.click("next-tokenizer")
    if STEPS:
        person.page.locator("#train-steps input, #train-steps textarea").first.fill(STEPS)
    person.click("train-start")
    shows(person.page, "job-status", "running")
    person.page.reload()
    shows(person.page, "job-status", "running|waiting|done")
    second = new_page(chromium, app)
    shows(second, "job-status", "running|waiting|done")
    second.context.close()
    (training,) = person.wait_for("train")
    report = _report(training)
    assert report["frozen_sha256_before"] == report["frozen_sha256_after"]
    person.page.locator("#steps [role=tab]").nth(3).click()
    person.page.wait_for_selector("#train-curve .js-plotly-plot")
    person.page.locator("#train-curve").scroll_into_view_if_needed()
    person.picture("4-train")


def test_all_methods_are_propagated_with_one_click(person):
    person.click("next-train")
    person.click("propagate-start")
    person.wait_for("propagate", 3)
    person.page.locator("#propagate-table").scroll_into_view_if_needed()
    person.picture("5-propagate")


def test_two_models_answer_side_by_side(person):
    person.click("next-propagate")
    # Calibration may be left out.
    person.click("next-calibrate")
    person.click("chat-send")
    for pane in (1, 2):
        shows(person.page, f"chat-facts-{pane}", "characters/s", seconds=180)
    one, two = (person.page.locator(f"#chat-facts-{pane}").inner_text().split()[0] for pane in (1, 2))
    assert one != two, "each pane proves its own model"
    person.picture("7-chat")


def test_the_benchmark_says_what_became_of_both_languages(person):
    person.click("next-chat")
    if STEPS:
        person.page.locator("#benchmark-limit input").fill("8")
    person.click("benchmark-run")
    person.wait_for("benchmark-speed")
    # The page follows the finished runs a moment later.
    for words in ("fewer tokens", "English", "Russian"):
        shows(person.page, "benchmark-verdict", words)
    person.page.locator("#benchmark-verdict").scroll_into_view_if_needed()
    person.picture("8-benchmark")
    assert person.clicks <= MOST_CLICKS, f"{person.clicks} clicks from the page to the benchmark"
    print(f"{person.clicks} clicks from the page to chat and benchmark")


def test_the_exported_folder_computes_the_same_in_plain_transformers(person):
    person.click("next-benchmark")
    person.click("export-start")
    (exported,) = person.wait_for("export")
    shows(person.page, "export-proof", "equal logits")
    person.picture("9-export")
    source = Path(json.loads((exported / "run.json").read_text())["config"]["model"])
    assert _logits(exported / "output") == _logits(source)


def test_nothing_came_from_outside_and_the_console_is_clean(person):
    assert person.app.external == []
    assert person.app.complaints == []


def test_the_page_speaks_russian_in_the_dark(person, chromium, app):
    page = new_page(chromium, app, locale="ru-RU", scheme="dark")
    assert "Проект" in page.locator("#steps").inner_text()
    shows(page, "job-status", "готово")
    Person(page, app, person.pictures).picture("russian-dark")
    page.context.close()


def test_the_pictures_of_the_documentation_show_this_page():
    if os.environ.get("LEP_SCREENSHOTS") == "1":
        write_outlines(SCREENSHOTS / "outlines.json", OUTLINES)
    assert differences(SCREENSHOTS / "outlines.json", OUTLINES) == [], (
        "take them again: LEP_SCREENSHOTS=1 pytest tests/e2e/test_main_path.py"
    )
    assert {path.stem for path in SCREENSHOTS.glob("*.png")} == set(json.loads((SCREENSHOTS / "outlines.json").read_text()))


def test_a_bad_upload_ends_in_one_sentence_and_loses_nothing(person, tmp_path):
    before = person.states()
    empty = tmp_path / "empty.txt"
    empty.write_bytes(b"")
    person.page.locator("#steps [role=tab]").nth(1).click()
    person.upload("corpus-upload", empty)
    person.page.locator("#corpus-add").click()
    shows(person.page, "job-status", "failed")
    shows(person.page, "job-error", "empty.txt")
    assert {run: state for run, state in person.states().items() if run in before} == before


def test_the_app_ends_on_request_and_finds_its_runs_again(person, chromium, app):
    before = person.states()
    assert app.stop() < 10
    assert app.process.returncode == 0
    again = start_app(app.workspace, app.log)
    try:
        page = new_page(chromium, again)
        shows(page, "job-status", "failed")
        assert person.states() == before
    finally:
        again.stop()


def shows(page, element: str, pattern: str, *, seconds: float = 60) -> None:
    """Wait until an element's text matches."""
    from playwright.sync_api import expect

    expect(page.locator(f"#{element}").first).to_contain_text(re.compile(pattern), timeout=seconds * 1000)


def _report(run: Path) -> dict:
    report = json.loads((run / "report.json").read_text())
    return report.get("report", report)


def _logits(folder: Path) -> list[float]:
    """Logits of a fixed text, computed with nothing but transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer("Повтори: волк, лиса.", return_tensors="pt").input_ids
    with torch.inference_mode():
        return model(ids).logits.flatten().tolist()
