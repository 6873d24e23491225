"""The effect study's base model and instruct sibling, trained from nothing on real text with the demo's tools (`lep_core.demo.pair`).

The base reads English and some Russian: novels, the forms of the tasks, and random tokens repeated. Its vocabulary was learned mostly from
English. The sibling is the base after a light tuning on questions, copies and real conversations in both languages: first the rows of
special tokens learn, then everything at a small rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from lep_core.demo import pair
from lep_core.demo.pair import ASSISTANT, CHAT_TEMPLATE, EOS, USER
from lep_core.demo.world import LANGUAGES
from lep_core.files import read_json, write_json
from lep_core.progress import SILENT, Reporter
from studies import effect_texts
from studies.effect_texts import Novels

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Conversations = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class PairRecipe(pair.ModelRecipe):
    """Everything that decides what the pair becomes; texts in bytes, lengths in tokens."""

    vocab_size: int = 2048
    tokenizer_english_bytes: int = 1_500_000
    tokenizer_russian_bytes: int = 150_000
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 3
    heads: int = 4
    rope_theta: float = 1000.0
    initializer_range: float = 0.06
    task_bytes: int = 1_500_000
    russian_share_first: float = 0.2
    russian_share_last: float = 0.45
    task_share: float = 0.5
    repetition_share: float = 0.08
    base_steps: int = 2300
    batch_size: int = 16
    block_size: int = 128
    base_learning_rate: float = 3e-3
    role_steps: int = 100
    role_learning_rate: float = 5e-3
    instruct_steps: int = 160
    instruct_batch_size: int = 32
    instruct_learning_rate: float = 3e-4
    # Questions of the world, copies, real conversations.
    instruct_kinds: tuple[float, float, float] = (0.7, 0.2, 0.1)
    instruct_characters: int = 150


def train_tokenizer(recipe: PairRecipe, novels: Novels) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, learned mostly from English."""
    sizes = {"en": recipe.tokenizer_english_bytes, "ru": recipe.tokenizer_russian_bytes}
    texts = [
        text
        for language, size in sizes.items()
        for text in effect_texts.mixed(
            Random(f"tokenizer {language} {recipe.seed}"),
            language,
            novels.base[language],
            novel_bytes=size * 3 // 4,
            task_bytes=size // 4,
        )
    ]
    return pair.learned_tokenizer(texts, recipe)


def train_base(recipe: PairRecipe, tokenizer: PreTrainedTokenizerFast, novels: Novels, reporter: Reporter = SILENT) -> LlamaForCausalLM:
    """A small Llama, trained on raw text in both languages."""
    model = pair.new_model(recipe, tokenizer)
    batches = _raw_batches(recipe, tokenizer, novels)
    pair.optimize(
        model, ((ids, ids) for ids in batches), steps=recipe.base_steps, learning_rate=recipe.base_learning_rate, reporter=reporter
    )
    return model


def _raw_batches(recipe: PairRecipe, tokenizer: PreTrainedTokenizerFast, novels: Novels) -> Iterator[torch.Tensor]:
    """Blocks of novels, task forms and repeated random tokens; the share of Russian grows, as in the demo's base."""
    import torch

    streams: dict[tuple[str, bool], pair.Stream] = {}
    for language in LANGUAGES:
        texts = novels.base[language]
        tasks = effect_texts.task_documents(
            Random(f"base {language} {recipe.seed}"), language, effect_texts.sentences(texts), recipe.task_bytes
        )
        streams[language, False] = pair.Stream(tokenizer, texts)
        streams[language, True] = pair.Stream(tokenizer, tasks)
    random = Random(f"blocks {recipe.seed}")
    for step in range(recipe.base_steps):
        share = recipe.russian_share_first + (recipe.russian_share_last - recipe.russian_share_first) * step / recipe.base_steps
        rows = []
        for _ in range(recipe.batch_size):
            language = "ru" if random.random() < share else "en"
            row = streams[language, random.random() < recipe.task_share].block(random, recipe.block_size)
            if random.random() < recipe.repetition_share:
                row = pair.repetition(random, len(tokenizer), len(row))
            rows.append(row)
        yield torch.tensor(rows)


def tune(
    model: LlamaForCausalLM, recipe: PairRecipe, tokenizer: PreTrainedTokenizerFast, told: Conversations, reporter: Reporter = SILENT
) -> None:
    """Teach a base model, in place, to answer inside the chat template, as the demo's sibling learned it."""
    import torch

    random = Random(f"instruct {recipe.seed}")
    # Conversations of like length share a batch, which leaves little padding.
    ordered = sorted(told, key=lambda one: len(one[0]) + len(one[1]))
    size = recipe.instruct_batch_size
    groups = [ordered[at : at + size] for at in range(0, len(ordered) - size + 1, size)]

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            for group in random.sample(groups, len(groups)):
                yield _padded(tokenizer, group)

    pair.place_roles(model, tokenizer)
    rows = torch.zeros(len(tokenizer), 1)
    rows[tokenizer.all_special_ids] = 1.0
    body = list(model.model.layers.parameters()) + list(model.model.norm.parameters())
    matrices = (model.model.embed_tokens.weight, model.lm_head.weight)
    hooks = [matrix.register_hook(lambda gradient: gradient * rows) for matrix in matrices]
    for parameter in body:
        parameter.requires_grad_(False)
    pair.optimize(model, batches(), steps=recipe.role_steps, learning_rate=recipe.role_learning_rate, reporter=reporter)
    for parameter in body:
        parameter.requires_grad_(True)
    for hook in hooks:
        hook.remove()
    pair.optimize(model, batches(), steps=recipe.instruct_steps, learning_rate=recipe.instruct_learning_rate, reporter=reporter)


def _padded(tokenizer: PreTrainedTokenizerFast, told: Conversations) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels (batch, longest conversation); only answers count."""
    import torch

    prompts = [tokenizer.encode(f"{USER}{prompt}{ASSISTANT}") for prompt, _ in told]
    answers = [tokenizer.encode(f" {answer}{EOS}", add_special_tokens=False) for _, answer in told]
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(told), longest), tokenizer.pad_token_id)
    labels = torch.full((len(told), longest), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return ids, labels


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, *, chat: bool) -> None:
    """A plain Hugging Face folder; instruct models get the demo's chat template."""
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    write_json(path, read_json(path) | {"tokenizer_class": "PreTrainedTokenizerFast"})
