"""Documents say what the code does."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest

from lep_core import cli
from lep_core import config as configs
from lep_core.pipeline import VERBS
from tests.docs_commands import commands_of
from tests.messages_in_code import texts_in
from ui.i18n import TEXTS
from ui.texts import fields

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])


def test_the_command_line_reference_is_up_to_date():
    reference = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "run python docs/make_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_commands_in_pages_are_understood():
    """Every `lep` command of every page is taken by the real parser, and its values by the config."""
    found = [command for page in PAGES for command in commands_of(page)]
    assert len(found) > 30
    for page, words in found:
        name, options = words[0], words[1:]
        if name in cli.COMMANDS:
            known = usage_of(name)
            assert {word.partition("=")[0] for word in options if word.startswith("--")} <= known, (page, words)
            continue
        given = vars(cli.verb_parser(name).parse_args(options))
        common = {key: given.pop(key) for key in ("config", "json", "prepare_only", "slurm", "nodes", "workspace", "project")}
        if "output" in VERBS[name].config.__dataclass_fields__ and (common["prepare_only"] or common["slurm"]):
            given.setdefault("output", "in the run directory")
        if common["config"] is None:
            VERBS[name].config.from_mapping(given)


def usage_of(command: str) -> set[str]:
    """The flags that a command on run directories shows in its help."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
        cli.COMMANDS[command][0](["--help"])
    return set(re.findall(r"--[a-z-]+", shown.getvalue()))


def test_every_verb_has_a_config_and_a_summary():
    assert all(issubclass(verb.config, configs.Config) and verb.summary for verb in VERBS.values())


def test_messages_in_the_troubleshooting_page_are_those_of_the_program():
    texts = "\n".join([*texts_in(ROOT / "lep_core"), *texts_in(ROOT / "ui")])
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]*`) \|", page, flags=re.MULTILINE)
    messages = [message.strip() for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 30
    assert [message for message in messages if message not in texts] == []


@pytest.mark.parametrize("name", ["tutorial.md", "how-to.md", "troubleshooting.md"])
def test_words_in_bold_are_on_the_page(name):
    """The guides name buttons and fields as the English page does."""
    known = {english for english, _ in TEXTS.values()} | {english for english, _ in fields.LABELS.values()}
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    # At the beginning of a paragraph or list item a bold phrase is a heading, and no label.
    bold = [found for found in re.finditer(r"\*\*([^*]+)\*\*", page) if page[: found.start()].rpartition("\n")[2].strip() not in ("", "-")]
    assert [found.group(1) for found in bold if found.group(1) not in known] == []
