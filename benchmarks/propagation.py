"""Propagation of whole checkpoints: the authors' way (load the models, loop, gelsy, save) beside ours, with the limits of the machine.

    python -m benchmarks.propagation                                              # conversion, a small Llama
    python -m benchmarks.propagation --method swap --layout own --hidden 2048 --layers 20 --shards 6            # 2.2 GB
    python -m benchmarks.propagation --hidden 2048 --layers 16 --vocabulary 128000 --repeats 1                 # 1B
    python -m benchmarks.propagation --hidden 4096 --layers 32 --vocabulary 128000 --shards 8 --repeats 1 --only "LEP Studio"   # 8B

Random base, adapted and instruct checkpoints are made in `--folder` first (their bodies share files) and removed afterwards. With
`--layout mixed` embedding and head share files with layers, as in downloaded checkpoints; with `own` they have a file of their own, as
in all that LEP Studio writes. Both tokenizers are synthetic byte-level BPE vocabularies, or the given ones.

Results are brought to the disk by both contenders (the peer's files are flushed after saving), or with `--cached` by neither. Ours is
measured as the verb runs, but without the proof of equal logits, which loads small models twice. OMP_NUM_THREADS sets the threads of all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.side_by_side import copy_gib_per_second, disk_write_gib_per_second, main, matmul_peak_gflops, timed
from lep_core.models import streams
from lep_core.models.safetensors_files import header_bytes
from lep_core.tokenizer.mapping import build_mapping

DTYPES = {"bfloat16": ("BF16", 2), "float16": ("F16", 2), "float32": ("F32", 4)}
ROLES = ("instruct", "base", "adapted")
CHAT_TOKENS = ("<|user|>", "<|end|>")
NOISE_ELEMENTS = 1 << 22
LONGEST_TOKEN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="conversion", choices=("conversion", "swap"))
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=32_000, help="tokens of the old and of the new vocabulary")
    parser.add_argument("--shared", type=float, default=0.5, help="share of the new vocabulary that is old")
    parser.add_argument("--shards", type=int, default=4, help="weight files of each checkpoint; 1 is a single file")
    parser.add_argument(
        "--layout", default="mixed", choices=("mixed", "own"), help="embedding and head beside layers, or in their own file"
    )
    parser.add_argument("--cached", action="store_true", help="leave what is written in the page cache")
    parser.add_argument("--dtype", default="bfloat16", choices=list(DTYPES))
    parser.add_argument("--tokenizers", nargs=2, default=None, metavar=("OLD", "NEW"), help="folders of real tokenizers instead")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lep-propagation-benchmark")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints for the next run")


# Contenders


def peers(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Load with transformers, change embedding and head, save; for conversion the loop and gelsy of the authors' code."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    names = ROLES if arguments.method == "conversion" else ("instruct", "adapted")
    output = fresh(arguments)
    figures: dict[str, float] = {}
    with timed(figures):
        models = {name: AutoModelForCausalLM.from_pretrained(arguments.folder / name, dtype="auto") for name in names}
        tokenizers = {name: PreTrainedTokenizerFast.from_pretrained(arguments.folder / name) for name in names}
        instruct = models["instruct"]
        changed = []
        for side in ("get_input_embeddings", "get_output_embeddings"):
            adapted_VD = getattr(models["adapted"], side)().weight.data
            if arguments.method == "conversion":
                old = [getattr(models[name], side)().weight.data for name in ("base", "instruct")]
                map_DD = authors_map(tokenizers["base"], tokenizers["adapted"], *old)
                adapted_VD = (adapted_VD.double() @ map_DD).to(adapted_VD.dtype)
            changed.append(adapted_VD)
        instruct.resize_token_embeddings(len(changed[0]), mean_resizing=False)
        instruct.get_input_embeddings().weight.data = changed[0]
        instruct.get_output_embeddings().weight.data = changed[1]
        instruct.save_pretrained(output)
        tokenizers["adapted"].save_pretrained(output)
        if not arguments.cached:
            flush(output)
    return figures | written(arguments, written_gib(output))


def authors_map(old: Any, new: Any, base_UD: torch.Tensor, instruct_UD: torch.Tensor) -> torch.Tensor:
    """W of conversion as the paper's code finds it: a Python loop over the new tokens, then LAPACK's gelsy in float64."""
    import scipy.linalg

    base_UD, instruct_UD = base_UD.float(), instruct_UD.float()
    rows: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for token in range(len(new)):
        ids = old.encode(new.decode([token]), add_special_tokens=False)
        if ids:
            rows[0].append(base_UD[ids].mean(dim=0))
            rows[1].append(instruct_UD[ids].mean(dim=0))
    a_ND, b_ND = (torch.stack(side).double().numpy() for side in rows)
    return torch.from_numpy(scipy.linalg.lstsq(a_ND, b_ND, lapack_driver="gelsy", overwrite_a=True, overwrite_b=True)[0])


def ours(arguments: argparse.Namespace) -> Mapping[str, float]:
    from lep_core import pipeline
    from lep_core.config import PropagateConfig
    from lep_core.models.proof import NOT_MADE
    from lep_core.propagation import propagate as stage

    vars(stage)["prove_written"] = lambda *_, **__: NOT_MADE
    if arguments.cached:
        vars(streams)["DIRECT_FROM_BYTES"] = 1 << 62
        vars(os)["fsync"] = lambda _: None
    output = fresh(arguments)
    output.rmdir()
    base, adapted, instruct = (str(arguments.folder / name) for name in ("base", "adapted", "instruct"))
    config = PropagateConfig(base=base, adapted=adapted, instruct=instruct, output=str(output), method=arguments.method)
    figures: dict[str, float] = {}
    with timed(figures):
        report = pipeline.propagate(config).to_json()
    return figures | written(arguments, report["bytes_written"] / 2**30)


def fresh(arguments: argparse.Namespace) -> Path:
    """An empty folder for a result; earlier results go. The peak memory counts from here."""
    output = arguments.folder / "result"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return output


def flush(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def written(arguments: argparse.Namespace, gib: float) -> dict[str, float]:
    embeddings = 2 * rows_of(arguments, "adapted") * arguments.hidden * DTYPES[arguments.dtype][1] / 2**30
    return {"GiB written": gib, "times the embeddings": gib / embeddings}


def written_gib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir() if path.stat().st_nlink == 1) / 2**30


# What they work on


def prepare(arguments: argparse.Namespace) -> None:
    """Make the three checkpoints, unless an earlier run with the same shape left them."""
    wanted = {name: str(value) for name, value in vars(arguments).items() if name in SHAPE}
    note = arguments.folder / "shape.json"
    if note.is_file() and json.loads(note.read_text()) == wanted:
        return
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    write_tokenizers(arguments)
    generator = torch.Generator().manual_seed(0)
    noise = (torch.randn(NOISE_ELEMENTS, generator=generator) * 0.02).to(getattr(torch, arguments.dtype))
    tensors = shapes(arguments)
    plan = sharded(tensors, arguments)
    for role in ROLES:
        folder = arguments.folder / role
        (folder / "config.json").write_text(json.dumps(config_of(arguments, rows_of(arguments, role))))
        weight_map = {}
        for number, names in enumerate(plan, start=1):
            file = f"model-{number:05d}-of-{len(plan):05d}.safetensors" if len(plan) > 1 else "model.safetensors"
            weight_map |= dict.fromkeys(names, file)
            shared = arguments.folder / "instruct" / file
            if role != "instruct" and not any(tensors[name] is None for name in names):
                (folder / file).hardlink_to(shared)
            else:
                write_shard(folder / file, names, tensors, arguments, role, noise)
        if len(plan) > 1:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    note.write_text(json.dumps(wanted))


SHAPE = ("hidden", "layers", "vocabulary", "shared", "shards", "layout", "dtype", "tokenizers")


def shapes(arguments: argparse.Namespace) -> dict[str, tuple[int, ...] | None]:
    """Shapes of a Llama's tensors in the usual order; None for embedding and head, whose rows differ."""
    config = config_of(arguments, 0)
    hidden, inner, small = config["hidden_size"], config["intermediate_size"], config["head_dim"] * config["num_key_value_heads"]
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (small, hidden),
        "self_attn.v_proj": (small, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    tensors: dict[str, tuple[int, ...] | None] = {"model.embed_tokens.weight": None}
    for number in range(arguments.layers):
        tensors |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return tensors | {"model.norm.weight": (hidden,), "lm_head.weight": None}


def config_of(arguments: argparse.Namespace, rows: int) -> dict[str, Any]:
    head = 128 if arguments.hidden >= 2048 else 64
    heads = arguments.hidden // head
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": arguments.hidden,
        "intermediate_size": arguments.hidden * 7 // 2,
        "num_hidden_layers": arguments.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "head_dim": head,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": arguments.dtype,
        "vocab_size": rows,
    }


def sharded(tensors: Mapping[str, tuple[int, ...] | None], arguments: argparse.Namespace) -> list[list[str]]:
    """Names of the tensors of each file: embedding with the first layers and head with the last, or both in a file of their own."""
    own = [name for name, shape in tensors.items() if shape is None] if arguments.layout == "own" and arguments.shards > 1 else []
    names = [name for name in tensors if name not in own]
    size = -(-len(names) // (arguments.shards - bool(own)))
    return [names[begin : begin + size] for begin in range(0, len(names), size)] + ([own] if own else [])


def write_shard(
    path: Path,
    names: Iterable[str],
    tensors: Mapping[str, tuple[int, ...] | None],
    arguments: argparse.Namespace,
    role: str,
    noise: torch.Tensor,
) -> None:
    """A weight file with repeated noise for the body; the instruct model's embeddings are the base's, a little moved."""
    code, item = DTYPES[arguments.dtype]
    entries = [(name, tensors[name] or (rows_of(arguments, role), arguments.hidden)) for name in names]
    with open(path, "wb") as stream:
        stream.write(header_bytes((name, code, shape, item * torch.Size(shape).numel()) for name, shape in entries))
        for name, shape in entries:
            left = torch.Size(shape).numel()
            generator = torch.Generator().manual_seed(2 * (role == "adapted") + (name == "lm_head.weight"))
            moved = torch.Generator().manual_seed(7)
            while left:
                part = noise[:left]
                if tensors[name] is None:
                    part = torch.randn(min(left, NOISE_ELEMENTS), generator=generator) * 0.02
                    if role == "instruct":
                        part += torch.randn(len(part), generator=moved) * 0.001
                    part = part.to(noise.dtype)
                stream.write(part.contiguous().view(torch.uint8).numpy().data)
                left -= len(part)


def rows_of(arguments: argparse.Namespace, role: str) -> int:
    return len(json.loads((arguments.folder / role / "ids.json").read_text()))


def write_tokenizers(arguments: argparse.Namespace) -> None:
    """Tokenizer files of the three folders, and their ids for `rows_of`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    for role in ROLES:
        folder = arguments.folder / role
        folder.mkdir()
        if arguments.tokenizers:
            tokenizer = Tokenizer.from_file(str(Path(arguments.tokenizers[role == "adapted"]) / "tokenizer.json"))
        else:
            vocabulary, merges = synthetic_bpe(arguments, new=role == "adapted")
            tokenizer = Tokenizer(models.BPE(vocabulary, merges))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
        if role == "instruct":
            tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CHAT_TOKENS])
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
        (folder / "ids.json").write_text(json.dumps(list(tokenizer.get_vocab())))


def synthetic_bpe(arguments: argparse.Namespace, *, new: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Bytes and random merges; the new vocabulary begins with a share of the old one's merges."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces, merges = list(alphabet), []
    known, draws = set(pieces), [random.Random(0), random.Random(1)]
    while len(pieces) < arguments.vocabulary - 1:
        draw = draws[new and len(pieces) >= arguments.vocabulary * arguments.shared]
        # Short pieces come first, as in a trained vocabulary.
        first, second = pieces[draw.randrange(len(pieces))], pieces[draw.randrange(1 + len(pieces) // 4)]
        if first + second not in known and len(first + second) <= LONGEST_TOKEN:
            known.add(first + second)
            pieces.append(first + second)
            merges.append((first, second))
    return {piece: number for number, piece in enumerate(pieces)}, merges


# What the machine allows


def limits(arguments: argparse.Namespace) -> Mapping[str, str]:
    """Bandwidths, and the time that arithmetic and bytes of our own route need at the least."""
    item, tensors = DTYPES[arguments.dtype][1], shapes(arguments)
    touched = [names for names in sharded(tensors, arguments) if any(tensors[name] is None for name in names)]
    kept = sum(item * torch.Size(tensors[name] or ()).numel() for names in touched for name in names if tensors[name] is not None)
    gib = (kept + 2 * rows_of(arguments, "adapted") * arguments.hidden * item) / 2**30
    disk, copy = disk_write_gib_per_second(arguments.folder), copy_gib_per_second()
    seconds = gib / (copy if arguments.cached else disk)
    words = f"{gib:.2f} GiB to write {seconds:.1f} s"
    if arguments.method == "conversion":
        peak, gflop = matmul_peak_gflops("float64"), arithmetic_gflop(arguments)
        seconds += gflop / peak
        words = f"{gflop:.0f} GFLOP in float64 at {peak:.0f} GFLOP/s {gflop / peak:.1f} s + {words}"
    return {
        "copy bandwidth": f"{copy:.1f} GiB/s",
        "disk write with flush": f"{disk:.2f} GiB/s",
        "arithmetic and bytes alone": f"{words} = {seconds:.1f} s",
    }


def arithmetic_gflop(arguments: argparse.Namespace) -> float:
    """Of both maps: the Gram matrix and the right side over the tokens or the old tokens that spell them, and the product."""
    mapping = build_mapping(arguments.folder / "base", arguments.folder / "adapted")
    fitted = min(mapping.new_size, len(set(mapping.pieces_indices.tolist())))
    return 2 * (3 * fitted + 2 * mapping.new_size) * arguments.hidden**2 / 1e9


CONTENDERS = {"load, change, save with transformers": peers, "LEP Studio": ours}


if __name__ == "__main__":
    try:
        main("Propagation of a whole checkpoint", CONTENDERS, add_arguments, prepare=prepare, limits=limits)
    finally:
        if "--child" not in sys.argv and "--keep" not in sys.argv:
            given = argparse.ArgumentParser(add_help=False)
            add_arguments(given)
            shutil.rmtree(given.parse_known_args()[0].folder, ignore_errors=True)
