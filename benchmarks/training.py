"""Training of embedding and head with a frozen body: against transformers' Trainer doing the same work.

    python -m benchmarks.training --vocabulary 128000 --tokens 2048
    python -m benchmarks.training --device cuda --shape 8b --tokens 8192 --block 4096 --precision bfloat16

Both train the same two matrices of the same random Llama on the same random tokens with AdamW; the first step warms up and is not
counted. "share of peak" is the arithmetic that the work needs (below) over what the machine reaches on square matrix products in the
same precision; "above state GiB" is the peak memory without the weights, the float32 masters and the optimizer's moments.

Arithmetic a token, P weights of the body's projections, V x D the head: 2 P forward, 2 P for the gradient in the activations (the body
has no weight gradients), 3 x 2 V D for the head. Attention scores, norms and the softmax are left out.
"""

from __future__ import annotations

import argparse
import atexit
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import main, matmul_peak_gflops
from lep_core.measuring import peak_memory_gib

SHAPES: dict[str, dict[str, int]] = {
    "small": {},
    "1b": {"vocabulary": 128_256, "hidden": 2048, "layers": 16, "inner": 8192, "heads": 32, "key_heads": 8},
    "8b": {"vocabulary": 128_256, "hidden": 4096, "layers": 32, "inner": 14_336, "heads": 32, "key_heads": 8},
}
MOMENTS_BYTES = 8  # two float32 a parameter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", choices=list(SHAPES), default="small", help="a named size instead of vocabulary, hidden and layers")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of an optimizer step")
    parser.add_argument("--block", type=int, default=512, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=4, help="counted steps, after one to warm up")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--micro-batch-size", type=int, help="sequences at a time of LEP Studio; by default its own choice")


def prepare(arguments: argparse.Namespace) -> None:
    """Write the random model that all contenders load; it goes when the benchmark ends."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = _folder(arguments)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(0)
    with torch.device(arguments.device):
        model = LlamaForCausalLM(LlamaConfig(**_llama(arguments))).to(getattr(torch, arguments.precision))
    model.save_pretrained(folder)


def trainer(arguments: argparse.Namespace) -> Mapping[str, float]:
    """transformers' Trainer, everything but embedding and head frozen."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(_folder(arguments), dtype=torch.float32).requires_grad_(False).to(arguments.device)
    learning = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for parameter in learning:
        parameter.requires_grad_(True)
    clock = _Clock(arguments, moments=MOMENTS_BYTES * sum(parameter.numel() for parameter in learning))

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            clock.step_done()

    rows = arguments.tokens // arguments.block
    ids = _tokens(arguments).reshape(-1, arguments.block)
    options = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=rows,
        max_steps=arguments.steps + 1,
        learning_rate=1e-4,
        weight_decay=0.0,
        adam_beta2=0.95,
        optim="adamw_torch_fused",
        bf16=arguments.precision == "bfloat16",
        use_cpu=arguments.device == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
    )
    data: Any = [{"input_ids": row, "labels": row} for row in ids]
    Trainer(model=model, args=options, train_dataset=data, callbacks=[Watch()]).train()
    shutil.rmtree(options.output_dir or "", ignore_errors=True)
    return clock.figures()


def lep_studio(arguments: argparse.Namespace) -> Mapping[str, float]:
    """The same steps by LEP Studio's training core."""
    import numpy as np
    import torch

    from lep_core.models import inspect_model
    from lep_core.progress import SILENT
    from lep_core.training.freeze import load_split
    from lep_core.training.memory import choose_micro_batch
    from lep_core.training.optimizer import RowAdamW
    from lep_core.training.state import TrainingState

    torch.set_num_threads(arguments.threads)
    folder, device, dtype = inspect_model(_folder(arguments)), torch.device(arguments.device), getattr(torch, arguments.precision)
    split = load_split(folder, device=device, dtype=dtype)
    clock = _Clock(arguments, moments=MOMENTS_BYTES * sum(matrix.numel() for matrix in split.matrices.values()))
    rows = arguments.tokens // arguments.block
    micro = arguments.micro_batch_size or choose_micro_batch(
        folder, block_size=arguments.block, batch_size=rows, device=device, dtype=dtype
    )
    optimizer = RowAdamW(split.matrices, weight_decay=0.0, gradient_clip=1.0)
    state = TrainingState(
        split=split, optimizer=optimizer, micro_batch_size=micro, token_bytes_V=np.ones(folder.vocab_size, dtype=np.int32)
    )
    ids = _tokens(arguments).numpy().reshape(arguments.steps + 1, rows, arguments.block)
    for step_ids in ids:
        targets = np.full_like(step_ids, -100)
        targets[:, :-1] = step_ids[:, 1:]
        state.run_step(step_ids, targets, learning_rate=1e-4, reporter=SILENT)
        clock.step_done()
    return clock.figures()


class _Clock:
    """Seconds from the end of the first step to that of the last, and the memory that the steps added."""

    def __init__(self, arguments: argparse.Namespace, *, moments: int) -> None:
        import torch

        self._arguments, self._moments_gib = arguments, moments / 2**30
        self._device = torch.device(arguments.device)
        self._loaded_gib = _present_gib(self._device)
        self._marks: list[tuple[float, float]] = []

    def step_done(self) -> None:
        if self._device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        self._marks.append((time.perf_counter(), time.process_time()))

    def figures(self) -> dict[str, float]:
        (wall, cpu), (end_wall, end_cpu) = self._marks[0], self._marks[-1]
        peak, seconds = peak_memory_gib(self._device), end_wall - wall
        gflop = _gflop_per_token(self._arguments) * self._arguments.tokens * (len(self._marks) - 1)
        limit = matmul_peak_gflops(self._arguments.precision, device=self._arguments.device, threads=self._arguments.threads)
        # On a shared CPU the time of a thread says more than that of the clock.
        busy = seconds if self._device.type == "cuda" else min(seconds, (end_cpu - cpu) / self._arguments.threads)
        return {
            "seconds": seconds,
            "cpu_seconds": end_cpu - cpu,
            "memory_gib": peak,
            "memory_growth_gib": peak - self._loaded_gib,
            "above state GiB": peak - self._loaded_gib - self._moments_gib,
            "share of peak": gflop / busy / limit,
        }


def _present_gib(device: Any) -> float:
    if device.type == "cuda":
        import torch

        return torch.cuda.memory_allocated(device) / 2**30
    import psutil

    return psutil.Process().memory_info().rss / 2**30


def _tokens(arguments: argparse.Namespace) -> Any:
    import torch

    count = (arguments.steps + 1) * arguments.tokens
    # Word frequencies fall as in text, so that as many rows of the embedding are met as a real step meets.
    ranks = torch.rand(count, generator=torch.Generator().manual_seed(0)) * torch.log(torch.tensor(float(_size(arguments, "vocabulary"))))
    return ranks.exp().long().clamp(max=_size(arguments, "vocabulary") - 1)


def _size(arguments: argparse.Namespace, name: str) -> int:
    defaults = {
        "inner": 11 * arguments.hidden // 4 // 64 * 64,
        "heads": max(1, arguments.hidden // 64),
        "key_heads": max(1, arguments.hidden // 128),
    }
    return SHAPES[arguments.shape].get(name, defaults.get(name, getattr(arguments, name, 0)))


def _llama(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "vocab_size": _size(arguments, "vocabulary"),
        "hidden_size": _size(arguments, "hidden"),
        "intermediate_size": _size(arguments, "inner"),
        "num_hidden_layers": _size(arguments, "layers"),
        "num_attention_heads": _size(arguments, "heads"),
        "num_key_value_heads": _size(arguments, "key_heads"),
        "max_position_embeddings": max(2048, arguments.block),
        "tie_word_embeddings": False,
    }


def _gflop_per_token(arguments: argparse.Namespace) -> float:
    hidden, inner = _size(arguments, "hidden"), _size(arguments, "inner")
    key_width = hidden * _size(arguments, "key_heads") // _size(arguments, "heads")
    body = _size(arguments, "layers") * (2 * hidden * hidden + 2 * hidden * key_width + 3 * hidden * inner)
    return (4 * body + 6 * _size(arguments, "vocabulary") * hidden) / 1e9


def _folder(arguments: argparse.Namespace) -> Path:
    sizes = "-".join(str(_size(arguments, name)) for name in ("vocabulary", "hidden", "layers"))
    return Path(tempfile.gettempdir()) / f"lep-benchmark-llama-{sizes}-{arguments.precision}"


def work(arguments: argparse.Namespace) -> tuple[float, str]:
    return arguments.tokens * arguments.steps, "tokens"


def limits(arguments: argparse.Namespace) -> dict[str, str]:
    peak = matmul_peak_gflops(arguments.precision, device=arguments.device, threads=arguments.threads)
    return {"matrix products": f"{peak:.0f} GFLOP/s", "arithmetic": f"{_gflop_per_token(arguments):.3f} GFLOP a token"}


CONTENDERS = {"transformers Trainer": trainer, "LEP Studio": lep_studio}

if __name__ == "__main__":
    main("Embedding training with a frozen body", CONTENDERS, add_arguments, work=work, prepare=prepare, limits=limits)
