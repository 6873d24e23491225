"""Uploads are kept in the project under their own names."""

from ui.uploads import keep_uploads


def test_a_taken_name_gets_a_number(tmp_path):
    kept = []
    for text in ("one", "two"):
        source = tmp_path / text / "ru.txt"
        source.parent.mkdir()
        source.write_text(text, encoding="utf-8")
        kept += keep_uploads(tmp_path / "uploads", [str(source)])
    assert [path.name for path in kept] == ["ru.txt", "2-ru.txt"]
    assert [path.read_text(encoding="utf-8") for path in kept] == ["one", "two"]
