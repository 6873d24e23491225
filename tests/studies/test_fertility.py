"""The fertility study measures held-out text, counts as the product counts, and cuts long trainings short without cheating."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

import lep_core as lep
from lep_core.tokenizer.definition import Definition
from studies import fertility, fertility_tables, results
from studies.fertility_texts import made_up_material, parallel_documents, passages, real_material, split_files, spread
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("fertility")


@pytest.fixture(scope="module")
def material(work):
    return made_up_material(work)


@pytest.fixture(scope="module")
def rows(material, work):
    return fertility.run(fertility.steps_of(material, work, []), work, material.config())[0]


def one(rows, **wanted):
    (row,) = (row for row in rows if all(row.get(name) == value for name, value in wanted.items()))
    return row


def test_every_variant_has_a_row_for_every_size(material, rows):
    for variant in fertility.VARIANTS:
        sizes = [row["size"] for row in rows if row.get("variant") == variant]
        assert len(sizes) == 2
        assert sizes == sorted(sizes)


def test_a_refused_size_is_a_row_with_the_reason(rows):
    assert "bytes" in one(rows, variant="bpe", size=100)["reason"]
    assert "reason" not in one(rows, variant="bpe", size=400)


def test_figures_are_those_of_measure_fertility(material, rows):
    texts = material.held_out["new"]
    measured = lep.measure_fertility([str(material.tokenizers["small"])], texts).to_json()["tokenizers"][0]
    row = one(rows, kind="before")
    assert [row[name] for name in ("tokens_per_word", "characters_per_token", "bytes_per_token")] == pytest.approx(
        [measured[name] for name in ("tokens_per_word", "characters_per_token", "bytes_per_token")]
    )


@pytest.mark.parametrize("variant", fertility.ADDING)
def test_a_long_training_cut_short_is_the_short_training(material, rows, work, variant):
    corpus = work / "corpora" / "new.txt"
    short, long = work / f"short-{variant}", work / "tokenizers" / "small-new" / f"{variant}-400"
    config = lep.BuildTokenizerConfig(
        base=str(material.tokenizers["small"]), input=(str(corpus),), output=str(short), variant=variant, new_tokens=100
    )
    lep.build_tokenizer(config)
    built, cut = Tokenizer.from_file(str(short / "tokenizer.json")), fertility.tokenizer_of_size(Definition.read(long), 300)
    assert cut.get_vocab() == built.get_vocab()
    assert fertility.spellings(cut, material.held_out["new"]) == fertility.spellings(built, material.held_out["new"])


def test_intervals_hold_their_values_and_ratios_agree_with_rates(rows):
    before = one(rows, kind="before")
    for row in rows:
        if "ratio" in row:
            assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
            assert row["ratio"] == pytest.approx(before["characters_per_token"] / row["characters_per_token"])


def test_adding_variants_leave_english_alone_and_new_vocabularies_do_not(rows):
    assert one(rows, variant="continued-bpe", size=400)["english_changed"] == 0
    assert one(rows, variant="continued-bpe", size=400)["english_ratio"] == 1.0
    assert one(rows, variant="bpe", size=400)["english_ratio"] > 1.5


def test_an_interrupted_run_goes_on_with_what_is_done(material, rows, work, monkeypatch):
    monkeypatch.setattr(fertility, "build", lambda config: pytest.fail("built again"))
    assert fertility.run(fertility.steps_of(material, work, []), work, material.config())[0] == rows


def test_a_limit_leaves_out_what_is_not_begun_and_names_it(rows, tmp_path):
    steps = {"slow": lambda: [{"a": sum(range(100_000))}], "never": lambda: pytest.fail("begun")}
    found, _, left_out = fertility.run(steps, tmp_path, {}, limit=0.0)
    assert len(found) == 1
    assert left_out == ["never"]


def test_nothing_that_is_measured_was_learned_from(material, tmp_path):
    assert not set("\n".join(material.held_out["new"]).split("\n")) & set(material.learned["new"])
    (tmp_path / "a.txt").write_text("".join(f"line {number % 40}\n" for number in range(50)))
    learned, held_out = split_files([tmp_path / "a.txt"])
    assert (len(learned), len(held_out)) == (40, 10)


def test_passages_are_whole_lines_and_a_spread_reaches_from_end_to_end():
    lines = [f"{number:0100d}" for number in range(100)]
    joined = passages(lines)
    assert [line for text in joined for line in text.split("\n")] == lines
    assert {text.count("\n") for text in joined} == {19}
    assert spread(lines, 100 * 10 / 1e6) == lines[9::10]


def test_the_data_folder_gives_disjoint_texts_and_aligned_documents(shared_data):
    documents = parallel_documents(shared_data / "parallel" / "ntrex")
    assert len(documents) == 14
    assert {tuple(map(len, listed)) for listed in documents.values()} == {tuple(map(len, documents["eng"]))}
    real = real_material(shared_data, [])
    for language, learned in real.learned.items():
        assert not {line for text in real.held_out[language] for line in text.split("\n")} & set(learned)


def test_the_readme_says_what_the_result_says():
    result = results.load("fertility")
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    assert fertility_tables.readme_sentence(result) in readme


def test_what_the_page_says_of_the_papers_table_holds():
    rows = [row for row in results.load("fertility")["rows"] if row["kind"] == "paper"]
    for row in rows:
        if row["way"] in ("original", "published, merges alone") or row["variant"] in ("bpe", "unigram"):
            assert row["novels"] == pytest.approx(row["published_figure"], rel=0.06), row
    for variant in ("extension", "optimization"):
        ways = {row["way"]: row for row in rows if (row["tokenizer"], row["variant"]) == ("llama-3", variant)}
        assert ways["published"]["unreachable_tokens"] > 1_000
        assert ways["published, merges that reach"]["unreachable_tokens"] == 0
        assert ways["published, merges that reach"]["novels"] >= ways["published"]["novels"] > ways["published, merges alone"]["novels"]
    assert {row["vocab_size"] for row in rows} >= {55_329, 174_817, 114_505}
