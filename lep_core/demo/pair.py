"""Train the demo's base and instruct model from nothing, in a few minutes on one CPU thread.

The base learns raw text, mostly English; its byte-level BPE tokenizer saw mostly English too, so Russian is expensive. The
instruct model is a light fine-tune of the base on tasks in both languages, with a chat template.

    python -m lep_core.demo.pair --output assets/demo
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from lep_core.demo.corpora import documents
from lep_core.demo.world import ANSWER_SIGN, LANGUAGES, Mixture, Task, training_task
from lep_core.errors import LepError
from lep_core.files import atomic_folder, check_output, read_json, write_json
from lep_core.progress import SILENT, MetricValue, Reporter, SilentReporter

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BOS, EOS, PAD, SYSTEM, USER, ASSISTANT = "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (BOS, EOS, PAD, SYSTEM, USER, ASSISTANT)

# An answer begins with a space, as words do in raw text: its tokens are then those that training on raw text knows. The space
# belongs to the answer and not to the generation prompt, because byte-level tokens hold the space *before* a word.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|> ' + message['content'] | trim + eos_token }}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] | trim }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What decides the shape of tokenizer and model; sizes in tokens."""

    vocab_size: int = 768
    hidden_size: int = 64
    intermediate_size: int = 192
    layers: int = 3
    heads: int = 2
    rope_theta: float = 300.0
    initializer_range: float = 0.08
    context: int = 512
    tied: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PairRecipe(ModelRecipe):
    """Everything that decides what the pair becomes; sizes in tokens, texts in bytes."""

    tokenizer_english_bytes: int = 400_000
    tokenizer_russian_bytes: int = 200_000
    english_bytes: int = 3_000_000
    russian_bytes: int = 4_000_000
    russian_share_first: float = 0.25
    russian_share_last: float = 0.5
    mixture: Mixture = field(default_factory=Mixture)
    copy_share: float = 0.12
    base_steps: int = 4000
    batch_size: int = 10
    block_size: int = 80
    base_learning_rate: float = 4e-3
    role_steps: int = 120
    role_learning_rate: float = 5e-3
    instruct_steps: int = 120
    instruct_batch_size: int = 32
    instruct_learning_rate: float = 2e-4


def train_pair(output: Path, *, seed: int = 0, recipe: PairRecipe | None = None, reporter: Reporter = SILENT) -> tuple[Path, Path]:
    """Train both models and write them to `output/base` and `output/instruct`; returns these two folders.

    A recipe carries its own seed; without one the shipped recipe is used with `seed`. The same recipe gives the same bytes on the
    same processor and torch version: one thread, fixed seeds. Raises `LepError` when the reporter asks to stop.
    """
    import torch

    recipe = recipe or PairRecipe(seed=seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        reporter.stage("training the demo's tokenizer")
        tokenizer = train_tokenizer(recipe)
        reporter.stage("training the demo's base model")
        model = train_base(recipe, tokenizer, reporter)
        base = _save(model, tokenizer, recipe, output / "base")
        reporter.stage("training the demo's instruct model")
        fine_tune(model, recipe, tokenizer, reporter)
        tokenizer.chat_template = CHAT_TEMPLATE
        return base, _save(model, tokenizer, recipe, output / "instruct")
    finally:
        torch.set_num_threads(threads)


def train_tokenizer(recipe: PairRecipe) -> PreTrainedTokenizerFast:
    """The demo's tokenizer, learned from two thirds English and one third Russian."""
    sizes = {"en": recipe.tokenizer_english_bytes, "ru": recipe.tokenizer_russian_bytes}
    texts = [text for language, size in sizes.items() for text in _texts(recipe, "tokenizer", language, size)]
    return learned_tokenizer(texts, recipe)


def learned_tokenizer(texts: Sequence[str], recipe: ModelRecipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; it puts `<s>` before a text, as Llama's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
    )


def new_model(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama, prepared for copying."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=recipe.context,
            rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
            initializer_range=recipe.initializer_range,
            tie_word_embeddings=recipe.tied,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    prepare_for_copying(model)
    return model


def train_base(recipe: PairRecipe, tokenizer: PreTrainedTokenizerFast, reporter: Reporter = SILENT) -> LlamaForCausalLM:
    """A small Llama trained on raw text in both languages."""
    import torch

    model = new_model(recipe, tokenizer)
    sizes = {"en": recipe.english_bytes, "ru": recipe.russian_bytes}
    streams = [Stream(tokenizer, _texts(recipe, "base", language, size)) for language, size in sizes.items()]
    random = Random(f"blocks {recipe.seed}")

    def batches() -> Iterator[torch.Tensor]:
        # Skills are found in English, whose words are single tokens, and carried over to Russian as its share grows.
        for step in itertools.count():
            share = recipe.russian_share_first + (recipe.russian_share_last - recipe.russian_share_first) * step / recipe.base_steps
            chosen = random.choices(streams, (1 - share, share), k=recipe.batch_size)
            rows = [stream.block(random, recipe.block_size) for stream in chosen]
            yield torch.tensor(
                [repetition(random, len(tokenizer), len(row)) if random.random() < recipe.copy_share else row for row in rows]
            )

    pairs = ((ids, ids) for ids in batches())
    optimize(model, pairs, steps=recipe.base_steps, learning_rate=recipe.base_learning_rate, reporter=reporter)
    return model


def fine_tune(model: LlamaForCausalLM, recipe: PairRecipe, tokenizer: PreTrainedTokenizerFast, reporter: Reporter = SILENT) -> None:
    """Teach the base model, in place, to answer tasks inside the chat template; only answers count in the loss."""
    import torch

    random = Random(f"instruct {recipe.seed}")

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            tasks = [training_task(random, random.choice(LANGUAGES)) for _ in range(recipe.instruct_batch_size)]
            yield _conversations(tokenizer, tasks)

    place_roles(model, tokenizer)
    rows = torch.zeros(len(tokenizer), 1)
    rows[tokenizer.all_special_ids] = 1.0
    body = list(model.model.layers.parameters()) + list(model.model.norm.parameters())
    matrices = (model.model.embed_tokens.weight, model.lm_head.weight)
    # First only the rows of special tokens learn, which raw text never showed; the rest then needs to move but little, and what
    # base and instruct have in common stays large enough for trained embeddings to be carried over.
    hooks = [matrix.register_hook(lambda gradient: gradient * rows) for matrix in matrices]
    for parameter in body:
        parameter.requires_grad_(False)
    optimize(model, batches(), steps=recipe.role_steps, learning_rate=recipe.role_learning_rate, reporter=reporter)
    for parameter in body:
        parameter.requires_grad_(True)
    for hook in hooks:
        hook.remove()
    optimize(model, batches(), steps=recipe.instruct_steps, learning_rate=recipe.instruct_learning_rate, reporter=reporter)


def place_roles(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Rows that special tokens start from: those of the signs that do their work in raw text."""
    import torch

    inputs, outputs = model.model.embed_tokens.weight, model.lm_head.weight
    with torch.no_grad():
        for token, sign in ((USER, "\n"), (SYSTEM, "\n"), (ASSISTANT, ANSWER_SIGN), (EOS, ".")):
            ids = tokenizer.encode(sign, add_special_tokens=False)
            for matrix in (inputs, outputs):
                matrix[tokenizer.convert_tokens_to_ids(token)] = matrix[ids[-1]]


def prepare_for_copying(model: LlamaForCausalLM) -> None:
    """Start where copying is near: heads look for like tokens, pass on what they see, and the head reads what was embedded.

    So-called mimetic initialisation (Trockman & Kolter, arXiv 2305.09828). A model this small needs several times as many steps
    to find copying from independent random matrices.
    """
    import torch

    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
        for layer in model.model.layers:
            attention: Any = layer.self_attn
            size = attention.q_proj.weight.shape[1]
            attention.q_proj.weight.normal_(0.0, 1.5 / math.sqrt(size))
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            rotation, _ = torch.linalg.qr(torch.randn(size, size))
            attention.v_proj.weight.copy_(rotation)
            attention.o_proj.weight.copy_(0.5 * rotation.T)


class Stream:
    """Token ids of many documents, cut into blocks that begin at a document."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> None:
        self.ids: list[int] = []
        self.starts: list[int] = []
        for encoding in tokenizer.backend_tokenizer.encode_batch(list(texts)):
            self.starts.append(len(self.ids))
            self.ids += encoding.ids

    def block(self, random: Random, size: int) -> list[int]:
        # Half of the blocks begin without <s>: raw text is often measured and continued without it.
        start = self.starts[random.randrange(len(self.starts))] + random.randrange(2)
        start = min(start, len(self.ids) - size)
        return self.ids[start : start + size]


def repetition(random: Random, vocab_size: int, size: int) -> list[int]:
    """Random tokens, repeated: copying learned on them works for any token, so also for rows that a new vocabulary adds."""
    ids: list[int] = []
    while len(ids) < size:
        span = [random.randrange(len(SPECIAL_TOKENS), vocab_size) for _ in range(random.randint(3, 24))]
        ids += span * 2
    return ids[:size]


def _texts(recipe: PairRecipe, purpose: str, language: str, size_bytes: int) -> Iterator[str]:
    return documents(Random(f"{purpose} {language} {recipe.seed}"), language, size_bytes, recipe.mixture)


def _conversations(tokenizer: PreTrainedTokenizerFast, tasks: Sequence[Task]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded ids and labels (batch, longest conversation)."""
    import torch

    prompts = [tokenizer.encode(f"{USER}{task.prompt}{ASSISTANT}") for task in tasks]
    answers = [tokenizer.encode(f" {task.answer}{EOS}", add_special_tokens=False) for task in tasks]
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(tasks), longest), tokenizer.pad_token_id)
    labels = torch.full((len(tasks), longest), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return ids, labels


def optimize(
    model: LlamaForCausalLM, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], *, steps: int, learning_rate: float, reporter: Reporter
) -> None:
    """AdamW with a short warm-up and a cosine; stops early, with a `LepError`, when the reporter asks for it."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    warmup = max(1, steps // 20)
    model.train()
    for step in range(steps):
        if reporter.should_stop():
            raise LepError("training the demo pair was stopped", "Start it again, or use the pair that ships")
        rate = min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate
        ids, labels = next(batches)
        # Padding stands on the right, so causal attention never sees it and needs no mask.
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        reporter.progress(step + 1, steps, "steps")
        if step % 50 == 0 or step == steps - 1:
            reporter.metric({"step": step, "loss": loss.item()})
    model.eval()


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: PairRecipe, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    # transformers 4 knows neither this class name nor this place of the rotary base, and would silently take 10,000 for it.
    for name, changes in (
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
        ("config.json", {"rope_theta": recipe.rope_theta}),
    ):
        write_json(folder / name, read_json(folder / name) | changes)
    return folder


class _StderrReporter(SilentReporter):
    """Lines on stderr for `python -m`."""

    def stage(self, name: str) -> None:
        print(name, file=sys.stderr, flush=True)

    def metric(self, record: Mapping[str, MetricValue]) -> None:
        print(dict(record), file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: rebuild the pair."""
    parser = argparse.ArgumentParser(prog="python -m lep_core.demo.pair", description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="folder that gets base/ and instruct/")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--overwrite", action="store_true", help="replace base/ and instruct/ in the output folder")
    options = parser.parse_args(arguments)
    output = Path(options.output)
    # Each model replaces its own folder, so that other files of the output folder (a README) stay.
    for name in ("base", "instruct"):
        check_output(output / name, overwrite=options.overwrite)
    with tempfile.TemporaryDirectory() as scratch:
        for trained in train_pair(Path(scratch), seed=options.seed, reporter=_StderrReporter()):
            with atomic_folder(output / trained.name, overwrite=options.overwrite) as partial:
                shutil.copytree(trained, partial, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
