"""A LoRA adapter beside the trained embeddings goes into the instruct model; peft's own merge is the judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lep_core.errors import LepError, ModelError
from lep_core.models import inspect_model, load_model
from tests.factories import edit_json, load_weights
from tests.propagation.test_propagate import INPUT, OUTPUT, adapt, run

Tiny = Callable[..., Path]
PROJECTIONS = ("self_attn.q_proj", "mlp.down_proj")


def write_adapter(folder: Path, *, hidden: int = 32, layers: int = 2, rank: int = 4, **config: object) -> Path:
    """The files of a peft adapter on one projection of every layer and another of the first."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"self_attn.q_proj": (hidden, hidden), "mlp.down_proj": (hidden, 2 * hidden)}
    modules = [f"model.layers.{layer}.{PROJECTIONS[0]}" for layer in range(layers)] + [f"model.layers.0.{PROJECTIONS[1]}"]
    tensors = {}
    for module in modules:
        outputs, inputs = next(shape for end, shape in sizes.items() if module.endswith(end))
        tensors[f"base_model.model.{module}.lora_A.weight"] = 0.3 * torch.randn((rank, inputs), generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = 0.3 * torch.randn((outputs, rank), generator=generator)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj", "down_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    return folder


def trio(tiny: Tiny, tmp_path: Path, **options: object) -> tuple[Path, Path, Path]:
    base = tiny(**options)
    return base, adapt(base, tmp_path / "adapted"), tiny(sibling_of=base, chat=True, shards=options.get("shards", 1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_matrices_are_those_of_peft(tiny: Tiny, tmp_path: Path, dtype: str) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    base, adapted, instruct = trio(tiny, tmp_path, dtype=dtype, shards=4)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "down_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2},
        alpha_pattern={"layers.1.self_attn.q_proj": 5, "down_proj": 3},
        use_rslora=dtype == "bfloat16",
    )
    trained = get_peft_model(load_model(base), config)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    trained.save_pretrained(str(adapted / "adapter"))
    report = run(base, adapted, instruct, tmp_path / "out", "chat-vector")
    merged = PeftModel.from_pretrained(load_model(instruct, dtype=dtype), str(adapted / "adapter")).merge_and_unload()
    expected, found, before = merged.state_dict(), load_weights(tmp_path / "out"), load_weights(instruct)
    changed = {name for name in found if name not in (INPUT, OUTPUT) and not torch.equal(found[name], before[name])}
    assert changed == {f"model.layers.{n}.{part}.weight" for n in (0, 1) for part in PROJECTIONS}
    assert report.adapter.merged_tensors == 4
    for name in found.keys() - {INPUT, OUTPUT}:
        torch.testing.assert_close(found[name], expected[name], rtol=8e-3 if dtype == "bfloat16" else 1e-6, atol=1e-6)
    assert report.logits_equal is True


def test_only_shards_that_change_are_rewritten(tiny: Tiny, tmp_path: Path) -> None:
    base, adapted, instruct = trio(tiny, tmp_path, shards=6)
    plain = run(base, adapted, instruct, tmp_path / "plain", "swap")
    write_adapter(adapted / "adapter", layers=1)
    report = run(base, adapted, instruct, tmp_path / "out", "swap")
    assert report.adapter.merged_tensors == 2
    assert (plain.shards_linked, plain.shards_rewritten) == (4, 1)
    touched = {inspect_model(instruct).weight_files[f"model.layers.0.{part}.weight"] for part in PROJECTIONS}
    for path in (tmp_path / "out").glob("model-0*.safetensors"):
        holds_embedding = {INPUT, OUTPUT} & load_file(instruct / path.name).keys()
        assert path.samefile(instruct / path.name) == (path.name not in touched and not holds_embedding)


def test_strength_multiplies_the_change(tiny: Tiny, tmp_path: Path) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    folder = write_adapter(tmp_path / "elsewhere")
    name = "model.layers.0.self_attn.q_proj.weight"
    factors = load_file(folder / "adapter_model.safetensors")
    product = factors[f"base_model.model.{name[:-7]}.lora_B.weight"] @ factors[f"base_model.model.{name[:-7]}.lora_A.weight"]
    before = load_weights(instruct)[name]
    for scale in (1.0, 0.5, -1.0, 0.0):
        output = tmp_path / f"out{scale}"
        report = run(base, adapted, instruct, output, "swap", adapter=str(folder), adapter_scale=scale)
        torch.testing.assert_close(load_weights(output)[name], before + scale * 2.0 * product, rtol=1e-5, atol=1e-6)
        assert (report.adapter is None) == (scale == 0)


def test_without_an_adapter_nothing_is_merged(tiny: Tiny, tmp_path: Path) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    (adapted / "adapter").mkdir()
    assert run(base, adapted, instruct, tmp_path / "out", "swap").adapter is None


def add_tensor(folder: Path, name: str, *shape: int, fill: float = 1.0) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(tensors | {name: torch.full(shape, fill)}, folder / "adapter_model.safetensors")


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: edit_json(p / "adapter_config.json", peft_type="LOHA"), "of type 'LOHA'"),
        (lambda p: edit_json(p / "adapter_config.json", use_dora=True), "uses use_dora"),
        (lambda p: edit_json(p / "adapter_config.json", bias="all"), "biases"),
        (lambda p: edit_json(p / "adapter_config.json", modules_to_save=["lm_head"]), "replaces whole modules"),
        (lambda p: edit_json(p / "adapter_config.json", fan_in_fan_out=True), "transposed"),
        (lambda p: edit_json(p / "adapter_config.json", init_lora_weights="pissa_niter_4"), "began from changed base weights"),
        (lambda p: edit_json(p / "adapter_config.json", lora_alpha="much"), "lora_alpha = 'much'"),
        (lambda p: (p / "adapter_config.json").write_text("{"), "is no JSON"),
        (lambda p: (p / "adapter_model.safetensors").rename(p / "adapter_model.bin"), "pickle files are never opened|has no adapter_model"),
        (lambda p: (p / "adapter_model.safetensors").write_bytes(b"\xff" * 40), "no safetensors file"),
        (lambda p: add_tensor(p, "base_model.model.lm_head.weight", 4, 4), "no factor of a linear layer"),
        (lambda p: add_tensor(p, "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight", 4, 32), "only one of the two factors"),
        (lambda p: add_tensor(p, A, 4, 31), r"has shape|with shape \[32, 31\]"),
        (lambda p: add_tensor(p, A, 3, 32), "with shape"),
        (lambda p: add_tensor(p, A, 4, 32, fill=float("nan")), "NaN or infinity"),
    ],
)
def test_other_adapters_are_refused_with_the_reason(tiny: Tiny, tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    spoil(write_adapter(adapted / "adapter"))
    with pytest.raises(LepError, match=message):
        run(base, adapted, instruct, tmp_path / "out", "swap")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("options", "message"), [({"hidden": 48}, r"shape \[48, 96\]"), ({"layers": 3}, "layers.2.self_attn.q_proj")])
def test_an_adapter_of_another_model_is_refused(tiny: Tiny, tmp_path: Path, options: dict, message: str) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    write_adapter(adapted / "adapter", **options)
    with pytest.raises(ModelError, match=message) as caught:
        run(base, adapted, instruct, tmp_path / "out", "swap")
    assert "2 layers" in caught.value.hint


def test_a_given_folder_without_an_adapter_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    base, adapted, instruct = trio(tiny, tmp_path)
    with pytest.raises(ModelError, match="has no adapter_config"):
        run(base, adapted, instruct, tmp_path / "out", "swap", adapter=str(base))
