"""Copy tasks: "copy this text", whose answer is the text itself. They need no teacher and practise every new token (method section 5).

The texts are whole sentences from the training part of the corpus, of many lengths up to a limit; those that do not fit the
model's context twice are left out. Of all pieces those are taken whose hash (with the seed) is smallest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from lep_core.calibration.prompts import Prompt
from lep_core.calibration.sampling import HashSample, digest_of
from lep_core.evaluation.copy_task import instruction_for

LEAST_CHARACTERS = 20
SOURCE = "copy"
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？؟])[»\"”’)]*\s+|(?<=[。！？])")


def copy_tasks(
    texts: Iterable[str],
    *,
    count: int,
    seed: int,
    longest: int,
    template: str | None = None,
    fits: Callable[[str, str], bool] = lambda prompt, text: True,
) -> list[tuple[Prompt, str]]:
    """At most `count` prompts with the text to copy, in no order that depends on the documents' order.

    Args:
        longest: characters of a text.
        template: how a copy is asked for; `{text}` stands for the text.
        fits: whether prompt and text fit the model.
    """
    if count == 0:
        return []
    # More than needed, because many may not fit; encoding every piece of a large corpus would take long.
    sample = HashSample(4 * count + 64, seed)
    for text in texts:
        for piece in _pieces(text, seed, longest):
            sample.add(piece)
    chosen: list[tuple[Prompt, str]] = []
    for piece in sample.texts():
        prompt = template.replace("{text}", piece) if template else instruction_for(piece)
        if len(chosen) < count and fits(prompt, piece):
            chosen.append((Prompt(prompt, SOURCE), piece))
    return chosen


def _pieces(text: str, seed: int, longest: int) -> Iterator[str]:
    """Consecutive runs of whole sentences inside lines; how long the next run shall be is drawn from the hash of its beginning."""
    for line in text.splitlines():
        kept, wanted = "", 0
        for sentence in _SENTENCE_END.split(line):
            sentence = sentence.strip()
            if not sentence:
                continue
            if not kept:
                wanted = _wanted(sentence, seed, longest)
            longer = f"{kept} {sentence}".strip()
            if kept and len(longer) > longest:
                yield from _worth(kept)
                longer = sentence
            kept = longer
            if len(kept) >= wanted:
                if len(kept) <= longest:
                    yield from _worth(kept)
                kept = ""
        if len(kept) <= longest:
            yield from _worth(kept)


def _worth(piece: str) -> Iterator[str]:
    if len(piece) >= LEAST_CHARACTERS:
        yield piece


def _wanted(sentence: str, seed: int, longest: int) -> int:
    """Lengths of all magnitudes between the limits."""
    draw = digest_of(sentence, seed) / 2**128
    return round(LEAST_CHARACTERS * (max(longest, LEAST_CHARACTERS) / LEAST_CHARACTERS) ** draw)
