"""What a page is made of, in words: the labels that stay the same whatever a training came to.

Beside the pictures of the documentation lies the outline of the page that each one shows. When the page has changed since, the browser
test says where, and the pictures are taken again with LEP_SCREENSHOTS=1.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PARTS = {
    "tabs": "#steps [role=tab]:visible",
    "headings": "#steps :is(h1, h2, h3):visible",
    "buttons": "#steps button:not([role=tab]):visible",
    "fields": "#steps [data-testid=block-info]:visible",
}

Outline = dict[str, list[str]]


def outline(page: Any) -> Outline:
    """Tabs, headings, buttons and fields that can be seen, each once and in their order; numbers and names of runs are blotted out."""
    found: Outline = {}
    for part, selector in PARTS.items():
        texts = (re.sub(r"\d+", "#", " ".join(text.split())) for text in page.locator(selector).all_inner_texts())
        found[part] = list(dict.fromkeys(filter(None, texts)))
    return found


def write_outlines(path: Path, outlines: dict[str, Outline]) -> None:
    """Keep the outlines beside the pictures."""
    path.write_text(json.dumps(outlines, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def differences(path: Path, outlines: dict[str, Outline]) -> list[str]:
    """Where the pages look different from the pictures, one line each."""
    kept: dict[str, Outline] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = [f"{name}: there is no outline of this picture" for name in outlines if name not in kept]
    for name in outlines.keys() & kept.keys():
        for part in PARTS:
            gone = [text for text in kept[name][part] if text not in outlines[name][part]]
            new = [text for text in outlines[name][part] if text not in kept[name][part]]
            if gone or new:
                found.append(f"{name}, {part}: gone {gone}, new {new}")
    return sorted(found)
