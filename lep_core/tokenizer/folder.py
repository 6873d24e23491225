"""Write a tokenizer folder that transformers 4 and 5 load alike, with the chat template and settings of the model it came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from lep_core.files import write_json, write_text
from lep_core.models.folder import check_own_files
from lep_core.tokenizer.definition import Definition

# Not copied: vocab.json, merges.txt, tokenizer.model, added_tokens.json. They describe the old vocabulary, and some loaders prefer them.
_COPIED_FILES = ("special_tokens_map.json", "chat_template.jinja", "chat_template.json")
_COPIED_FOLDERS = ("additional_chat_templates",)


def write_tokenizer_folder(definition: Definition, *, source: Path, output: Path) -> None:
    """Write `tokenizer.json` and what belongs beside it into the existing folder `output`."""
    check_own_files(source, *_COPIED_FILES, *_COPIED_FOLDERS)
    write_text(output / "tokenizer.json", definition.dump())
    write_json(output / "tokenizer_config.json", tokenizer_config(source, definition.vocab))
    for name in _COPIED_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, output / name)
    for name in _COPIED_FOLDERS:
        if (source / name).is_dir():
            shutil.copytree(source / name, output / name, dirs_exist_ok=True)


def tokenizer_config(source: Path, vocab: Mapping[str, int]) -> dict[str, Any]:
    """The model's `tokenizer_config.json` with the one class that takes `tokenizer.json` as it is, and with ids of `vocab`.

    A model-specific class would rebuild the tokenizer from its vocabulary by its own rules (Qwen2, Llama).
    """
    config = read_tokenizer_config(source)
    for name in ("auto_map", "tokenizer_file", "vocab_file", "name_or_path", "backend"):
        config.pop(name, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.setdefault("clean_up_tokenization_spaces", False)  # older transformers would clean up, and so lose spaces
    known = config.get("added_tokens_decoder")
    if isinstance(known, dict):
        tokens = [
            token
            for token in known.values()
            if isinstance(token, dict) and isinstance(token.get("content"), str) and token["content"] in vocab
        ]
        config["added_tokens_decoder"] = {
            str(vocab[token["content"]]): token for token in sorted(tokens, key=lambda token: vocab[token["content"]])
        }
    return config


def read_tokenizer_config(source: Path) -> dict[str, Any]:
    """The content of a folder's `tokenizer_config.json`, empty when there is none.

    Raises:
        TokenizerError: it is no JSON object.
    """
    path = source / "tokenizer_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not readable as JSON: {error}", "Get a sound copy of tokenizer_config.json") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{path} is not a JSON object", "Get a sound copy of tokenizer_config.json")
    return config
