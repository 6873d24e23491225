"""Few-shot examples: solved items that stand before the question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lep_core.evaluation.items import AnyItem, ItemType


class Shots:
    """The first `count` example items of the same kind, of the item's own group or language where there are so many, else of any."""

    def __init__(self, items: Sequence[AnyItem] = (), count: int = 0) -> None:
        self.items = items
        self._count = count

    def of(self, item: ItemType) -> list[ItemType]:
        """The examples for an item; never the item itself."""
        if not self._count:
            return []
        same_kind = [cast("ItemType", one) for one in self.items if type(one) is type(item) and one != item]
        own = [one for one in same_kind if _label(one) == _label(item)]
        return (own if len(own) >= self._count else same_kind)[: self._count]


def _label(item: AnyItem) -> tuple[str | None, str | None]:
    return item.language, item.group
