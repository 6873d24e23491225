"""Write docs/cli.md, the reference of all verbs and settings, from the config dataclasses.

python docs/make_reference.py
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lep_core.config import base_type, field_type, flag, is_repeatable
from lep_core.pipeline import VERBS, Verb

HEAD = """# Command line reference

Made from `lep_core/config/` by `python docs/make_reference.py`; `tests/test_docs.py` keeps it true.

`lep VERB` and `python -m lep_core VERB` are the same. Every verb also takes `--config FILE.json` (its settings as one JSON object;
flags win over the file) and `--json` (exactly one JSON object as the last line of stdout, everything else on stderr). Exit codes: 0
done, 2 something that you can mend (one line `error: WHAT. HINT`), 1 a bug (traceback), 130 interrupted (checkpoint kept).
Flags that take several values may be given several values or several times. `lep execute RUN`, `lep resume RUN`, `lep stop RUN` and
`lep runs` work on the run directories of a workspace, and `lep tensorboard` writes their metrics as TensorBoard event files.

`lep completion bash`, `zsh` or `fish` prints a completion script: put it where your shell looks for them, for example
`lep completion bash > ~/.local/share/bash-completion/completions/lep`.
"""


def reference() -> str:
    """The whole page as Markdown."""
    return HEAD + "".join(section(verb) for verb in VERBS.values())


def section(verb: Verb) -> str:
    """One verb: its summary and a table of its settings."""
    rows = [
        f"| `{flag(item.name)}` | {_kind(verb, item)} | {_default(item)} | {_explanation(item)} |"
        for item in dataclasses.fields(verb.config)
    ]
    return f"\n## {verb.name}\n\n{verb.summary}\n\n| flag | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _kind(verb: Verb, item: dataclasses.Field) -> str:
    hint = field_type(verb.config, item.name)
    if item.metadata["choices"]:
        name = ", ".join(f"`{choice}`" for choice in item.metadata["choices"])
    else:
        name = {int: "whole number", float: "number", bool: "yes/no", str: "text"}[base_type(hint)]
        name = {"model": "folder or hub id", "tokenizer": "folder", "text": "file or folder", "items": "file", "folder": "folder"}.get(
            item.metadata["kind"], name
        )
    return name + (", several" if is_repeatable(hint) else "")


def _default(item: dataclasses.Field) -> str:
    if item.default is dataclasses.MISSING:
        return "required"
    if item.default is None or item.default == ():
        return "-"
    if isinstance(item.default, bool):
        return "yes" if item.default else "no"
    return " ".join(map(str, item.default)) if isinstance(item.default, tuple) else f"{item.default}"


def _explanation(item: dataclasses.Field) -> str:
    unit = f" ({item.metadata['unit']})" if item.metadata["unit"] else ""
    return item.metadata["help"].replace("|", "\\|") + unit


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(reference(), encoding="utf-8")
