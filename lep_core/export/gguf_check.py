"""What came out of writing a GGUF file, read back: weights, token ids, logits.

Three readers check it. The gguf package gives the tensors back, which must be those of the source (exactly, or within the rounding of
their number format). Token ids come from llama.cpp itself where it is installed, else from its rules applied to what the file says.
Logits come from transformers' own reader of GGUF files, and from llama.cpp where that is there.
"""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lep_core.errors import ModelError, TokenizerError
from lep_core.export.gguf_tensors import PlannedTensor, as_float32
from lep_core.export.gguf_vocabulary import TOLERATED_SHARE, differing_tokens
from lep_core.export.llama_cpp_rules import RewrittenTokenizer
from lep_core.export.samples import special_lines
from lep_core.models.folder import ModelFolder
from lep_core.models.metadata import effective_tokenizer
from lep_core.tokenizer.definition import Definition

LLAMA_CPP, RULES = "llama.cpp", "llama.cpp's rules"
CHILD_SECONDS = 300
# Rounding errors that a number format may make, relative to the largest weight of the same 32 (q8_0: half a step, and its scale in f16).
TOLERANCES = {"F32": 1e-7, "F16": 2.0**-10, "BF16": 2.0**-8, "Q8_0": 0.5 / 127 + 2.0**-10}
# How far logits may be off, relative to the largest: other kernels in float32; roundings of the weights add up over the layers.
LOGIT_TOLERANCES = {"F32": 1e-3, "F16": 0.05, "BF16": 0.25, "Q8_0": 0.25}
WORST_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class TokenizerCheck:
    """Ids by `tokenizer_checked_with` ("llama.cpp", or "llama.cpp's rules" applied to the file) against tokenizer.json's own."""

    tokenizer_checked_with: str
    tokenizer_lines: int
    tokenizer_tokens: int
    tokenizer_lines_differing: int
    ids_equal: bool


@dataclass(frozen=True, kw_only=True)
class WeightCheck:
    """Whether all weights are bit-equal to the source's, and else how far they are off relative to the largest of their block."""

    weights_equal: bool
    largest_rounding: float


@dataclass(frozen=True, kw_only=True)
class LogitCheck:
    """Largest differences of logits from the source's; None where that reader was not asked."""

    logits_equal: bool | None
    max_logit_difference: float | None
    llama_cpp_logit_difference: float | None
    logits_checked_with: str | None


def has_llama_cpp() -> bool:
    """Whether llama.cpp's Python package is there."""
    return importlib.util.find_spec("llama_cpp") is not None


def check_weights(file: Path, planned: Sequence[PlannedTensor]) -> WeightCheck:
    """Compare every tensor of the file with its source, some rows at a time.

    Raises:
        ModelError: a tensor is missing or is something else.
    """
    from gguf import GGUFReader

    found = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    equal, largest = True, 0.0
    for tensor in planned:
        written = found.get(tensor.name)
        if written is None or tuple(int(size) for size in reversed(written.shape)) != tensor.slot.shape:
            raise ModelError(
                f"{file.name} lacks the tensor {tensor.name} or has it in another shape", "Please report this with the model's config.json"
            )
        data = written.data.reshape(tensor.slot.shape[0], -1) if len(tensor.slot.shape) > 1 else written.data
        position = 0
        for block in tensor.blocks():
            source = as_float32(block, tensor.slot.dtype)
            read = _dequantized(data[position : position + len(block)], tensor.format)
            position += len(block)
            if np.array_equal(source, read):
                continue
            if not np.isfinite(source).all():
                raise ModelError(f"the tensor {tensor.slot.name} holds NaN or infinity", "Give a model with sound weights")
            equal = False
            largest = max(largest, rounding := _rounding(source, read))
            if not rounding <= TOLERANCES[tensor.format]:
                raise ModelError(
                    f"{tensor.name} in {file.name} is off by {rounding:.2g} of its largest weight",
                    "Please report this with the model's config.json",
                )
    return WeightCheck(weights_equal=equal, largest_rounding=largest)


def _dequantized(block: np.ndarray, format: str) -> np.ndarray:
    from gguf import GGMLQuantizationType, quants

    return np.asarray(quants.dequantize(np.ascontiguousarray(block), GGMLQuantizationType[format]))


def _rounding(source: np.ndarray, read: np.ndarray) -> float:
    """Largest error, relative to the largest weight of the same 32."""
    size = 32 if source.shape[-1] % 32 == 0 else source.shape[-1]
    error = np.abs(source.astype(np.float64) - read).reshape(-1, size).max(axis=1)
    scale = np.abs(source).reshape(-1, size).max(axis=1)
    # Below 2^-14 the steps of float16 no longer shrink.
    return float((error / np.maximum(scale, 2.0**-14)).max())


def check_tokenizer(file: Path, folder: ModelFolder, lines: Sequence[str]) -> TokenizerCheck:
    """Compare token ids on `lines`.

    Raises:
        TokenizerError: more lines than can be put down to rare words are cut differently, or llama.cpp rejects the file.
    """
    definition = Definition.parse(effective_tokenizer(folder.path), str(folder.path))
    tokenizer = definition.tokenizer()
    whole = has_llama_cpp()
    lines = [*lines, *special_lines(definition)] if whole else lines
    expected = [one.ids for one in tokenizer.encode_batch(list(lines), add_special_tokens=whole)]
    found = ask_llama_cpp(file, lines)["ids"] if whole else list(map(_reread(file).encode, lines))
    total = sum(map(len, expected))
    off = [index for index, (one, other) in enumerate(zip(expected, found, strict=True)) if one != other]
    differing = sum(differing_tokens(expected[index], found[index]) for index in off)
    if differing > TOLERATED_SHARE * max(1, total):
        raise TokenizerError(
            f"{LLAMA_CPP if whole else RULES} cut {differing:,} of {total:,} sample tokens differently from tokenizer.json, "
            f"for example in {', '.join(repr(lines[index][:40]) for index in off[:WORST_EXAMPLES])}",
            "Export with --format hf: transformers and vLLM read every tokenizer",
        )
    return TokenizerCheck(
        tokenizer_checked_with=LLAMA_CPP if whole else RULES,
        tokenizer_lines=len(lines),
        tokenizer_tokens=total,
        tokenizer_lines_differing=len(off),
        ids_equal=not off,
    )


def _reread(file: Path) -> RewrittenTokenizer:
    """A tokenizer made from the file alone."""
    from gguf import GGUFReader

    fields = GGUFReader(file).fields

    def value(name: str, default: Any) -> Any:
        return fields[f"tokenizer.ggml.{name}"].contents() if f"tokenizer.ggml.{name}" in fields else default

    return RewrittenTokenizer(
        model=value("model", ""),
        pre=value("pre", "default"),
        tokens=value("tokens", []),
        scores=value("scores", []),
        merges=value("merges", []),
        add_space_prefix=value("add_space_prefix", False),
    )


def ask_llama_cpp(file: Path, texts: Sequence[str], ids: Sequence[int] | None = None) -> dict[str, Any]:
    """Ids of texts, and logits after `ids`, from llama.cpp in a process of its own.

    Raises:
        ModelError: it rejects the file.
    """
    request = json.dumps({"texts": list(texts), "ids": None if ids is None else list(ids)})
    command = [sys.executable, "-m", "lep_core.export.llama_cpp_child", str(file)]
    done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=CHILD_SECONDS, check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ModelError(
            f"llama.cpp does not read {file.name}: {said[-1] if said else f'it ended with {done.returncode}'}", "Export with --format hf"
        )
    return json.loads(done.stdout.splitlines()[-1])


def check_logits(file: Path, folder: ModelFolder, *, format: str) -> LogitCheck:
    """Load the file as others do and compare its logits with the source's. Only for models that are small enough to be loaded twice.

    Raises:
        ModelError: they differ by more than rounding explains.
    """
    import torch

    from lep_core.export.gguf_file import rope_of
    from lep_core.models.proof import is_small, probe_ids
    from lep_core.models.weights import load_model

    if not is_small(folder):
        return LogitCheck(logits_equal=None, max_logit_difference=None, llama_cpp_logit_difference=None, logits_checked_with=None)
    tokens = folder.tokenizer_size or folder.vocab_size
    ids = probe_ids(tokens)
    with torch.no_grad():
        expected = load_model(folder.path)(input_ids=ids).logits[..., :tokens]
    if not torch.isfinite(expected).all():
        raise ModelError(f"{folder.path} computes NaN or infinite logits", "Give a model with sound weights")
    limit = LOGIT_TOLERANCES[format] * float(expected.abs().max())
    readers, equal, by_transformers, by_llama_cpp = [], None, None, None
    # transformers forgets scaled positions when it reads a GGUF file.
    found = _logits_by_transformers(file, ids) if rope_of(folder.config)["rope_type"] == "default" else None
    if found is not None:
        found = found[..., :tokens]
        readers.append("transformers")
        equal, by_transformers = bool(torch.equal(expected, found)), float((expected - found).abs().max())
    if has_llama_cpp():
        row = ask_llama_cpp(file, [], ids[0].tolist())["logits"]
        readers.append(LLAMA_CPP)
        by_llama_cpp = float((expected[0, -1] - torch.tensor(row)[:tokens]).abs().max())
    for reader, difference in (("transformers", by_transformers), (LLAMA_CPP, by_llama_cpp)):
        if difference is not None and not difference <= limit:
            raise ModelError(
                f"{reader} computes other logits from {file.name} than from {folder.path} (largest difference {difference:.3g})",
                "Please report this with the model's config.json",
            )
    return LogitCheck(
        logits_equal=equal,
        max_logit_difference=by_transformers,
        llama_cpp_logit_difference=by_llama_cpp,
        logits_checked_with=" and ".join(readers) or None,
    )


def _logits_by_transformers(file: Path, ids: Any) -> Any:
    """Logits after loading the file with transformers; None when it cannot load it, which is no fault of the file: its weights are checked."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # Its progress bars cannot be switched off.
        with redirect_stderr(io.StringIO()), torch.no_grad():
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, local_files_only=True, trust_remote_code=False, dtype=torch.float32
            )
            return model.eval()(input_ids=ids).logits
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, NotImplementedError):
        return None
    finally:
        logging.set_verbosity(level)


def as_fields(*checks: TokenizerCheck | WeightCheck | LogitCheck) -> dict[str, Any]:
    """The checks' fields in one dictionary."""
    return {name: value for check in checks for name, value in asdict(check).items()}
