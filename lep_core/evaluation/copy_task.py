"""The copy task (DaruCopy in the paper, section 5): does a model repeat a text faithfully? It needs no labels.

    sentence    token_ratio = tokens(original) / tokens(generated), averaged over sentences, by the model's own tokenizer; 1 is right.
                Below 1 the model spells words with more pieces than its tokenizer would: it does not use its new tokens.
                A wrong copy can have the right length, so `exact_copy`, the share of identical copies, stands beside it.
    paragraph   lcs_above_99: share of copies whose longest common subsequence of characters with the text covers more than 99 % of
                the longer of the two. (The longer, so that neither a copy that breaks off nor one that goes on counts.)

The instruction is written in the language of the text. Chat models get it through their template; base models continue it.
Texts are the same for all models: they are chosen so that prompt and copy fit every model's context and the limit on new tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from lep_core.errors import CorpusError
from lep_core.evaluation.answering import answer_all, encode_question, first_line
from lep_core.evaluation.language import prompt_language
from lep_core.evaluation.measurement import Measurement
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import BatchAnswer, Generator

SENTENCE_TASK = "copy-sentence"
PARAGRAPH_TASK = "copy-paragraph"
INSTRUCTIONS = {
    "en": "Copy the following text exactly, without any changes:\n{text}",
    "ru": "Скопируй следующий текст точно, без каких-либо изменений:\n{text}",
}
SENTENCE_CHARACTERS = (20, 300)
PARAGRAPH_CHARACTERS = (100, 1000)
LCS_COVERAGE = 0.99
# A copy may need a few more tokens than the tokenizer's own spelling of the text.
EXTRA_SHARE, EXTRA_TOKENS = 1.25, 16
_SENTENCE_END = re.compile(r"(?<=[.!?…])[»\"”)]*\s+")


def instruction_for(text: str) -> str:
    """The copy instruction with the text, in Russian when most letters are Cyrillic, else in English."""
    return INSTRUCTIONS[prompt_language(text)].format(text=text)


def sentences_of(texts: Iterable[str], *, limit: int, fits: Callable[[str], bool]) -> list[str]:
    """One sentence per document at first, more from each when documents are few; no repetitions."""
    least, most = SENTENCE_CHARACTERS
    per_text = [[one for one in _sentences(text) if least <= len(one) <= most] for text in texts]
    return _round_robin(per_text, limit, fits)


def paragraphs_of(texts: Iterable[str], *, limit: int, fits: Callable[[str], bool]) -> list[str]:
    """Whole sentences of each paragraph, as many as fit into the length limits."""
    least, most = PARAGRAPH_CHARACTERS
    per_text = []
    for text in texts:
        found = (_longest_fitting(line, most, fits) for line in text.splitlines())
        per_text.append([one for one in found if len(one) >= least])
    return _round_robin(per_text, limit, fits)


def _sentences(text: str) -> list[str]:
    return [one.strip() for line in text.splitlines() for one in _SENTENCE_END.split(line)]


def _longest_fitting(line: str, most: int, fits: Callable[[str], bool]) -> str:
    sentences = [one for one in _sentences(line) if one]
    kept = ""
    for sentence in sentences:
        longer = f"{kept} {sentence}".strip()
        if len(longer) > most or not fits(longer):
            break
        kept = longer
    return kept


def _round_robin(per_text: list[list[str]], limit: int, fits: Callable[[str], bool]) -> list[str]:
    chosen: dict[str, None] = {}
    for turn in range(max(map(len, per_text), default=0)):
        for candidates in per_text:
            if turn < len(candidates) and candidates[turn] not in chosen and fits(candidates[turn]):
                chosen[candidates[turn]] = None
                if len(chosen) == limit:
                    return list(chosen)
    return list(chosen)


def copy_budget(tokens: int) -> int:
    """How many tokens a copy of a text of `tokens` tokens may have."""
    return int(tokens * EXTRA_SHARE) + EXTRA_TOKENS


def longest_common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence of two texts (of characters) or two lists (of words).

    Bit-parallel (Hyyrö 2004): one big integer holds a row of the table, bit i is 0 where the row grows at position i.
    """
    if not first or not second:
        return 0
    positions: dict[Hashable, int] = {}
    for index, one in enumerate(first):
        positions[one] = positions.get(one, 0) | (1 << index)
    mask = (1 << len(first)) - 1
    row = mask
    for one in second:
        matches = row & positions.get(one, 0)
        row = ((row + matches) | (row - matches)) & mask
    return len(first) - row.bit_count()


def covers(original: str, generated: str) -> bool:
    """Whether the common subsequence covers more than 99 % of the longer of the two texts (surrounding white space aside)."""
    original, generated = original.strip(), generated.strip()
    longer = max(len(original), len(generated))
    return longer > 0 and longest_common_subsequence(original, generated) > LCS_COVERAGE * longer


def measure_copy(
    generator: Generator,
    texts: Sequence[str],
    *,
    task: str,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Measurements of one copy task and every copy; None when `should_stop` became true.

    Raises:
        CorpusError: there is no text to copy.
    """
    if not texts:
        raise CorpusError(f"the input has no text that suits {task}", "Give longer texts, or raise --max-new-tokens")
    prompts = [_encoded(generator, text) for text in texts]
    tokens = [own_tokens(generator.tokenizer, text) for text in texts]
    found = answer_all(
        generator,
        prompts,
        [copy_budget(count) for count in tokens],
        batch_size=batch_size,
        batches=batches,
        should_stop=should_stop,
        progress=progress,
    )
    if found is None:
        return None
    copies = [_copied(generator, answer) for answer in found]
    records: list[dict[str, Any]] = [
        {
            "task": task,
            "prompt": text,
            "expected": [text],
            "got": copy,
            "ok": copy.strip() == text if task == SENTENCE_TASK else covers(text, copy),
        }
        for text, (copy, _) in zip(texts, copies, strict=True)
    ]
    right = [float(record["ok"]) for record in records]
    ones = [1.0] * len(texts)
    if task == PARAGRAPH_TASK:
        return [Measurement(task=task, metric="lcs_above_99", numerators=right, denominators=ones, is_share=True)], records
    ratios = [count / generated if generated else 0.0 for count, (_, generated) in zip(tokens, copies, strict=True)]
    return [
        Measurement(task=task, metric="token_ratio", numerators=ratios, denominators=ones, is_share=False),
        Measurement(task=task, metric="exact_copy", numerators=right, denominators=ones, is_share=True),
    ], records


def own_tokens(tokenizer: Any, text: str) -> int:
    """Tokens that the tokenizer itself makes of a text, without opening token."""
    return len(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def _encoded(generator: Generator, text: str) -> list[int]:
    prompt = instruction_for(text)
    return encode_question(generator, prompt if generator.is_chat else prompt + "\n\n")


def _copied(generator: Generator, answer: BatchAnswer | None) -> tuple[str, int]:
    """The copy and its number of tokens, end token aside; a base model's copy ends with its first line."""
    if answer is None:
        return "", 0
    ids = [token_id for token_id in answer.token_ids if token_id not in generator.eos_ids]
    if generator.is_chat:
        return answer.text, len(ids)
    line = first_line(answer.text)
    return line, own_tokens(generator.tokenizer, line) if line.strip() != answer.text.strip() else len(ids)
