"""Learning a vocabulary: the libraries' trainers on the text against counted words and LEP Studio's own variants.

`python -m benchmarks.vocabulary [--text FILE] [--base DIR] [--tokens N]`. All contenders get the text in memory and end with a
vocabulary; loading the model's tokenizer and proving the result are not part of the figure. `tokens_per_character` compares quality: the
result's tokens on the same text. The anchor is `tokenizers`' BPE trainer, which most people use.
"""

from __future__ import annotations

import argparse
import io
import os
import random
from collections.abc import Mapping
from pathlib import Path

from benchmarks.side_by_side import main, timed


def _text(arguments: argparse.Namespace) -> str:
    if arguments.text:
        return Path(arguments.text).read_text(encoding="utf-8")
    pick = random.Random(0)
    parts = [pick.choice("бвгдзклмнпрст") + pick.choice("аеиоуыяю") for _ in range(60)]
    words = ["".join(pick.choices(parts, k=pick.randint(1, 4))) for _ in range(30_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    lines = (" ".join(pick.choices(words, weights, k=12)).capitalize() + "." for _ in range(int(arguments.megabytes * 1e6) // 130))
    return "\n".join(lines)


def _libraries_tokenizer(kind: str):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
    expression = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer


def tokenizers_bpe(arguments: argparse.Namespace) -> Mapping[str, float]:
    """The Rust BPE trainer on the lines of the text."""
    from tokenizers import pre_tokenizers, trainers

    os.environ["RAYON_NUM_THREADS"] = "1"
    text, tokenizer = _text(arguments), _libraries_tokenizer("bpe")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=arguments.tokens, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    figures: dict[str, float] = {}
    with timed(figures):
        tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return figures | {"characters_per_token": len(text) / len(tokenizer.encode(text).ids)}


def _sentencepiece(arguments: argparse.Namespace, kind: str) -> Mapping[str, float]:
    import sentencepiece

    text, model = _text(arguments), io.BytesIO()
    figures: dict[str, float] = {}
    with timed(figures):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text.splitlines()), model_writer=model, model_type=kind, vocab_size=arguments.tokens,
            byte_fallback=True, split_digits=True, num_threads=1, minloglevel=2, hard_vocab_limit=False, max_sentence_length=1 << 20,
        )  # fmt: skip
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return figures | {"characters_per_token": len(text) / sum(len(processor.encode(line)) for line in text.splitlines())}


def sentencepiece_bpe(arguments: argparse.Namespace) -> Mapping[str, float]:
    """SentencePiece's BPE on the lines of the text."""
    return _sentencepiece(arguments, "bpe")


def sentencepiece_unigram(arguments: argparse.Namespace) -> Mapping[str, float]:
    """SentencePiece's Unigram on the lines of the text."""
    return _sentencepiece(arguments, "unigram")


def _ours(arguments: argparse.Namespace, variant: str) -> Mapping[str, float]:
    from lep_core.config import BuildTokenizerConfig
    from lep_core.progress import SILENT
    from lep_core.tokenizer.definition import Definition
    from lep_core.tokenizer.load import definition_of
    from lep_core.tokenizer.paper import PlainWordCounter
    from lep_core.tokenizer.variants import Task, adapt_vocabulary
    from lep_core.tokenizer.words import WordCounter

    os.environ["RAYON_NUM_THREADS"] = "1"
    text = _text(arguments)
    definition = Definition.read(arguments.base) if arguments.base else Definition.parse(definition_of(_small_base(text)))
    tokenizer = definition.tokenizer()
    size = {"new_tokens": arguments.tokens} if variant == "continued-bpe" else {"vocab_size": arguments.tokens}
    config = BuildTokenizerConfig(base="-", input=("-",), output="-", variant=variant, **size)
    figures: dict[str, float] = {}
    with timed(figures):
        counter = PlainWordCounter() if variant == "unigram" else WordCounter(tokenizer, definition, keep_boundaries=variant != "bpe")
        counter.add(text)
        task = Task(
            config=config, definition=definition, tokenizer=tokenizer, words=counter.words(), wanted=arguments.tokens, given=None, reporter=SILENT
        )  # fmt: skip
        outcome = adapt_vocabulary(task)
    return figures | {"characters_per_token": len(text) / len(outcome.definition.tokenizer().encode(text, add_special_tokens=False).ids)}


def _small_base(text: str):
    """A byte-level tokenizer of 500 tokens."""
    from tokenizers import decoders, pre_tokenizers, trainers

    tokenizer = _libraries_tokenizer("bpe")
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([text[:20_000]], trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def our_bpe(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Variant bpe, counting included."""
    return _ours(arguments, "bpe")


def our_unigram(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Variant unigram, counting included."""
    return _ours(arguments, "unigram")


def our_continued_bpe(arguments: argparse.Namespace) -> Mapping[str, float]:
    """Variant continued-bpe, counting included."""
    return _ours(arguments, "continued-bpe")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", help="UTF-8 text to learn from; generated text by default")
    parser.add_argument("--base", help="tokenizer folder for our variants; a small byte-level one by default")
    parser.add_argument("--tokens", type=int, default=8_000, help="size of the vocabulary, or tokens to add for continued-bpe")
    parser.add_argument("--megabytes", type=float, default=3.0, help="size of the generated text")


CONTENDERS = {
    "tokenizers BPE": tokenizers_bpe,
    "sentencepiece BPE": sentencepiece_bpe,
    "LEP Studio bpe": our_bpe,
    "LEP Studio continued-bpe": our_continued_bpe,
    "sentencepiece Unigram": sentencepiece_unigram,
    "LEP Studio unigram": our_unigram,
}

if __name__ == "__main__":
    main("Learning a vocabulary", CONTENDERS, _add_arguments, work=lambda arguments: (len(_text(arguments).encode()) / 1e6, "MB"))
