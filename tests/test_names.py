"""Names of folders in tables and reports."""

from __future__ import annotations

from lep_core.names import distinct_names


def test_names_are_as_short_as_can_be_and_distinct(tmp_path):
    folders = [tmp_path / part for part in ("a/output", "b/output", "original")]
    for folder in folders:
        folder.mkdir(parents=True)
    assert distinct_names([*map(str, folders), str(folders[2])]) == ["a/output", "b/output", "original", "original (2)"]
