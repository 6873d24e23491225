"""Documents say what the code does."""

import re
import runpy
from pathlib import Path

import pytest

from lep_core import config as configs
from lep_core.pipeline import VERBS

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


def test_commands_in_the_readme_parse():
    """Every `lep` command of the README names an existing verb and existing flags."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^\s*(?:lep|python -m lep_core) ([a-z-]+)(.*)$", text, flags=re.MULTILINE)
    assert commands
    for verb, rest in commands:
        if verb in {"execute", "resume", "stop", "runs"}:
            continue
        known = {field.replace("_", "-") for field in VERBS[verb].config.__dataclass_fields__} | {"json", "config"}
        assert set(re.findall(r"--([a-z-]+)", rest)) <= known, verb


def test_every_verb_has_a_config_and_a_summary():
    assert all(issubclass(verb.config, configs.Config) and verb.summary for verb in VERBS.values())
