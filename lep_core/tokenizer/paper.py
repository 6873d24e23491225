"""The published recipes of `bpe`, `unigram`, `extension` and `optimization`, for comparison (method, section 1; `--paper`).

SentencePiece is trained with its defaults on the corpus (NFKC forms, digits apart, byte fallback), and
- bpe, unigram: the result replaces the tokenizer, its normalisation included, so texts change;
- extension: its pieces that the old vocabulary lacks, compared as strings, follow the old ones; its merges come before the old ones, and
  whole words are looked up first (`ignore_merges`). In a byte-level model the pieces, control tokens and `<0xNN>` among them, are written
  in bytes as if they were text. Added tokens outside the old vocabulary move to the end;
- optimization: only the old tokens with the lowest ids stay, and the merges among them, then extension.

Many tokens cannot be produced this way; the other variants exist because of that.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lep_core.errors import ConfigError
from lep_core.tokenizer.adopt import import_tokenizer
from lep_core.tokenizer.bytes import SPACE_MARK, to_byte_level
from lep_core.tokenizer.definition import Definition, Merge
from lep_core.tokenizer.pieces import training_error
from lep_core.tokenizer.spm_model import as_tokenizer_json, read_sentencepiece_model


class PlainWordCounter:
    """Counts what stands between spaces, which is all that SentencePiece's trainer sees of a text."""

    def __init__(self) -> None:
        self.documents = self.characters = self.bytes = 0
        self._words: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Count one text."""
        self.documents += 1
        self.characters += len(text)
        self.bytes += len(text.encode("utf-8", "surrogatepass"))
        self._words.update(text.encode("utf-8", "replace").decode().split())

    def words(self) -> Counter[str]:
        """Distinct words with their counts."""
        return self._words


def train_as_published(words: Mapping[str, int], *, kind: Literal["bpe", "unigram"], vocab_size: int) -> Definition:
    """A SentencePiece vocabulary with the settings of the paper.

    Raises:
        ConfigError: the size has no room for the characters of the corpus.
        CorpusError: the corpus holds nothing to learn from.
    """
    import sentencepiece

    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "words.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{word}\t{count}\n" for word, count in words.items() if "\0" not in word)
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=path, input_format="tsv", model_writer=model, model_type=kind, vocab_size=vocab_size, split_digits=True,
                byte_fallback=True, train_extremely_large_corpus=True, hard_vocab_limit=False, num_threads=min(16, os.cpu_count() or 1), minloglevel=2,
            )  # fmt: skip
        except RuntimeError as error:
            raise training_error(error) from error
        written = Path(folder, "trained.model")
        written.write_bytes(model.getvalue())
        return Definition.parse(as_tokenizer_json(read_sentencepiece_model(written)))


def replace_as_published(definition: Definition, trained: Definition) -> Definition:
    """The trained vocabulary with its normalisation and the model's control tokens."""
    forms: list[dict[str, Any]] = [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}]
    lossy = {**trained.data, "normalizer": {"type": "Sequence", "normalizers": [*forms, *trained.data["normalizer"]["normalizers"]]}}
    return import_tokenizer(definition, Definition(lossy, trained.vocab, trained.merges, trained.family, trained.scores))


def extend_as_published(definition: Definition, trained: Definition, *, keep: int | None = None) -> tuple[Definition, list[str]]:
    """Append the unseen pieces of `trained`; with `keep`, to the old tokens whose ids are below it.

    Returns:
        The tokenizer and the appended tokens.

    Raises:
        ConfigError: the model's tokenizer has no merges.
    """
    if definition.is_unigram or trained.is_unigram:
        raise ConfigError(
            "paper", "the published recipe appends BPE pieces to a BPE tokenizer", "Leave --paper out for a Unigram tokenizer"
        )
    inside: dict[str, int] = definition.data["model"]["vocab"]
    old = {token: index for token, index in inside.items() if keep is None or index < keep}
    write = _written_in_bytes if definition.family == "byte-level" else str
    pieces = dict.fromkeys(write(token) for token in published_order(trained))
    fresh = [piece for piece in pieces if piece not in old]
    first = max(old.values(), default=-1) + 1
    vocab = old | {piece: first + offset for offset, piece in enumerate(fresh)}
    for token in definition.added:
        vocab.setdefault(token["content"], max(vocab.values()) + 1)
    merges: dict[Merge, None] = dict.fromkeys((write(left), write(right)) for left, right in trained.merges)
    merges |= dict.fromkeys((a, b) for a, b in definition.merges if keep is None or {a, b, a + b} <= old.keys())
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added]
    extended = definition.replaced(vocab, list(merges), added)
    extended.data["model"]["ignore_merges"] = True
    return extended, fresh


def published_order(trained: Definition) -> list[str]:
    """All pieces by id, SentencePiece's control tokens first."""
    rest = [token for token in trained.by_id if token is not None]
    return list(dict.fromkeys(["<unk>", "<s>", "</s>", *rest]))


def _written_in_bytes(token: str) -> str:
    return to_byte_level(token.replace(SPACE_MARK, " ").encode())
