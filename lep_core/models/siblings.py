"""Do two models belong together? Compared by config.json, tensor headers and tokenizer.json alone; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from lep_core.errors import SiblingError
from lep_core.models.folder import ModelFolder, read_vocabulary


@dataclass(frozen=True, kw_only=True)
class SiblingReport:
    """Two models that share architecture, hidden size and token ids; `extra_tokens` are the second one's own."""

    shared_tokens: int
    extra_tokens: dict[str, int]


def check_siblings(base: ModelFolder, instruct: ModelFolder) -> SiblingReport:
    """Check that embeddings can move from `base` to `instruct`.

    Raises:
        SiblingError: other architecture, shape or tie, or a token that has another id.
    """
    check_same_shape(base, instruct, "base", "instruct")
    base_ids, instruct_ids = (read_vocabulary(folder.path)[0] for folder in (base, instruct))
    hint = "Give the instruct model that was made from this base model"
    for token, number in base_ids.items():
        other = instruct_ids.get(token)
        if other is None:
            raise SiblingError(f"the base model's token {token!r} ({number}) is missing in the instruct model's tokenizer", hint)
        if other != number:
            raise SiblingError(f"the token {token!r} has id {number} in the base and {other} in the instruct model", hint)
    extra = {token: number for token, number in instruct_ids.items() if token not in base_ids}
    added = read_vocabulary(instruct.path)[1]
    ordinary = [token for token in extra if token not in added]
    if ordinary:
        raise SiblingError(f"the instruct model has {len(ordinary)} ordinary tokens more than the base, for example {ordinary[0]!r}", hint)
    return SiblingReport(shared_tokens=len(base_ids), extra_tokens=extra)


def check_same_shape(first: ModelFolder, second: ModelFolder, first_role: str, second_role: str) -> None:
    """Raise SiblingError unless both models have the same architecture, hidden size, depth and tie."""
    facts = {"architecture": "architecture", "hidden_size": "hidden size", "layers": "number of layers"}
    for name, words in facts.items():
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            raise SiblingError(
                f"the {words} of {first_role} and {second_role} differ: {one} and {other}", "Give two models of one family and size"
            )
    if first.tied != second.tied:
        tied, untied = (first_role, second_role) if first.tied else (second_role, first_role)
        raise SiblingError(
            f"the {tied} model has one matrix for embedding and head (tied), the {untied} model has two",
            "Give models that are both tied or both untied: one matrix cannot be carried over to two",
        )
