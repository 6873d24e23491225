"""Settings of what leaves LEP Studio: a folder for transformers and vLLM, or one file for llama.cpp."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lep_core.config.base import Config, option
from lep_core.config.common import encoding_option, output_option, overwrite_option, text_field_option
from lep_core.errors import ConfigError

EXPORT_FORMATS = ("hf", "gguf")
QUANTIZATIONS = ("auto", "f32", "bf16", "f16", "q8_0")
# What the hub accepts as a name, and as the identifier of a licence.
REPOSITORY = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?/[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
LONGEST_REPOSITORY = 96
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Config):
    """Write a model for others, with a model card and proof that it computes the same; push it to the hub when asked."""

    model: str = option(help="model folder to export", kind="model")
    output: str = output_option()
    format: str = option(
        "hf", help="a folder for transformers and vLLM (hf), or one file for llama.cpp and Ollama (gguf)", choices=EXPORT_FORMATS
    )
    quantization: str = option(
        "auto", help="number format of a GGUF file's weights; auto keeps the model's own, q8_0 takes half of f16", choices=QUANTIZATIONS
    )
    license: str | None = option(None, help="licence for the model card as the hub names it, such as apache-2.0; never guessed")
    input: tuple[str, ...] = option(
        (),
        help="text on which token ids are compared as well; without it, on built-in lines and on the vocabulary itself",
        kind="text",
        advanced=True,
    )
    text_field: str | None = text_field_option()
    encoding: str | None = encoding_option()
    push_to: str | None = option(None, help="hub repository ORG/NAME to upload the result to; the token comes from HF_TOKEN", advanced=True)
    private: bool = option(False, help="make a new hub repository private", advanced=True)
    overwrite: bool = overwrite_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise ConfigError(
                "license",
                f"--license is {self.license!r}, the hub's identifiers are lower-case words such as apache-2.0, llama3 or other",
                "See https://huggingface.co/docs/hub/repositories-licenses",
            )
        if self.push_to is not None and (len(self.push_to) > LONGEST_REPOSITORY or not REPOSITORY.fullmatch(self.push_to)):
            raise ConfigError(
                "push_to", f"--push-to is {self.push_to!r}, which is no repository name", "Give OWNER/NAME, such as acme/my-model"
            )
        if self.quantization != "auto" and self.format != "gguf":
            raise ConfigError(
                "quantization",
                f"--quantization {self.quantization} is for GGUF files, --format is {self.format}",
                "Add --format gguf, or leave it out",
            )
