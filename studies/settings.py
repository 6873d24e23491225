"""What keeps an instruct model's skills in the new language? The demo pair, one setting changed at a time: `python -m studies.settings`.

Each run gives the base model of the demo a new vocabulary, trains its embeddings, carries them over to the instruct model by three
methods and asks 300 questions in each language. They are asked in no training text and are not those of the demo itself. Runs of one
seed share their text; all runs share the questions, so differences are taken question by question.

Finished runs are kept in `--work`, and an interrupted study goes on from there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import lep_core
from lep_core import config as configs
from lep_core.demo.corpora import CORPUS_MIXTURE, documents, held_out_tasks
from lep_core.demo.path import demo_pair
from lep_core.demo.settings import DEMO_CALIBRATION, DEMO_SETTINGS
from lep_core.demo.world import LANGUAGES, training_task
from lep_core.evaluation.intervals import bootstrap_difference
from studies import results
from studies.settings_tables import plots, sections

__all__ = ["main", "plots", "sections"]

NAME = "settings"
WITH_QUESTIONS = "of text with questions"
METHODS = ("swap", "residual-carry", "conversion")
DEFAULT: dict[str, Any] = {
    "learning_rate": 4e-3,
    "steps": 600,
    "anchor": 0.0,
    "anchor_rows": "all",
    "replay_share": 0.2,
    "new_tokens": 500,
    "text_bytes": 2_000_000,
    "question_share": 0.55,
    "vocabulary": "own text",
    "new_rows_only": False,
    "pair": "untied",
    "calibrated": False,
}
"""What every run has but for what its axis changes."""
AXES: dict[str, list[dict[str, Any]]] = {
    "learning rate": [{"learning_rate": rate} for rate in (1e-3, 1.6e-2)],
    "anchor": [{"anchor": 1.0}, {"anchor": 1.0, "anchor_rows": "shared"}, {"anchor": 3.0}, {"anchor": 0.3}],
    "anchor at a large rate": [
        {"learning_rate": 1.6e-2, "anchor": 1.0},
        {"learning_rate": 1.6e-2, "anchor": 1.0, "anchor_rows": "shared"},
    ],
    "text": [
        {"question_share": 0.0, "vocabulary": WITH_QUESTIONS},
        {"question_share": 0.0, "vocabulary": WITH_QUESTIONS, "anchor": 1.0},
        {"question_share": 0.0},
        {"question_share": 0.05},
    ],
    "repetition": [{"text_bytes": size} for size in (60_000, 8_000_000)],
    "new tokens": [{"new_tokens": tokens} for tokens in (125, 1000)],
    "steps": [{"steps": 150}],
    "rows": [{"new_rows_only": True}],
    "calibration": [
        {"question_share": 0.0, "calibrated": True},
        {"learning_rate": 1.6e-2, "calibrated": True},
    ],
    "tied": [{"pair": "tied"}],
}
REPEATED: list[dict[str, Any]] = [
    {},
    {"learning_rate": 1.6e-2},
    {"anchor": 1.0, "anchor_rows": "shared"},
    {"learning_rate": 1.6e-2, "anchor": 1.0, "anchor_rows": "shared"},
]
"""What is run with every seed; the rest only with the first one."""
SEEDS = (0, 1, 2)
ITEMS_PER_LANGUAGE = 300
DOCUMENTS = 40
REPLAY_BYTES = 300_000
VOCABULARY_BYTES = 2_000_000
HELDOUT_BYTES = 60_000
BATCH, BLOCK, WARMUP = 16, 128, 60
PROMPTS_PER_LANGUAGE = 800
# Much was lost where it is tried, so more of it than the demo takes.
CALIBRATION: dict[str, Any] = {
    **{name: DEMO_CALIBRATION[name] for name in ("preset", "max_new_tokens")},
    "learning_rate": 1e-3,
    "copy_share": 0.05,
    "epochs": 4.0,
}
QUESTION_SHARE = DEFAULT["question_share"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the grid is run, and on how much."""

    axes: Mapping[str, Sequence[Mapping[str, Any]]]
    seeds: Sequence[int] = SEEDS
    items: int = ITEMS_PER_LANGUAGE
    changes: Mapping[str, Any] = field(default_factory=dict)
    vocabulary_bytes: int = VOCABULARY_BYTES
    heldout_bytes: int = HELDOUT_BYTES


SCALES = {
    "full": Scale(axes=AXES),
    "tiny": Scale(
        axes={"anchor": [{"anchor": 100.0}]},
        seeds=(0,),
        items=5,
        changes={"steps": 4, "new_tokens": 20, "text_bytes": 30_000},
        vocabulary_bytes=30_000,
        heldout_bytes=1_000,
    ),
}


class Study:
    """Runs settings on the demo pair; what several runs share is made once in `work`."""

    def __init__(self, work: Path, scale: Scale) -> None:
        self.work, self.scale = work, scale
        self._answers: dict[str, dict[str, list[bool]]] = {}
        self.items = work / "items.jsonl"
        tasks = [task for language in LANGUAGES for task in held_out_tasks(Random(f"study items {language}"), language, scale.items)]
        lines = [{"prompt": task.prompt, "answer": task.answer, "language": task.language} for task in tasks]
        work.mkdir(parents=True, exist_ok=True)
        self.items.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

    def text(self, language: str, purpose: str, seed: int, size_bytes: int, *, question_share: float = QUESTION_SHARE) -> str:
        """A file of generated text; documents are separated by blank lines."""
        path = self.work / f"{purpose}-{language}-{seed}-{size_bytes}-{question_share}.txt"
        if not path.exists():
            others = CORPUS_MIXTURE.sentence + CORPUS_MIXTURE.fact + CORPUS_MIXTURE.word_list
            mixture = replace(CORPUS_MIXTURE, question=others * question_share / (1 - question_share))
            generated = documents(Random(f"study {purpose} {language} {seed}"), language, size_bytes, mixture)
            path.write_text("\n".join(generated), encoding="utf-8")
        return str(path)

    def pair(self, name: str) -> tuple[str, str]:
        """Base and instruct model: those that ship, or the same recipe with one matrix for embedding and head."""
        if name == "untied":
            base, instruct = demo_pair()
            return str(base), str(instruct)
        folder = self.work / "tied"
        if not (folder / "instruct" / "config.json").exists():
            from lep_core.demo.pair import PairRecipe, train_pair

            train_pair(folder, recipe=PairRecipe(tied=True))
        return str(folder / "base"), str(folder / "instruct")

    def initialized(self, seed: int, settings: Mapping[str, Any]) -> str:
        """The base model with a vocabulary that was learned on the seed's text."""
        base, tokens = self.pair(settings["pair"])[0], settings["new_tokens"]
        share = QUESTION_SHARE if settings["vocabulary"] == WITH_QUESTIONS else settings["question_share"]
        name = f"{seed}-{tokens}-{share}"
        tokenizer, output = self.work / f"tokenizer-{name}", self.work / f"initialized-{name}-{settings['pair']}"
        if not tokenizer.exists():
            text = self.text("ru", "text", seed, self.scale.vocabulary_bytes, question_share=share)
            lep_core.build_tokenizer(configs.BuildTokenizerConfig(base=base, input=(text,), output=str(tokenizer), new_tokens=tokens))
        if not output.exists():
            lep_core.initialize(configs.InitializeConfig(base=base, tokenizer=str(tokenizer), output=str(output)))
        return str(output)

    def calibrated(self, model: str, teacher: str, output: str) -> str:
        """The model after learning the original's own answers to other questions than those that are measured."""
        prompts = self.work / "prompts.jsonl"
        if not prompts.exists():
            random = Random("study prompts")
            asked = [training_task(random, language) for _ in range(PROMPTS_PER_LANGUAGE) for language in LANGUAGES]
            lines = [json.dumps({"prompt": task.prompt}, ensure_ascii=False) + "\n" for task in asked]
            prompts.write_text("".join(lines), encoding="utf-8")
        lep_core.calibrate(
            configs.CalibrateConfig(
                model=model,
                teacher=teacher,
                prompt_file=(str(prompts),),
                input=(self.text("ru", "text", 0, self.scale.vocabulary_bytes),),
                output=output,
                **CALIBRATION,
            )
        )
        return output

    def run(self, changes: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
        """One row a propagation method for one setting and seed."""
        settings = {**DEFAULT, **self.scale.changes, **changes}
        base, instruct = self.pair(settings["pair"])
        with tempfile.TemporaryDirectory(dir=self.work) as scratch:
            trained = f"{scratch}/trained"
            trained_report = lep_core.train(
                configs.TrainConfig(
                    model=self.initialized(seed, settings),
                    initial=base,
                    input=(self.text("ru", "text", seed, settings["text_bytes"], question_share=settings["question_share"]),),
                    heldout=(self.text("ru", "heldout", 0, self.scale.heldout_bytes),),
                    replay=(self.text("en", "text", seed, REPLAY_BYTES),) if settings["replay_share"] else (),
                    output=trained,
                    batch_size=BATCH,
                    block_size=BLOCK,
                    warmup_steps=WARMUP,
                    evaluate_every=100_000,
                    checkpoint_every=100_000,
                    seed=seed,
                    **{
                        name: settings[name]
                        for name in ("learning_rate", "steps", "anchor", "anchor_rows", "replay_share", "new_rows_only")
                    },
                )
            )
            methods = METHODS[:1] if settings["calibrated"] else METHODS
            results_of = [f"{scratch}/{method}" for method in methods]
            for method, output in zip(methods, results_of, strict=True):
                lep_core.propagate(configs.PropagateConfig(base=base, adapted=trained, instruct=instruct, method=method, output=output))
            if settings["calibrated"]:
                results_of = [self.calibrated(results_of[0], instruct, f"{scratch}/calibrated")]
            original, *found = self.measured([instruct, *results_of], scratch, settings["pair"])
        report = trained_report.to_json()
        moves = {f"move_{move['matrix']}_{move['rows']}": move["relative"] for move in report["moves"]}
        moves["new_tokens_unseen"] = sum(
            move["untouched"] for move in report["moves"] if (move["matrix"], move["rows"]) == ("input", "new")
        )
        passes = report["tokens_seen"] * (1 - settings["replay_share"]) / report["corpus_tokens"]
        return [
            {**settings, "seed": seed, "method": method, **moves, "passes": passes, **_compared(measured, original)}
            for method, measured in zip(methods, found, strict=True)
        ]

    def measured(self, models: Sequence[str], scratch: str, pair: str) -> list[dict[str, Any]]:
        """Answers that are right, by language, and bits per byte, by language; those of the original are measured once."""
        known = self._answers.get(pair)
        models = models[1:] if known else models
        rights = self._evaluated(models, f"{scratch}/tasks", task=("instruct",), items=(str(self.items),))
        found = [{f"right_{language}": right for language, right in self._rights(rights, index).items()} for index in range(len(models))]
        for language in LANGUAGES:
            heldout = self.text(language, "heldout", 0, self.scale.heldout_bytes)
            report = self._evaluated(models, f"{scratch}/{language}", task=("bits-per-byte",), input=(heldout,))
            for index, row in enumerate(report.results):
                found[index][f"bits_{language}"] = row["value"]
        self._answers.setdefault(pair, found[0])
        return [known, *found] if known else found

    def _evaluated(self, models: Sequence[str], output: str, **options: Any) -> Any:
        limit = len(LANGUAGES) * self.scale.items if "items" in options else DOCUMENTS
        return lep_core.evaluate(configs.EvaluateConfig(model=tuple(models), output=output, limit=limit, block_size=512, **options))

    def _rights(self, report: Any, index: int) -> dict[str, list[bool]]:
        name = report.models[index]["name"]
        answers = [answer for answer in report.answers if answer["model"] == name]
        return {language: [answer["ok"] for answer in answers if answer["language"] == language] for language in LANGUAGES}


def _compared(measured: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Shares of right answers, bits per byte, and the paired difference from the original, by language."""
    row: dict[str, Any] = {}
    for language in LANGUAGES:
        right, reference = measured[f"right_{language}"], original[f"right_{language}"]
        ones = [1.0] * len(right)
        difference = bootstrap_difference((right, ones), (reference, ones))
        row |= {
            f"{language}": sum(right) / len(right),
            f"{language}_original": sum(reference) / len(reference),
            f"{language}_difference": difference.value,
            f"{language}_low": difference.low,
            f"{language}_high": difference.high,
            f"{language}_bits": measured[f"bits_{language}"],
            f"{language}_bits_original": original[f"bits_{language}"],
            f"n_{language}": len(right),
        }
    return row


def grid(scale: Scale) -> list[tuple[str, Mapping[str, Any], int]]:
    """(axis, what it changes, seed) of all runs: everything with the first seed, then some with the others."""
    variants: list[tuple[str, Mapping[str, Any]]] = [("default", {})]
    variants += [(axis, changes) for axis, listed in scale.axes.items() for changes in listed]
    return [(axis, changes, seed) for seed in scale.seeds for axis, changes in variants if seed == scale.seeds[0] or changes in REPEATED]


def run(scale: Scale, work: Path) -> tuple[results.Stopwatch, list[dict[str, Any]]]:
    """All rows of the grid; those that `work` holds already are not made again, but their seconds count."""
    study, kept = Study(work, scale), work / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    finished = {(row["axis"], row["changes"], row["seed"]): (row["seconds"], row["cpu_seconds"]) for row in rows}
    total = results.Stopwatch(before=(sum(spent[0] for spent in finished.values()), sum(spent[1] for spent in finished.values())))
    for number, (axis, changes, seed) in enumerate(planned := grid(scale), start=1):
        label = ", ".join(f"{name} {value}" for name, value in changes.items()) or "default"
        if (axis, label, seed) in finished:
            continue
        watch = results.Stopwatch()
        found = [{"axis": axis, "changes": label, **row} for row in study.run(changes, seed)]
        for row in found:
            row["seconds"], row["cpu_seconds"] = watch.read()
        with open(kept, "a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in found)
        rows += found
        shown = ", ".join(f"{row['method']} ru {row['ru']:.3f} en {row['en']:.3f}" for row in found)
        print(f"{number}/{len(planned)} seed {seed}, {label}: {shown}, {found[0]['cpu_seconds']:.0f} CPU-s", flush=True)
    return total, rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid and write its result file."""
    parser = results.argument_parser(NAME, __doc__ or "")
    parser.add_argument("--work", help="folder of finished runs; by default a temporary one")
    options = parser.parse_args(arguments)
    scale = SCALES[options.scale]
    with tempfile.TemporaryDirectory() as temporary:
        watch, rows = run(scale, Path(options.work or temporary))
    shared = {"default": {**DEFAULT, **scale.changes}, "seeds": list(scale.seeds), "methods": list(METHODS)}
    sizes = {"batch_size": BATCH, "block_size": BLOCK, "warmup_steps": WARMUP, "items_per_language": scale.items, "documents": DOCUMENTS}
    results.save(
        NAME,
        config={**shared, **sizes, "demo": DEMO_SETTINGS, "calibration": CALIBRATION},
        rows=rows,
        stopwatch=watch,
        output=options.output,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
