"""The chat template and the tokenizer of the result: the model's own, another model's, or a plain built-in one.

A base model has no template. With `template_from` it gets the template, the special tokens and the end token of another model; tokens
that its vocabulary lacks go to its end. Without, a plain template is built in that needs no token but the end of a text.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lep_core.errors import ConfigError, ModelError
from lep_core.files import read_json, write_json
from lep_core.models import ModelFolder, inspect_model, load_tokenizer
from lep_core.models.folder import check_own_files, read_vocabulary, vocabulary_of
from lep_core.models.metadata import (
    edited_tokenizer_config,
    effective_tokenizer,
    id_changes,
    named_ids,
    with_moved_ids,
    with_moved_processor,
)
from lep_core.models.writing import TEMPLATE_FILE, TEMPLATE_FOLDER
from lep_core.propagation.result_tokenizer import merge_tokenizers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

OWN, BUILT_IN = "its own", "built-in"
# The space stands with the answer: tokens of most vocabularies begin with one.
PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] | trim + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] | trim + '\\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] | trim + eos_token + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class ChatTokenizer:
    """What renders the conversations and goes into the result.

    `folder` holds the tokenizer files; `config_changes` and `generation_config` (None: the model's own) go into the result.
    `appended` are the tokens that the model's vocabulary lacks, with their ids; `rows` is the size of the vocabulary with them.
    """

    tokenizer: PreTrainedTokenizerFast
    folder: Path
    name: str
    end_ids: tuple[int, ...]
    rows: int
    appended: Mapping[str, int]
    config_changes: Mapping[str, Any]
    generation_config: Mapping[str, Any] | None = None


def choose_template(model: ModelFolder, template_from: str | None, scratch: Path) -> ChatTokenizer:
    """The chat tokenizer for a model; new tokenizer files are written to the existing folder `scratch`.

    Raises:
        ConfigError: the model to take the template from has none, or none can be built in.
        TokenizerError: the two tokenizers do not go together.
    """
    if template_from is not None:
        return _taken(model, inspect_model(template_from), scratch)
    if model.has_chat_template:
        return _chat_tokenizer(model, model.path, OWN, end_ids=_listed(model.eos_token_id))
    return _built_in(model, scratch)


def _taken(model: ModelFolder, other: ModelFolder, scratch: Path) -> ChatTokenizer:
    if not other.has_chat_template:
        raise ConfigError("template_from", f"{other.path} has no chat template", "Give an instruct model with --template-from")
    merged = merge_tokenizers(model.path, other.path)
    _write_tokenizer(scratch, merged.definition, config_source=other.path)
    new_ids, old_ids = vocabulary_of(merged.definition)[0], read_vocabulary(other.path)[0]
    ids, named = id_changes(old_ids, new_ids), named_ids(read_json(scratch / "tokenizer_config.json"), new_ids)
    moved = with_moved_ids({"eos_token_id": other.eos_token_id}, ids, named)
    keys = ("bos_token_id", "eos_token_id", "pad_token_id")
    changes = with_moved_ids({key: other.config[key] for key in keys if key in other.config}, ids, named)
    generation = None if other.generation_config is None else with_moved_ids(other.generation_config, ids, named)
    return _chat_tokenizer(
        model,
        scratch,
        str(other.path),
        end_ids=_listed(moved["eos_token_id"]),
        appended={token: new_ids[token] for token in merged.appended},
        config_changes={"eos_token_id": moved["eos_token_id"], **changes},
        generation_config=generation or {**(model.generation_config or {}), **moved},
    )


def _built_in(model: ModelFolder, scratch: Path) -> ChatTokenizer:
    _write_tokenizer(scratch, effective_tokenizer(model.path), config_source=model.path, template=PLAIN_TEMPLATE)
    result = _chat_tokenizer(model, scratch, BUILT_IN, end_ids=_listed(model.eos_token_id))
    if result.tokenizer.eos_token_id not in result.end_ids:
        raise ConfigError(
            "template_from", f"{model.path} has no chat template and no token that ends a text", "Give --template-from INSTRUCT_MODEL"
        )
    return result


def _chat_tokenizer(model: ModelFolder, folder: Path, name: str, *, end_ids: list[int], **further: Any) -> ChatTokenizer:
    tokenizer = load_tokenizer(folder)
    if not end_ids and isinstance(tokenizer.eos_token_id, int):
        end_ids = [tokenizer.eos_token_id]
    size = max(read_vocabulary(folder)[0].values()) + 1
    if not end_ids or max(end_ids) >= max(size, model.vocab_size):
        raise ModelError(
            f"{model.path} names {'an end token beyond its vocabulary' if end_ids else 'no end token'}, so no answer would ever end",
            "Set eos_token_id in generation_config.json",
        )
    values = {"appended": {}, "config_changes": {}} | further
    return ChatTokenizer(tokenizer=tokenizer, folder=folder, name=name, end_ids=tuple(end_ids), rows=max(size, model.vocab_size), **values)


def _write_tokenizer(folder: Path, definition: Mapping[str, Any], *, config_source: Path, template: str | None = None) -> None:
    ids = vocabulary_of(definition)[0]
    moved = dict(definition) | {"post_processor": with_moved_processor(definition.get("post_processor"), ids)}
    (folder / "tokenizer.json").write_text(json.dumps(moved, ensure_ascii=False), encoding="utf-8")
    config = edited_tokenizer_config(config_source, moved, ids)
    check_own_files(config_source, TEMPLATE_FILE, TEMPLATE_FOLDER)
    if template is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    elif (config_source / TEMPLATE_FILE).is_file():
        shutil.copyfile(config_source / TEMPLATE_FILE, folder / TEMPLATE_FILE)
    if template is None and (config_source / TEMPLATE_FOLDER).is_dir():
        shutil.copytree(config_source / TEMPLATE_FOLDER, folder / TEMPLATE_FOLDER)
    write_json(folder / "tokenizer_config.json", config)


def _listed(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
