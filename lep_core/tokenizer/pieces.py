"""Train a vocabulary of pieces with the sentencepiece library on counted words: fast, and with nothing of its text rules.

Words are written in a private alphabet, one letter for each of our characters, so that the library sees no spaces, digits, scripts or
forms to normalise: what may become a piece is decided by how the words were cut before. Its BPE joins the most frequent
pair. Its Unigram (Kudo 2018) prunes substrings by likelihood and is given plain text instead.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lep_core.errors import ConfigError, CorpusError, LepError

_LETTERS = [chr(code) for code in (*range(0x100, 0x800), *range(0x4E00, 0x9FA6)) if chr(code).isalpha()]
_PLANE_2 = 0x20000  # ideographs, for what is left
_LONGEST_WORD = 1_000  # characters
SPARE_PIECES = 1.03  # Unigram: train this many times the wanted pieces, because some will turn out never to be used


def learn_pieces(words: Mapping[str, int], alphabet: Sequence[str], *, pieces: int, longest: int) -> list[str]:
    """Pieces of two or more characters, in the order in which the library's BPE found them.

    Args:
        words: words over `alphabet`, with their counts; words with other characters must have been cut there.
        alphabet: single characters, the most frequent best first.
        pieces: how many are wanted; there may be fewer when the words hold no more.
        longest: longest piece in characters.

    Raises:
        CorpusError: the library finds nothing to learn from.
    """
    foreign = {character: _private(index) for index, character in enumerate(alphabet)}
    own = {private: character for character, private in foreign.items()}
    table = str.maketrans(foreign)
    rows = {word.translate(table): count for word, count in words.items() if word and len(word) <= _LONGEST_WORD}
    used = set().union(*rows)
    if not used:
        return []
    processor = _trained(
        rows,
        model_type="bpe",
        vocab_size=pieces + len(used) + 1,
        character_coverage=1.0,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        max_sentencepiece_length=min(longest, 512),
    )
    found = [processor.id_to_piece(index) for index in range(1, processor.get_piece_size())]  # 0 is <unk>
    return ["".join(own[private] for private in piece) for piece in found if len(piece) > 1 and own.keys() >= set(piece)]


def learn_unigram_pieces(words: Mapping[str, int], *, pieces: int, longest: int, coverage: float) -> dict[str, float]:
    """Unigram pieces of plain words (what stands between spaces) with their scores, best first; `▁` in front of those that begin a word.

    The library sees the text as it is here: its pruning needs words with the punctuation around them to find whole words.

    Raises:
        CorpusError: the library finds nothing to learn from.
    """
    rows = {word: count for word, count in words.items() if word.split() == [word] and "\0" not in word and len(word) <= _LONGEST_WORD}
    processor = _trained(
        rows,
        model_type="unigram",
        vocab_size=pieces + len(set().union(*rows)) + 2,
        character_coverage=coverage,
        split_digits=True,
        max_sentencepiece_length=longest,
    )
    return {processor.id_to_piece(index): processor.get_score(index) for index in range(1, processor.get_piece_size())}


def _trained(rows: Mapping[str, int], **options: Any) -> Any:
    """The library's processor of a vocabulary trained on counted words."""
    import sentencepiece

    model = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="lep-pieces-") as folder:
        path = Path(folder, "words.tsv")
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{word}\t{count}\n" for word, count in rows.items())
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(path),
                input_format="tsv",
                model_writer=model,
                hard_vocab_limit=False,
                normalization_rule_name="identity",
                max_sentence_length=8 * _LONGEST_WORD,
                train_extremely_large_corpus=True,
                num_threads=min(16, os.cpu_count() or 1),
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
                **options,
            )
        except RuntimeError as error:
            raise training_error(error) from error
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def training_error(error: RuntimeError) -> LepError:
    """What the library's trainer complains of, as a sentence."""
    reason = str(error).splitlines()[0]
    small = re.search(r"required_chars\. (\d+) vs (\d+)", reason)
    if small:
        return ConfigError(
            "vocab_size",
            f"a vocabulary of {small[1]} tokens is too small: the characters and bytes of this corpus alone take {small[2]}",
            f"Ask for more than {small[2]} tokens",
        )
    return CorpusError(f"no vocabulary can be learned from this corpus: {reason[:200]}", "Give more text, or a smaller vocabulary")


def cut_outside(text: str, alphabet: frozenset[str]) -> Iterable[str]:
    """The stretches of a text that consist of characters of `alphabet`."""
    start = None
    for position, character in enumerate(text):
        if character in alphabet:
            start = position if start is None else start
        elif start is not None:
            yield text[start:position]
            start = None
    if start is not None:
        yield text[start:]


def _private(index: int) -> str:
    return _LETTERS[index] if index < len(_LETTERS) else chr(_PLANE_2 + index - len(_LETTERS))
