"""One body in memory and the models that use it: the first brings the body, each further one only its embedding pair and tokenizer.

family = Family("models/original", device="cuda")
family.add("models/adapted")                        # refused unless its body has the same fingerprint
engine = family.engine()                            # answers for all of them in one batch
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from lep_core import models
from lep_core.errors import ModelError
from lep_core.inference.bodies import BodyFiles, body_files
from lep_core.inference.engine import Engine
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.generator import Generator
from lep_core.inference.shared import SharedBody
from lep_core.inference.variant import Variant, eos_ids


class Family:
    """The variants of one body, by the name they were asked for.

    Attributes:
        body_fingerprint: None when the body is not of a kind that can be shared.
    """

    def __init__(
        self, source: str, *, device: str = "auto", precision: str = "auto", threads: int | None = None, prove: bool = True
    ) -> None:
        """Load the first model; without `prove` its body is hashed only when another model wants to share it."""
        self._first = source
        path = models.resolve(source)
        self._files = body_files(path)
        self._fingerprint: str | None = None
        before = fingerprint(path)
        with ThreadPoolExecutor(1) as hashing:
            # The files are read for both at once: the second reader finds them in memory.
            proof = hashing.submit(self._prove) if prove else None
            generator = Generator.load(source, device=device, precision=precision, threads=threads)
            if proof is not None:
                proof.result()
        _check_unchanged(generator, before)
        self.body = generator.body
        self.device, self.parameters = generator.device, generator.parameters
        self.dtype: torch.dtype = generator.input_VD.dtype
        self.variants: dict[str, Variant] = {source: generator}

    @property
    def body_fingerprint(self) -> str | None:
        return self._fingerprint

    def engine(self) -> Engine:
        """An engine for all variants, present and future."""
        return Engine(self.body, parameters=self.parameters, device=self.device)

    def add(self, source: str) -> Variant:
        """Load the embedding pair and the tokenizer of another model with the same body.

        Raises:
            ModelError: its body is another one, or the folder is damaged.
        """
        if source in self.variants:
            return self.variants[source]
        path = models.resolve(source)
        before = fingerprint(path)
        self._check_same_body(path, body_files(path))
        variant = self._load_variant(path)
        _check_unchanged(variant, before)
        self.variants[source] = variant
        return variant

    def drop(self, source: str) -> None:
        """Free a model's embedding pair; the body stays."""
        dropped = self.variants.pop(source, None)
        if isinstance(dropped, Generator) and isinstance(self.body, SharedBody):
            self.body.release_embeddings()
        del dropped
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _prove(self) -> str | None:
        if self._fingerprint is None and self._files is not None:
            self._fingerprint = self._files.fingerprint()
        return self._fingerprint

    def _check_same_body(self, path: Path, files: BodyFiles | None) -> None:
        same = files is not None and self._files is not None and files.layout == self._files.layout
        try:
            # The bytes are compared only where the headers agree.
            same = same and files is not None and files.fingerprint() == self._prove()
        except OSError as error:
            raise ModelError(
                f"the body of {path} cannot be compared with that of {self._first} ({error.strerror or error})", "Load it by itself"
            ) from error
        if not same:
            raise ModelError(f"{path} and {self._first} do not share one body", "Load it by itself")

    def _load_variant(self, path: Path) -> Variant:
        folder = models.inspect_model(path)
        tokenizer = models.load_tokenizer(path)
        pair = models.load_embeddings(folder)
        input_VD = pair.input_VD.to(device=self.device, dtype=self.dtype)
        head_VD = input_VD if pair.output_VD is None else pair.output_VD.to(device=self.device, dtype=self.dtype)
        generation, config = _configs(path)
        return Variant(
            tokenizer,
            path=path,
            input_VD=input_VD,
            head_VD=head_VD,
            eos_ids=eos_ids(generation, config, tokenizer),
            context=getattr(config, "max_position_embeddings", None),
            parameters=folder.parameters,
        )


def _configs(path: Path) -> tuple[Any, Any]:
    """Generation config and config as transformers completes them."""
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    if (path / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(str(path), local_files_only=True), config
    return GenerationConfig.from_model_config(config), config


def _check_unchanged(variant: Variant, before: str) -> None:
    """What was loaded is what the fingerprint says, as far as the folder is still there to be asked."""
    if os.path.isdir(variant.path):
        if variant.fingerprint != before:
            raise ModelError(f"{variant.path} changed while it was loaded", "Load it again when the folder is complete")
    else:
        raise ModelError(f"{variant.path} vanished while it was loaded", "Give a folder that stays")
