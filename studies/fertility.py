"""What tokenizers charge for a language, and what each way to a new vocabulary changes (method, section 1; paper, table of symbols per token).

`python -m studies.fertility --data DIR --tokenizers DIR`. Every combination of tokenizer, language and variant is kept in `--work` when it is
done, so an interrupted run goes on where it was. Rows are of five kinds:

- `before`: a tokenizer on the held-out text of a language;
- `premium`: a tokenizer on the parallel text, relative to English;
- `variant`: a new vocabulary on both, and on English: what it gains, what it loses;
  Every variant for the first tokenizer with all languages and for the first language with all tokenizers, the first variant for all pairs;
- `amount`: how much text a vocabulary needs: one learned from less of it;
- `paper`: the published vocabularies and ours of their sizes, beside the published figures (`fertility_paper`).

`ratio` is tokens after / tokens before on the same text. Shapes: N passages or documents.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

import lep_core as lep
from lep_core.evaluation.intervals import bootstrap_ratio
from lep_core.files import read_json, write_json, write_text
from lep_core.tokenizer.definition import Definition
from lep_core.tokenizer.parts import ordinary_tokens, reduced
from lep_core.tokenizer.shrink import default_kept
from lep_core.tokenizer.variants import wanted_tokens
from studies import fertility_paper, fertility_tables, results
from studies.fertility_texts import Material, made_up_material, real_material, report_of, spread

NESTED = ("continued-bpe", "extension", "optimization", "bpe")  # the first k tokens of a long training are those of a short one
ADDING = ("continued-bpe", "extension", "optimization")  # put new tokens behind old ones
VARIANTS = (*NESTED, "unigram", "leaf-pruning")
AMOUNTS = (1.0, 0.5, 0.25, 0.125, 0.0625)  # of the text that vocabularies learn from
AMOUNT_LANGUAGES = ("ru", "kk", "new")
sections, plots = fertility_tables.sections, fertility_tables.plots

Row = dict[str, Any]


class Meter:
    """Tokens of the texts of one language and of the parallel text, by one tokenizer; numbers per passage or document [N]."""

    def __init__(self, material: Material, language: str) -> None:
        self.texts = material.held_out[language]
        self.parallel = ["\n".join(document) for document in material.parallel[material.parallel_names[language]]]
        self.english = ["\n".join(document) for document in material.parallel[material.english]]
        self.sentences = [sentence for document in material.parallel[material.english] for sentence in document]

    def counts(self, tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
        """Tokens of held-out passages, parallel documents, English documents."""
        return count_tokens(tokenizer, self.texts), count_tokens(tokenizer, self.parallel), count_tokens(tokenizer, self.english)


def count_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, without special tokens."""
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def spellings(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    """How each text is cut."""
    return [encoding.tokens for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def interval(name: str, numerators_N: Sequence[float], denominators_N: Sequence[float]) -> Row:
    """A ratio of sums and its interval, as three values of a row."""
    value, low, high = bootstrap_ratio(numerators_N, denominators_N)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def rates(tokens_N: Sequence[int], texts: Sequence[str]) -> Row:
    """Characters per token with its interval, tokens per word, bytes per token."""
    total = sum(tokens_N)
    return {
        **interval("characters_per_token", list(map(len, texts)), tokens_N),
        "tokens_per_word": total / sum(len(text.split()) for text in texts),
        "bytes_per_token": sum(len(text.encode()) for text in texts) / total,
        "n": len(texts),
    }


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder; literals of special tokens in a text are text."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def before_rows(material: Material, name: str) -> list[Row]:
    """A tokenizer as it is: held-out text by language, and parallel text relative to English."""
    tokenizer = load_tokenizer(material.tokenizers[name])
    rows: list[Row] = []
    for language, texts in material.held_out.items():
        rows.append({"kind": "before", "tokenizer": name, "language": language, **rates(count_tokens(tokenizer, texts), texts)})
    documents = {language: ["\n".join(document) for document in listed] for language, listed in material.parallel.items()}
    english_N = count_tokens(tokenizer, documents[material.english])
    for language, texts in documents.items():
        tokens_N = count_tokens(tokenizer, texts)
        row = {"kind": "premium", "tokenizer": name, "language": language, **interval("premium", tokens_N, english_N)}
        rows.append({**row, **rates(tokens_N, texts)})
    return rows


def variant_rows(material: Material, name: str, language: str, variant: str, work: Path) -> list[Row]:
    """One variant for one tokenizer and language, in all sizes; a size that cannot be had is a row with the reason."""
    base = material.tokenizers[name]
    old, meter = load_tokenizer(base), Meter(material, language)
    before = meter.counts(old), spellings(old, meter.sentences)
    corpus = work / "corpora" / f"{language}.txt"
    write_text(corpus, "\n".join(material.learned[language]) + "\n")
    sizes = material.sizes
    if variant == "leaf-pruning":
        sizes = tuple(round(share * old.get_vocab_size()) for share in material.shares)
    rows: list[Row] = []
    largest = None
    for size in reversed(sizes):
        head: Row = {"kind": "variant", "tokenizer": name, "language": language, "variant": variant, "size": size}
        folder = work / "tokenizers" / f"{name}-{language}" / f"{variant}-{size}"
        config = lep.BuildTokenizerConfig(
            base=str(base),
            input=(str(corpus),),
            output=str(folder),
            variant=variant,
            new_tokens=size if variant in ADDING else None,
            vocab_size=None if variant in ADDING else size,
            overwrite=True,
        )
        try:
            if variant in NESTED and largest is not None:
                built, drop = largest, largest.made - wanted_tokens(config, definition_of(base))
            else:
                built, drop = build(config), 0
        except lep.LepError as error:
            rows.append({**head, "reason": str(error)})
            continue
        largest = largest or built
        if drop < 0:
            rows.append({**head, "reason": f"the text is enough for {largest.made} tokens"})
            continue
        made = {"made": built.made - drop, "unreachable_tokens": built.unreachable_tokens, "round_trip_ok": built.round_trip_ok}
        rows.append({**head, **made, **_after(meter, before, tokenizer_of_size(built.definition, drop))})
    return rows[::-1]


@dataclass(frozen=True, kw_only=True)
class Built:
    """A vocabulary that was built. `made`: tokens that it added, or its size where it replaces or shrinks the old one."""

    definition: Definition
    made: int
    unreachable_tokens: int
    round_trip_ok: bool


def build(config: lep.BuildTokenizerConfig) -> Built:
    """Build and prove one vocabulary."""
    report = report_of(config)
    old, base = definition_of(Path(config.base)), 0
    if config.variant in ADDING:
        base = old.size if config.variant != "optimization" else default_kept(old) + len(old.control & old.vocab.keys())
    return Built(
        definition=Definition.parse(read_json(Path(config.output) / "tokenizer.json")),
        made=report["vocab_size"] - base,
        unreachable_tokens=report["unreachable_tokens"],
        round_trip_ok=report["round_trip_ok"],
    )


def amount_rows(material: Material, name: str, language: str, work: Path) -> list[Row]:
    """The same number of new tokens, learned from a part of the text."""
    old, meter = load_tokenizer(material.tokenizers[name]), Meter(material, language)
    before = meter.counts(old), spellings(old, meter.sentences)
    lines, size = material.learned[language], material.sizes[len(material.sizes) // 2]
    whole = sum(len(line.encode()) + 1 for line in lines) / 1e6
    rows: list[Row] = []
    for share in AMOUNTS:
        corpus, output = work / "corpora" / f"{language}-{share}.txt", work / "tokenizers" / f"{name}-{language}" / f"amount-{share}"
        write_text(corpus, "\n".join(spread(lines, share * whole)) + "\n")
        config = lep.BuildTokenizerConfig(base=str(material.tokenizers[name]), input=(str(corpus),), output=str(output), overwrite=True)
        built = build(config.replace(new_tokens=size))
        head: Row = {"kind": "amount", "tokenizer": name, "language": language, "size": size, "learned_mb": corpus.stat().st_size / 1e6}
        rows.append({**head, "made": built.made, **_after(meter, before, tokenizer_of_size(built.definition, 0))})
    return rows


@cache
def definition_of(folder: Path) -> Definition:
    """A model's own tokenizer, read once."""
    return Definition.read(folder)


def tokenizer_of_size(definition: Definition, drop: int) -> Tokenizer:
    """The tokenizer without its last `drop` ordinary tokens: what a shorter training would have built."""
    if drop:
        tokens = ordinary_tokens(definition)
        definition = reduced(definition, set(tokens[: len(tokens) - drop]))
    tokenizer = definition.tokenizer()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _after(meter: Meter, before: tuple[Any, list[list[str]]], tokenizer: Tokenizer) -> Row:
    (texts_N, parallel_N, english_N), cuts = before
    new_texts_N, new_parallel_N, new_english_N = meter.counts(tokenizer)
    changed = sum(ours != theirs for ours, theirs in zip(spellings(tokenizer, meter.sentences), cuts, strict=True))
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        **rates(new_texts_N, meter.texts),
        **interval("ratio", new_texts_N, texts_N),
        **interval("parallel_ratio", new_parallel_N, parallel_N),
        **interval("premium", new_parallel_N, english_N),
        **interval("english_ratio", new_english_N, english_N),
        "english_changed": changed,
        "english_sentences": len(cuts),
    }


def steps_of(material: Material, work: Path, paper_places: Sequence[Path]) -> dict[str, Callable[[], list[Row]]]:
    """Everything there is to do, by name; what tells most for its time comes first."""
    steps: dict[str, Callable[[], list[Row]]] = {}
    for name in material.tokenizers:
        steps[f"before {name}"] = lambda name=name: before_rows(material, name)
    first_language, first_tokenizer = next(iter(material.learned)), next(iter(material.tokenizers))
    pairs = [(name, language) for name in material.tokenizers for language in material.learned]
    whole = [pair for pair in pairs if first_tokenizer == pair[0] or first_language == pair[1]]

    def add(listed: Sequence[tuple[str, str]], variant: str) -> None:
        for name, language in listed:
            steps[f"{name} {language} {variant}"] = lambda n=name, g=language: variant_rows(material, n, g, variant, work)

    add(whole, "continued-bpe")
    for entry in fertility_paper.entries(paper_places):
        steps[f"paper {entry.name}"] = lambda entry=entry: fertility_paper.rows(entry, paper_places, work)
    for language in [language for language in AMOUNT_LANGUAGES if language in material.learned]:
        steps[f"amount {first_tokenizer} {language}"] = lambda g=language: amount_rows(material, first_tokenizer, g, work)
    add(pairs, "continued-bpe")
    for variant in ("optimization", "bpe", "extension", "unigram", "leaf-pruning"):
        add(sorted(whole, key=lambda pair: pair[1] != first_language), variant)
    return steps


def run(
    steps: Mapping[str, Callable[[], list[Row]]], work: Path, config: Any, limit: float = math.inf
) -> tuple[list[Row], tuple[float, float], list[str]]:
    """All rows, the seconds and CPU seconds that they took, those of earlier runs included, and what `limit` CPU seconds did not suffice for."""
    rows: list[Row] = []
    left_out: list[str] = []
    seconds = cpu_seconds = 0.0
    for number, (name, step) in enumerate(steps.items(), start=1):
        path = work / "done" / f"{_digest([name, config])}.json"
        if cpu_seconds > limit and not path.is_file():
            left_out.append(name)
            continue
        kept = _kept(path, step)
        rows += kept["rows"]
        seconds, cpu_seconds = seconds + kept["seconds"], cpu_seconds + kept["cpu_seconds"]
        print(f"{number}/{len(steps)} {name}: {kept['cpu_seconds']:.1f} CPU-s, {cpu_seconds:.0f} in all", flush=True)
    return rows, (seconds, cpu_seconds), left_out


def _kept(path: Path, step: Callable[[], list[Row]]) -> Mapping[str, Any]:
    if not path.is_file():
        started = time.perf_counter(), time.process_time()
        rows = step()
        write_json(path, {"rows": rows, "seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]})
    return read_json(path)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parser = results.argument_parser("fertility", "Tokens per text before and after each new vocabulary")
    parser.add_argument(
        "--tokenizers", action="append", default=[], help="further folder with tokenizer folders, such as llama-3 (repeatable)"
    )
    parser.add_argument("--work", default="build/studies/fertility", help="folder that keeps what is done, for interrupted runs")
    parser.add_argument(
        "--cpu-seconds", type=float, default=math.inf, help="begin nothing new after so much; the result names what is left out"
    )
    given = parser.parse_args(arguments)
    work, places, data = Path(given.work), [Path(place) for place in given.tokenizers], results.data_folder(given.data)
    if given.scale == "tiny":
        material, paper_places = made_up_material(work), []
    elif data is None:
        parser.error("no data folder beside the checkout: give --data, see docs/study.md")
    else:
        material, paper_places = real_material(data, places), [*places, data]
    rows, before, left_out = run(steps_of(material, work, paper_places), work, material.config(), given.cpu_seconds)
    config = {"scale": given.scale, "amounts": list(AMOUNTS), **material.config(), "left_out": left_out}
    results.save("fertility", config=config, rows=rows, stopwatch=results.Stopwatch(before=before), output=given.output)


if __name__ == "__main__":
    main()
