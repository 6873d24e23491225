"""What a person should know before an export begins: short codes with values, so that a page can say them in its own language."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ENGLISH = {
    "large": "the model is too large to be loaded twice, so its logits are not compared; its weights are the same files",
    "pre": "llama.cpp will cut text by its rules called {pre}, which are this tokenizer's own",
    "scores": "llama.cpp joins pieces by score instead of by merges; on {tokens:,} tokens of sample text it gives the same ids",
    "splits": "{splits:,} ways to join two pieces exist in llama.cpp that this tokenizer lacks, so rare words may be cut differently there",
    "tokens_differ": "llama.cpp cuts {share:.3%} of the sample's tokens differently, because it joins pieces by score instead of by merges",
    "nfc": "this tokenizer composes accents first (NFC) and llama.cpp does not: text with separate accents is cut differently there",
    "leading_space": "llama.cpp puts a space before text that begins with one, this tokenizer does not",
    "after_special": "llama.cpp puts a space after every special token, this tokenizer only at the start of the text",
    "strip": "the token {token} swallows the spaces around it, llama.cpp keeps them",
    "window": "llama.cpp ignores the sliding window of {window:,} tokens: longer texts are attended to as a whole",
    "dynamic_rope": "llama.cpp does not scale positions dynamically: texts beyond {positions:,} tokens become worse",
    "rounded": "the weights are {dtype} and will be rounded to {quantization}",
    "unknown_end": "the tokenizer names no end token: generation may not stop by itself",
}


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing to know. `warns` is False where it is good to know but nothing is lost."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)
    warns: bool = True

    def in_english(self) -> str:
        return ENGLISH[self.code].format(**self.values)
