"""Tables and plots of the effect study, made from its result file; `effect_found` says how an entry is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies import effect_findings
from studies.effect_found import COLUMNS, CONTROL, MAIN, ORIGINAL, TEXT_COLUMNS, Found, name_of
from studies.effect_plan import DEFAULT, Cell
from studies.report import table
from studies.svg import Bar, bars


def sections(result: Mapping[str, Any]) -> dict[str, str]:
    """Markdown by name."""
    found = Found(result)
    return {
        "config": _config(result),
        "findings": effect_findings.findings(found, result),
        "main": found.table(["model"], [([name], cell, "original") for cell, name in MAIN.items()]),
        "differences": _differences(found),
        "base": _base(found),
        "vocabularies": _vocabularies(result),
        "variants": _variants(found),
        "initialisations": _initialisations(found),
        "methods": _methods(found),
        "calibration": _calibration(found),
        "copying": _copying(result),
        "time": _time(result),
    }


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG text by name."""
    found = Found(result)
    short = ("original", "no training", "LEP", "calibrated", "traditional", "tuned alike")
    tasks = {
        label: {name: _bar(found, cell, ("tasks", language)) for name, language in (("Russian", "ru"), ("English", "en"))}
        for label, cell in zip(short, MAIN, strict=True)
        if (cell, "tasks", "ru") in found.values
    }
    variants = {
        name_of(cell.variant).removesuffix(" from nothing"): {
            "no training": _bar(found, CONTROL.of(cell.variant), ("tasks", "ru")),
            "after training, direct swap": _bar(found, cell, ("tasks", "ru")),
        }
        for cell in _adapted(found, initialization=DEFAULT[1], method=DEFAULT[2])
    }
    level = ("original", 100 * found.values[ORIGINAL, "tasks", "ru"]["value"])
    return {
        "tasks": bars("Checkable tasks, held out", tasks, y_label="% right, with 95 % intervals"),
        "variants": bars("Russian tasks by kind of vocabulary", variants, y_label="% right, with 95 % intervals", level=level),
    }


def _adapted(found: Found, **wanted: str) -> list[Cell]:
    return [cell for cell in found.cells("adapted") if all(getattr(cell, key) == value for key, value in wanted.items())]


def _bar(found: Found, cell: Cell, column: tuple[str, str]) -> Bar:
    row = found.values[(cell, *column)]
    return Bar(100 * row["value"], 100 * row["low"], 100 * row["high"])


def _variants(found: Found) -> str:
    rows: list[tuple[list[str], Cell, str | None]] = []
    for cell in _adapted(found, initialization=DEFAULT[1], method=DEFAULT[2]):
        rows.append(([f"{name_of(cell.variant)}, no training"], Cell("untrained", cell.variant, cell.initialization), None))
        rows.append(([f"{name_of(cell.variant)}, trained"], cell, "original"))
    return found.table(["vocabulary"], [(["original"], ORIGINAL, None), *rows])


def _initialisations(found: Found) -> str:
    rows: list[tuple[list[str], Cell, str | None]] = []
    for cell in _adapted(found, variant=DEFAULT[0], method=DEFAULT[2]):
        rows.append(([f"{name_of(cell.initialization)}, no training"], Cell("untrained", cell.variant, cell.initialization), None))
        rows.append(([f"{name_of(cell.initialization)}, trained"], cell, "default"))
    return found.table(["initialisation"], rows)


def _methods(found: Found) -> str:
    cells = _adapted(found, variant=DEFAULT[0], initialization=DEFAULT[1])
    return found.table(["method"], [([name_of(cell.method)], cell, "default") for cell in cells])


def _calibration(found: Found) -> str:
    rows: list[tuple[list[str], Cell, str | None]] = [(["original"], ORIGINAL, None)]
    for cell in found.cells("calibrated"):
        before = Cell("adapted" if cell.method else "untrained", cell.variant, cell.initialization, cell.method)
        name = f"{name_of(cell.variant)}, {name_of(cell.method) if cell.method else 'no training'}"
        rows += [([f"{name}: before"], before, None), ([f"{name}: after"], cell, "before")]
    return found.table(["model"], rows)


def _base(found: Found) -> str:
    after = Cell("base-adapted", *DEFAULT[:2])
    return found.table(["base model"], [(["before"], Cell("base"), None), (["after training"], after, "original")], TEXT_COLUMNS)


def _differences(found: Found) -> str:
    """Paired differences of the main results to the original, in points or bits, with their intervals."""
    lines = []
    for cell, name in list(MAIN.items())[1:]:
        texts = [found.difference(cell, column, "original") for column in COLUMNS]
        lines.append([name, *texts])
    return table(["minus the original", *COLUMNS.values()], lines)


def _vocabularies(result: Mapping[str, Any]) -> str:
    speeds = {row["model"]: row for row in result["speed"]}
    lines = []
    for row in result["vocabularies"]:
        speed = speeds[row["variant"]]
        gain = (
            f"{speed['measured_speedup']:.2f} [{speed['measured_speedup_low']:.2f}, {speed['measured_speedup_high']:.2f}]"
            if row["variant"] != "original" and speed["measured_speedup_low"] is not None
            else "1"
        )
        lines.append(
            [
                name_of(row["variant"]),
                f"{row['tokens']:,}",
                f"{row['characters_per_token_ru']:.2f}",
                f"{row['characters_per_token_en']:.2f}",
                f"{speed['characters_per_cpu_second']:,.0f}",
                gain,
            ]
        )
    heads = ["vocabulary", "tokens", "characters per token, Russian", "English", "Russian characters per CPU second", "times the original"]
    return table(heads, lines)


def _copying(result: Mapping[str, Any]) -> str:
    lines = [[row["made"], f"{100 * row['ru']:.0f} %", f"{100 * row['en']:.0f} %", str(row["n"])] for row in result["copied_sentences"]]
    return table(["sentences copied without a fault", "Russian", "English", "n"], lines)


def _config(result: Mapping[str, Any]) -> str:
    config, pair = result["config"], result["config"]["pair"]
    by_name = {row["stage"]: row["cpu_seconds"] for row in result["stages"]}
    n = {row["metric"]: row["n"] for row in result["rows"] if row["made"] == "original" and row["language"] == "ru"}
    seen = pair["base_steps"] * pair["batch_size"] * pair["block_size"]
    learned = config["steps"] * config["batch_size"] * config["block_size"]
    return "\n".join(
        (
            f"- Model: Llama, {pair['hidden_size']} wide, {pair['layers']} layers, {result['parameters']:,} parameters, head untied;"
            f" {pair['vocab_size']:,} tokens, byte-level BPE learned from {pair['tokenizer_english_bytes'] / 1e6:.2f} MB of English and"
            f" {pair['tokenizer_russian_bytes'] / 1e6:.2f} MB of Russian. It read {seen / 1e6:.1f} million tokens ({by_name['base']:.0f} CPU seconds).",
            f"- Adaptation: {config['steps']} steps, {learned / 1e6:.2f} million tokens, peak learning rate {config['learning_rate']:g}, no anchor, {config['replay_share']:.0%} of the sequences"
            f" English replay; {config['new_tokens']:,} new tokens, or {config['vocab_size']:,} in all where the vocabulary"
            f" is replaced, or half of the old ones (leaf pruning).",
            f"- Seeds: {_seeds(config)}; a seed is another sample of the Russian text, in another order. All share one pair of models,"
            " one vocabulary of each kind, one initialisation of each kind.",
            f"- Units for each language: {n['bits_per_byte']} pieces of Russian text (English alike), {n['minimal_pairs']:,} sentence pairs, {n['tasks']} tasks,"
            f" {n['copy']} lists to repeat.",
            f"- Self-calibration: up to {config['calibration_prompts']:,} prompts, the original's answers, all weights, peak learning rate"
            f" {config['calibration_learning_rate']:g}.",
        )
    )


def _seeds(config: Mapping[str, Any]) -> str:
    main, axes = len(config["seeds"]), len(config["axis_seeds"])
    return str(main) if main == axes else f"{main} for the main table, {axes} for the other vocabularies, initialisations and methods"


def _time(result: Mapping[str, Any]) -> str:
    kinds = {"base": "base model", "instruct": "instruct sibling", "trained": "adaptation trainings", "measured": "measurements"}
    sums = dict.fromkeys([*kinds.values(), "everything else"], 0.0)
    for row in result["stages"]:
        kind = kinds.get(row["stage"].split("-")[0], "everything else")
        sums[kind] += row["cpu_seconds"]
    return table(
        ["stage", "CPU seconds"], [*([name, f"{value:,.0f}"] for name, value in sums.items()), ["all", f"{sum(sums.values()):,.0f}"]]
    )
