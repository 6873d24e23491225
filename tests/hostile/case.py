"""What a hostile case is: something that a user can give, the command that gets it, and what the answer must mention.

@case("corpus", "line 3")
def a_line_that_is_no_json(place):
    return "add-corpus", "--input", place.write("bad.jsonl", b'{"text": "a"}\n{oops'), "--output", place.out
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.factories import SENTENCES, edit_json

CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """`says`: one of these must be in the answer (any letter case); `harmless`: it may also simply work."""

    name: str
    area: str
    says: tuple[str, ...]
    build: Callable[[Place], tuple[Any, ...]] = field(repr=False)
    harmless: bool = False


def case(
    area: str, *says: str, harmless: bool = False
) -> Callable[[Callable[[Place], tuple[Any, ...]]], Callable[[Place], tuple[Any, ...]]]:
    """Add a case to the collection."""

    def add(build: Callable[[Place], tuple[Any, ...]]) -> Callable[[Place], tuple[Any, ...]]:
        CASES.append(Case(build.__name__, area, says, build, harmless))
        return build

    return add


@dataclass(frozen=True)
class Place:
    """Where one case happens: `inputs` holds what the user gives, `out` is where the result would go, `canary` must never appear."""

    folder: Path
    source_base: Path
    source_instruct: Path

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs"

    @property
    def out(self) -> Path:
        return self.folder / "results" / "out"

    @property
    def canary(self) -> Path:
        return self.folder / "canary"

    def write(self, name: str, data: bytes | str) -> Path:
        """A file among the inputs."""
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    @property
    def text(self) -> Path:
        """A good text file."""
        return self.write("good.txt", "\n".join(SENTENCES * 4))

    @property
    def base(self) -> Path:
        """A good base model of its own."""
        return self._copy(self.source_base, "base")

    @property
    def instruct(self) -> Path:
        """A good instruct sibling, with a chat template, of its own."""
        return self._copy(self.source_instruct, "instruct")

    def _copy(self, source: Path, name: str) -> Path:
        target = self.inputs / name
        if not target.exists():
            shutil.copytree(source, target)
        return target

    def broken(self, *, config: dict[str, Any] | None = None, tensors: Callable[[dict[str, torch.Tensor]], None] | None = None) -> Path:
        """The base with other config values (None removes one), or with tensors changed in place."""
        folder = self.base
        if config:
            edit_json(folder / "config.json", **config)
        if tensors is not None:
            weights = load_file(folder / "model.safetensors")
            tensors(weights)
            save_file(
                {name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
            )
        return folder

    def tokenizer(self, change: Callable[[dict[str, Any]], None]) -> Path:
        """The base with a changed tokenizer.json."""
        folder = self.base
        path = folder / "tokenizer.json"
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")
        return folder

    def template(self, text: Any) -> Path:
        """The instruct model with another chat template."""
        folder = self.instruct
        edit_json(folder / "tokenizer_config.json", chat_template=text)
        return folder

    def initialized_from(self, model: Path) -> tuple[Any, ...]:
        """A command that reads a whole model."""
        return "initialize", "--base", model, "--tokenizer", self.source_base, "--output", self.out

    def asked(self, model: Path, prompt: str = "Hello", *more: Any) -> tuple[Any, ...]:
        """A command that chats with a model."""
        return "generate", "--model", model, "--prompt", prompt, "--max-new-tokens", 4, "--device", "cpu", *more
