"""The algebra of propagation (method, section 4) on real folders, special tokens, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from lep_core import pipeline
from lep_core.config import METHODS, InitializeConfig, PropagateConfig
from lep_core.embeddings.initialize import initialize
from lep_core.errors import ModelError, OutputError, SiblingError
from lep_core.models import frozen_sha256, inspect_model, load_model
from lep_core.models.folder import read_slots
from lep_core.models.safetensors_files import read_header
from lep_core.propagation.frequencies import token_weights
from lep_core.propagation.propagate import PropagationReport, propagate
from lep_core.tokenizer.mapping import VocabularyMapping, build_mapping
from tests.factories import CHAT_TOKENS, SENTENCES, edit_json, load_weights, save_weights, tiny_model, tiny_tokenizer
from tests.propagation.reference import expected_map, expected_rows, fitted_pairs

Tiny = Callable[..., Path]
INPUT, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
OTHER = (*SENTENCES[6:], "Солнечный берег реки, городские улицы и длинные письма.", "Читает, пишет, живёт, стоит, лежит.")


def adapt(base: Path, output: Path, *, family: str = "byte-level", train: float = 0.1, vocab_size: int = 430) -> Path:
    """A base model with another vocabulary whose rows then moved, as if trained."""
    tokenizer = tiny_tokenizer(output.with_name(output.name + "-tokenizer"), family=family, vocab_size=vocab_size, texts=OTHER)
    output.mkdir()
    initialize(InitializeConfig(base=str(base), tokenizer=str(tokenizer), output=str(output)), output)
    if train:
        generator = torch.Generator().manual_seed(3)
        change_weights(output, lambda name, value: value + train * torch.randn(value.shape, generator=generator).to(value.dtype))
    return output


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path, Path]]:
    """`trio(perturbation=..., **options)`: base, adapted and instruct folder, made once for all tests that only read them."""

    @cache
    def make(perturbation: float, chat: bool, options: tuple[tuple[str, object], ...]) -> tuple[Path, Path, Path]:
        folder, given = tmp_path_factory.mktemp("trio"), dict(options)
        base = tiny_model(folder, **given)
        instruct = tiny_model(folder, sibling_of=base, chat=chat, shards=given.get("shards", 1), perturbation=perturbation)
        return base, adapt(base, folder / "adapted", family=given.get("family", "byte-level")), instruct

    return lambda perturbation=0.3, chat=True, **options: make(perturbation, chat, tuple(options.items()))


def change_weights(folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    weights = load_weights(folder)
    dtype = weights[INPUT].dtype
    for name in {INPUT, OUTPUT} & weights.keys():
        weights[name] = change(name, weights[name]).to(dtype)
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    save_weights(folder, weights)


def run(base: Path, adapted: Path, instruct: Path, output: Path, method: str, **options: object) -> PropagationReport:
    config = PropagateConfig(base=str(base), adapted=str(adapted), instruct=str(instruct), output=str(output), method=method, **options)
    output.mkdir()
    return propagate(config, output)


def ordinary_rows(output: Path, mapping: VocabularyMapping) -> np.ndarray:
    special = set(Tokenizer.from_file(str(output / "tokenizer.json")).get_added_tokens_decoder())
    return np.array([n for n in range(mapping.new_size) if n not in special])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tied": True},
        {"family": "sentencepiece", "padded": 6, "shards": 3},
        {"hidden": 64, "vocab_size": 300, "family": "sentencepiece"},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_result_equals_the_dense_formula(trio: Callable[..., tuple[Path, ...]], tmp_path: Path, method: str, options: dict) -> None:
    base, adapted, instruct = trio(**options)
    report = run(base, adapted, instruct, tmp_path / "out", method, **({"alpha": 0.1} if method == "ridge" else {}))
    mapping = build_mapping(base, adapted)
    before = {role: load_weights(path) for role, path in {"base": base, "adapted": adapted, "instruct": instruct}.items()}
    after = load_weights(tmp_path / "out")
    rows = ordinary_rows(tmp_path / "out", mapping)
    for name, side in ((INPUT, report.input), (OUTPUT, report.output)):
        if options.get("tied") and name == OUTPUT:
            assert side is None
            assert OUTPUT not in after
            continue
        matrices = {role: weights[name] for role, weights in before.items()}
        expected = expected_rows(method, mapping, **matrices)[rows]
        # bfloat16 keeps eight bits of the product.
        tolerance = 4e-3 if options.get("dtype") else 1e-5
        assert np.linalg.norm(after[name][rows].double().numpy() - expected) < tolerance * np.linalg.norm(expected)
        if method in ("overlap", "conversion", "residual-carry", "low-rank"):
            a, b = fitted_pairs(mapping, matrices["base"], matrices["instruct"], method)
            _, _, rank, singular = np.linalg.lstsq(a, b, rcond=1e-6)
            assert (side.tokens, side.rank) == (len(a), rank)
            assert side.condition_number == pytest.approx(singular[0] / singular[rank - 1], rel=1e-4)
    assert report.logits_equal is True


@pytest.mark.parametrize("method", ["overlap", "conversion"])
def test_hidden_above_tokens_is_reported_as_deficient_rank(tiny: Tiny, tmp_path: Path, method: str) -> None:
    base = tiny(hidden=512, layers=1, vocab_size=300)
    instruct, adapted = tiny(sibling_of=base, chat=True), adapt(base, tmp_path / "adapted", vocab_size=330)
    report = run(base, adapted, instruct, tmp_path / "out", method)
    mapping = build_mapping(base, adapted)
    a, b = fitted_pairs(mapping, load_weights(base)[INPUT], load_weights(instruct)[INPUT], method)
    assert report.input.rank == np.linalg.matrix_rank(a, rtol=1e-6) < 512
    assert report.input.relative_residual < 1e-8 < report.input.heldout_residual
    rows = ordinary_rows(tmp_path / "out", mapping)
    expected = load_weights(adapted)[INPUT][rows].double().numpy() @ (np.linalg.pinv(a, rtol=1e-6) @ b)
    np.testing.assert_allclose(load_weights(tmp_path / "out")[INPUT][rows].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["overlap", "conversion"])
def test_a_known_linear_map_is_recovered(tiny: Tiny, tmp_path: Path, method: str) -> None:
    base = tiny()
    instruct = tiny(sibling_of=base, perturbation=0.0)
    adapted = adapt(base, tmp_path / "adapted")
    rng = np.random.default_rng(1)
    maps = {name: torch.from_numpy(np.eye(32) + 0.2 * rng.standard_normal((32, 32))) for name in (INPUT, OUTPUT)}
    change_weights(instruct, lambda name, value: value.double() @ maps[name])
    report = run(base, adapted, instruct, tmp_path / "out", method)
    rows = ordinary_rows(tmp_path / "out", build_mapping(base, adapted))
    for name, side in ((INPUT, report.input), (OUTPUT, report.output)):
        expected = load_weights(adapted)[name][rows].double() @ maps[name]
        torch.testing.assert_close(load_weights(tmp_path / "out")[name][rows].double(), expected, rtol=1e-4, atol=1e-5)
        assert side.relative_residual < 1e-6
        assert side.heldout_residual < 1e-6
        assert side.distance_from_identity == pytest.approx(float((maps[name] - torch.eye(32)).norm()) / 32**0.5, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_equal_siblings_leave_the_trained_rows_as_they_are(trio: Callable[..., tuple[Path, ...]], tmp_path: Path, method: str) -> None:
    base, adapted, instruct = trio(perturbation=0.0, chat=False)
    run(base, adapted, instruct, tmp_path / "out", method)
    rows = ordinary_rows(tmp_path / "out", build_mapping(base, adapted))
    for name in (INPUT, OUTPUT):
        assert torch.equal(load_weights(tmp_path / "out")[name][rows], load_weights(adapted)[name][rows])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_old_vocabulary_without_training_gives_the_instruct_models_logits(tiny: Tiny, tmp_path: Path, method: str, tied: bool) -> None:
    base = tiny(tied=tied)
    instruct = tiny(sibling_of=base, perturbation=0.0, chat=True)
    weights = load_weights(instruct)
    maps = {name: map_that_a_method_recovers(method, seed) for seed, name in enumerate((INPUT, OUTPUT))}
    for name in weights.keys() - {INPUT, OUTPUT}:
        weights[name] = weights[name] * 1.1
    for name in {INPUT, OUTPUT} & weights.keys():
        weights[name] = weights[name] @ maps[name]
    save_weights(instruct, weights)
    report = run(base, base, instruct, tmp_path / "out", method)
    assert report.vocab_size == inspect_model(instruct).vocab_size
    ids = torch.arange(60)[None]
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "out")(ids).logits, load_model(instruct)(ids).logits, rtol=1e-4, atol=1e-4)


def map_that_a_method_recovers(method: str, seed: int) -> torch.Tensor:
    noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(seed))
    if method in ("swap", "chat-vector"):
        return torch.eye(32)
    if method == "procrustes":
        return torch.linalg.qr(noise)[0]
    if method == "low-rank":
        return torch.eye(32) + 0.1 * noise[:, :4] @ noise[:4]
    return torch.eye(32) + 0.1 * noise


@pytest.fixture(scope="module")
def permuted(trio: Callable[..., tuple[Path, Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The adapted model with its ordinary tokens in another order, and the new place of each."""
    adapted, folder = trio(perturbation=0.2, chat=False)[1], tmp_path_factory.mktemp("permuted")
    for path in adapted.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    definition = json.loads((adapted / "tokenizer.json").read_text())
    size = len(definition["model"]["vocab"])
    new_place = np.concatenate([np.arange(3), 3 + np.random.default_rng(0).permutation(size - 3)])
    definition["model"]["vocab"] = {token: int(new_place[number]) for token, number in definition["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    change_weights(folder, lambda name, value: torch.empty_like(value).index_copy_(0, torch.from_numpy(new_place), value))
    return folder, new_place


@pytest.mark.parametrize("method", METHODS)
def test_permuting_the_new_vocabulary_permutes_the_rows(
    trio: Callable[..., tuple[Path, ...]], permuted: tuple[Path, np.ndarray], tmp_path: Path, method: str
) -> None:
    base, adapted, instruct = trio(perturbation=0.2, chat=False)
    folder, new_place = permuted
    run(base, adapted, instruct, tmp_path / "out", method)
    run(base, folder, instruct, tmp_path / "out-permuted", method)
    places = torch.from_numpy(new_place)
    for name in (INPUT, OUTPUT):
        one, other = (load_weights(tmp_path / output)[name] for output in ("out", "out-permuted"))
        torch.testing.assert_close(other[places], one[: len(places)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"family": "sentencepiece", "padded": 4}, {"tied": True, "dtype": "bfloat16"}], ids=str)
def test_special_and_added_tokens_keep_the_instruct_rows_bit_by_bit(tiny: Tiny, tmp_path: Path, options: dict) -> None:
    base = tiny(**options)
    instruct = tiny(sibling_of=base, chat=True)
    adapted = adapt(base, tmp_path / "adapted", family=options.get("family", "byte-level"))
    report = run(base, adapted, instruct, tmp_path / "out", "conversion")
    new, old = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (tmp_path / "out", instruct))
    added = [token.content for token in old.get_added_tokens_decoder().values()]
    assert report.special_rows_kept == len(added)
    assert set(CHAT_TOKENS) <= set(added)
    assert report.appended_tokens == list(CHAT_TOKENS)
    for name in {INPUT, OUTPUT} & load_weights(instruct).keys():
        before, after = load_weights(instruct)[name], load_weights(tmp_path / "out")[name]
        for token in added:
            assert torch.equal(after[new.token_to_id(token)], before[old.token_to_id(token)])


def test_body_config_and_sampling_settings_are_the_instruct_models(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny(shards=4)
    instruct = tiny(sibling_of=base, chat=True, shards=4)
    edit_json(instruct / "config.json", note="of the instruct model")
    report = run(base, adapt(base, tmp_path / "adapted"), instruct, tmp_path / "out", "conversion")
    assert frozen_sha256(tmp_path / "out") == frozen_sha256(instruct)
    assert report.shards_linked == 2
    assert (tmp_path / "out" / "model-00002-of-00004.safetensors").samefile(instruct / "model-00002-of-00004.safetensors")
    new = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    end, rows = new.token_to_id("<|end|>"), report.vocab_size
    config = json.loads((instruct / "config.json").read_text())
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == config | {"vocab_size": rows, "eos_token_id": end}
    generation = json.loads((instruct / "generation_config.json").read_text())
    expected = generation | {"eos_token_id": [end, new.token_to_id("</s>")]}
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == expected
    assert new.get_vocab_size() == rows


def test_layout_is_what_engines_read_without_transformers(tiny: Tiny, tmp_path: Path) -> None:
    """vLLM and others take the index, every tensor of every file that it names, names and shapes from config.json, and nothing else."""
    base = tiny(shards=4, dtype="bfloat16", padded=6)
    instruct = tiny(sibling_of=base, chat=True, shards=4)
    first, second = tmp_path / "first", tmp_path / "second"
    adapted = adapt(base, tmp_path / "adapted")
    run(base, adapted, instruct, first, "conversion")
    report = run(adapted, adapted, first, second, "swap")  # from a folder that already has the embeddings in a file of their own
    for output in (first, second):
        index = json.loads((output / "model.safetensors.index.json").read_text())
        held = {path.name: list(read_header(path)) for path in output.glob("*.safetensors")}
        assert set(index["weight_map"].values()) == held.keys(), "no file beside those of the index"
        listed = [(name, file) for file, names in held.items() for name in names]
        assert sorted(listed) == sorted(index["weight_map"].items()), "each tensor once, none that is stale"
        assert index["weight_map"].keys() == inspect_model(instruct).slots.keys(), "names as in the source"
        assert index["metadata"]["total_size"] == sum(slot.bytes for slot in read_slots(output).values())
        assert "model.safetensors" not in held, "which would be taken for the whole model"
        config, shapes = json.loads((output / "config.json").read_text()), inspect_model(output).shapes
        assert config["architectures"] == ["LlamaForCausalLM"]
        assert shapes[INPUT] == shapes[OUTPUT] == (config["vocab_size"], config["hidden_size"])
        for path in output.glob("*.safetensors"):
            with safe_open(path, framework="pt") as stream:
                assert stream.metadata() == {"format": "pt"}
                assert {stream.get_tensor(name).dtype for name in stream.keys()} == {torch.bfloat16}  # noqa: SIM118
        assert {path.name for path in output.iterdir() if path.suffix != ".safetensors"} >= {
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }
    assert (report.shards_linked, report.shards_rewritten) == (4, 0)
    embeddings = 2 * report.vocab_size * 32 * 2
    assert embeddings <= report.bytes_written < embeddings + 1000


def test_shards_of_embeddings_alone_are_dropped_and_the_rest_linked(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny()
    instruct = tiny(sibling_of=base)
    weights = load_weights(instruct)
    (instruct / "model.safetensors").unlink()
    own = {name: weights.pop(name) for name in (INPUT, OUTPUT)}
    save_weights(instruct, weights | own, shards=len(weights) + len(own))
    report = run(base, adapt(base, tmp_path / "adapted"), instruct, tmp_path / "out", "swap")
    assert (report.shards_linked, report.shards_rewritten, report.shards_copied) == (len(weights), 0, 0)


def test_chat_template_and_ids_work_in_plain_transformers(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = tiny(family="sentencepiece")
    instruct = tiny(sibling_of=base, chat=True)
    run(base, adapt(base, tmp_path / "adapted", family="sentencepiece"), instruct, tmp_path / "out", "overlap")
    tokenizer, plain = AutoTokenizer.from_pretrained(tmp_path / "out"), Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Где ключ?"}], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert text == "<s><|user|>Где ключ?<|end|><|assistant|>"
    assert ids == plain.encode(text, add_special_tokens=False).ids
    assert ids[-1] == plain.token_to_id("<|assistant|>")
    assert tokenizer("дом").input_ids == plain.encode("дом").ids
    assert tokenizer.eos_token_id == plain.token_to_id("<|end|>")


def test_report_is_json_with_the_promised_fields(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny()
    report = run(base, adapt(base, tmp_path / "adapted"), tiny(sibling_of=base), tmp_path / "out", "conversion").to_json()
    json.dumps(report, allow_nan=False)
    assert {"method", "input", "output", "seconds", "peak_memory_gib", "shards_linked", "bytes_written"} <= report.keys()
    assert {"tokens", "rank", "condition_number", "relative_residual", "heldout_residual"} <= report["input"].keys()
    assert "\ufffd" not in json.dumps(report, ensure_ascii=False)


@pytest.mark.parametrize("role", ["base", "adapted", "instruct"])
def test_nan_is_refused_before_a_byte_is_written(tiny: Tiny, tmp_path: Path, role: str) -> None:
    base = tiny()
    folders = {"base": base, "adapted": adapt(base, tmp_path / "adapted"), "instruct": tiny(sibling_of=base)}
    change_weights(folders[role], lambda name, value: value.index_fill(0, torch.tensor([7]), torch.nan))
    with pytest.raises(ModelError, match="NaN or infinity, first in row 7"):
        run(**folders, output=tmp_path / "out", method="conversion")
    assert not list((tmp_path / "out").iterdir())


def test_models_that_do_not_belong_together_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    base, tied, small = tiny(), tiny(tied=True), tiny(hidden=16)
    cases = {"one": (base, base, small, "hidden size"), "two": (base, small, base, "base and adapted"), "three": (tied, tied, base, "tied")}
    for name, (first, second, third, message) in cases.items():
        with pytest.raises(SiblingError, match=message):
            run(first, second, third, tmp_path / name, "swap")
        assert not list((tmp_path / name).iterdir())


def test_output_inside_an_input_is_refused(tiny: Tiny) -> None:
    base = tiny()
    with pytest.raises(OutputError, match="inside each other"):
        run(base, base, base, base / "out", "swap")


def test_swap_onto_itself_restores_template_and_special_tokens_of_an_initialised_instruct_model(tiny: Tiny, tmp_path: Path) -> None:
    base = tiny()
    instruct = tiny(sibling_of=base, chat=True)
    untrained = adapt(instruct, tmp_path / "untrained", train=0)
    report = run(instruct, untrained, instruct, tmp_path / "out", "swap")
    assert report.appended_tokens == list(CHAT_TOKENS)
    assert report.logits_equal is True
    folder = inspect_model(tmp_path / "out")
    new = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert folder.has_chat_template
    assert folder.eos_token_id == [new.token_to_id("<|end|>"), new.token_to_id("</s>")]


def test_real_vocabularies_of_different_families_propagate(tiny: Tiny, tmp_path: Path, shared_data: Path) -> None:
    mistral, neox = (shared_data / "tokenizers" / name for name in ("mistral-7b-v0.1", "gpt-neox-20b"))
    base = tiny(tokenizer=mistral, hidden=16, layers=1)
    instruct = tiny(sibling_of=base)
    adapted = tmp_path / "adapted"
    adapted.mkdir()
    counts = initialize(InitializeConfig(base=str(base), tokenizer=str(neox), output=str(adapted)), adapted)
    assert counts.shared_tokens > 8_000, "raw strings of the two families share almost nothing, bytes do"
    report = run(base, adapted, instruct, tmp_path / "out", "conversion")
    assert report.logits_equal is True
    assert report.input.rank == 16
    mapping = build_mapping(base, adapted)
    a, b = fitted_pairs(mapping, load_weights(base)[INPUT], load_weights(instruct)[INPUT], "conversion")
    rows = ordinary_rows(tmp_path / "out", mapping)
    expected = load_weights(adapted)[INPUT][rows].double().numpy() @ np.linalg.lstsq(a, b, rcond=1e-6)[0]
    np.testing.assert_allclose(load_weights(tmp_path / "out")[INPUT][rows].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_tokens_of_a_text_are_weighted_by_how_often_they_occur(trio: Callable[..., tuple[Path, ...]], tmp_path: Path) -> None:
    base, adapted, instruct = trio()
    (tmp_path / "text.txt").write_text("\n".join(OTHER * 40), encoding="utf-8")
    given = {"base": str(base), "adapted": str(adapted), "instruct": str(instruct), "input": (str(tmp_path / "text.txt"),)}
    for gamma in (0.0, 1.0):
        pipeline.propagate(PropagateConfig(**given, output=str(tmp_path / f"{gamma}"), gamma=gamma))
    mapping = build_mapping(base, adapted)
    weights = token_weights(["\n".join(OTHER * 40)], adapted, size=mapping.new_size, gamma=1.0)
    spelled = [token for token in range(mapping.new_size) if mapping.pieces_of(token)]
    before = {role: load_weights(path)[INPUT] for role, path in {"base": base, "adapted": adapted, "instruct": instruct}.items()}
    a, b = (np.sqrt(weights[spelled])[:, None] * rows for rows in fitted_pairs(mapping, before["base"], before["instruct"], "conversion"))
    expected = before["adapted"].double().numpy()[: mapping.new_size] @ expected_map("conversion", a, b)
    rows = ordinary_rows(tmp_path / "1.0", mapping)
    weighted, plain = (load_weights(tmp_path / name)[INPUT][rows].double().numpy() for name in ("1.0", "0.0"))
    assert np.linalg.norm(weighted - expected[rows]) < 1e-5 * np.linalg.norm(expected[rows])
    assert np.linalg.norm(weighted - plain) > 1e-3 * np.linalg.norm(plain)
