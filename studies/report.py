"""Put the tables and plots of all studies into the pages that show them: `python -m studies.report`; with `--check`, only say whether they are up to date.

A study is a module here with `sections(result) -> {name: Markdown}` and, where it draws, `plots(result) -> {name: SVG text}`; its result
is `results/<module>.json`. A section stands in the page between `<!-- begin: <study>.<section> -->` and `<!-- end -->`, a plot is
`docs/study/<study>-<plot>.svg`. Words around the markers are written by hand; numbers are not.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from lep_core.files import write_text
from studies import results

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "study.md", DOCS / "your-language.md")
PLOTS = DOCS / "study"
_MARKED = re.compile(r"<!-- begin: (?P<name>[\w.-]+) -->\n.*?<!-- end -->", re.DOTALL)


class ReportError(Exception):
    """The page asks for a section that no study has."""


def studies_with_results() -> dict[str, tuple[Any, dict[str, Any]]]:
    """name -> (module, result) of each study whose result file is there."""
    found = {}
    for path in sorted(results.RESULTS.glob("*.json")):
        module = importlib.import_module(f"studies.{path.stem}")
        found[path.stem] = module, results.load(path.stem)
    return found


def all_sections() -> dict[str, str]:
    """ "study.section" -> Markdown."""
    return {
        f"{name}.{section}": text.strip()
        for name, (module, result) in studies_with_results().items()
        for section, text in module.sections(result).items()
    }


def all_plots() -> dict[str, str]:
    """File name -> SVG text."""
    return {
        f"{name}-{plot}.svg": text
        for name, (module, result) in studies_with_results().items()
        if hasattr(module, "plots")
        for plot, text in module.plots(result).items()
    }


def filled(page: str, sections: dict[str, str]) -> str:
    """The page with every marked place replaced.

    Raises:
        ReportError: a marker names a section that there is not.
    """

    def replacement(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in sections:
            raise ReportError(f"a page asks for {name}; there are: {', '.join(sorted(sections))}")
        return f"<!-- begin: {name} -->\n{sections[name]}\n<!-- end -->"

    return _MARKED.sub(replacement, page)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns that hold figures are aligned to the right."""
    marks = ["---" if index == 0 else "---:" for index in range(len(heads))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, marks, *rows))


def with_interval(value: float, low: float | None, high: float | None, digits: int = 2) -> str:
    """ "1.23 [1.20, 1.26]", or the value alone."""
    return f"{value:.{digits}f}" if low is None or high is None else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main(arguments: list[str] | None = None) -> int:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(prog="python -m studies.report", description="Tables and plots of docs/study.md")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when something is out of date")
    check = parser.parse_args(arguments).check
    sections = all_sections()
    pages = {page: filled(page.read_text(encoding="utf-8"), sections) for page in PAGES}
    files = {**pages, **{PLOTS / name: text for name, text in all_plots().items()}}
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(DOCS.parent)} {'is out of date' if check else 'written'}", file=sys.stderr)
        if not check:
            write_text(path, files[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
