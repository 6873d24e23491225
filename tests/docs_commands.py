"""The `lep` commands that the documentation shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_COMMAND = re.compile(r"^ *(?:\$ )?(?:lep|python -m lep_core) ([a-z-]+(?: .*)?)$", re.MULTILINE)
_SHELL = (">", "|", "&&", ";")


def commands_of(page: Path) -> list[tuple[str, list[str]]]:
    """(name of the page, words after `lep`) of each line that is a command; what the shell does with its output is left out."""
    found = []
    for line in _COMMAND.findall(page.read_text(encoding="utf-8").replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        end = next((number for number, word in enumerate(words) if word in _SHELL), len(words))
        found.append((page.name, words[:end]))
    return found
