"""Does the method work? A base model and its instruct sibling are trained from nothing, adapted to Russian in every way the product has, and measured.

`python -m studies.effect --data DIR`. One axis is varied at a time around a default cell (continued BPE, mean initialisation, direct swap):
vocabularies, initialisations, propagation methods; then self-calibration and the traditional way. Controls: the original instruct model, and
each new vocabulary without training. Seeds change the sample of text that is learned from and its order; tokenizers, initialisations and the
pair of models are made once. Whatever is finished is kept in `--work`, so an interrupted run goes on where it was.

The result has `rows` (a cell, a metric and a language each), `differences` (against the original, the control and the default cell on the
same units), `vocabularies`, `speed` and `stages` (CPU seconds of each stage). `effect_measure` says what intervals mean.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lep_core as lep
from lep_core.models import inspect_model
from studies import effect_measure, effect_tables, effect_texts, results
from studies.effect_bench import Adaptation, Bench, write_texts
from studies.effect_measure import Row, Units
from studies.effect_plan import DEFAULT, TINY, Cell, Plan, combinations

sections, plots = effect_tables.sections, effect_tables.plots


def controls(adaptation: Adaptation) -> None:
    """Original, base, and every new vocabulary and initialisation without training."""
    bench, plan = adaptation.bench, adaptation.plan
    bench.measure(Cell("original"), adaptation.instruct)
    bench.measure(Cell("base"), adaptation.base)
    for variant, initialization in combinations(plan):
        bench.measure(Cell("untrained", variant, initialization), adaptation.untrained(variant, initialization))


def adapt_default(adaptation: Adaptation, seed: int) -> None:
    """The default cell, what it comes from, and what it is compared with."""
    bench, (variant, initialization, method) = adaptation.bench, DEFAULT
    trained = adaptation.trained(variant, initialization, seed)
    measure_propagated(adaptation, Cell("adapted", *DEFAULT), trained, seed)
    bench.measure(Cell("base-adapted", variant, initialization), trained, seed)
    bench.measure(Cell("traditional", variant, initialization), adaptation.traditional(f"traditional-{seed}", trained, seed), seed)
    bench.measure(Cell("tuned-alike", variant, initialization), adaptation.tuned_alike(f"tuned-alike-{seed}", trained), seed)
    for cell, model in (
        (Cell("calibrated", variant, initialization, method), bench.path(f"adapted-{variant}-{initialization}-{method}-{seed}")),
        (Cell("calibrated", variant, initialization), adaptation.untrained(variant, initialization)),
    ):
        bench.measure(cell, adaptation.calibrated(f"{cell.name}-{seed}", model, seed), seed)


def adapt_axes(adaptation: Adaptation, seed: int) -> None:
    """The other vocabularies, initialisations and methods, one axis at a time."""
    plan = adaptation.plan
    for variant, initialization in combinations(plan):
        trained = adaptation.trained(variant, initialization, seed)
        for method in plan.methods if (variant, initialization) == DEFAULT[:2] else DEFAULT[2:]:
            if (variant, initialization, method) != DEFAULT:
                measure_propagated(adaptation, Cell("adapted", variant, initialization, method), trained, seed)


def measure_propagated(adaptation: Adaptation, cell: Cell, trained: str, seed: int) -> None:
    """Carry trained rows over to the instruct model and measure it."""
    adaptation.bench.measure(cell, adaptation.propagated(f"{cell.name}-{seed}", trained, cell.method), seed)


def measure_speed(adaptation: Adaptation) -> list[Row]:
    """Characters per second of the original and one result of each vocabulary, which take turns."""
    bench, plan = adaptation.bench, adaptation.plan
    adapted = {variant: bench.path(f"adapted-{variant}-{DEFAULT[1]}-{DEFAULT[2]}-{plan.seeds[0]}") for variant in plan.variants}
    text = bench.folder / "heldout-ru.txt"
    effect_texts.write_documents(text, bench.material.texts["ru"])
    kept = (
        "characters_per_second",
        "characters_per_cpu_second",
        "measured_speedup",
        "measured_speedup_low",
        "measured_speedup_high",
        "predicted_speedup",
        "characters_per_token",
    )

    def make(_: Path) -> list[Row]:
        report = lep.benchmark_speed(
            lep.BenchmarkSpeedConfig(
                model=(adaptation.instruct, *adapted.values()),
                input=(str(text),),
                prompts=plan.speed_prompts,
                characters=plan.speed_characters,
                threads=1,
            )
        ).to_json()
        names = ("original", *adapted)
        return [{"model": name, **{key: row[key] for key in kept}} for name, row in zip(names, report["models"], strict=True)]

    return bench.once("speed", make)


def copy_sentences(adaptation: Adaptation) -> list[Row]:
    """The product's own copy task on real sentences: original, default cell, default cell calibrated."""
    bench, seed = adaptation.bench, adaptation.plan.seeds[0]
    default = "-".join((*DEFAULT, str(seed)))
    folders = {
        "original": adaptation.instruct,
        "adapted": bench.path(f"adapted-{default}"),
        "calibrated": bench.path(f"calibrated-{default}"),
    }

    def make(_: Path) -> list[Row]:
        count = adaptation.plan.copied_sentences
        return [{"made": name, **effect_measure.copied_sentences(Path(folder), bench.material, count)} for name, folder in folders.items()]

    return bench.once("copied-sentences", make)


def vocabulary_rows(adaptation: Adaptation) -> list[Row]:
    """Sizes and characters per token of the vocabularies on the held-out text."""
    from lep_core import models

    folders = {"original": adaptation.base, **{variant: adaptation.tokenizer(variant) for variant in adaptation.plan.variants}}
    rows = []
    for name, folder in folders.items():
        counts = effect_measure.characters_per_token(Path(folder), adaptation.bench.material.texts)
        rows.append(
            {
                "variant": name,
                "tokens": len(models.load_tokenizer(folder)),
                **{f"characters_per_token_{language}": value for language, value in counts.items()},
            }
        )
    return rows


def comparisons(runs: dict[Cell, list[dict[str, Units]]]) -> list[Row]:
    """Every cell against the original, its own control, the default cell, and what it was before calibration."""
    rows: list[Row] = []
    default = Cell("adapted", *DEFAULT)
    for cell, own in runs.items():
        before = Cell("untrained" if not cell.method else "adapted", cell.variant, cell.initialization, cell.method)
        references = {
            "original": Cell("base" if cell.made == "base-adapted" else "original"),
            "control": Cell("untrained", cell.variant, cell.initialization) if cell.made == "adapted" else None,
            "default": default if cell.made in ("adapted", "traditional", "tuned-alike") else None,
            "before": before if cell.made == "calibrated" else None,
        }
        for name, reference in references.items():
            if reference is not None and reference != cell and reference in runs and cell.made not in ("original", "base"):
                rows += effect_measure.difference_rows(cell.row(), own, name, runs[reference])
    return rows


def run(plan: Plan, data: Path | None, work: Path) -> dict[str, Any]:
    """Everything; the parts of the result."""
    bench = Bench(work, plan, data)
    write_texts(bench)
    adaptation = Adaptation(bench)
    controls(adaptation)
    for seed in plan.seeds:
        adapt_default(adaptation, seed)
    for seed in plan.axis_seeds:
        adapt_axes(adaptation, seed)
    parts = {
        "parameters": inspect_model(adaptation.base).parameters,
        "vocabularies": vocabulary_rows(adaptation),
        "speed": measure_speed(adaptation),
        "copied_sentences": copy_sentences(adaptation),
        "differences": comparisons(bench.runs),
        "rows": [row for cell, runs in bench.runs.items() for row in effect_measure.value_rows(cell.row(), runs)],
    }
    stages = {row["stage"]: row for row in bench.stages}
    return {**parts, "stages": list(stages.values())}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = results.argument_parser("effect", (__doc__ or "").splitlines()[0])
    parser.add_argument("--work", help="folder that keeps what is finished, for interrupted runs; build/studies/effect-SCALE by default")
    options = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    tiny = options.scale == "tiny"
    plan = TINY if tiny else Plan()
    data = None if tiny else results.data_folder(options.data)
    if data is None and not tiny:
        parser.error("there is no data folder: give --data DIR (docs/study.md says what is in it)")
    parts = run(plan, data, Path(options.work or f"build/studies/effect-{options.scale}"))
    seconds, cpu_seconds = (sum(row[key] for row in parts["stages"]) for key in ("seconds", "cpu_seconds"))
    watch = results.Stopwatch(before=(seconds, cpu_seconds))
    config = {
        **dataclasses.asdict(plan),
        "default": list(DEFAULT),
        "base_russian": list(effect_texts.BASE_RU),
        "adapt_russian": list(effect_texts.ADAPT_RU),
        "heldout_russian": list(effect_texts.HELDOUT_RU),
    }
    results.save("effect", config=config, stopwatch=watch, output=options.output, **parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
