"""How llama.cpp cuts text into tokens, written down anew: enough to tell, without llama.cpp, which ids it will give.

Two of its tokenizers matter here. "gpt2" is byte-level BPE with merges; its pre-tokenizer is one of a fixed list, chosen by name.
"llama" knows no merges: it begins with characters and joins, again and again, the neighbours that together are the token of the
highest score (leftmost first); what is no token in the end becomes bytes. A BPE with merges gives the same ids when every way to
make a token of two others is among its merges and merges of one token stand together: then score = -rank does what the merges do.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from lep_core.tokenizer.bytes import SPACE_MARK, byte_token

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SLASH_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _TAIL
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _TAIL
_QWEN35 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + "+{end}|" + r"[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*{end}|"
_TEKKEN = _CASED.replace("{end}", "") + r"\p{N}|" + _SLASH_TAIL
_GPT4O = _CASED.replace("{end}", _CONTRACTIONS + "?") + r"\p{N}{1,3}|" + _SLASH_TAIL
_DIGITS = r"\p{N}"

# name -> (regular expressions, whether a word that is a token is taken whole, whatever the merges say)
PRE_TOKENIZERS: dict[str, tuple[tuple[str, ...], bool]] = {
    "llama-bpe": ((_LLAMA3,), True),
    "smaug-bpe": ((_LLAMA3,), False),
    "qwen2": ((_QWEN2,), False),
    "gpt-2": ((GPT2_WORDS,), False),
    "smollm": ((_DIGITS, GPT2_WORDS), False),
    "tekken": ((_TEKKEN,), True),
    "gpt-4o": ((_GPT4O,), False),
    "qwen35": ((_QWEN35,), False),
}


def join_by_score(text: str, ids: Mapping[str, int], scores: Sequence[float]) -> list[int]:
    """Token ids of a text with `▁` for spaces, as llama.cpp's "llama" tokenizer gives them."""
    pieces: list[str] = list(text)
    before, after = list(range(-1, len(pieces) - 1)), [*range(1, len(pieces)), -1]
    waiting: list[tuple[float, int, int, str]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (token := ids.get(joined := pieces[left] + pieces[right])) is not None:
            heapq.heappush(waiting, (-scores[token], left, right, joined))

    for position in range(1, len(pieces)):
        offer(position - 1, position)
    while waiting:
        _, left, right, joined = heapq.heappop(waiting)
        if not pieces[left] or not pieces[right] or pieces[left] + pieces[right] != joined:
            continue
        pieces[left], pieces[right] = joined, ""
        after[left] = after[right]
        if after[right] >= 0:
            before[after[right]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [token for piece in pieces if piece for token in _spelled(piece, ids)]


def _spelled(piece: str, ids: Mapping[str, int]) -> list[int]:
    token = ids.get(piece)
    return [token] if token is not None else [ids[byte_token(byte)] for byte in piece.encode()]


class RewrittenTokenizer:
    """A tokenizer made of nothing but what a GGUF file says, which follows llama.cpp's rules. Special tokens are not looked for in text."""

    def __init__(
        self, *, model: str, pre: str, tokens: Sequence[str], scores: Sequence[float], merges: Sequence[str], add_space_prefix: bool
    ) -> None:
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._scores, self._prefix = scores, add_space_prefix
        self._bpe = _byte_level(pre, self._ids, merges) if model == "gpt2" else None

    def encode(self, text: str) -> list[int]:
        """Token ids, without what is put before and after a text."""
        if not text:
            return []
        if self._bpe is not None:
            return self._bpe.encode(text, add_special_tokens=False).ids
        return join_by_score((" " * self._prefix + text).replace(" ", SPACE_MARK), self._ids, self._scores)


def _byte_level(pre: str, ids: Mapping[str, int], merges: Sequence[str]) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    patterns, ignore_merges = PRE_TOKENIZERS[pre]
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(dict(ids), pairs, ignore_merges=ignore_merges))
    cuts = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer
