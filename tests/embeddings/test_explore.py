"""The embedding explorer against whole matrices in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from lep_core.config import ExploreEmbeddingsConfig
from lep_core.embeddings import rows
from lep_core.embeddings.explore import EmbeddingMap, ExploreEmbeddingsReport, Neighbour, WordNeighbours, explore_embeddings
from lep_core.embeddings.rows import read_rows, row_blocks
from lep_core.errors import ConfigError, ModelError
from lep_core.models import inspect_model
from tests.embeddings.test_initialize import INPUT, OTHER, OUTPUT, Tiny, run
from tests.factories import load_weights, tiny_tokenizer


@pytest.fixture
def pair(tiny: Tiny, tmp_path):
    base, new = tiny(padded=5), tiny_tokenizer(tmp_path / "new", vocab_size=430, texts=OTHER)
    run(base, new, tmp_path / "adapted")
    return base, tmp_path / "adapted"


def explore(*models, **options):
    return explore_embeddings(ExploreEmbeddingsConfig(model=tuple(map(str, models)), **options))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_come_out_of_the_file_as_they_are(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    folder = tiny(dtype=dtype, shards=3)
    slot, whole = inspect_model(folder).slots[INPUT], load_weights(folder)[INPUT].float()
    monkeypatch.setattr(rows, "BLOCK_BYTES", 1000)
    assert torch.equal(torch.cat(list(row_blocks(slot))), whole)
    assert torch.equal(torch.cat(list(row_blocks(slot, rows=33))), whole[:33])
    ids = np.array([7, 3, 3, 399])
    assert torch.equal(read_rows(slot, ids), whole[ids])


def test_neighbours_are_those_of_the_whole_matrix_for_one_piece_and_for_several(pair) -> None:
    base, _ = pair
    report = explore(base, words=("и", "Солнечный"), limit=4, tokens=0)
    tokenizer, weights = Tokenizer.from_file(str(base / "tokenizer.json")), load_weights(base)
    assert [(row.word, row.side) for row in report.neighbours] == [
        ("и", "input"),
        ("и", "output"),
        ("Солнечный", "input"),
        ("Солнечный", "output"),
    ]
    assert report.neighbours[0].token == " и"
    assert report.neighbours[0].pieces == 1 < report.neighbours[2].pieces == report.neighbours[2].token.count(" + ") + 1
    for row in report.neighbours:
        pieces = tokenizer.encode(f" {row.word}", add_special_tokens=False).ids
        matrix = weights[INPUT if row.side == "input" else OUTPUT][: tokenizer.get_vocab_size()]
        cosines = torch.nn.functional.cosine_similarity(matrix, matrix[pieces].mean(dim=0)[None])
        cosines[pieces] = -2
        assert [near.similarity for near in row.neighbours] == pytest.approx(cosines.topk(4).values.tolist(), abs=1e-5)


def test_all_models_lie_on_the_first_models_plane(pair) -> None:
    base, adapted = pair
    report = explore(base, adapted, tokens=120, words=("реки",)).to_json()
    drawn, first, second = report["map"], *report["map"]["models"]
    kinds = dict(zip(drawn["tokens"], drawn["kinds"], strict=True))
    assert set(kinds.values()) == {"shared", "new", "special"}
    assert kinds["<s>"] == "special"
    assert 60 < len(kinds) <= 120
    for kind, x, other in zip(drawn["kinds"], first["x"], second["x"], strict=True):
        assert (x is None) == (kind == "new")
        if kind != "new":
            assert other in (x, None), "shared rows have not moved"
    assert sum(x == other for x, other in zip(first["x"], second["x"], strict=True)) > 30


def test_models_of_different_width_and_empty_questions_are_refused(tiny: Tiny) -> None:
    small, large = tiny(), tiny(hidden=64)
    with pytest.raises(ConfigError, match="rows of one length"):
        explore(small, large)
    assert len(explore(small, large, tokens=0, words=("дом",)).neighbours) == 4
    with pytest.raises(ConfigError, match="no words"):
        explore(small, tokens=0)
    with pytest.raises(ConfigError, match="empty word"):
        explore(small, words=("дом", " "))


def test_a_tied_model_has_one_side_and_the_summary_no_points(tiny: Tiny) -> None:
    report = explore(tiny(tied=True), words=("дом",), tokens=30)
    assert [row.side for row in report.neighbours] == ["input"]
    assert report.to_summary()["map_tokens"] == len(report.map.tokens) <= 30


def test_neighbours_are_listed_without_quotes_and_control_characters_do_not_reach_the_screen() -> None:
    near = tuple(Neighbour(token=token, similarity=0.5) for token in (" дом", "\x18", " ", "\\xd0"))
    row = WordNeighbours(model="m", word="дом", token="дом", pieces=1, side="input", neighbours=near)
    summary = ExploreEmbeddingsReport(neighbours=(row,), map=EmbeddingMap()).to_summary()
    assert summary["neighbours"][0]["neighbours"] == r"дом 0.50  '\x18' 0.50  ' ' 0.50  \xd0 0.50"


def test_damaged_rows_are_named_and_nobodys_neighbours(tiny: Tiny) -> None:
    folder = tiny()
    weights = load_weights(folder)
    weights[INPUT][300] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"row 300 of .* holds NaN"):
        explore(folder, tokens=2000)
    found = explore(folder, words=("и",), tokens=0, limit=5).neighbours[0].neighbours
    assert len(found) == 5
    assert all(-1 <= near.similarity <= 1.00001 for near in found)
