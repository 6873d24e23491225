"""Variant `unigram`: a new Unigram vocabulary from nothing (method, section 1), lossless in either family; and new tokens for a Unigram model.

Pieces are learned on whole characters by the sentencepiece library. In a byte-level model they are then written in bytes, and all 256
bytes are tokens too, so nothing can be unknown; in a SentencePiece-style model what has no token falls back to byte tokens. Normaliser,
pre-tokeniser, decoder and template stay the model's own, and so do numbers: its number tokens are taken over with one score for all, so
that fewest tokens win, and no piece holds a digit.

Scores are log probabilities; a text is cut where their sum is largest. Bytes score so low that a literal `<0x41>` in a text is spelled
in its six characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer, models

from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import SPACE_MARK, from_byte_level, is_byte_token, to_byte_level
from lep_core.tokenizer.conventions import MAX_TOKEN_CHARACTERS, admissible_beside, admissible_sentencepiece_from_nothing
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.load import rust_errors
from lep_core.tokenizer.pieces import SPARE_PIECES, learn_unigram_pieces
from lep_core.tokenizer.train import CHARACTER_COVERAGE, Foundation, FromNothing, Learned, foundation

MOST_WORDS = 1_000_000  # distinct words that are learned from; what is rarer changes little and costs memory
_NUMBER_SCORE = -5.0
_BYTE_DISTANCE = 20.0  # how far below the least likely piece bytes lie
_FALLBACK_SCORE = -1_000.0  # of `<0xNN>` and control tokens
_MARGIN = 1e-3
_BATCH = 20_000
_DIGIT = re.compile(r"\d")


def train_unigram(
    tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], *, vocab_size: int, reporter: Reporter = SILENT
) -> FromNothing:
    """A Unigram tokenizer of `vocab_size` tokens, or fewer when the corpus holds too little.

    Raises:
        ConfigError: `vocab_size` has no room for bytes, numbers and special tokens.
    """
    base = foundation(definition, words, vocab_size=vocab_size)
    room = vocab_size - len(base.before) - len(base.last)
    scores = _number_scores(base)
    learned = _learn(definition, _pieces(tokenizer, definition, words, base, room, reporter), base, room, scores)
    vocab = {token: index for index, token in enumerate([*base.before, *learned, *base.last])}
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added]
    scores = {token: scores.get(token, _FALLBACK_SCORE) for token in vocab} | learned
    return FromNothing(definition=definition.replaced(vocab, [], added, scores=scores), learned=dict.fromkeys(learned, ()))


def extend_unigram(
    tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], *, new_tokens: int, reporter: Reporter = SILENT
) -> tuple[Learned, dict[str, float]]:
    """Pieces to append to a Unigram vocabulary, with scores that make each the best way to spell its own text.

    Text without such a piece is cut as before: a new piece competes only where its own characters stand.
    """
    rule = admissible_beside(definition.family, words)
    base = foundation(definition, words, vocab_size=1 << 30)
    pieces = _pieces(tokenizer, definition, words, base, 2 * new_tokens, reporter)
    candidates = {token: score for token, score in pieces.items() if token not in definition.vocab and rule(token)}
    return appended_pieces(definition, candidates, new_tokens=new_tokens)


def appended_pieces(definition: Definition, candidates: Mapping[str, float], *, new_tokens: int) -> tuple[Learned, dict[str, float]]:
    """The first `new_tokens` candidates that become reachable, with scores above those of their present spelling."""
    chosen = dict(list(candidates.items())[: round(1.2 * new_tokens)])
    spelled = _spelling_scores(definition, list(chosen))
    scores = {token: max(score, spelled[token] + _MARGIN) for token, score in chosen.items()}
    scores = dict(list(_without_unused(definition.scores, scores, definition).items())[:new_tokens])
    return Learned(tokens=list(scores), merges=[], characters=sum(len(token) == 1 for token in scores)), scores


def _learn(definition: Definition, pieces: Mapping[str, float], base: Foundation, room: int, scores: dict[str, float]) -> dict[str, float]:
    """New pieces with scores; `scores` receives those of single characters and bytes."""
    known = set(base.before) | set(base.last)
    lowest = min(pieces.values(), default=0.0)
    for token in (*base.characters, *(base.bytes if definition.family == "byte-level" else ())):
        if token not in base.numbers and not token.isdecimal():
            scores[token] = pieces.get(token, lowest - _BYTE_DISTANCE)
    fresh = {token: score for token, score in pieces.items() if token not in known}
    used = _without_unused(scores, fresh, definition)
    return dict(list(used.items())[:room])


def _pieces(
    tokenizer: Tokenizer, definition: Definition, words: Mapping[str, int], base: Foundation, count: int, reporter: Reporter
) -> dict[str, float]:
    """Vocabulary strings of the learned pieces with their scores, best first, single characters among them."""
    if count <= 0:
        return {}
    if len(words) > MOST_WORDS:
        reporter.message(f"The pieces are learned from the {MOST_WORDS:,} most frequent of {len(words):,} distinct words")
        words = dict(Counter(words).most_common(MOST_WORDS))
    learned = learn_unigram_pieces(words, pieces=round(count * SPARE_PIECES), longest=MAX_TOKEN_CHARACTERS, coverage=CHARACTER_COVERAGE)
    reporter.progress(len(learned), len(learned), "tokens")
    learned = {piece: score for piece, score in learned.items() if SPACE_MARK not in piece[1:] and not _DIGIT.search(piece)}
    if definition.family == "sentencepiece":
        characters = set(base.characters)
        return {
            piece: score
            for piece, score in learned.items()
            if (piece in characters if len(piece) == 1 else admissible_sentencepiece_from_nothing(piece))
        }
    in_bytes = {to_byte_level(piece.replace(SPACE_MARK, " ").encode()): score for piece, score in learned.items()}
    return {token: score for token, score in in_bytes.items() if is_one_word(tokenizer, token)}


def is_one_word(tokenizer: Tokenizer, token: str) -> bool:
    """Whether a byte-level token can stand inside one word of the model's pre-tokeniser."""
    data = from_byte_level(token)
    if not data or tokenizer.pre_tokenizer is None:
        return bool(data)
    with rust_errors("the tokenizer cannot read a token of the given vocabulary"):
        return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(data.decode("utf-8", "ignore"))] == [token]


def _number_scores(base: Foundation) -> dict[str, float]:
    digits = [character for character in (*base.characters, *base.bytes) if character.isascii() and character.isdecimal()]
    return dict.fromkeys([*base.numbers, *digits], _NUMBER_SCORE)


def _without_unused(old: Mapping[str, float], fresh: Mapping[str, float], definition: Definition) -> dict[str, float]:
    """`fresh` without pieces that the best cut of their own text does not use; dropping some never hurts the others."""
    spelled = _best_cuts([*old.items(), *fresh.items()], list(fresh), definition)
    return {token: fresh[token] for token, whole in spelled.items() if whole}


def _best_cuts(scored: Sequence[tuple[str, float]], tokens: Sequence[str], definition: Definition) -> dict[str, bool]:
    tokenizer = _bare_unigram(scored, definition)
    cuts: dict[str, bool] = {}
    with rust_errors("the tokenizer cannot spell its tokens"):
        for start in range(0, len(tokens), _BATCH):
            batch = list(tokens[start : start + _BATCH])
            for token, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
                cuts[token] = encoding.tokens == [token]
    return cuts


def _spelling_scores(definition: Definition, tokens: Sequence[str]) -> dict[str, float]:
    """The best score that the present pieces give the text of each token; bytes and unknown characters count as the least likely piece."""
    tokenizer = _bare_unigram(list(definition.scores.items()), definition)
    lowest = min(definition.scores.values(), default=0.0)
    found: dict[str, float] = {}
    with rust_errors("the tokenizer cannot spell a new token"):
        for start in range(0, len(tokens), _BATCH):
            batch = list(tokens[start : start + _BATCH])
            for token, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
                found[token] = sum(lowest if is_byte_token(piece) else definition.scores.get(piece, lowest) for piece in encoding.tokens)
    return found


def _bare_unigram(scored: Sequence[tuple[str, float]], definition: Definition) -> Tokenizer:
    unknown = definition.unknown
    place = next((index for index, (token, _) in enumerate(scored) if token == unknown), None)
    if place is None and definition.family == "sentencepiece":
        scored, place = [("<unk>", _FALLBACK_SCORE), *scored], 0
    return Tokenizer(models.Unigram(list(scored), unk_id=place, byte_fallback=definition.family == "sentencepiece"))
