"""Files and folders are whole or not there."""

import errno
import json
import os
from pathlib import Path

import pytest

from lep_core.errors import OutputError, ResourceError
from lep_core.files import (
    PARTIAL_PREFIX,
    atomic_folder,
    check_apart,
    check_free_space,
    check_output,
    manifest_of,
    matches_manifest,
    translated_errors,
    write_json,
    write_text,
)


def test_a_folder_gets_its_name_only_when_it_is_whole(tmp_path):
    final = tmp_path / "result"
    with atomic_folder(final) as folder:
        (folder / "config.json").write_text("{}")
        assert not final.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_failing_block_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "result") as folder:
        (folder / "half").write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_overwriting_keeps_the_old_folder_until_the_new_one_is_whole(tmp_path):
    final = tmp_path / "result"
    final.mkdir()
    (final / "report.json").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_folder(final, overwrite=True):
        _ = 1 / 0
    assert (final / "report.json").read_text() == "old"
    with atomic_folder(final, overwrite=True) as folder:
        (folder / "report.json").write_text("new")
    assert (final / "report.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_non_empty_folder_is_refused_without_overwrite(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(OutputError, match="not empty"):
        check_output(tmp_path)


def test_overwrite_never_deletes_a_folder_that_is_no_result(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match="something else"):
        check_output(tmp_path, overwrite=True)


@pytest.mark.parametrize("file", ["project/config.json", "result/report.json", "config.json"])
def test_overwrite_never_deletes_a_home_folder_for_the_results_or_settings_in_it(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text('{"theme": "dark"}')
    with pytest.raises(OutputError, match="something else"):
        check_output(tmp_path, overwrite=True)


def test_a_model_folder_may_be_overwritten_and_leftovers_of_a_killed_writer_are_not_in_the_way(tmp_path):
    (tmp_path / ".partial-x-1").mkdir()
    check_output(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    check_output(tmp_path, overwrite=True)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not a folder"):
        check_output(tmp_path / "file")


@pytest.mark.parametrize(("output", "source"), [("a", "a"), ("a/b", "a"), ("a", "a/b")])
def test_output_and_input_may_not_lie_inside_each_other(tmp_path, output, source):
    with pytest.raises(OutputError, match="inside each other"):
        check_apart(tmp_path / output, tmp_path / source)


def test_siblings_are_apart(tmp_path):
    check_apart(tmp_path / "a", tmp_path / "b", tmp_path / "ab")


def test_too_little_disk_names_both_figures(tmp_path):
    with pytest.raises(ResourceError, match=r"GiB free, this needs 1048576\.00 GiB"):
        check_free_space(tmp_path / "not" / "yet", 2**50)


def test_a_full_disk_becomes_a_sentence(tmp_path):
    with pytest.raises(ResourceError, match="disk is full"), translated_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_other_faults_keep_their_type(tmp_path):
    with pytest.raises(OSError, match="Input/output"), translated_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_json_is_written_whole_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a" / "x.json", {"текст": 1})
    assert json.loads((tmp_path / "a" / "x.json").read_text(encoding="utf-8")) == {"текст": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a" / "x.json", float("nan"))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("12"), "has 2 bytes, expected 3"),
        (lambda path: path.write_text("abd"), "was changed"),
    ],
)
def test_a_manifest_finds_every_kind_of_damage(tmp_path, damage, complaint):
    write_text(tmp_path / "x", "abc")
    manifest = manifest_of(tmp_path)
    assert matches_manifest(tmp_path, manifest) is None
    damage(tmp_path / "x")
    assert complaint in (matches_manifest(tmp_path, manifest) or "")


@pytest.mark.parametrize("place", ["/proc/absent/result", "/proc/result", "/dev/null/result"])
def test_a_place_that_takes_no_folders_is_named(place):
    with pytest.raises(OutputError, match=r"/(proc|dev)"), atomic_folder(Path(place)):
        pass


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file is no folder"), atomic_folder(tmp_path / "file" / "result"):
        pass
    with pytest.raises(OutputError, match="not a folder"):
        check_output(Path("/dev/null"))


def test_links_in_a_circle_are_no_output(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    check_apart(loop, tmp_path / "input")
    for place in (loop, loop / "result"):
        with pytest.raises(OutputError), atomic_folder(place):
            pass


def test_the_next_writer_removes_what_a_killed_one_left_but_not_what_is_being_written(tmp_path):
    abandoned = tmp_path / f"{PARTIAL_PREFIX}out-{'0' * 12}"
    of_others = [tmp_path / f"{PARTIAL_PREFIX}{name}" for name in (f"out-put-{'0' * 12}", "out-notes", f"xout-{'0' * 12}")]
    for folder in (abandoned, *of_others):
        folder.mkdir()
    with atomic_folder(tmp_path / "out") as first:
        assert not abandoned.exists()
        with atomic_folder(tmp_path / "out") as second:
            assert first.is_dir()
            (second / "report.json").write_text("{}")
        (first / "report.json").write_text("{}")
        (tmp_path / "out").rename(tmp_path / "other")
    assert all(folder.is_dir() for folder in of_others)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["other", "out"]
