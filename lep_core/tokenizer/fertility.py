"""How many tokens a text costs: many tokenizers, one pass over the texts, bounded memory.

Definitions (they hold for every figure here):
- word: a maximal run of non-whitespace characters, as `str.split()` finds them; characters: Unicode code points, whitespace included;
  bytes: UTF-8.
- Each text is encoded whole, without special tokens; literals such as `<s>` inside it are encoded as plain text.
- A token belongs to a word when it covers some of the word's characters in context. A word is continued when more than one token
  belongs to it, and single when exactly one does; a word that lost all its characters in normalisation is neither.

Where a tokenizer allows it (`separable.py`), each distinct stretch of text is encoded once and counted as often as it occurs: the figures are
the same, to the last token, for a fraction of the work. Other tokenizers encode every text.

Shapes: I inputs, S segments.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.batches import batches
from lep_core.tokenizer.parity import LanguageParity
from lep_core.tokenizer.segments import SegmentCounter, Segments, whitespace_mask, whole_texts, word_edges
from lep_core.tokenizer.token_meter import TokenMeter

_BLOCK_CHARACTERS = 8_000_000
_BLOCK_TEXTS = 100_000
_HELD_BYTES = 48_000_000


@dataclass(frozen=True, kw_only=True)
class InputFertility:
    """Figures of one tokenizer on one of several inputs."""

    name: str
    tokens: int
    words: int
    characters: int
    bytes: int
    tokens_per_word: float
    characters_per_token: float


@dataclass(frozen=True, kw_only=True)
class TokenizerFertility:
    """Figures of one tokenizer. Rates are shares from 0 to 1; ratios over nothing are 0.

    `continued_word_rate`: words of more than one token / words. `single_token_word_rate`: words of exactly one token / words.
    `vocabulary_used_rate`: distinct tokens that occurred / vocabulary. `round_trip_ok`: decoding gave back every text unchanged.
    `inputs`: the same for each named input.
    """

    name: str
    vocab_size: int
    tokens: int
    words: int
    characters: int
    bytes: int
    tokens_per_word: float
    characters_per_token: float
    bytes_per_token: float
    continued_word_rate: float
    single_token_word_rate: float
    vocabulary_used_rate: float
    round_trip_ok: bool
    inputs: list[InputFertility] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FertilityReport:
    """One entry per tokenizer, in the order given; `parity` compares languages when there is parallel text."""

    tokenizers: list[TokenizerFertility] = field(default_factory=list)
    texts: int = 0
    seconds: float = 0.0
    parity: list[LanguageParity] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def measure_fertility(
    tokenizers: Sequence[tuple[str, Any]], texts: Iterable[str] | Mapping[str, Iterable[str]], reporter: Reporter = SILENT
) -> FertilityReport:
    """Measure each tokenizer on the same texts.

    Args:
        tokenizers: (name, tokenizer) pairs; `tokenizers.Tokenizer`, transformers fast tokenizers or folders.
        texts: read once, as a stream; or several streams by name, which are then also reported one by one.
        reporter: hears about progress; when it asks to stop, the figures so far are returned.

    Raises:
        TokenizerError: a tokenizer cannot be used.
    """
    started = time.monotonic()
    reporter.stage("reading the tokenizers")
    names = list(texts) if isinstance(texts, Mapping) else []
    measurement = Measurement([TokenMeter(name, tokenizer) for name, tokenizer in tokenizers], owners=max(1, len(names)), reporter=reporter)
    reporter.stage("measuring")
    for owner, stream in enumerate(texts.values() if isinstance(texts, Mapping) else (texts,)):
        if not measurement.add(stream, owner):
            break
    measurement.finish()
    return FertilityReport(
        tokenizers=[_entry(measurement, number, names) for number in range(len(measurement.meters))],
        texts=measurement.texts,
        seconds=time.monotonic() - started,
    )


class Measurement:
    """Several tokenizers over streams of text. Arrays: int64; `tokens` has a row of [I] per tokenizer."""

    def __init__(self, meters: Sequence[TokenMeter], *, owners: int = 1, reporter: Reporter = SILENT) -> None:
        self.meters = meters
        self.texts = 0
        self.tokens = np.zeros((len(meters), owners), dtype=np.int64)
        self.words_I, self.characters_I, self.bytes_I = np.zeros((3, owners), dtype=np.int64)
        self._counter = SegmentCounter()
        self._reporter = reporter
        self._begun = False

    def add(self, texts: Iterable[str], owner: int = 0) -> bool:
        """Measure a stream; False when the user asked to stop."""
        for batch in batches(texts, characters=_BLOCK_CHARACTERS, most_texts=_BLOCK_TEXTS):
            documents = [text.encode("utf-8", "replace") for text in batch]
            self._count(documents, owner)
            if not self._begun:
                self._begun = True
                for meter in self.meters:
                    meter.try_on(documents)
            if any(meter.separable for meter in self.meters):
                self._counter.add(documents, owner)
            if not all(meter.separable for meter in self.meters):
                self._measure(whole_texts(documents, owner), separable=False)
            if self._counter.held_bytes > _HELD_BYTES:
                self.finish()
                self._reporter.stage("measuring")
            self._reporter.progress(int(self.bytes_I.sum()) / 1e6, None, "MB")
            if self._reporter.should_stop():
                return False
        return True

    def finish(self) -> None:
        """Encode what was only counted so far."""
        self._measure(self._counter.drain(), separable=True)

    def _count(self, documents: Sequence[bytes], owner: int) -> None:
        data_B = np.frombuffer(b" ".join(documents), dtype=np.uint8)
        between = max(0, len(documents) - 1)
        self.texts += len(documents)
        self.words_I[owner] += len(word_edges(whitespace_mask(data_B))[0])
        self.characters_I[owner] += np.count_nonzero((data_B & 0xC0) != 0x80) - between
        self.bytes_I[owner] += len(data_B) - between

    def _measure(self, segments: Segments, *, separable: bool) -> None:
        chosen = [number for number, meter in enumerate(self.meters) if meter.separable == separable]
        total = sum(map(len, segments.texts)) * len(chosen)
        if separable and total:
            self._reporter.stage("encoding each distinct stretch of text once")
        for order, number in enumerate(chosen):

            def progress(done: int, before: float = order * total / max(1, len(chosen))) -> None:
                if separable:
                    self._reporter.progress((before + done) / 1e6, total / 1e6, "MB")

            self.tokens[number] += segments.totals(self.meters[number].measure(segments, progress), self.tokens.shape[1])


def _entry(measurement: Measurement, number: int, names: Sequence[str]) -> TokenizerFertility:
    meter = measurement.meters[number]
    tokens, words = int(measurement.tokens[number].sum()), int(measurement.words_I.sum())
    characters, size = int(measurement.characters_I.sum()), int(measurement.bytes_I.sum())
    return TokenizerFertility(
        name=meter.name,
        vocab_size=meter.vocab_size,
        tokens=tokens,
        words=words,
        characters=characters,
        bytes=size,
        tokens_per_word=_ratio(tokens, words),
        characters_per_token=_ratio(characters, tokens),
        bytes_per_token=_ratio(size, tokens),
        continued_word_rate=_ratio(meter.continued, words),
        single_token_word_rate=_ratio(meter.single, words),
        vocabulary_used_rate=_ratio(int(np.count_nonzero(meter.counts_V)), meter.vocab_size),
        round_trip_ok=meter.round_trip_ok,
        inputs=[_input_entry(measurement, number, owner, name) for owner, name in enumerate(names)],
    )


def _input_entry(measurement: Measurement, number: int, owner: int, name: str) -> InputFertility:
    tokens, words = int(measurement.tokens[number, owner]), int(measurement.words_I[owner])
    characters = int(measurement.characters_I[owner])
    return InputFertility(
        name=name,
        tokens=tokens,
        words=words,
        characters=characters,
        bytes=int(measurement.bytes_I[owner]),
        tokens_per_word=_ratio(tokens, words),
        characters_per_token=_ratio(characters, tokens),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
