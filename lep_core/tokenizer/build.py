"""Build a tokenizer for a model from a corpus and prove what must hold for it (method, section 1).

Command: `python -m lep_core build-tokenizer --base DIR --input FILE... --variant continued-bpe --new-tokens N --output DIR`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lep_core.config import BuildTokenizerConfig
from lep_core.errors import CorpusError, TokenizerError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.adopt import read_given
from lep_core.tokenizer.browse import visible, visible_pieces
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.checks import lost_texts, missing_bytes, unreachable_tokens
from lep_core.tokenizer.curve import growing_curve, shrinking_curve
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.folder import read_tokenizer_config, write_tokenizer_folder
from lep_core.tokenizer.load import rust_errors
from lep_core.tokenizer.paper import PlainWordCounter
from lep_core.tokenizer.variants import Outcome, Task, adapt_vocabulary, wanted_tokens
from lep_core.tokenizer.words import WordCounter, words_cut_at_marks

__all__ = ["BuildTokenizerReport", "build_tokenizer", "source_folder", "wanted_tokens"]

SAMPLE_CHARACTERS = 2_000_000
_SAMPLE_PER_TEXT = 50_000
_EXAMPLES = 3
_FIRST_TOKENS = 50
_MANY_CUTS = 0.05


@dataclass(frozen=True, kw_only=True)
class BuildTokenizerReport:
    """What was built. Token counts compare canonical bytes; characters per token are measured on a sample of the corpus.

    `new_tokens`: tokens whose bytes are no token of the old vocabulary. `removed_tokens`: the reverse. `unreachable_tokens`: new tokens
    that encoding never produces with `ignore_merges=False`. `character_tokens`: new tokens that are single characters without a merge.
    `curve`: characters per token for smaller numbers of new tokens from the same training, {"new_tokens", "vocab_size",
    "characters_per_token"} each; the first point is the tokenizer before. Empty where a smaller vocabulary is another training.
    """

    variant: str
    vocab_size: int
    new_tokens: int
    requested_tokens: int
    removed_tokens: int
    unreachable_tokens: int
    character_tokens: int
    special_tokens: int
    round_trip_ok: bool
    characters_per_token_before: float
    characters_per_token_after: float
    documents: int
    characters: int
    bytes: int
    distinct_words: int
    stopped: bool
    seconds: float
    examples: list[dict[str, Any]] = field(default_factory=list)
    first_tokens: list[str] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def build_tokenizer(
    config: BuildTokenizerConfig, texts: Callable[[], Iterable[str]] | Iterable[str], output: Path, reporter: Reporter = SILENT
) -> BuildTokenizerReport:
    """Build the tokenizer and write its folder.

    Args:
        config: what to build.
        texts: the corpus: a function that opens it, or the texts themselves. They are read once, as a stream.
        output: an existing folder to write into.
        reporter: hears about progress; when it asks to stop, the tokens learned so far are kept.

    Raises:
        TokenizerError: the model's tokenizer cannot be used or adapted.
        CorpusError: the corpus holds nothing to learn from.
        ConfigError: the wanted size cannot work with this tokenizer.
    """
    started = time.monotonic()
    reporter.stage("reading the tokenizer")
    source = source_folder(config.base)
    definition = Definition.read(source)
    read_tokenizer_config(source)  # a damaged one is told before hours of learning
    old = definition.tokenizer()
    given = read_given(config.source, reporter) if config.source else None
    wanted = wanted_tokens(config, definition)

    reporter.stage("counting words")
    new_words = config.variant in ("bpe", "unigram")
    plain = config.paper or config.variant == "unigram" or (definition.is_unigram and config.variant in ("continued-bpe", "extension"))
    counter = PlainWordCounter() if plain else WordCounter(old, definition, keep_boundaries=not new_words)
    sample = _count(counter, texts if isinstance(texts, Iterable) else texts(), reporter)
    words = counter.words()
    _check_corpus(config, words, counter)
    if not plain:
        _tell_of_cut_words(definition, words, reporter)

    reporter.stage("learning tokens")
    task = Task(config=config, definition=definition, tokenizer=old, words=words, wanted=wanted, given=given, reporter=reporter)
    outcome = adapt_vocabulary(task)
    adapted = outcome.definition
    stopped = reporter.should_stop()
    if outcome.made is not None and outcome.made < wanted and not stopped and given is None:
        reporter.message(
            f"The corpus of {counter.characters:,} characters was enough for {outcome.made:,} of the {wanted:,} tokens asked for; "
            "a larger corpus gives more"
        )

    reporter.stage("checking the new tokenizer")
    new = adapted.tokenizer()
    _check_control_tokens(definition, adapted, new)
    old_bytes, new_bytes = set(token_bytes(old)) - {None}, set(token_bytes(new)) - {None}
    dead = unreachable_tokens(new, outcome.fresh)
    lost, gone = lost_texts(old, new), missing_bytes(old, new)
    if dead:
        kept = "; they are kept, so that the imported vocabulary is whole" if config.variant == "import" else ""
        reporter.message(f"{len(dead):,} tokens cannot be made by merges, for example {visible(new, adapted.vocab[dead[0]])}{kept}")
    for text in lost:
        reporter.message(f"The new tokenizer does not give this text back unchanged: {text[:60]!r}")
    before, counts = sum(_tokens_of(old, sample).values()), _tokens_of(new, sample)
    after, sampled = sum(counts.values()), sum(map(len, sample))

    reporter.stage("writing the tokenizer")
    write_tokenizer_folder(adapted, source=source, output=Path(output))
    first = outcome.parts or outcome.fresh
    return BuildTokenizerReport(
        variant=config.variant,
        vocab_size=adapted.size,
        new_tokens=len(new_bytes - old_bytes),
        requested_tokens=wanted,
        removed_tokens=len(old_bytes - new_bytes),
        unreachable_tokens=len(dead),
        character_tokens=outcome.characters,
        special_tokens=len(definition.control),
        round_trip_ok=not lost and not gone,
        characters_per_token_before=sampled / before if before else 0.0,
        characters_per_token_after=sampled / after if after else 0.0,
        documents=counter.documents,
        characters=counter.characters,
        bytes=counter.bytes,
        distinct_words=len(words),
        stopped=stopped,
        seconds=time.monotonic() - started,
        examples=_examples(old, new, sample),
        first_tokens=[visible(new, adapted.vocab[token]) for token in islice(first, _FIRST_TOKENS)],
        curve=_curve(outcome, counts, sampled, (definition.size, sampled / before if before else 0.0)),
    )


def source_folder(base: str) -> Path:
    """The folder that holds the model's tokenizer; a hub id is resolved."""
    path = Path(base).expanduser()
    if path.is_file() and path.name == "tokenizer.json":
        return path.parent
    if path.exists():
        return path
    from lep_core.models import resolve

    return Path(resolve(base))


def _curve(outcome: Outcome, counts: Counter[int], characters: int, before: tuple[int, float]) -> list[dict[str, Any]]:
    if outcome.steps:
        return shrinking_curve(outcome.steps, before=before[1])
    if not outcome.parts:
        return []
    names = outcome.definition.by_id
    by_token = {str(names[index]): count for index, count in counts.items()}
    return growing_curve(outcome.parts, by_token, characters=characters, vocab_size=outcome.definition.size, before=before)


def _tell_of_cut_words(definition: Definition, words: Counter[str], reporter: Reporter) -> None:
    """Warn when the model's pre-tokeniser leaves vowel signs and the like alone (Hindi, Thai and others): no token can reach across."""
    cut, total = words_cut_at_marks(definition.family, words)
    if cut > _MANY_CUTS * total:
        reporter.message(
            f"The model's tokenizer cuts words of this language at vowel signs: {cut:,} of {total:,} pieces of words begin with one, "
            "and no new token can reach across such a cut"
        )


def _count(counter: WordCounter | PlainWordCounter, texts: Iterable[str], reporter: Reporter) -> list[str]:
    """Feed all texts to the counter; return a sample of them."""
    sample: list[str] = []
    room = SAMPLE_CHARACTERS
    for text in texts:
        counter.add(text)
        if room > 0 and text:
            sample.append(_beginning(text, min(room, _SAMPLE_PER_TEXT)))
            room -= len(sample[-1])
        reporter.progress(counter.bytes / 1e6, None, "MB")
        if reporter.should_stop():
            break
    return sample


def _beginning(text: str, characters: int) -> str:
    """The first lines of a text, whole where possible."""
    if len(text) <= characters:
        return text
    end = text.rfind("\n", 0, characters) + 1
    return text[: end or characters]


def _check_corpus(config: BuildTokenizerConfig, words: Counter[str], counter: WordCounter | PlainWordCounter) -> None:
    if not counter.characters:
        raise CorpusError("the corpus is empty", "Give text files that hold text in the new language")
    if config.variant == "import":
        return
    if max(words.values(), default=0) < config.min_frequency and len(words) < 2:
        raise CorpusError(
            f"no token can be made from a corpus of {counter.characters} characters, nothing in it occurs {config.min_frequency} times",
            "Give more text, or a smaller --min-frequency",
        )


def _check_control_tokens(definition: Definition, adapted: Definition, new: Tokenizer) -> None:
    """Every added token is still there, under the id that the folder says."""
    for token in definition.control:
        if token.isspace() and token not in adapted.vocab:  # left out by import
            continue
        if new.token_to_id(token) != adapted.vocab.get(token):
            raise TokenizerError(
                f"the special token {token!r} moved from id {adapted.vocab.get(token)} to {new.token_to_id(token)}",
                "Please report this as a bug",
            )
    if new.get_vocab_size() != len(adapted.vocab):
        raise TokenizerError(
            f"the new tokenizer has {new.get_vocab_size()} tokens instead of {len(adapted.vocab)}", "Please report this as a bug"
        )


def _tokens_of(tokenizer: Tokenizer, texts: list[str]) -> Counter[int]:
    """How often each id stands in the encoded texts."""
    counts: Counter[int] = Counter()
    with rust_errors("the tokenizer cannot encode the corpus"):
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            counts.update(encoding.ids)
    return counts


def _examples(old: Tokenizer, new: Tokenizer, sample: list[str]) -> list[dict[str, Any]]:
    """A few lines of the corpus as both tokenizers cut them."""
    examples = []
    for line in _lines(sample):
        examples.append({"text": line, "before": visible_pieces(old, line), "after": visible_pieces(new, line)})
        if len(examples) >= _EXAMPLES:
            break
    return examples


def _lines(sample: list[str]) -> Iterator[str]:
    for text in sample:
        for line in text.splitlines():
            if 40 <= len(line.strip()) <= 200:
                yield line.strip()
                break
