"""Short names that tell folders apart, for tables and reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def distinct_names(sources: Iterable[str]) -> list[str]:
    """A name for each folder: its own, with as many parents as it takes to tell different folders apart; a repeated one is numbered."""
    paths = [Path(source).absolute().parts if Path(source).exists() else tuple(source.split("/")) for source in sources]
    names: list[str] = []
    for index, parts in enumerate(paths):
        others = [other for other in paths if other != parts]
        depth = next((depth for depth in range(1, len(parts)) if all(other[-depth:] != parts[-depth:] for other in others)), len(parts))
        name = "/".join(parts[-depth:]).replace("//", "/")
        earlier = paths[:index].count(parts)
        names.append(f"{name} ({earlier + 1})" if earlier else name)
    return names
