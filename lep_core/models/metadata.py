"""The JSON files of a model folder after a change of vocabulary: config, generation config and tokenizer files.

The original files are edited, never rebuilt: a config that transformers saves anew loses fields that older readers and other programs
need (rope_theta, for example). Token ids move by the token's text: whatever id `</s>` had, it gets the id of `</s>` in the new tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from lep_core.models.folder import read_json_object, read_vocabulary

ID_KEYS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "sep_token_id",
)
ID_LIST_KEYS = ("suppress_tokens", "begin_suppress_tokens")
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens")
# What transformers assumes when config.json is silent; it must be spelt out once the ids have moved.
IMPLIED_IDS = {"llama": {"bos_token_id": 1, "eos_token_id": 2}, "mistral": {"bos_token_id": 1, "eos_token_id": 2}}
# These make loaders rebuild or extend the tokenizer; tokenizer.json alone decides here.
DROPPED_KEYS = (
    "auto_map",
    "added_tokens_decoder",
    "add_bos_token",
    "add_eos_token",
    "backend",
    "is_local",
    "tokenizer_file",
    "vocab_file",
    "legacy",
)
ADDED_TOKEN_KEYS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def id_changes(old_ids: Mapping[str, int], new_ids: Mapping[str, int]) -> dict[int, int]:
    """Old id -> new id of every token that both tokenizers have."""
    return {number: new_ids[token] for token, number in old_ids.items() if token in new_ids}


def named_ids(tokenizer_config: Mapping[str, Any], new_ids: Mapping[str, int]) -> dict[str, int]:
    """`bos_token_id` and so on as the tokenizer's config names them."""
    tokens = {f"{key}_id": _text(tokenizer_config.get(key)) for key in NAMED_TOKENS}
    return {key: new_ids[token] for key, token in tokens.items() if token is not None and token in new_ids}


def edited_config(
    config: Mapping[str, Any], *, ids: Mapping[int, int] | None, named: Mapping[str, int], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """config.json with token ids moved (`ids` None: left alone) and `changes` applied."""
    result = dict(config)
    if ids is not None:
        for key, implied in IMPLIED_IDS.get(str(config.get("model_type")), {}).items():
            if key not in config and ids.get(implied, implied) != implied:
                result[key] = implied
        result = with_moved_ids(result, ids, named)
    return result | dict(changes)


def with_moved_ids(values: Mapping[str, Any], ids: Mapping[int, int], named: Mapping[str, int]) -> dict[str, Any]:
    """A config or generation config whose token ids are replaced; all other settings stay. A list of ids stays a list.

    An id whose token is gone becomes the one that the new tokenizer names for that purpose, or null.
    """
    result = dict(values)
    for key in ID_KEYS:
        value = values.get(key)
        if isinstance(value, list):
            kept = [ids[number] for number in value if number in ids]
            result[key] = kept or ([named[key]] if key in named else None)
        elif isinstance(value, int) and value >= 0:
            result[key] = ids.get(value, named.get(key))
    for key in ID_LIST_KEYS:
        if isinstance(values.get(key), list):
            result[key] = [ids[number] for number in values[key] if number in ids]
    if isinstance(values.get("bad_words_ids"), list):
        result["bad_words_ids"] = [[ids[n] for n in word] for word in values["bad_words_ids"] if all(n in ids for n in word)]
    return result


def edited_tokenizer_config(folder: Path, tokenizer: Mapping[str, Any], new_ids: Mapping[str, int]) -> dict[str, Any]:
    """tokenizer_config.json of `folder` made to agree with the new tokenizer.json.

    Raises:
        TokenizerError: a named special token (bos, eos ...) is not in the new vocabulary; loading would append it beyond the embedding.
    """
    config = read_json_object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    if (folder / "special_tokens_map.json").is_file():
        config = {key: value for key, value in read_json_object(folder / "special_tokens_map.json").items() if value} | config
    for key in DROPPED_KEYS:
        config.pop(key, None)
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in NAMED_TOKENS:
        token = _text(config.get(key))
        if token is not None and token not in new_ids:
            raise TokenizerError(
                f"the {key} {token!r} in tokenizer_config.json of {folder} is no token of its new tokenizer",
                "Mend tokenizer_config.json, or build the tokenizer from this model's own tokenizer",
            )
    for key in TOKEN_LISTS:
        if isinstance(config.get(key), list):
            config[key] = [token for token in config[key] if _text(token) in new_ids]
    added = sorted(tokenizer.get("added_tokens") or [], key=lambda item: item["id"])
    config["added_tokens_decoder"] = {str(item["id"]): {key: item.get(key, False) for key in ADDED_TOKEN_KEYS} for item in added}
    return config


def check_named_tokens(folder: Path) -> None:
    """Say before a long stage what `edited_tokenizer_config` would say when its result is written with the same tokenizer."""
    edited_tokenizer_config(folder, read_json_object(folder / "tokenizer.json"), read_vocabulary(folder)[0])


def effective_tokenizer(folder: Path) -> dict[str, Any]:
    """tokenizer.json of `folder` as an object, with add_bos_token / add_eos_token of its config worked into the post-processor.

    transformers obeys these flags, other readers only tokenizer.json; once worked in, all of them produce the same ids.
    """
    read_vocabulary(folder)
    tokenizer = read_json_object(folder / "tokenizer.json")
    config = read_json_object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    flags = [config.get("add_bos_token"), config.get("add_eos_token")]
    processor = tokenizer.get("post_processor")
    if flags == [None, None] or (processor is not None and processor.get("type") != "TemplateProcessing"):
        return tokenizer
    ids = read_vocabulary(folder)[0]
    names = [_text(config.get(key)) if flag else None for key, flag in zip(("bos_token", "eos_token"), flags, strict=True)]
    tokenizer["post_processor"] = _template(names[0], names[1], ids) if any(name in ids for name in names) else None
    return tokenizer


def _template(bos: str | None, eos: str | None, ids: Mapping[str, int]) -> dict[str, Any]:
    def sentence(letter: str, kind: int) -> list[dict[str, Any]]:
        before = [{"SpecialToken": {"id": bos, "type_id": kind}}] if bos in ids else []
        after = [{"SpecialToken": {"id": eos, "type_id": kind}}] if eos in ids else []
        return [*before, {"Sequence": {"id": letter, "type_id": kind}}, *after]

    special = {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (bos, eos) if token is not None and token in ids}
    return {
        "type": "TemplateProcessing",
        "single": sentence("A", 0),
        "pair": sentence("A", 0) + sentence("B", 1),
        "special_tokens": special,
    }


def with_moved_processor(processor: dict[str, Any] | None, new_ids: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor whose special tokens carry their ids in the new tokenizer."""
    if processor is None:
        return None
    result = dict(processor)
    if result.get("type") == "Sequence":
        result["processors"] = [with_moved_processor(item, new_ids) for item in result["processors"]]
    if result.get("type") == "TemplateProcessing":
        lacking = [token for entry in result["special_tokens"].values() for token in entry["tokens"] if token not in new_ids]
        if lacking:
            raise TokenizerError(
                f"the post-processor uses {lacking[0]!r}, which the new tokenizer lacks",
                "Build the tokenizer from this model's own tokenizer",
            )
        result["special_tokens"] = {
            name: entry | {"ids": [new_ids[token] for token in entry["tokens"]]} for name, entry in result["special_tokens"].items()
        }
    return result


def _text(token: Any) -> str | None:
    """The text of a token that tokenizer_config.json may give as a string or as an object."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None
