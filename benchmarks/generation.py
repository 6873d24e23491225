"""Answers of models side by side: `model.generate`, our own loop, and two models that differ in their embeddings over one body.

    python -m benchmarks.generation --hidden 768 --layers 10 --vocabulary 32000 --tokens 64

Random weights, greedy answers of a fixed length. "generate" and "LEP Studio" answer with one model; the other contenders answer with the
original and `--variants` - 1 variants of its body, in turn or together. "combined" is tokens a CPU second over all models; "model GiB"
and "pair GiB" are the sizes of a whole model and of one embedding pair, to be compared with the growth of the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import main, timed

PROMPT_TOKENS = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--tokens", type=int, default=48, help="tokens of an answer")
    parser.add_argument("--variants", type=int, default=2, help="models of one body, the original included")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lep-benchmark-generation", help="where the models go")


def prepare(arguments: argparse.Namespace) -> None:
    """The original and its variants: one body, other embeddings."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    shutil.rmtree(arguments.folder, ignore_errors=True)
    disable_progress_bar()
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=arguments.hidden,
        intermediate_size=arguments.hidden * 7 // 2,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.hidden // 64,
        num_key_value_heads=max(1, arguments.hidden // 256),
        vocab_size=arguments.vocabulary,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, arguments.precision))
    for folder in _folders(arguments):
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            torch.nn.init.normal_(module.weight, std=0.02)
        model.save_pretrained(folder)
        _write_tokenizer(folder, arguments.vocabulary)


def plain_generate(arguments: argparse.Namespace) -> Mapping[str, float]:
    return _one_by_one(arguments, models=1)


def generate_in_turn(arguments: argparse.Namespace) -> Mapping[str, float]:
    """What a page does that has a model in each pane: all of them in memory, one call of `generate` each."""
    return _one_by_one(arguments, models=arguments.variants)


def own_loop(arguments: argparse.Namespace) -> Mapping[str, float]:
    return _together(arguments, models=1)


def shared_body(arguments: argparse.Namespace) -> Mapping[str, float]:
    """The chat of LEP Studio: one body, an embedding pair for each model, all answers in one batch."""
    return _together(arguments, models=arguments.variants)


def _one_by_one(arguments: argparse.Namespace, *, models: int) -> Mapping[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(arguments.threads)
    memory, figures = _memory(arguments), {}
    dtype = getattr(torch, arguments.precision)
    loaded: list[Any] = [AutoModelForCausalLM.from_pretrained(folder, dtype=dtype) for folder in _folders(arguments)[:models]]
    loaded = [model.to(arguments.device).eval() for model in loaded]
    ids = torch.tensor([list(range(5, 5 + PROMPT_TOKENS))], device=arguments.device)

    def answer(model: Any, tokens: int) -> None:
        with torch.no_grad():
            model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens)

    for model in loaded:
        answer(model, 2)
    with timed(figures):
        for model in loaded:
            answer(model, arguments.tokens)
    return {**figures, **_facts(arguments, models, figures["cpu_seconds"], memory)}


def _together(arguments: argparse.Namespace, *, models: int) -> Mapping[str, float]:
    import torch

    from lep_core.inference.engine import Request
    from lep_core.inference.family import Family
    from lep_core.inference.sampling import GenerationSettings

    memory, figures = _memory(arguments), {}
    first, *others = [str(folder) for folder in _folders(arguments)[:models]]
    family = Family(first, device=arguments.device, precision=arguments.precision, threads=arguments.threads, prove=False)
    for folder in others:
        family.add(folder)
    torch.set_num_threads(arguments.threads)

    def answer(tokens: int) -> None:
        engine = family.engine()
        for variant in family.variants.values():
            settings = GenerationSettings(max_new_tokens=tokens)
            engine.add(Request(variant, list(range(5, 5 + PROMPT_TOKENS)), settings, chat=False))
        while engine.busy:
            engine.step()

    answer(2)
    with timed(figures):
        answer(arguments.tokens)
    return {**figures, **_facts(arguments, models, figures["cpu_seconds"], memory)}


def _facts(arguments: argparse.Namespace, models: int, cpu_seconds: float, memory_before: float) -> dict[str, float]:
    pair = 2 * arguments.vocabulary * arguments.hidden * (4 if arguments.precision == "float32" else 2)
    whole = (_folders(arguments)[0] / "model.safetensors").stat().st_size
    return {
        "combined": models * arguments.tokens / cpu_seconds,
        "held GiB": _memory(arguments) - memory_before,
        "model GiB": whole / 2**30,
        "pair GiB": pair / 2**30,
    }


def _memory(arguments: argparse.Namespace) -> float:
    """What is held now, in GiB, libraries that are needed anyway included."""
    import psutil
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401

    if arguments.device != "cpu":
        return torch.cuda.memory_allocated() / 2**30
    return psutil.Process(os.getpid()).memory_info().rss / 2**30


def _folders(arguments: argparse.Namespace) -> list[Path]:
    return [arguments.folder / f"model-{number}" for number in range(arguments.variants)]


def _write_tokenizer(folder: Path, size: int) -> None:
    """Byte-level: the 256 bytes, then made-up pieces for the other rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{first}{second}" for first in alphabet for second in alphabet)]
    pieces += [f"{first}{rest}" for rest in pieces[256:] for first in alphabet[:4]]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces[:size])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")


CONTENDERS = {
    "generate": plain_generate,
    "LEP Studio, one model": own_loop,
    "generate, models in turn": generate_in_turn,
    "LEP Studio, one body": shared_body,
}

if __name__ == "__main__":
    main("Answers of models side by side", CONTENDERS, add_arguments, prepare=prepare)
