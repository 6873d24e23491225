"""The study of settings: its grid, its tables, and that the limits which the product warns at follow from its committed result."""

import pytest

from lep_core.demo.settings import DEMO_SETTINGS
from lep_core.risk import LARGE_MOVE, MANY_READINGS
from studies import results, settings
from studies.settings_tables import HELD, LARGE_RATE


@pytest.fixture(scope="module")
def rows():
    found = results.load("settings")["rows"]
    return {row["changes"]: row for row in found if row["seed"] == 0 and row["method"] == "swap"}


def test_every_run_changes_something_known_and_the_first_seed_has_all():
    planned = settings.grid(settings.SCALES["full"])
    assert all(changes.keys() <= settings.DEFAULT.keys() for _, changes, _ in planned)
    assert [changes for _, changes, seed in planned if seed == 2] == settings.REPEATED
    assert len({repr((changes, seed)) for _, changes, seed in planned}) == len(planned)


def test_limits_lie_between_what_kept_the_skills_and_what_lost_them(rows):
    kept, lost = rows["default"], rows[LARGE_RATE]
    assert lost["ru_high"] < 0 < kept["ru_low"]
    assert lost["ru_bits"] < kept["ru_bits"] < kept["ru_bits_original"]
    for matrix, limit in LARGE_MOVE.items():
        assert kept[f"move_{matrix}_shared"] < limit < lost[f"move_{matrix}_shared"]
    assert kept["passes"] < MANY_READINGS < rows["text_bytes 60000"]["passes"]


def test_an_anchor_of_the_demos_strength_keeps_the_skills_at_the_rate_that_lost_them(rows):
    held = rows[f"{LARGE_RATE}, {HELD}"]
    assert DEMO_SETTINGS["anchor"] == held["anchor"]
    assert held["ru_low"] > 0
    assert held["en_low"] <= 0 <= held["en_high"]
    assert all(held[f"move_{matrix}_shared"] < limit for matrix, limit in LARGE_MOVE.items())


def test_tables_and_the_plot_hold_every_run(rows):
    result = results.load("settings")
    sections = settings.sections(result)
    assert all(f"| {changes} |" in sections["axes"] for changes in rows)
    assert f"n = {rows['default']['n_ru']} Russian" in sections["sizes"]
    assert settings.plots(result)["move"].startswith("<svg")


@pytest.mark.slow
def test_the_tiny_scale_runs_and_goes_on_where_it_was(tmp_path, capsys):
    arguments = ["--scale", "tiny", "--output", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert settings.main(arguments) == 0
    first = results.load("settings", tmp_path / "out")
    assert len(first["rows"]) == 6
    assert settings.main(arguments) == 0
    assert results.load("settings", tmp_path / "out")["rows"] == first["rows"]
    assert capsys.readouterr().out.count("CPU-s") == 2
    settings.sections(first)
