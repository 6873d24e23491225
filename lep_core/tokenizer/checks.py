"""What must hold for every tokenizer that is built: no dead tokens, nothing lost, special tokens in place (method, section 1)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.load import bare, rust_errors

_BATCH = 20_000

# One text per way in which a tokenizer can lose something.
NASTY_TEXTS: tuple[str, ...] = (
    "The quick brown fox jumps over the lazy dog.",
    "Съешь ещё этих мягких французских булок, да выпей чаю. ЁЛКА ёлка",
    unicodedata.normalize("NFD", "Йод, ёж, café, Ångström"),
    unicodedata.normalize("NFC", "Йод, ёж, café, Ångström"),
    "Қазақ тілі, українська мова, Türkçe, हिन्दी भाषा, 中文，日本語、한국어, العربية",
    "👩‍👩‍👧‍👦 🇷🇺 👍🏽 ❤️ 𝕏 𐍈",
    "tab\tand\ttab\t\t end",
    "two  spaces   three    four",
    " leading and trailing ",
    "  two leading",
    "line\nline\r\nline\r\n\r\n\n\nblank lines\n",
    "\n\n\n",
    "   ",
    "a literal \u2581 mark \u2581\u2581 and\u2581inside",
    "controls \x00\x01\x07\x08\x0b\x0c\x1b\x7f\x85 end",
    "spaces \u00a0\u2002\u2003\u2009\u202f\u3000 and zero width \u200b\u200c\u200d\ufeff",
    "numbers 0 12 345 6789 3.14 1,000,000 ½ ² Ⅻ ٣",
    "<s> </s> <unk> <0x0A> <|endoftext|> <|eot_id|> [INST]",
    "if (x == 0) { return a[i]->b; } // TODO: fix\n\tfor i in range(10):\n        pass",
    "http://example.com/?q=%D0%B0&b=c#d e-mail@example.com",
    "\U0010ffff\ue000\ufffd\ufffe",
    "".join(map(chr, range(1, 256))),
    "",
)


def unreachable_tokens(tokenizer: Tokenizer, tokens: Sequence[str]) -> list[str]:
    """Those of `tokens` (vocabulary strings) that merges alone do not make from their own text: with `ignore_merges=False`."""
    model = bare(tokenizer)
    whole_words = bool(getattr(model.model, "ignore_merges", False))
    dead: list[str] = []
    try:
        if whole_words:
            model.model.ignore_merges = False
        with rust_errors("the new tokenizer cannot encode its own tokens"):
            for start in range(0, len(tokens), _BATCH):
                batch = list(tokens[start : start + _BATCH])
                for token, encoding in zip(batch, model.encode_batch_fast(batch, add_special_tokens=False), strict=True):
                    if encoding.ids != [tokenizer.token_to_id(token)]:
                        dead.append(token)
    finally:
        if whole_words:
            model.model.ignore_merges = True
    return dead


def is_lossless(tokenizer: Tokenizer, text: str) -> bool:
    """decode(encode(text)) == text."""
    with rust_errors("the tokenizer cannot encode a text"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return tokenizer.decode(ids, skip_special_tokens=False) == text


def lost_texts(old: Tokenizer, new: Tokenizer, texts: Sequence[str] = NASTY_TEXTS) -> list[str]:
    """Texts that the old tokenizer gives back unchanged and the new one does not."""
    return [text for text in texts if is_lossless(old, text) and not is_lossless(new, text)]


def missing_bytes(old: Tokenizer, new: Tokenizer) -> set[int]:
    """Bytes that are a token of the old vocabulary and of none in the new one."""
    return _single_bytes(old) - _single_bytes(new)


def _single_bytes(tokenizer: Tokenizer) -> set[int]:
    return {data[0] for data in token_bytes(tokenizer) if data is not None and len(data) == 1}
