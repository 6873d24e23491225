"""One record of a file with items, and how its values are asked for: whatever is missing or wrong is named by place and key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import CorpusError

_SPLITS = re.compile(r"[._-](dev|test|val|valid|validation|train)$")


@dataclass(frozen=True)
class Record:
    """The values of a record; `place` is its file and line."""

    place: str
    values: Mapping[str, Any]
    path: Path

    def check(self) -> None:
        """Refuse what no layout can hold: a language that is no text, or half a character anywhere."""
        for key in ("language", "kind", "group"):
            if not isinstance(self.values.get(key), str | None):
                raise CorpusError(f'{self.place} has no text under the key "{key}"', "Write a text or leave the key out")
        try:
            json.dumps(self.values, ensure_ascii=False).encode()
        except RecursionError as error:
            raise CorpusError(f"{self.place} holds lists or objects that are nested too deep", "Leave them out") from error
        except UnicodeEncodeError as error:
            raise CorpusError(f"{self.place} holds half a character (a lone surrogate)", "Write the text as UTF-8") from error

    def text(self, key: str) -> str:
        """A text that is more than white space."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            raise CorpusError(f'{self.place} has no text under the key "{key}"', "Add it")
        return value

    def texts(self, key: str) -> list[str]:
        """A text, or a list of texts, each more than white space."""
        value = self.values.get(key)
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) and one.strip() for one in listed):
            raise CorpusError(f'{self.place} has no text, or list of texts, under the key "{key}"', "Add it")
        return listed

    @property
    def language(self) -> str | None:
        return self.values.get("language") or None

    @property
    def group(self) -> str:
        """The group that the record names, else the name of its file without the part that names the split."""
        return self.values.get("group") or _SPLITS.sub("", self.path.stem)
