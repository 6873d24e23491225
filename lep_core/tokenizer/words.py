"""Count the words that BPE works on: what the model's own normaliser and pre-tokeniser make of a corpus.

Texts are streamed; only distinct chunks are held, and rare ones are forgotten when there are too many. A chunk is a stretch of text
that the pre-tokeniser treats the same alone as in context; that is tried out on each corpus, and where it does not hold whole texts are
pre-tokenised.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping

from tokenizers import Tokenizer

from lep_core.tokenizer.bytes import SPACE_MARK, Family, from_byte_level
from lep_core.tokenizer.conventions import adjacent_classes, split_at_classes
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import rust_errors

MAX_DISTINCT_CHUNKS = 3_000_000
_TRIAL_CHARACTERS = 50_000

# Two ways of cutting, for the two kinds of expressions in use: white space goes with the word after it (GPT-2), or line breaks
# with what stands before them (LLaMA-3, Qwen).
_CHUNKS = (re.compile(r"\s*\S+|\s+"), re.compile(r"[^\S\r\n]*\S+(?:\s*[\r\n]+)?|\s+"))
_TRIAL = "A word, don't.\n\nNext  two   (x) == 12 345;\r\n \n\t\ttab\n   \n  b .\n c...\n\n\n«Да» — ёж!\r\nа\u00a0б\n\n ц_д #e1\n"
_SENTENCEPIECE_CHUNK = re.compile(f"{SPACE_MARK}+[^{SPACE_MARK}\n]*|[^{SPACE_MARK}\n]+|\n+")


def words_cut_at_marks(family: Family, words: Mapping[str, int]) -> tuple[int, int]:
    """How many pieces of words begin with a combining mark, and how many there are, ASCII apart; both weighted by their counts."""
    cut = total = 0
    for word, count in words.items():
        if word.isascii():
            continue
        text = (from_byte_level(word) or b"").decode("utf-8", "ignore") if family == "byte-level" else word
        if text and not text.isascii():
            total += count
            cut += count * (unicodedata.category(text[0])[0] == "M")
    return cut, total


class WordCounter:
    """Counts words of the texts given to `add`.

    Attributes:
        documents, characters, bytes: what was added.
        forgotten: occurrences of rare chunks that were dropped to bound memory.
    """

    def __init__(
        self, tokenizer: Tokenizer, definition: Definition, *, keep_boundaries: bool = True, max_distinct: int = MAX_DISTINCT_CHUNKS
    ) -> None:
        """`keep_boundaries`: cut SentencePiece chunks only where no token of the present vocabulary reaches across."""
        self.documents = self.characters = self.bytes = self.forgotten = 0
        self._tokenizer = tokenizer
        self._family = definition.family
        self._max_distinct = max_distinct
        self._chunks: Counter[str] = Counter()
        self._normalize: Callable[[str], str] | None = tokenizer.normalizer.normalize_str if tokenizer.normalizer else None
        contents = sorted((token["content"] for token in definition.added if token["content"]), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, contents))) if contents else None
        self._cut: Callable[[str], list[str]] | None = None
        self._tried = False
        if self._family == "sentencepiece":
            control = definition.control
            present = [token for token in definition.vocab if token not in control] if keep_boundaries else []
            self._adjacent = adjacent_classes(present)

    def add(self, text: str) -> None:
        """Count one text."""
        self.documents += 1
        self.characters += len(text)
        self.bytes += len(text.encode("utf-8", "surrogatepass"))
        text = text.encode("utf-8", "replace").decode() if not text.isascii() else text  # lone surrogates cannot enter the library
        with rust_errors("the tokenizer cannot read the corpus"):
            for part in self._added.split(text) if self._added else (text,):
                if part:
                    self._add_part(self._normalize(part) if self._normalize else part)
        if len(self._chunks) > self._max_distinct:
            self._forget_rare()

    def words(self) -> Counter[str]:
        """Distinct words, as vocabulary strings side by side, with their counts."""
        words: Counter[str] = Counter()
        split = self._split_sentencepiece if self._family == "sentencepiece" else self._split_byte_level
        with rust_errors("the tokenizer cannot read the corpus"):
            for chunk, count in self._chunks.items():
                for word in split(chunk):
                    words[word] += count
        return words

    def _add_part(self, text: str) -> None:
        if not text:
            return
        if not self._tried:
            self._cut = self._find_cut(text[:_TRIAL_CHARACTERS])
            self._tried = True
        if self._cut is not None:
            self._chunks.update(self._cut(text))
        else:
            for piece in self._pre_tokenize(text):
                self._chunks.update(_SENTENCEPIECE_CHUNK.findall(piece) if self._family == "sentencepiece" else (piece,))

    def _find_cut(self, text: str) -> Callable[[str], list[str]] | None:
        """How to cut a text so that pre-tokenising chunk by chunk gives what pre-tokenising the text gives; None when no way is known."""
        if self._family == "sentencepiece":
            # Metaspace marks the beginning of whatever it is given, so it must see whole texts.
            return _SENTENCEPIECE_CHUNK.findall if self._tokenizer.pre_tokenizer is None else None
        for chunk in _CHUNKS:
            if all(
                [word for part in chunk.findall(trial) for word in self._pre_tokenize(part)] == self._pre_tokenize(trial)
                for trial in (_TRIAL, text)
            ):
                return chunk.findall
        return None

    def _pre_tokenize(self, text: str) -> list[str]:
        if self._tokenizer.pre_tokenizer is None:
            return [text]
        return [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    def _split_byte_level(self, chunk: str) -> list[str]:
        return self._pre_tokenize(chunk) if self._cut is not None else [chunk]

    def _split_sentencepiece(self, chunk: str) -> list[str]:
        return split_at_classes(chunk, self._adjacent)

    def _forget_rare(self) -> None:
        limit = 1
        while len(self._chunks) > self._max_distinct // 2:
            rare = [chunk for chunk, count in self._chunks.items() if count <= limit]
            for chunk in rare:
                self.forgotten += self._chunks.pop(chunk)
            limit *= 2
