"""The weights of a model folder as a GGUF file has them: names, order of rows, number formats; read and converted a few rows at a time.

H heads of an attention projection. transformers rotates the halves of each head against each other, llama.cpp (for its "llama"
architecture) neighbouring rows; so the rows of query and key are reordered from (H, 2, half) to (H, half, 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from lep_core.errors import ModelError
from lep_core.models.folder import IGNORED, OUTPUT_NAME, ModelFolder
from lep_core.models.safetensors_files import TensorSlot

# transformers' architecture -> llama.cpp's
ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
# Names of the safetensors format, numpy types that hold them, names of the GGUF format.
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F64": np.float64}
SAME_FORMAT = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
BYTES_A_WEIGHT = {"F32": 4.0, "F16": 2.0, "BF16": 2.0, "Q8_0": 34 / 32}
Q8_BLOCK = 32
BLOCK_BYTES = 1 << 24
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True, kw_only=True)
class PlannedTensor:
    """One tensor of the file: where it comes from, how its rows are ordered (None: as they are), and its number format there."""

    name: str
    slot: TensorSlot
    format: str
    order: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return round(math.prod(self.slot.shape) * BYTES_A_WEIGHT[self.format])

    def blocks(self) -> Iterator[np.ndarray]:
        """The tensor in its file's own number format, some rows at a time."""
        whole = np.memmap(self.slot.path, dtype=np.uint8, mode="r", offset=self.slot.begin, shape=(self.slot.bytes,))
        matrix = whole.view(NUMPY[self.slot.dtype]).reshape(self.slot.shape)
        rows = len(matrix)
        step = max(1, BLOCK_BYTES // max(1, matrix.nbytes // rows))
        for begin in range(0, rows, step):
            yield np.asarray(matrix[begin : begin + step] if self.order is None else matrix[self.order[begin : begin + step]])

    def converted(self) -> Iterator[np.ndarray]:
        """The tensor in the format that it gets, some rows at a time.

        Raises:
            ModelError: a weight does not fit into that format.
        """
        same = SAME_FORMAT.get(self.slot.dtype) == self.format
        return (block if same else quantized(as_float32(block, self.slot.dtype), self.format, self.name) for block in self.blocks())


class StreamedTensor:
    """What the writer of the gguf package asks of an array, without holding one."""

    def __init__(self, planned: PlannedTensor) -> None:
        self._planned = planned
        self.nbytes = planned.nbytes

    def tofile(self, stream: IO[bytes]) -> None:
        for block in self._planned.converted():
            stream.write(np.ascontiguousarray(block).view(np.uint8).data)


def as_float32(block: np.ndarray, dtype: str) -> np.ndarray:
    """Rows in float32; exact but for float64."""
    return (block.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else block.astype(np.float32, copy=False)


def quantized(block: np.ndarray, format: str, name: str) -> np.ndarray:
    """Float32 rows in another number format."""
    from gguf import GGMLQuantizationType, quants

    with np.errstate(over="ignore"):
        result = block.astype(np.float16) if format == "F16" else quants.quantize(block, GGMLQuantizationType[format])
    if not np.isfinite(block).all() or (format == "F16" and not np.isfinite(result).all()):
        largest = float(np.abs(block).max())
        raise ModelError(
            f"a weight of {name} is {largest:g}, which {format.lower()} cannot hold", "Choose --quantization f32, bf16 or auto"
        )
    return result


def planned_tensors(folder: ModelFolder, quantization: str) -> list[PlannedTensor]:
    """All tensors of the file in their order.

    Raises:
        ModelError: llama.cpp does not know the architecture or one of its tensors.
    """
    import gguf

    architecture = architecture_of(folder)
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, folder.layers)
    planned = []
    for source, slot in folder.slots.items():
        if IGNORED.search(source) or (folder.tied and source == OUTPUT_NAME):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None or slot.dtype not in NUMPY:
            raise ModelError(
                f"llama.cpp has no place for the tensor {source} ({slot.dtype}) of {folder.path}", "Export with --format hf instead"
            )
        planned.append(PlannedTensor(name=name, slot=slot, format=_format(slot, quantization), order=_order(source, slot, folder)))
    return planned


def architecture_of(folder: ModelFolder) -> str:
    """llama.cpp's name of the architecture.

    Raises:
        ModelError: it is not one of those that are converted here.
    """
    if folder.architecture not in ARCHITECTURES:
        raise ModelError(
            f"{folder.path} is a {folder.architecture}; GGUF files are written for {', '.join(ARCHITECTURES)}",
            "Export with --format hf; llama.cpp's own convert_hf_to_gguf.py may know the architecture",
        )
    return ARCHITECTURES[folder.architecture]


def main_format(folder: ModelFolder, quantization: str) -> str:
    """The number format of the large matrices."""
    if quantization != "auto":
        return quantization.upper()
    return {"float16": "F16", "bfloat16": "BF16"}.get(folder.dtype, "F32")


def _format(slot: TensorSlot, quantization: str) -> str:
    if len(slot.shape) < 2:
        return "F32"  # llama.cpp computes with vectors (norms, biases) in float32 only.
    if quantization == "auto":
        return SAME_FORMAT.get(slot.dtype, "F32")
    return "F16" if quantization == "q8_0" and slot.shape[-1] % Q8_BLOCK else quantization.upper()


def _order(name: str, slot: TensorSlot, folder: ModelFolder) -> np.ndarray | None:
    if ARCHITECTURES[folder.architecture] != "llama" or not any(f".{part}_proj." in name for part in "qk"):
        return None
    heads = folder.config["num_attention_heads"]
    if ".k_proj." in name:
        heads = folder.config.get("num_key_value_heads") or heads
    rows = slot.shape[0]
    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def rope_factors(*, dimensions: int, theta: float, scaling: dict[str, Any]) -> Sequence[float]:
    """By how much each frequency of LLaMA-3's scaled rotary positions is divided."""
    factor, original = float(scaling["factor"]), float(scaling.get("original_max_position_embeddings", 8192))
    low, high = float(scaling.get("low_freq_factor", 1.0)), float(scaling.get("high_freq_factor", 4.0))
    factors = []
    for index in range(0, dimensions, 2):
        wavelength = 2 * math.pi * theta ** (index / dimensions)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors
