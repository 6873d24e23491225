"""The propagated model's tokenizer: the adapted vocabulary with all special and added tokens of the instruct model (method, section 4).

Tokens of the instruct model that the adapted tokenizer lacks go to its end. Their ids may therefore differ from those in the instruct
model; config, generation config and post-processor follow by token text when the model is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from lep_core.models.folder import read_vocabulary
from lep_core.models.metadata import effective_tokenizer
from lep_core.tokenizer.load import tokenizer_from_definition


@dataclass(frozen=True, kw_only=True)
class ResultTokenizer:
    """`definition` is the new tokenizer.json. `special_ids` maps the new id of each special or added token to its instruct id."""

    definition: dict[str, Any]
    size: int
    special_ids: dict[int, int]
    appended: list[str]


def merge_tokenizers(adapted: Path, instruct: Path) -> ResultTokenizer:
    """Combine the tokenizers of two model folders.

    Raises:
        TokenizerError: the library would give an added token another id than planned.
    """
    definition, instruct_definition = effective_tokenizer(adapted), effective_tokenizer(instruct)
    ids = dict(read_vocabulary(adapted)[0])
    added = {item["content"]: item for item in definition.get("added_tokens") or []}
    special_ids: dict[int, int] = {}
    appended: list[str] = []
    for item in sorted(instruct_definition.get("added_tokens") or [], key=lambda entry: entry["id"]):
        token = item["content"]
        if token not in ids:
            ids[token] = max(ids.values(), default=-1) + 1
            appended.append(token)
        added[token] = item | {"id": ids[token]}
        special_ids[ids[token]] = item["id"]
    definition["added_tokens"] = sorted(added.values(), key=lambda entry: entry["id"])
    # Only the instruct model knows what its prompts begin and end with. Ids are brought up to date when the model is written.
    definition["post_processor"] = instruct_definition.get("post_processor")
    result = ResultTokenizer(definition=definition, size=max(ids.values()) + 1, special_ids=special_ids, appended=appended)
    _check(result, ids)
    return result


def _check(result: ResultTokenizer, ids: Mapping[str, int]) -> None:
    """Load the definition as the library reads it: added tokens outside the vocabulary get ids by its own counting."""
    tokenizer = tokenizer_from_definition(result.definition | {"post_processor": None}, "the merged tokenizer cannot be used")
    for item in result.definition["added_tokens"]:
        if tokenizer.token_to_id(item["content"]) != ids[item["content"]]:
            raise TokenizerError(
                f"the token {item['content']!r} would get id {tokenizer.token_to_id(item['content'])} instead of {ids[item['content']]}",
                "Build the adapted tokenizer again; added tokens must follow the vocabulary without gaps",
            )
