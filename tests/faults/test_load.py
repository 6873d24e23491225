"""Many at once: every answer is right, training keeps its pace, the server does not grow, nothing handed in is lost.

Full numbers: `make test-faults`, or this file with `-m faults -s`. LEP_LOAD_MINUTES (30) is how long ten browsers stay, LEP_LOAD_PAIRS (8)
how many windows with load are compared with their neighbours without. Timings are held where the machine is quiet; LEP_LOAD_BUSY=1 only
prints them.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from lep_core.runs.run import Run
from lep_core.runs.workspace import Workspace
from tests.faults.client import Client, at_once, figures, percentile
from tests.jobs.conftest import until

MINUTES = float(os.environ.get("LEP_LOAD_MINUTES", "30"))
PAIRS = int(os.environ.get("LEP_LOAD_PAIRS", "8"))
IS_QUIET = os.environ.get("LEP_LOAD_BUSY", "") != "1"
# As often as a page asks what is new.
PAGE_SECONDS = 1.5
WINDOW_SECONDS = 6.0
PROJECT = "demo"


@pytest.fixture(scope="module")
def project(served):
    return Workspace(served.workspace, create=False).project(PROJECT)


@pytest.fixture
def training(served, project):
    """A training on one CPU thread that goes on until the test ends it."""
    values = {
        "model": project.base,
        "input": project.settings["text_files"][:1],
        "steps": 1_000_000,
        "batch_size": 4,
        "block_size": 64,
        "device": "cpu",
        "threads": 1,
    }
    run = project.create_run("train", {**values, "checkpoint_every": 1_000_000, "evaluate_every": 1_000_000, "learning_rate": 1e-4})
    until(lambda: len(run.metrics()) > 5 or run.status().ended, 120)
    assert run.status().state == "running", run.log_tail()
    yield run
    run.request_stop()
    until(lambda: run.status().ended, 60)


def test_ten_clients_get_their_own_answers(served, project):
    ask_status(served, project, clients=10, calls=4)


@pytest.mark.faults
def test_fifty_clients_get_their_own_answers_beside_a_training(served, project, training):
    seconds = ask_status(served, project, clients=50, calls=20)
    print(f"\n50 clients x 20 status calls beside a training, as fast as they can: {figures(seconds)}")
    assert training.status().state == "running"
    if IS_QUIET:
        assert percentile(seconds, 0.95) <= 1.0
        assert max(seconds) <= 5.0


def ask_status(served, project, *, clients, calls):
    """Seconds of each call; every client asks for a run of its own and must get that one."""
    runs = [project.create_run("measure-fertility", {"tokenizer": ["t"], "input": [f"x{n}"]}, prepared=True) for n in range(clients)]
    everybody = [Client(served.port) for _ in runs]

    def ask(client, run):
        for _ in range(calls):
            found = client.call("run_status", PROJECT, run.id)
            assert found["id"] == run.id
            assert found["state"] == "queued"

    at_once([lambda client=client, run=run: ask(client, run) for client, run in zip(everybody, runs, strict=True)])
    seconds = [value for client in everybody for value in client.seconds]
    assert len(seconds) == clients * calls
    return seconds


@pytest.mark.faults
def test_training_keeps_its_pace_beside_fifty_clients(served, project, training):
    """Each client asks as often as a page does. Windows with load are compared with their neighbours without, so that drift cancels."""
    quiet, loaded = [], []
    quiet.append(pace(training, lambda: time.sleep(WINDOW_SECONDS)))
    for _ in range(PAIRS):
        loaded.append(pace(training, lambda: ask_like_pages(served, training, clients=50)))
        quiet.append(pace(training, lambda: time.sleep(WINDOW_SECONDS)))
    slower = {
        name: statistics.median(
            (before[place] + after[place]) / 2 / during[place] - 1 for before, during, after in zip(quiet, loaded, quiet[1:], strict=False)
        )
        for place, name in enumerate(("clock", "processor"))
    }
    print(
        f"\ntraining beside 50 clients: {statistics.median(one[0] for one in quiet):.2f} steps/s alone, "
        f"{statistics.median(one[0] for one in loaded):.2f} with them; slower by {slower['clock']:.1%} of the clock, "
        f"{slower['processor']:.1%} of its processor time"
    )
    if IS_QUIET:
        assert slower["clock"] <= 0.05


def pace(run, wait):
    """Steps per second of the clock and of the process's own processor time, while `wait` runs."""
    pid = run.launch()["pid"]
    before = run.metrics()[-1]["step"], time.monotonic(), processor_seconds(pid)
    wait()
    after = run.metrics()[-1]["step"], time.monotonic(), processor_seconds(pid)
    steps = after[0] - before[0]
    assert steps > 0, run.log_tail()
    return steps / (after[1] - before[1]), steps / (after[2] - before[2])


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask_like_pages(served, run, *, clients):
    end = time.monotonic() + WINDOW_SECONDS

    def ask(client, delay):
        time.sleep(delay)
        while time.monotonic() < end:
            began = time.monotonic()
            assert client.call("run_status", PROJECT, run.id)["id"] == run.id
            time.sleep(max(0.0, PAGE_SECONDS - (time.monotonic() - began)))

    everybody = [(Client(served.port), number * PAGE_SECONDS / clients) for number in range(clients)]
    at_once([lambda client=client, delay=delay: ask(client, delay) for client, delay in everybody])


@pytest.mark.faults
def test_ten_browsers_stay_and_the_server_does_not_grow(served, project, training, chromium):
    from playwright.sync_api import expect

    opened, changed = [], []

    def visit(page):
        began = time.monotonic()
        page.goto(served.address)
        expect(page.locator("#project-select input")).to_have_value("Demo", timeout=60_000)
        opened.append(time.monotonic() - began)

    def turn(page, number):
        began = time.monotonic()
        page.locator("#steps [role=tab]").nth(number).click()
        expect(page.locator("#steps [role=tab]").nth(number)).to_have_attribute("aria-selected", "true", timeout=60_000)
        changed.append(time.monotonic() - began)

    contexts = [chromium.new_context(viewport={"width": 1280, "height": 800}) for _ in range(10)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.set_default_timeout(60_000)
        visit(page)
    for page in pages:
        visit(page)
    # All of what is built on demand is there by now.
    sizes = [resident_mib(served.process.pid)]
    end, turns = time.monotonic() + 60 * MINUTES, 0
    while time.monotonic() < end or turns < 2:
        turns += 1
        for number, page in enumerate(pages):
            # One in ten loads the page anew, the others turn to another tab.
            if (turns + number) % 10 == 0:
                visit(page)
            else:
                turn(page, (turns + number) % 7)
            time.sleep(min(0.5, 6 * MINUTES))
        sizes.append(resident_mib(served.process.pid))
    for context in contexts:
        context.close()
    print(
        f"\nten browsers for {MINUTES:g} minutes beside a training: page {figures(opened)} ({len(opened)} loads), "
        f"tab {figures(changed)} ({len(changed)}), memory of the server {sizes[0]:.0f} -> {sizes[-1]:.0f} MiB (most {max(sizes):.0f})"
    )
    assert training.status().state == "running"
    assert sizes[-1] - sizes[0] <= 150
    if IS_QUIET:
        assert percentile(opened + changed, 0.95) <= 5.0


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:", 1)[1].split(None, 1)[0]) / 1024


def test_jobs_handed_in_at_once_are_each_there_once(served, project):
    hand_in(served, project, jobs=3, at_a_time=3)


@pytest.mark.faults
def test_two_hundred_jobs_fifty_at_a_time_each_run_once(served, project):
    began = time.monotonic()
    hand_in(served, project, jobs=200, at_a_time=50)
    print(
        f"\n200 jobs handed in 50 at a time, 40 of them stopped and resumed by four at once: each ran once, {time.monotonic() - began:.0f} s"
    )


def hand_in(served, project, *, jobs, at_a_time):
    """Every answer names a run of its own; every fifth is stopped and resumed four times at once: one does it, the others are told."""
    text = project.path / "files" / "a-few-words.txt"
    text.write_text("The old house stands by the river.\n" * 4, encoding="utf-8")
    settings = {"tokenizer": [project.base], "input": [str(text)]}
    ids = []
    for first in range(0, jobs, at_a_time):
        batch = min(at_a_time, jobs - first)
        ids += [
            one["id"]
            for one in at_once([lambda: Client(served.port).call("start_run", PROJECT, "measure-fertility", settings, [], False)] * batch)
        ]
    assert len(set(ids)) == jobs
    runs = [project.run(one) for one in ids]
    repeated = runs[-1 : -jobs // 5 - 1 : -1]
    resumed = []
    for run in repeated:
        told = at_once([lambda run=run: outcome(served, "stop_run", run)] * 4)
        assert any(told) or run.status().state == "succeeded"  # it may be done before anybody can stop it
        if run.status().state == "stopped":
            # Only the one that came first may put it into the queue again.
            assert sum(at_once([lambda run=run: outcome(served, "resume_run", run)] * 4)) == 1
            resumed.append(run)
    until(lambda: all(run.status().ended for run in runs), 60 + 5 * jobs)
    states = [run.status().state for run in runs]
    assert set(states) <= {"succeeded", "stopped"}, [run.log_tail() for run in runs if run.status().state == "failed"][:1]
    assert states.count("succeeded") >= jobs - len(repeated) + len(resumed)
    for run in runs:
        if run.status().state == "succeeded":
            began = run.log_tail(500).count("measuring") or 1
            assert began <= 1 + run.attempts, run.log_tail()
            assert run.report()


def outcome(served, endpoint, run):
    """True when the app did it, False when it refused with a sentence."""
    try:
        Client(served.port).call(endpoint, PROJECT, run.id, *([False] if endpoint == "stop_run" else []))
    except RuntimeError:
        return False
    return True


@pytest.mark.faults
def test_closing_every_browser_changes_nothing_and_reopening_shows_the_state(served, training, chromium):
    from playwright.sync_api import expect

    contexts = [chromium.new_context() for _ in range(3)]
    for context in contexts:
        page = context.new_page()
        page.goto(served.address)
        expect(page.locator("#job-status")).to_contain_text("running", timeout=60_000)
    pid, step = training.launch()["pid"], training.metrics()[-1]["step"]
    for context in contexts:
        context.close()
    until(lambda: training.metrics()[-1]["step"] > step + 20, 60)
    assert Run(training.path).status().state == "running"
    assert training.launch()["pid"] == pid
    context = chromium.new_context()
    began = time.monotonic()
    page = context.new_page()
    page.goto(served.address)
    expect(page.locator("#job-status")).to_contain_text("running", timeout=60_000)
    seconds = time.monotonic() - began
    context.close()
    print(f"\na page opened again shows the running training after {seconds:.1f} s")
    if IS_QUIET:
        assert seconds <= 5.0


@pytest.mark.faults
def test_a_training_stops_within_five_seconds_and_keeps_a_checkpoint(served, project, training):
    began = time.monotonic()
    assert Client(served.port).call("stop_run", PROJECT, training.id, False)["id"] == training.id
    until(lambda: training.status().ended, 60)
    seconds = time.monotonic() - began
    print(f"\na training stopped {seconds:.1f} s after it was asked to")
    assert training.status().state == "stopped"
    assert list(training.checkpoints.glob("*/manifest.json")), list(training.checkpoints.rglob("*"))
    if IS_QUIET:
        assert seconds <= 5.0
