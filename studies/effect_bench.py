"""The stages of the effect study in a work folder: texts, pair of models, and the product's verbs around them, each made once."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import lep_core as lep
from lep_core.config import METHODS_WITH_TEXT
from lep_core.demo.world import LANGUAGES, training_task
from lep_core.files import read_json, write_json
from studies import effect_measure, effect_pair, effect_texts, results
from studies.effect_measure import Row, Units
from studies.effect_plan import ADDING, Cell, Plan


class Bench:
    """Runs the stages into the work folder; a stage that is there is not made again, and its seconds count."""

    def __init__(self, work: Path, plan: Plan, data: Path | None) -> None:
        self.work, self.plan = work, plan
        self.folder = work / "stages"
        _remember(work / "plan.json", plan)
        self.novels = (
            effect_texts.made_up_novels(size_bytes=30_000, heldout_bytes=4_000, pairs_per_language=plan.pairs_per_language)
            if data is None
            else effect_texts.read_novels(data, heldout_characters=plan.heldout_characters, pairs_per_language=plan.pairs_per_language)
        )
        self.material = effect_measure.material(self.novels, items=plan.items_per_language, copies=plan.copies_per_language)
        self.runs: dict[Cell, list[dict[str, Units]]] = {}
        self.stages: list[Row] = []

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def once(self, name: str, make: Callable[[Path], Any]) -> Any:
        """What `make` returns, as JSON, from now or from an earlier run; `make` writes into the folder that it is given."""
        record = self.work / "done" / f"{name}.json"
        if not record.exists():
            shutil.rmtree(self.folder / name, ignore_errors=True)
            watch = results.Stopwatch()
            made = make(self.folder / name)
            seconds, cpu_seconds = watch.read()
            write_json(record, {"seconds": seconds, "cpu_seconds": cpu_seconds, "made": made})
            print(f"{name}: {cpu_seconds:.1f} CPU-s", file=sys.stderr, flush=True)
        found = read_json(record)
        self.stages.append({"stage": name, "seconds": found["seconds"], "cpu_seconds": found["cpu_seconds"]})
        return found["made"]

    def stage(self, name: str, verb: Callable[[Any], Any], config: type, **settings: Any) -> str:
        """A verb of the product into the folder of that name; the folder."""
        self.once(name, lambda folder: verb(config(output=str(folder), **settings)) and None)
        return self.path(name)

    def measure(self, cell: Cell, folder: str, seed: int | None = None) -> None:
        """Measure a model and keep its units under its cell."""
        name = "measured-" + cell.name + ("" if seed is None else f"-{seed}")
        self.runs.setdefault(cell, []).append(self.once(name, lambda _: effect_measure.measure(Path(folder), self.material)))


def _remember(path: Path, plan: Plan) -> None:
    """Refuse to mix the stages of two plans."""
    wanted = json.loads(json.dumps(dataclasses.asdict(plan)))
    if path.exists() and read_json(path) != wanted:
        raise lep.LepError(f"{path.parent} holds the stages of another plan", "Give another --work, or remove it")
    write_json(path, wanted)


def write_texts(bench: Bench) -> None:
    """Text to adapt on, one sample a seed; replay text, prompts to calibrate with, conversations for the traditional way."""
    plan, novels = bench.plan, bench.novels

    def make(folder: Path) -> None:
        for seed in plan.seeds:
            russian = effect_texts.mixed(
                Random(f"adapt {seed}"), "ru", novels.adapt, novel_bytes=plan.adapt_novel_bytes, task_bytes=plan.adapt_task_bytes
            )
            effect_texts.write_documents(folder / f"russian-{seed}.txt", russian)
        half = plan.replay_bytes // 2
        english = effect_texts.mixed(Random("replay"), "en", novels.base["en"], novel_bytes=half, task_bytes=half)
        effect_texts.write_documents(folder / "english.txt", english)
        random = Random("prompts")
        asked = [training_task(random, LANGUAGES[number % 2]).prompt for number in range(plan.calibration_prompts)]
        effect_texts.write_records(folder / "prompts.jsonl", [{"prompt": prompt} for prompt in dict.fromkeys(asked)])
        told = told_conversations(bench, plan.traditional_conversations)
        records = [
            {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
            for prompt, answer in told
            if prompt.strip() and answer.strip()
        ]
        effect_texts.write_records(folder / "told.jsonl", records)

    bench.once("texts", make)


def told_conversations(bench: Bench, count: int) -> list[tuple[str, str]]:
    """What the instruct sibling is tuned on, or its beginning."""
    recipe = bench.plan.pair
    random = Random(f"told {recipe.seed}")
    return effect_texts.conversations(random, bench.novels, count, kinds=recipe.instruct_kinds, longest=recipe.instruct_characters)


def make_pair(bench: Bench) -> tuple[str, str]:
    """The base model and its instruct sibling."""
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    recipe = bench.plan.pair

    def base(folder: Path) -> None:
        tokenizer = effect_pair.train_tokenizer(recipe, bench.novels)
        effect_pair.save(effect_pair.train_base(recipe, tokenizer, bench.novels), tokenizer, folder, chat=False)

    def instruct(folder: Path) -> None:
        model = LlamaForCausalLM.from_pretrained(bench.path("base"))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(bench.path("base"))
        effect_pair.tune(model, recipe, tokenizer, told_conversations(bench, bench.plan.told))
        effect_pair.save(model, tokenizer, folder, chat=True)

    bench.once("base", base)
    bench.once("instruct", instruct)
    return bench.path("base"), bench.path("instruct")


class Adaptation:
    """The stages of the product around one pair of models."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.plan = bench, bench.plan
        self.base, self.instruct = make_pair(bench)
        self.texts = bench.folder / "texts"

    def russian(self, seed: int) -> tuple[str, ...]:
        return (str(self.texts / f"russian-{seed}.txt"),)

    def tokenizer(self, variant: str) -> str:
        plan = self.plan
        sizes = (
            {"new_tokens": plan.new_tokens} if variant in ADDING else {} if variant == "leaf-pruning" else {"vocab_size": plan.vocab_size}
        )
        return self.bench.stage(
            f"tokenizer-{variant}",
            lep.build_tokenizer,
            lep.BuildTokenizerConfig,
            base=self.base,
            input=self.russian(0),
            variant=variant,
            **sizes,
        )

    def initialized(self, model: str, kind: str, variant: str, method: str) -> str:
        return self.bench.stage(
            f"{kind}-{variant}-{method}",
            lep.initialize,
            lep.InitializeConfig,
            base=model,
            tokenizer=self.tokenizer(variant),
            method=method,
            input=self.russian(0) if method in METHODS_WITH_TEXT else (),
            distillation_steps=self.plan.distillation_steps,
            threads=1,
        )

    def untrained(self, variant: str, initialization: str) -> str:
        """The control: rows made of the instruct model's own, no training."""
        rows = self.initialized(self.instruct, "rows", variant, initialization)
        return self.propagated(f"untrained-{variant}-{initialization}", rows, "swap", base=self.instruct)

    def trained(self, variant: str, initialization: str, seed: int) -> str:
        plan = self.plan
        return self.bench.stage(
            f"trained-{variant}-{initialization}-{seed}",
            lep.train,
            lep.TrainConfig,
            model=self.initialized(self.base, "initialized", variant, initialization),
            input=self.russian(seed),
            replay=(str(self.texts / "english.txt"),),
            replay_share=plan.replay_share,
            steps=plan.steps,
            learning_rate=plan.learning_rate,
            batch_size=plan.batch_size,
            block_size=plan.block_size,
            evaluate_every=1_000_000,
            checkpoint_every=1_000_000,
            seed=seed,
            threads=1,
        )

    def propagated(self, name: str, adapted: str, method: str, *, base: str | None = None) -> str:
        return self.bench.stage(
            name, lep.propagate, lep.PropagateConfig, base=base or self.base, adapted=adapted, instruct=self.instruct, method=method
        )

    def calibrated(self, name: str, model: str, seed: int) -> str:
        """Self-calibration: the original's answers, which are made once, and copies of the text."""
        plan = self.plan
        pairs = self.bench.stage(
            "pairs",
            lep.calibrate,
            lep.CalibrateConfig,
            model=model,
            teacher=self.instruct,
            prompt_file=(str(self.texts / "prompts.jsonl"),),
            input=(*self.russian(0), str(self.texts / "english.txt")),
            max_prompts=plan.calibration_prompts,
            copy_share=plan.calibration_copy_share,
            copy_characters=effect_texts.COPY_CHARACTERS[1],
            max_new_tokens=48,
            answer_batch=64,
            answer_script="any",
            **({"unfinished": True, "max_repetition": 1.0, "max_compression": 1000.0} if plan.calibration_unfinished else {}),
            pairs_only=True,
            threads=1,
        )
        return self.bench.stage(
            name,
            lep.calibrate,
            lep.CalibrateConfig,
            model=model,
            data=(str(Path(pairs) / "pairs.jsonl"),),
            preset="laptop",
            learning_rate=plan.calibration_learning_rate,
            evaluate_every=1_000_000,
            checkpoint_every=1_000_000,
            seed=seed,
            threads=1,
        )

    def traditional(self, name: str, trained: str, seed: int) -> str:
        """The adapted base, tuned on the sibling's conversations as `adapt --instruction-data --instruction-preset laptop` does it."""
        return self.bench.stage(
            name,
            lep.calibrate,
            lep.CalibrateConfig,
            model=trained,
            data=(str(self.texts / "told.jsonl"),),
            template_from=self.instruct,
            preset="laptop",
            epochs=self.plan.traditional_epochs,
            evaluate_every=1_000_000,
            checkpoint_every=1_000_000,
            seed=seed,
            threads=1,
        )

    def tuned_alike(self, name: str, trained: str) -> str:
        """The adapted base, tuned exactly as the sibling was: rows of special tokens first, then everything at a small rate."""
        from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

        def make(folder: Path) -> None:
            model = LlamaForCausalLM.from_pretrained(trained)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(trained)
            effect_pair.tune(model, self.plan.pair, tokenizer, told_conversations(self.bench, self.plan.told))
            effect_pair.save(model, tokenizer, folder, chat=True)

        self.bench.once(name, make)
        return self.bench.path(name)
