"""The pair that ships: two siblings in plain safetensors, of which the instruct model answers."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from lep_core.demo.corpora import held_out_tasks
from lep_core.demo.pair import SPECIAL_TOKENS, PairRecipe, train_pair
from lep_core.demo.path import demo_pair
from lep_core.errors import ModelError

TINY = PairRecipe(
    vocab_size=280,
    tokenizer_english_bytes=4000,
    tokenizer_russian_bytes=1000,
    hidden_size=16,
    intermediate_size=16,
    layers=1,
    english_bytes=6000,
    russian_bytes=6000,
    base_steps=2,
    role_steps=2,
    instruct_steps=2,
)


def test_a_missing_pair_is_an_error_that_says_how_to_rebuild(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks config\.json.*lep_core\.demo\.pair --output"):
        demo_pair(tmp_path)


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        train_pair(tmp_path / name, recipe=TINY)
    for path in sorted((tmp_path / "first").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes(), path.name


def test_only_safetensors_of_a_few_megabytes_ship() -> None:
    for folder in demo_pair():
        names = {path.name for path in folder.iterdir()}
        assert "model.safetensors" in names
        assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
        assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000


def test_the_pair_are_siblings() -> None:
    from safetensors import safe_open
    from tokenizers import Tokenizer

    base, instruct = demo_pair()
    tokenizers = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (base, instruct)]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    shapes = []
    for folder in (base, instruct):
        with safe_open(folder / "model.safetensors", "pt") as file:
            shapes.append({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118 - not a mapping
    assert shapes[0] == shapes[1]
    assert shapes[0]["model.embed_tokens.weight"] == shapes[0]["lm_head.weight"] == [tokenizers[0].get_vocab_size(), 64]
    configs = [json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (base, instruct)]
    assert configs[0] == configs[1]
    assert configs[0]["tie_word_embeddings"] is False


def test_the_chat_template_renders_with_one_id_per_special_token() -> None:
    from transformers import PreTrainedTokenizerFast

    base, instruct = (PreTrainedTokenizerFast.from_pretrained(folder) for folder in demo_pair())
    assert base.chat_template is None
    for token in SPECIAL_TOKENS:
        assert len(instruct.encode(token, add_special_tokens=False)) == 1
    messages = [{"role": "user", "content": "Repeat: cat dog."}, {"role": "assistant", "content": "cat dog"}]
    assert instruct.apply_chat_template(messages, tokenize=False) == "<s><|user|>Repeat: cat dog.<|assistant|> cat dog</s>"
    prompt = instruct.apply_chat_template(messages[:1], add_generation_prompt=True)["input_ids"]
    whole = instruct.apply_chat_template(messages)["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert sum(token in instruct.all_special_ids for token in whole) == 4


@pytest.mark.parametrize(("language", "least"), [("en", 18), ("ru", 14)])
def test_the_instruct_model_answers(language: str, least: int) -> None:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    folder = demo_pair()[1]
    tokenizer, model = PreTrainedTokenizerFast.from_pretrained(folder), LlamaForCausalLM.from_pretrained(folder).eval()
    right = 0
    for task in held_out_tasks(Random(f"test {language}"), language, 20):
        messages = [{"role": "user", "content": task.prompt}]
        ids = torch.tensor([tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]])
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, use_cache=True)
        right += tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True).strip() == task.answer
    assert right >= least
