"""The variants of a vocabulary behind one function (method, section 1): what is learned, dropped or taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from lep_core.config import DEFAULT_NEW_TOKENS, DEFAULT_VOCAB_SIZE, BuildTokenizerConfig
from lep_core.errors import ConfigError, CorpusError, TokenizerError
from lep_core.progress import Reporter
from lep_core.tokenizer import paper
from lep_core.tokenizer.adopt import check_importable, given_tokens, import_tokenizer, space_tokens
from lep_core.tokenizer.conventions import admissible_byte_level, admissible_sentencepiece
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.extend import append_tokens, continue_merges, extend_vocabulary
from lep_core.tokenizer.shrink import check_kept, default_kept, keep_most_useful, prune_leaves
from lep_core.tokenizer.train import Learned, foundation, train_from_nothing
from lep_core.tokenizer.unigram import appended_pieces, extend_unigram, is_one_word, train_unigram


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a variant works from. `wanted`: tokens to add, or the size of the whole vocabulary where it is replaced or reduced."""

    config: BuildTokenizerConfig
    definition: Definition
    tokenizer: Tokenizer
    words: Mapping[str, int]
    wanted: int
    given: Definition | None
    reporter: Reporter


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A new tokenizer.

    `made`: how many tokens came about of those `wanted` (None where the number was not open). `fresh`: tokens that must be reachable.
    `parts`: new tokens in order with what each is made of, for the curve. `steps`: sizes and token counts of a shrinking vocabulary.
    """

    definition: Definition
    fresh: list[str]
    made: int | None = None
    characters: int = 0
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)


def replaces(config: BuildTokenizerConfig) -> bool:
    """Whether the size asked for is that of the whole vocabulary."""
    return config.variant in ("bpe", "unigram", "leaf-pruning", "import")


def wanted_tokens(config: BuildTokenizerConfig, definition: Definition) -> int:
    """For variants that replace or reduce, the size of the whole vocabulary; otherwise the number of tokens to add.

    Raises:
        ConfigError: the size cannot work with this tokenizer.
    """
    if config.variant == "import":
        return 0
    if config.variant == "leaf-pruning":
        control = len(definition.control & definition.vocab.keys())
        size = config.vocab_size or default_kept(definition) + control
        check_kept(definition, size - control, "vocab_size", size)
        return size
    if config.variant in ("bpe", "unigram"):
        size = config.vocab_size or DEFAULT_VOCAB_SIZE
        if not config.paper:
            foundation(definition, {}, vocab_size=size)
        return size
    base = definition.size
    if config.variant == "optimization":
        kept = config.keep_tokens or default_kept(definition)
        if not config.paper:
            check_kept(definition, kept, "keep_tokens", kept)
        base = kept + len(definition.control & definition.vocab.keys())
    if config.vocab_size is None:
        return config.new_tokens or DEFAULT_NEW_TOKENS
    if config.vocab_size <= base:
        stays = "keeps them all" if config.variant != "optimization" else f"keeps {base} of them"
        raise ConfigError(
            "vocab_size",
            f"the vocabulary size is {config.vocab_size}, but the model's vocabulary has {definition.size} tokens already and {config.variant} {stays}",
            f"Give --vocab-size above {base}, or --new-tokens, or --variant bpe to replace the vocabulary",
        )
    return config.vocab_size - base


def adapt_vocabulary(task: Task) -> Outcome:
    """Carry out the variant that the config names.

    Raises:
        TokenizerError: the variant cannot work with this tokenizer.
        CorpusError: the corpus holds nothing to learn from.
    """
    config, definition, words = task.config, task.definition, task.words
    if config.paper:
        return _as_published(task)
    if config.variant == "import":
        assert task.given is not None
        check_importable(task.given)
        imported = import_tokenizer(definition, task.given)
        if spaces := space_tokens(definition):
            task.reporter.message(
                f"Added tokens of the model that are only white space are left out ({len(spaces):,}): the imported tokenizer has its own way with spaces"
            )
        return Outcome(definition=imported, fresh=_ordinary(imported))
    if config.variant == "leaf-pruning":
        shrunk = prune_leaves(task.tokenizer, definition, words, vocab_size=task.wanted, reporter=task.reporter)
        return Outcome(definition=shrunk.definition, fresh=[], steps=shrunk.steps)
    if config.variant == "bpe":
        new = train_from_nothing(definition, words, vocab_size=task.wanted, min_frequency=config.min_frequency, reporter=task.reporter)
        _check_made(task, new.learned)
        return Outcome(definition=new.definition, fresh=list(new.learned), made=new.definition.size, parts=new.learned)
    if config.variant == "unigram":
        new = train_unigram(task.tokenizer, definition, words, vocab_size=task.wanted, reporter=task.reporter)
        _check_made(task, new.learned)
        return Outcome(definition=new.definition, fresh=list(new.learned), made=new.definition.size)
    if config.variant == "optimization":
        kept = config.keep_tokens or default_kept(definition)
        definition = keep_most_useful(task.tokenizer, definition, words, kept=kept)
        return _add(task, definition, definition.tokenizer(), _ordinary(definition))
    return _add(task, definition, task.tokenizer, [])


def _add(task: Task, definition: Definition, tokenizer: Tokenizer, kept: list[str]) -> Outcome:
    """Put new tokens behind those of `definition`."""
    config, words, reporter = task.config, task.words, task.reporter
    scores: dict[str, float] | None = None
    if task.given is not None:
        learned, scores = _append_given(task, definition, tokenizer)
    elif definition.is_unigram:
        learned, scores = extend_unigram(tokenizer, definition, words, new_tokens=task.wanted, reporter=reporter)
    else:
        learn = continue_merges if config.variant == "continued-bpe" else extend_vocabulary
        learned = learn(tokenizer, definition, words, new_tokens=task.wanted, min_frequency=config.min_frequency, reporter=reporter)
    _check_made(task, learned.tokens)
    parts: dict[str, tuple[str, ...]] = dict.fromkeys(learned.tokens, ())
    for left, right in reversed(learned.merges):
        parts[left + right] = (left, right)
    return Outcome(
        definition=definition.extended(learned.tokens, learned.merges, scores),
        fresh=[*kept, *learned.tokens],
        made=len(learned.tokens),
        characters=learned.characters,
        parts={} if definition.is_unigram else parts,
    )


def _append_given(task: Task, definition: Definition, tokenizer: Tokenizer) -> tuple[Learned, dict[str, float] | None]:
    """The tokens of a ready vocabulary that this one lacks, as far as they can stand inside one of its words."""
    assert task.given is not None
    rule = admissible_byte_level if definition.family == "byte-level" else admissible_sentencepiece
    unseen = [token for token in given_tokens(task.given, definition.family) if token not in definition.vocab and rule(token)]
    if definition.family == "byte-level":
        unseen = [token for token in unseen if is_one_word(tokenizer, token)]
    room = len(unseen) if task.config.new_tokens is None and task.config.vocab_size is None else task.wanted
    if definition.is_unigram:
        return appended_pieces(definition, dict.fromkeys(unseen, min(definition.scores.values())), new_tokens=room)
    characters = [token for token in unseen if len(token) == 1][: room // 2] if definition.family == "sentencepiece" else []
    if characters:
        definition = definition.extended(characters)
        tokenizer = definition.tokenizer()
    return append_tokens(tokenizer, definition, unseen, characters=characters, new_tokens=room, reporter=task.reporter), None


def _as_published(task: Task) -> Outcome:
    config, definition = task.config, task.definition
    kind = "unigram" if config.variant == "unigram" else "bpe"
    trained = task.given or paper.train_as_published(task.words, kind=kind, vocab_size=task.wanted)
    if config.variant in ("bpe", "unigram"):
        replaced = paper.replace_as_published(definition, trained)
        return Outcome(definition=replaced, fresh=_ordinary(replaced))
    keep = (config.keep_tokens or default_kept(definition)) if config.variant == "optimization" else None
    extended, fresh = paper.extend_as_published(definition, trained, keep=keep)
    return Outcome(definition=extended, fresh=fresh)


def _check_made(task: Task, made: object) -> None:
    if made:
        return
    if task.given is not None:
        raise TokenizerError(
            "the vocabulary has every token of the given one that it can take", "Give another --source, or leave it out to train one"
        )
    raise CorpusError(
        f"no new token can be made from this corpus: nothing admissible occurs {task.config.min_frequency} times in its {sum(task.words.values())} words",
        "Give more text, or a smaller --min-frequency",
    )


def _ordinary(definition: Definition) -> list[str]:
    """Tokens that are made of others: no control tokens, bytes or single characters."""
    control = definition.control
    return [token for token in definition.vocab if len(token) > 1 and token not in control and not token.startswith("<0x")]
