"""What belongs to one vocabulary: the embedding pair with its tokenizer, prompts, end tokens and text.

A model is a body and a variant. Several variants can share one body (see `shared.py`); `Generator` is a variant with a body of its own.
V rows of the vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lep_core.errors import ConfigError
from lep_core.inference.detokenize import text_bytes
from lep_core.inference.fingerprint import fingerprint
from lep_core.inference.prompt import PromptEncoder


class Variant:
    """One vocabulary of a body.

    Attributes:
        input_VD, head_VD: embedding and head on the device of the body; the same tensor when tied.
        context: positions that the body knows, None without a limit.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        path: Path,
        input_VD: torch.Tensor,
        head_VD: torch.Tensor,
        eos_ids: Iterable[int],
        context: int | None,
        parameters: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.path = path
        self.input_VD, self.head_VD = input_VD, head_VD
        self.parameters = parameters
        self.context = context
        self.device = input_VD.device
        self.rows: int = input_VD.shape[0]
        self.prompts = PromptEncoder(tokenizer)
        self.pieces = text_bytes(tokenizer)
        self.eos_ids = frozenset(eos_ids)
        ids = torch.tensor(sorted(set(tokenizer.get_vocab().values())), dtype=torch.long)
        self._real_ids = ids[ids < self.rows]
        self.strips_space = _strips_first_space(tokenizer, self.pieces)

    @property
    def is_chat(self) -> bool:
        """Whether the model has a chat template."""
        return self.prompts.is_chat

    @cached_property
    def fingerprint(self) -> str:
        """Tells this model's folder from others; read once, so that it stays when the folder goes."""
        return fingerprint(self.path)

    @cached_property
    def banned_V(self) -> torch.Tensor | None:
        """`banned_rows()` of an ordinary answer."""
        return self.banned_rows()

    def banned_rows(self, *extra: Iterable[int]) -> torch.Tensor | None:
        """True for vocabulary rows that must not be chosen: padding, and the ids in `extra`; None when there are none."""
        banned_V = torch.ones(self.rows, dtype=torch.bool)
        banned_V[self._real_ids] = False
        for ids in extra:
            banned_V[[token_id for token_id in ids if token_id < self.rows]] = True
        return banned_V.to(self.device) if bool(banned_V.any()) else None

    def control_ids(self) -> set[int]:
        """Ids that stand for no text."""
        return {token_id for token_id, piece in enumerate(self.pieces) if not piece}

    def checked_room(self, prompt_tokens: int) -> int | None:
        """How many tokens the context has left after the prompt (None = no limit).

        Raises:
            ConfigError: nothing is left.
        """
        if self.context is None:
            return None
        if prompt_tokens >= self.context:
            raise ConfigError(
                "prompt",
                f"the prompt has {prompt_tokens} tokens, the context of {self.path.name} holds {self.context} including the answer",
                "Shorten the prompt or the chat",
            )
        return self.context - prompt_tokens


def eos_ids(generation_config: Any, config: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: those of both configs, else the tokenizer's."""
    found: set[int] = set()
    for source in (generation_config, config):
        value: Any = getattr(source, "eos_token_id", None)
        found.update([value] if isinstance(value, int) else value or ())
    if not found and tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return found


def _strips_first_space(tokenizer: Any, pieces: Sequence[bytes]) -> bool:
    """Whether the tokenizer marks the beginning of a text with a space of its own, which decoding removes (SentencePiece)."""
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    return bool(ids) and b"".join(pieces[token_id] for token_id in ids).startswith(b" ")
