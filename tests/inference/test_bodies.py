"""Folders share a body exactly when everything but the vocabulary is equal, bit for bit; every file is read once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lep_core.errors import ModelError
from lep_core.inference import bodies
from lep_core.inference.bodies import body_fingerprint, group_by_body, known_digests, remember_digests
from tests.factories import edit_json, load_weights, save_weights, tiny_model
from tests.inference.variants import family, rescaled, variant_of


@pytest.fixture
def read_bytes(monkeypatch) -> list[str]:
    """Names of the tensors whose bytes were read; nothing is known at the beginning."""
    read: list[str] = []
    original = bodies.tensor_pieces
    monkeypatch.setattr(bodies, "_digests", {})
    monkeypatch.setattr(bodies, "tensor_pieces", lambda slot: read.append(f"{slot.path.name}/{slot.name}") or original(slot))
    return read


def test_the_original_and_all_its_variants_have_one_body(tmp_path):
    folders = family(tmp_path)
    assert len({body_fingerprint(folder) for folder in folders}) == 1
    assert group_by_body([str(folder) for folder in folders]) == [[str(folder) for folder in folders]]


def test_the_fingerprint_does_not_depend_on_how_tensors_are_spread_over_files(tmp_path):
    folder = tiny_model(tmp_path)
    expected = body_fingerprint(folder)
    weights = load_weights(folder)
    (folder / "model.safetensors").unlink()
    save_weights(folder, weights, shards=3)
    assert body_fingerprint(folder) == expected


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.down_proj.weight"])
def test_one_changed_tensor_makes_another_body(tmp_path, name):
    first = tiny_model(tmp_path)
    second = tmp_path / "second"
    shutil.copytree(first, second)
    assert body_fingerprint(first) == body_fingerprint(second)
    rescaled(second, name=name, by=1.0000002)
    assert body_fingerprint(first) != body_fingerprint(second)
    assert group_by_body([str(first), str(second)]) == [[str(first)], [str(second)]]


@pytest.mark.parametrize(
    ("key", "value"), [("rope_theta", 10_000.0), ("rms_norm_eps", 1e-6), ("max_position_embeddings", 128), ("sliding_window", 64)]
)
def test_a_setting_of_the_body_makes_another_body(tmp_path, key, value):
    folder = tiny_model(tmp_path)
    before = body_fingerprint(folder)
    edit_json(folder / "config.json", **{key: value})
    assert body_fingerprint(folder) not in (before, None)


def test_another_precision_is_another_body(tmp_path):
    assert body_fingerprint(tiny_model(tmp_path)) != body_fingerprint(tiny_model(tmp_path, dtype="bfloat16"))


@pytest.mark.parametrize("key", ["vocab_size", "eos_token_id", "tie_word_embeddings", "transformers_version", "torch_dtype"])
def test_what_belongs_to_the_vocabulary_or_to_nothing_does_not_count(tmp_path, key):
    folder = tiny_model(tmp_path)
    before = body_fingerprint(folder)
    edit_json(folder / "config.json", **{key: 1})
    assert body_fingerprint(folder) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["GemmaForCausalLM"]},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        {"rope_scaling": {"type": "longrope", "factor": 2.0}},
        {"rope_parameters": {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default"}}},
        {"quantization_config": {"bits": 4}},
    ],
)
def test_what_may_not_be_plain_is_not_shared(tmp_path, changes):
    folder = tiny_model(tmp_path)
    edit_json(folder / "config.json", **changes)
    assert body_fingerprint(folder) is None
    assert group_by_body([str(folder), str(folder)]) == [[str(folder)]]


def test_a_folder_with_a_lora_adapter_is_not_shared(tmp_path):
    folder = tiny_model(tmp_path)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    assert body_fingerprint(folder) is None


def test_hard_links_are_read_once_and_later_calls_read_nothing(tmp_path, read_bytes):
    original = tiny_model(tmp_path, name="original")
    variants = [variant_of(original, name=f"variant-{number}", linked=True, seed=number) for number in range(3)]
    assert len({body_fingerprint(variant) for variant in variants}) == 1
    assert sorted(read_bytes) == sorted(set(read_bytes))
    assert {name.split("/")[0] for name in read_bytes} == {"body.safetensors"}
    count = len(read_bytes)
    assert body_fingerprint(original) == body_fingerprint(variants[0])
    assert len(read_bytes) == 2 * count
    group_by_body([str(original), *map(str, variants)])
    assert len(read_bytes) == 2 * count


def test_another_process_need_not_read_what_is_known(tmp_path, read_bytes, monkeypatch):
    folder = tiny_model(tmp_path)
    expected = body_fingerprint(folder)
    told = json.loads(json.dumps(known_digests([folder])))
    monkeypatch.setattr(bodies, "_digests", {})
    remember_digests(told)
    read_bytes.clear()
    assert body_fingerprint(folder) == expected
    assert read_bytes == []


def test_folders_whose_headers_differ_are_not_read_at_all(tmp_path, read_bytes):
    folders = [str(tiny_model(tmp_path, layers=layers)) for layers in (1, 2)]
    assert group_by_body(folders) == [[folders[0]], [folders[1]]]
    assert read_bytes == []


def test_missing_and_damaged_folders_stand_alone(tmp_path):
    first = tiny_model(tmp_path, name="first")
    second = tmp_path / "second"
    shutil.copytree(first, second)
    damaged = tmp_path / "damaged"
    shutil.copytree(first, damaged)
    (damaged / "model.safetensors").write_bytes(b"short")
    paths = [str(damaged), str(first), str(tmp_path / "none"), str(second)]
    assert group_by_body(paths) == [[paths[0]], [paths[1], paths[3]], [paths[2]]]
    for path in (damaged, tmp_path / "none"):
        with pytest.raises(ModelError):
            body_fingerprint(path)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    folder = tiny_model(tmp_path)
    monkeypatch.setattr(bodies, "_digests", {})

    def meddling(slot):
        (folder / "model.safetensors").touch()
        return iter([b""])

    monkeypatch.setattr(bodies, "tensor_pieces", meddling)
    with pytest.raises(ModelError, match="changed while"):
        body_fingerprint(folder)


def test_bodies_are_compared_without_torch(tmp_path):
    import subprocess
    import sys

    code = "import sys, lep_core.inference.pool; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], timeout=60)
