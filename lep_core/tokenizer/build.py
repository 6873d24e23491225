"""Build a tokenizer for a model from a corpus and prove what must hold for it (method, section 1).

Command: `python -m lep_core build-tokenizer --base DIR --input FILE... --variant continued-bpe --new-tokens N --output DIR`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lep_core.config import DEFAULT_NEW_TOKENS, DEFAULT_VOCAB_SIZE, BuildTokenizerConfig
from lep_core.errors import ConfigError, CorpusError, TokenizerError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.browse import visible, visible_pieces
from lep_core.tokenizer.bytes import token_bytes
from lep_core.tokenizer.checks import lost_texts, missing_bytes, unreachable_tokens
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.extend import continue_merges, extend_vocabulary
from lep_core.tokenizer.folder import write_tokenizer_folder
from lep_core.tokenizer.load import read_definition, rust_errors, tokenizer_from_definition
from lep_core.tokenizer.train import train_from_nothing
from lep_core.tokenizer.words import WordCounter

SAMPLE_CHARACTERS = 2_000_000
_SAMPLE_PER_TEXT = 50_000
_EXAMPLES = 3
_FIRST_TOKENS = 50


@dataclass(frozen=True, kw_only=True)
class BuildTokenizerReport:
    """What was built. Token counts compare canonical bytes; characters per token are measured on a sample of the corpus.

    `new_tokens`: tokens whose bytes are no token of the old vocabulary. `removed_tokens`: the reverse. `unreachable_tokens`: new tokens
    that encoding never produces with `ignore_merges=False`. `character_tokens`: new tokens that are single characters without a merge.
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
    data = read_definition(source)
    old = tokenizer_from_definition(data, f"{source} holds a tokenizer that cannot be used")  # the library checks what Definition relies on
    definition = Definition.parse(data)
    wanted = wanted_tokens(config, definition)

    reporter.stage("counting words")
    counter = WordCounter(old, definition, keep_boundaries=config.variant != "bpe")
    sample = _count(counter, texts if isinstance(texts, Iterable) else texts(), reporter)
    words = counter.words()
    _check_corpus(config, words, counter)

    reporter.stage("learning tokens")
    adapted, added, characters = _learn(config, definition, old, words, wanted, reporter)
    stopped = reporter.should_stop()
    made = adapted.size if config.variant == "bpe" else added
    if made < wanted and not stopped:
        reporter.message(
            f"The corpus of {counter.characters:,} characters was enough for {made:,} of the {wanted:,} tokens asked for; a larger corpus gives more"
        )

    reporter.stage("checking the new tokenizer")
    new = adapted.tokenizer()
    _check_control_tokens(definition, adapted, new)
    old_bytes, new_bytes = set(token_bytes(old)) - {None}, set(token_bytes(new)) - {None}
    fresh = _made_by_merges(adapted) if config.variant == "bpe" else [token for token in adapted.vocab if token not in definition.vocab]
    dead = unreachable_tokens(new, fresh)
    lost, gone = lost_texts(old, new), missing_bytes(old, new)
    if dead:
        reporter.message(f"{len(dead):,} new tokens cannot be produced by encoding, for example {visible(new, adapted.vocab[dead[0]])}")
    for text in lost:
        reporter.message(f"The new tokenizer does not give this text back unchanged: {text[:60]!r}")
    before, after = _tokens_of(old, sample), _tokens_of(new, sample)
    sampled = sum(map(len, sample))

    reporter.stage("writing the tokenizer")
    write_tokenizer_folder(adapted, source=source, output=Path(output))
    return BuildTokenizerReport(
        variant=config.variant,
        vocab_size=adapted.size,
        new_tokens=len(new_bytes - old_bytes),
        requested_tokens=wanted,
        removed_tokens=len(old_bytes - new_bytes),
        unreachable_tokens=len(dead),
        character_tokens=characters,
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
        first_tokens=[visible(new, adapted.vocab[token]) for token in fresh[:_FIRST_TOKENS]],
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


def wanted_tokens(config: BuildTokenizerConfig, definition: Definition) -> int:
    """For `bpe` the size of the whole vocabulary, otherwise the number of tokens to add.

    Raises:
        ConfigError: the whole vocabulary would not be larger than the old one.
    """
    if config.variant == "bpe":
        return config.vocab_size or DEFAULT_VOCAB_SIZE
    if config.vocab_size is None:
        return config.new_tokens or DEFAULT_NEW_TOKENS
    if config.vocab_size <= definition.size:
        raise ConfigError(
            "vocab_size",
            f"the vocabulary size is {config.vocab_size}, but the model's vocabulary has {definition.size} tokens already and {config.variant} keeps them all",
            f"Give --vocab-size above {definition.size}, or --new-tokens, or --variant bpe to replace the vocabulary",
        )
    return config.vocab_size - definition.size


def _learn(
    config: BuildTokenizerConfig, definition: Definition, old: Tokenizer, words: Counter[str], wanted: int, reporter: Reporter
) -> tuple[Definition, int, int]:
    """The adapted definition, how many tokens were added, and how many of these are single characters."""
    if config.variant == "bpe":
        adapted = train_from_nothing(definition, words, vocab_size=wanted, min_frequency=config.min_frequency, reporter=reporter)
        return adapted, adapted.size, 0
    learn = continue_merges if config.variant == "continued-bpe" else extend_vocabulary
    learned = learn(old, definition, words, new_tokens=wanted, min_frequency=config.min_frequency, reporter=reporter)
    if not learned.tokens:
        raise CorpusError(
            f"no new token can be made from this corpus: no pair of tokens occurs {config.min_frequency} times in its {sum(words.values())} words",
            "Give more text, or a smaller --min-frequency",
        )
    return definition.extended(learned.tokens, learned.merges), len(learned.tokens), learned.characters


def _count(counter: WordCounter, texts: Iterable[str], reporter: Reporter) -> list[str]:
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


def _made_by_merges(adapted: Definition) -> list[str]:
    return list(dict.fromkeys(left + right for left, right in adapted.merges))


def _check_corpus(config: BuildTokenizerConfig, words: Counter[str], counter: WordCounter) -> None:
    if not counter.characters:
        raise CorpusError("the corpus is empty", "Give text files that hold text in the new language")
    if max(words.values(), default=0) < config.min_frequency and len(words) < 2:
        raise CorpusError(
            f"no token can be made from a corpus of {counter.characters} characters, nothing in it occurs {config.min_frequency} times",
            "Give more text, or a smaller --min-frequency",
        )


def _check_control_tokens(definition: Definition, adapted: Definition, new: Tokenizer) -> None:
    """Every added token is still there, under the id that the folder says."""
    for token in definition.control:
        if new.token_to_id(token) != adapted.vocab.get(token):
            raise TokenizerError(
                f"the special token {token!r} moved from id {adapted.vocab.get(token)} to {new.token_to_id(token)}",
                "Please report this as a bug",
            )
    if new.get_vocab_size() != len(adapted.vocab):
        raise TokenizerError(
            f"the new tokenizer has {new.get_vocab_size()} tokens instead of {len(adapted.vocab)}", "Please report this as a bug"
        )


def _tokens_of(tokenizer: Tokenizer, texts: list[str]) -> int:
    with rust_errors("the tokenizer cannot encode the corpus"):
        return sum(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False))


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
