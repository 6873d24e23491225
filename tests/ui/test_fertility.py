"""Token counts become figures that people can check: gains, prices, and a prediction that follows the model's shape."""

import pytest

from lep_core.models.folder import inspect_model
from tests.factories import load_weights, tiny_model
from ui.fertility import (
    LANGUAGES,
    METRICS,
    OLD_LANGUAGE,
    PURPOSE,
    ModelShape,
    cell,
    fertility_rows,
    headline,
    measurements,
    newest_parity,
    old_language_rates,
    parity_series,
    rates_by_text,
    rows_on_same_text,
    shape_of,
    speed_curve,
    table,
    with_gains,
)
from ui.i18n import TEXTS, Translator
from ui.tabs.fertility import language_name

SHAPE = ModelShape(body_parameters=1_000_000, hidden_size=100, vocab_rows=10_000, context_tokens=2_048, bytes_per_row=800)


def row(name, *, vocab_size, tokens, characters=60_000, own=False):
    return {
        "name": name,
        "path": f"/{name}",
        "own": own,
        "vocab_size": vocab_size,
        "tokens": tokens,
        "characters_per_token": characters / tokens,
    }


def rows():
    return with_gains([row("own", vocab_size=9_990, tokens=30_000, own=True), row("new", vocab_size=30_000, tokens=15_000)], SHAPE)


@pytest.mark.parametrize("tied", [True, False])
def test_the_body_is_all_but_embedding_and_head(tmp_path, tied):
    folder = tiny_model(tmp_path, tied=tied)
    weights = load_weights(folder)
    body = sum(value.numel() for name, value in weights.items() if name not in ("model.embed_tokens.weight", "lm_head.weight"))
    shape = shape_of(str(folder))
    assert shape is not None
    assert shape.body_parameters == body
    model = inspect_model(folder)
    assert shape.bytes_per_row == model.hidden_size * weights["model.embed_tokens.weight"].element_size() * (1 if tied else 2)
    assert shape.context_tokens == model.config["max_position_embeddings"]


def test_without_a_sound_model_nothing_is_predicted(tmp_path):
    assert shape_of(str(tmp_path)) is None
    assert "speed_gain" not in with_gains([row("a", vocab_size=10, tokens=10)], None)[0]


def test_speed_follows_body_and_head_not_tokens_alone():
    own, new = rows()
    # Half the tokens, but the head grew from 1 to 3 million: (1 + 1) / 2 characters against (1 + 3) / 4 characters.
    assert new["saved"] == 0.5
    assert own["operations_per_character"] == 2 * 2_000_000 / 2
    assert new["operations_per_character"] == 2 * 4_000_000 / 4
    assert new["speed_gain"] == pytest.approx(1.0)
    assert new["context_characters"] == 2_048 * 4
    assert new["embedding_mib"] == 30_000 * 800 / 2**20
    assert own["embedding_mib"] == 10_000 * 800 / 2**20, "padded rows cost memory too"


def test_every_metric_has_a_name_and_a_formula():
    assert {f"{kind}.{name}" for kind in ("metric", "formula") for name in METRICS} <= set(TEXTS)
    shown = table(rows(), Translator("en"))
    assert shown["headers"] == ["Metric", "own", "new", "How it is computed"]
    assert len(shown["data"]) == len(METRICS)
    assert all(len(line) == 4 and line[-1] for line in shown["data"])


def test_figures_read_like_figures():
    _, new = rows()
    english, russian = Translator("en"), Translator("ru")
    assert cell(new, "saved", english) == "50.0%"
    assert cell(new, "saved", russian) == "50,0%"
    assert cell(new, "speed_gain", english) == "× 1.00"
    assert cell(new, "context_characters", english) == "8,192"
    assert cell(new, "round_trip_ok", english) == "–"
    assert cell({"round_trip_ok": True}, "round_trip_ok", english) == "yes"


def test_the_headline_says_the_gain_and_the_price(studio):
    said = headline(rows(), {"/own": 4.0, "/new": 2.0}, studio)
    assert "50% fewer tokens" in said
    assert "2.00 times as much text" in said
    assert "1.00 times as many characters per second" in said
    assert "100% more tokens" in said
    assert "as many tokens as before" in headline(rows(), {"/own": 4.0, "/new": 4.0}, studio)
    assert "old language" not in headline(rows(), {}, studio)


def test_names_in_the_headline_are_text(studio):
    listed = rows()
    listed[1]["name"] = "<img src=x> [a](b)"
    assert "<img" not in headline(listed, {}, studio)
    assert "](" not in headline(listed, {}, studio)


def measured(project, finish, purpose, *, rate, name="base", tokenizer=None, text="text.txt", **more):
    values = {"tokenizer": [tokenizer or project.base], "input": [text]}
    run = project.create_run("measure-fertility", values, {PURPOSE: purpose} if purpose else {})
    one = {**row(name, vocab_size=10, tokens=100, characters=100 * rate), **more.pop("own", {})}
    return finish(run, report={"tokenizers": [one], **more})


def test_measurements_of_the_old_language_and_of_many_languages_stand_apart(project, finish, studio):
    usual = measured(project, finish, None, rate=2)
    measured(project, finish, OLD_LANGUAGE, rate=5)
    parity = measured(project, finish, LANGUAGES, rate=3, parity=[{"tokenizer": "base", "language": "en", "tokens": 1, "ratio": 1.0}])
    assert [run.id for run in measurements(project)] == [usual.id]
    assert fertility_rows(measurements(project)[0], project, studio)[0]["characters_per_token"] == 2
    assert old_language_rates(project) == {project.base: 5}
    found = newest_parity(project)
    assert found is not None
    assert found.id == parity.id


def test_tokenizers_measured_on_the_same_text_stand_side_by_side(project, finish, studio, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    measured(project, finish, None, rate=3, tokenizer=first)
    measured(project, finish, None, rate=9, tokenizer=second, text="other.txt")
    measured(project, finish, None, rate=2)
    texts, found = rows_on_same_text(project, studio)
    assert texts == ["text.txt"]
    assert [(one["path"], one["characters_per_token"]) for one in found] == [(project.base, 2), (first, 3)], "the model's own first"
    assert found[1]["saved"] == pytest.approx(1 - found[1]["tokens"] / found[0]["tokens"])


def test_parity_has_one_series_per_tokenizer(project, finish, studio):
    tokenizer = finish(project.create_run("build-tokenizer", {"base": project.base, "input": ["t"]}))
    values = {"tokenizer": [str(tokenizer.output), project.base], "parallel": ["en.txt", "ru.txt"]}
    entries = [
        {"tokenizer": name, "language": language, "tokens": tokens, "ratio": tokens / 10, "characters_per_token": 2.0}
        for name, language, tokens in (("output", "en", 10), ("output", "ru", 15), ("base", "en", 10), ("base", "ru", 30))
    ]
    run = finish(
        project.create_run("measure-fertility", values, {PURPOSE: LANGUAGES}),
        report={"tokenizers": [{"name": "output"}, {"name": "base"}], "parity": entries},
    )
    languages, series = parity_series(run, project, "ratio", studio.t)
    assert languages == ["en", "ru"]
    assert list(series.values()) == [[1.0, 3.0], [1.0, 1.5]], "the model's own first"


def test_rates_are_split_by_text_when_the_report_does(studio):
    listed = rows()
    for one, rates in zip(listed, ((2.0, 3.0), (4.0, 3.0)), strict=True):
        one["inputs"] = [{"name": name, "characters_per_token": rate} for name, rate in zip("ab", rates, strict=True)]
    series = rates_by_text(listed, ["/x/a.txt", "/x/b.txt"], {"/own": 5.0}, studio.t)
    assert series == {"a.txt": [2.0, 4.0], "b.txt": [3.0, 3.0], "old language": [5.0, None]}
    assert list(rates_by_text(listed, ["/x/a.txt"], {}, studio.t).values()) == [[2.0, 4.0]]


def test_the_speed_curve_may_have_its_best_in_the_middle():
    curve = [{"vocab_size": size, "characters_per_token": rate} for size, rate in ((10_000, 2.0), (20_000, 4.0), (200_000, 5.0))]
    sizes, gains = speed_curve(curve, SHAPE, 2.0)
    assert sizes == [10_000, 20_000, 200_000]
    assert gains[0] == pytest.approx(1.0)
    assert gains.index(max(gains)) == 1


def test_a_parallel_file_is_named_after_its_language():
    assert [language_name(path) for path in ("/a/ru.txt", "en.txt.gz", "de.v2.txt")] == ["ru", "en", "de.v2"]
