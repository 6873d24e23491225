"""Tables and plots of the fertility study, made from its result file.

A cell such as `0.52 ±0.01` holds a value and half of the width of its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studies.report import table, with_interval
from studies.svg import Bar, Point, bars, lines

Row = Mapping[str, Any]

LEARNING = ("continued-bpe", "extension", "optimization", "bpe", "unigram")
SIZE = 16_000  # of the tables that show one size
CHOSEN = "continued-bpe"
NAMES = {"mistral-7b-v0.1": "Mistral-7B", "gpt-neox-20b": "GPT-NeoX-20B", "llama-3": "LLaMA-3"}
LANGUAGES = {
    "ru": "Russian", "uk": "Ukrainian", "kk": "Kazakh", "tr": "Turkish", "hi": "Hindi", "arb": "Arabic", "bel": "Belarusian", "deu": "German",
    "eng": "English", "fra": "French", "hin": "Hindi", "jpn": "Japanese", "kaz": "Kazakh", "pol": "Polish", "rus": "Russian", "tur": "Turkish",
    "ukr": "Ukrainian", "uzb": "Uzbek", "zho-CN": "Chinese",
}  # fmt: skip
WAYS = {
    "original": "as it is",
    "published": "published vocabulary",
    "published, merges alone": "the same, by merges alone",
    "published, merges that reach": "the same, merges that reach",
}


def sections(result: Mapping[str, Any]) -> dict[str, str]:
    """Markdown by name."""
    rows = result["rows"]
    return {
        "findings": _findings(rows),
        "config": _config(result),
        "before": _before(rows),
        "premium": _premium(rows),
        "gain": _gain(rows),
        "transfer": _transfer(rows),
        "english": _english(rows),
        "leaves": _leaves(rows),
        "sizes": _sizes(rows),
        "impossible": _impossible(rows, result["config"]["left_out"]),
        "amount": _amount(rows),
        "paper": _paper(rows),
    }


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG text by name."""
    rows = result["rows"]
    premiums = _of(rows, "premium")
    languages = sorted({row["language"] for row in premiums}, key=lambda name: -max(_premiums(premiums, name)))
    groups = {
        language: {_name(row["tokenizer"]): _bar(row, "premium") for row in premiums if row["language"] == language}
        for language in languages
    }
    pictures = {
        "premium": bars("The same news, told in other languages", groups, y_label="tokens, relative to English", level=("English", 1.0))
    }
    for tokenizer, language in {(row["tokenizer"], row["language"]) for row in _of(rows, "variant") if row["language"] in ("ru", "new")}:
        series = {
            variant: points
            for variant in LEARNING
            if (points := [_point(row) for row in _variants(rows, tokenizer, language, variant) if "ratio" in row])
        }
        before = next(row for row in _of(rows, "before") if (row["tokenizer"], row["language"]) == (tokenizer, language))
        pictures[f"sizes-{tokenizer}-{language}"] = lines(
            f"{_language(language)} with {_name(tokenizer)}: what a larger vocabulary buys",
            series,
            x_label="new tokens (bpe, unigram: the whole vocabulary)",
            y_label="characters per token, held-out text",
            logarithmic_x=True,
            level=("before", before["characters_per_token"]),
        )
    pictures["after"] = bars(
        f"The premium on news before and after {SIZE:,} new tokens ({CHOSEN})",
        _before_and_after(rows),
        y_label="tokens, relative to English",
        level=("English", 1.0),
    )
    return pictures


def readme_sentence(result: Mapping[str, Any]) -> str:
    """What README says of this study."""
    rows = [row for row in _at_size(result["rows"], CHOSEN) if row["language"] == "ru"]
    news = [1 - row["parallel_ratio"] for row in rows]
    novels = [1 - row["ratio"] for row in rows]
    return (
        f"{SIZE:,} new tokens save {_range(novels)} of the tokens of Russian novels that the vocabulary was not learned from, and "
        f"{_range(news)} of those of news, a kind of text that it has never seen; {max(row['english_changed'] for row in rows)} of "
        f"{rows[0]['english_sentences']:,} English sentences are cut otherwise than before"
    )


def _findings(rows: list[Row]) -> str:
    """What the tables below add up to, in sentences."""
    premiums = [row for row in _of(rows, "premium") if row["premium"] != 1.0]
    chosen, larger = _at_size(rows, CHOSEN), [row for row in _at_size(rows, CHOSEN, 2 * _shown_size(rows)) if _complete(row)]
    found = []
    for name in _distinct(row["tokenizer"] for row in premiums):
        own = sorted((row for row in premiums if row["tokenizer"] == name), key=lambda row: row["premium"])
        found.append(
            f"{_name(name)} charges {own[0]['premium']:.2f} times as many tokens as for English ({_language(own[0]['language'])}) "
            f"to {own[-1]['premium']:.2f} times ({_language(own[-1]['language'])}) for the same news."
        )
    found.append(
        f"{_shown_size(rows):,} new tokens ({CHOSEN}) save {_range([1 - row['ratio'] for row in chosen])} of the tokens of held-out text of the "
        f"kind that they were learned from, and {_range([1 - row['parallel_ratio'] for row in chosen])} on news that they were not."
    )
    steps = [
        1 - next(row for row in larger if _pair(row) == _pair(old))["ratio"] / old["ratio"]
        for old in chosen
        if _pair(old) in map(_pair, larger)
    ]
    if steps:
        found.append(f"Twice as many save {_range(steps)} of the tokens that are left.")
    for variant in LEARNING:
        own = _all_shown(rows, variant)
        if not own:
            continue
        changed, ratios = [row["english_changed"] for row in own], [row["english_ratio"] for row in own]
        found.append(
            f"English after {variant}: {_span(ratios, '.3f')} times the tokens, {_span(changed, ',')} of "
            f"{own[0]['english_sentences']:,} sentences cut otherwise (vocabularies: {len(own)})."
        )
    dead = [row["unreachable_tokens"] for row in _of(rows, "variant") if "ratio" in row]
    lost = sum(not row["round_trip_ok"] for row in _of(rows, "variant") if "ratio" in row)
    found.append(f"{len(dead)} vocabularies were built; of them, {sum(map(bool, dead))} have tokens out of reach and {lost} lose text.")
    return "\n".join(f"- {sentence}" for sentence in found)


def _range(shares: list[float]) -> str:
    return f"{_span([100 * share for share in shares], '.0f')} %"


def _span(values: Sequence[float], form: str) -> str:
    """The smallest and the largest, or the one that all are."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _config(result: Mapping[str, Any]) -> str:
    config, environment = result["config"], result["environment"]
    sizes = {
        name: (config["learned_bytes"][name] / 1e6, config["held_out_bytes"][name] / 1e6, texts)
        for name, texts in {row["language"]: row["n"] for row in _of(result["rows"], "before")}.items()
    }
    heads = ["", "learned from, MB", "held out, MB", "passages"]
    lines = [[_language(name), f"{learned:.2f}", f"{held:.2f}", str(n)] for name, (learned, held, n) in sizes.items()]
    machine = (
        f"Parallel text: {config['parallel_sentences']:,} sentences in {config['parallel_documents']} documents. The whole study took "
        f"{result['cpu_seconds'] / 60:.0f} CPU-minutes ({environment['machine']}, tokenizers {environment['tokenizers']}, "
        f"sentencepiece {environment['sentencepiece']})."
    )
    return f"{table(heads, lines)}\n\n{machine}"


def _before(rows: list[Row]) -> str:
    chosen = _of(rows, "before")
    tokenizers = _distinct(row["tokenizer"] for row in chosen)
    heads = ["held-out text", *(f"{_name(name)}, {what}" for name in tokenizers for what in ("tokens per word", "characters per token"))]
    lines = []
    for language in _distinct(row["language"] for row in chosen):
        cells = [_language(language)]
        for name in tokenizers:
            row = next(row for row in chosen if (row["tokenizer"], row["language"]) == (name, language))
            cells += [f"{row['tokens_per_word']:.2f}", _plus_minus(row, "characters_per_token", 2)]
        lines.append(cells)
    return table(heads, lines)


def _premium(rows: list[Row]) -> str:
    chosen = _of(rows, "premium")
    tokenizers = _distinct(row["tokenizer"] for row in chosen)
    languages = sorted({row["language"] for row in chosen}, key=lambda name: -_premiums(chosen, name)[0])
    lines = [
        [
            _language(language),
            *(
                with_interval(row["premium"], row["premium_low"], row["premium_high"])
                for name in tokenizers
                for row in chosen
                if (row["tokenizer"], row["language"]) == (name, language)
            ),
        ]
        for language in languages
    ]
    return table(["language", *map(_name, tokenizers)], lines)


def _gain(rows: list[Row]) -> str:
    """Tokens after / before on held-out text at one size."""
    lines = []
    for tokenizer, language in _pairs(rows):
        cells = [f"{_language(language)}, {_name(tokenizer)}"]
        for variant in LEARNING:
            row = _shown(rows, tokenizer, language, variant)
            cells.append(f"{_plus_minus(row, 'ratio')}{_fewer(row)}" if "ratio" in row else "-" if row else "")
        lines.append(cells)
    return table(["tokens after / before", *LEARNING], lines)


def _transfer(rows: list[Row]) -> str:
    heads = ["", "held-out text of the same kind", "news", "premium on news before", "premium after"]
    lines = []
    for row in _all_shown(rows, CHOSEN):
        old = _premium_before(rows, row)
        head = f"{_language(row['language'])}, {_name(row['tokenizer'])}{_fewer(row)}"
        cells = [head, _plus_minus(row, "ratio"), _plus_minus(row, "parallel_ratio")]
        lines.append([*cells, with_interval(*old), with_interval(row["premium"], row["premium_low"], row["premium_high"])])
    return table(heads, lines)


def _english(rows: list[Row]) -> str:
    """What English news costs afterwards, and in how many sentences anything changed; over the languages, the smallest and the largest."""
    heads = [
        "variant",
        *(f"{_name(name)}, {what}" for name in _tokenizers(rows) for what in ("English after / before", "sentences cut otherwise")),
    ]
    lines = []
    for variant in LEARNING:
        cells = [variant]
        for tokenizer in _tokenizers(rows):
            found = [row for row in _all_shown(rows, variant) if row["tokenizer"] == tokenizer]
            if not found:
                cells += ["-", "-"]
                continue
            ratios, changed = [row["english_ratio"] for row in found], [row["english_changed"] for row in found]
            of = found[0]["english_sentences"]
            cells += [_span(ratios, ".3f"), f"{_span(changed, ',')} of {of:,}"]
        lines.append(cells)
    return table(heads, lines)


def _leaves(rows: list[Row]) -> str:
    lines = []
    for tokenizer, language in _pairs(rows):
        for row in _variants(rows, tokenizer, language, "leaf-pruning"):
            if "ratio" not in row:
                continue
            cells = [f"{_language(language)}, {_name(tokenizer)}", f"{row['vocab_size']:,}", _plus_minus(row, "ratio")]
            lines.append([*cells, _plus_minus(row, "parallel_ratio"), _plus_minus(row, "english_ratio")])
    if not lines:
        return "Not run, for lack of time."
    return table(["leaf-pruning", "tokens left", "held-out text after / before", "news", "English"], lines)


def _sizes(rows: list[Row]) -> str:
    """Characters per token for all sizes."""
    sizes = sorted({row["size"] for row in _of(rows, "variant") if row["variant"] in LEARNING})
    blocks = []
    for language in _distinct(row["language"] for row in _of(rows, "variant")):
        lines = []
        for tokenizer in _tokenizers(rows):
            before = next(row for row in _of(rows, "before") if (row["tokenizer"], row["language"]) == (tokenizer, language))
            lines.append([f"{_name(tokenizer)}, before", *[f"{before['characters_per_token']:.2f}"] * len(sizes)])
            for variant in LEARNING:
                cells = {row["size"]: row for row in _variants(rows, tokenizer, language, variant)}
                if not cells:
                    continue
                lines.append([f"{_name(tokenizer)}, {variant}", *(_size_cell(cells[size]) for size in sizes)])
        text = table(["characters per token", *(f"{size:,}" for size in sizes)], lines)
        blocks.append(f"<details><summary>{_language(language)}</summary>\n\n{text}\n\n</details>")
    return "\n\n".join(blocks)


def _size_cell(row: Row) -> str:
    if "ratio" not in row:
        return "-"
    cell = _plus_minus(row, "characters_per_token", 2)
    return cell if _complete(row) else f"{cell} ({row['made']:,})"


def _impossible(rows: list[Row], left_out: list[str]) -> str:
    """Why cells are empty: sizes that cannot be had, by reason, and what was not run."""
    found: dict[str, list[str]] = {}
    for row in _of(rows, "variant"):
        if "reason" in row:
            place = f"{_name(row['tokenizer'])} {_language(row['language'])} {row['variant']} {row['size']:,}"
            found.setdefault(row["reason"], []).append(place)
    lines = [f"- {reason.split('. ')[0]}: {'; '.join(places)}." for reason, places in found.items()]
    if left_out:
        lines.append(f"- Not run, for lack of time: {'; '.join(left_out)}.")
    return "\n".join(lines) or "Every size could be built."


def _amount(rows: list[Row]) -> str:
    heads = ["learned from", "tokens made", "held-out text after / before", "news"]
    lines = [
        [
            f"{row['learned_mb']:.2f} MB of {_language(row['language'])}",
            f"{row['made']:,} of {row['size']:,}",
            _plus_minus(row, "ratio"),
            _plus_minus(row, "parallel_ratio"),
        ]
        for row in _of(rows, "amount")
    ]
    return table(heads, lines)


def _paper(rows: list[Row]) -> str:
    heads = ["tokenizer", "way", "vocabulary", "new tokens out of reach", "symbols per token: paper", "held-out novels", "news"]
    lines = []
    for row in _of(rows, "paper"):
        head = [f"{_name(row['tokenizer'])}, {row['variant']}", WAYS[row["way"]]]
        if "reason" in row:
            lines.append([*head, "-", "-", f"{row['published_figure']:.2f}", "-", "-"])
            continue
        dead = row.get("unreachable_tokens")
        cells = [f"{row['vocab_size']:,}", "" if dead is None else f"{dead:,}", f"{row['published_figure']:.2f}"]
        lines.append([*head, *cells, _plus_minus(row, "novels", 2), _plus_minus(row, "news", 2)])
    return table(heads, lines)


def _before_and_after(rows: list[Row]) -> dict[str, dict[str, Bar]]:
    groups: dict[str, dict[str, Bar]] = {}
    for row in _all_shown(rows, CHOSEN):
        group = groups.setdefault(_language(row["language"]), {})
        group[f"{_name(row['tokenizer'])} before"] = _premium_before(rows, row)
        group[f"{_name(row['tokenizer'])} after"] = _bar(row, "premium")
    return groups


def _premium_before(rows: list[Row], variant: Row) -> Bar:
    """The premium of the same tokenizer on the same parallel text, with its old vocabulary."""
    found = (row for row in _of(rows, "premium") if row["tokenizer"] == variant["tokenizer"])
    return _bar(next(row for row in found if _language(row["language"]) == _language(variant["language"])), "premium")


def _of(rows: Iterable[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _variants(rows: Iterable[Row], tokenizer: str, language: str, variant: str) -> list[Row]:
    return [row for row in _of(rows, "variant") if (row["tokenizer"], row["language"], row["variant"]) == (tokenizer, language, variant)]


def _shown_size(rows: Iterable[Row]) -> int:
    sizes = {row["size"] for row in _of(rows, "variant") if row["variant"] in LEARNING}
    return SIZE if SIZE in sizes else max(sizes)


def _at_size(rows: list[Row], variant: str, size: int | None = None) -> list[Row]:
    wanted = size or _shown_size(rows)
    return [row for row in _of(rows, "variant") if row["variant"] == variant and row["size"] == wanted and "ratio" in row]


def _shown(rows: list[Row], tokenizer: str, language: str, variant: str) -> Row:
    """The row of the size that tables show; where the text is too small for it, that of the largest vocabulary; empty when neither was run."""
    found = _variants(rows, tokenizer, language, variant)
    exact = [row for row in found if row["size"] == _shown_size(rows)]
    built = [row for row in found if "ratio" in row]
    return exact[0] if exact and "ratio" in exact[0] else built[-1] if built else exact[0] if exact else {}


def _all_shown(rows: list[Row], variant: str) -> list[Row]:
    return [row for pair in _pairs(rows) if "ratio" in (row := _shown(rows, *pair, variant))]


def _pairs(rows: list[Row]) -> list[tuple[str, str]]:
    """(tokenizer, language) of all vocabularies, by tokenizer and then by language."""
    found, languages = {_pair(row) for row in _of(rows, "variant")}, _distinct(row["language"] for row in _of(rows, "before"))
    return [(name, language) for name in _tokenizers(rows) for language in languages if (name, language) in found]


def _fewer(row: Row) -> str:
    return "" if row["made"] > 0.99 * SIZE else f" ({row['made']:,} tokens)"


def _complete(row: Row) -> bool:
    """Whether the text was enough for the size that was asked for; a token or two may fall to the proofs."""
    return row["made"] > 0.99 * row["size"]


def _pair(row: Row) -> tuple[str, str]:
    return row["tokenizer"], row["language"]


def _tokenizers(rows: Iterable[Row]) -> list[str]:
    return _distinct(row["tokenizer"] for row in _of(rows, "variant"))


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _premiums(rows: Iterable[Row], language: str) -> list[float]:
    return [row["premium"] for row in rows if row["language"] == language]


def _name(tokenizer: str) -> str:
    return NAMES.get(tokenizer, tokenizer)


def _language(code: str) -> str:
    return LANGUAGES.get(code, code)


def _bar(row: Row, name: str) -> Bar:
    return Bar(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _point(row: Row) -> Point:
    name = "characters_per_token"
    return Point(row["size"], row[name], row[f"{name}_low"], row[f"{name}_high"])


def _plus_minus(row: Row, name: str, digits: int = 3) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.{digits}f}" if low is None else f"{row[name]:.{digits}f} ±{(high - low) / 2:.{digits}f}"
