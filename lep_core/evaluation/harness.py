"""Tasks of lm-evaluation-harness (Gao et al., EleutherAI), run by its real library on the models that LEP Studio loads.

    python -m lep_core evaluate --model original adapted --harness arc_easy my_task --harness-path my_tasks

Each task gives rows `harness/<task>`, one a metric (and filter). Prompts, few-shot examples, data sets and metrics are the harness's; no chat
template is applied, as by its default. `harness_model.py` computes, `harness_tasks.py` finds the tasks and keeps code out.

Intervals come from the harness's logged samples, and models are compared on the same samples:

- a metric that is a mean over samples has the samples as units (accuracy: shares, with Wilson's interval);
- bits per byte is a ratio of sums over samples;
- anything else (perplexity, F1, BLEU ...) has the jackknife's pseudo-values as units: n x all - (n - 1) x all without this sample, whose
  spread is that of the metric (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11). Of many samples, up to
  `JACKKNIFE_PARTS` groups are left out in turn.

A group of tasks has a row of its own where the harness aggregates it: a mean over all samples, or over tasks.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from lep_core.config import HARNESS_PREFIX
from lep_core.errors import ConfigError
from lep_core.evaluation.harness_model import Options, Stopped, language_model
from lep_core.evaluation.harness_tasks import HarnessTasks
from lep_core.evaluation.measurement import Measurement
from lep_core.evaluation.partial import Batches
from lep_core.inference.generator import Generator

PREFIX = HARNESS_PREFIX
JACKKNIFE_PARTS = 300
_DEFAULT_FILTER = "none"
_SAME = 1e-9


def measure_harness(
    generator: Generator,
    tasks: HarnessTasks,
    name: str,
    *,
    batch_size: int,
    batches: Batches | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Measurement], list[dict[str, Any]]] | None:
    """Run one task, group or tag; None when `should_stop` became true.

    Raises:
        ResourceError, ConfigError: the task cannot be made, see `HarnessTasks.load`.
    """
    from jinja2 import TemplateError
    from lm_eval.evaluator import evaluate

    loaded = tasks.load(name)
    model = language_model(generator, Options(batch_size=batch_size, batches=batches, should_stop=should_stop, progress=progress))
    try:
        found: Any = evaluate(lm=model, task_dict=loaded, limit=tasks.limit, bootstrap_iters=0, log_samples=True)
    except Stopped:
        return None
    except TemplateError as error:
        raise ConfigError("harness", f"a template of the task {name} fails: {error}", "Mend its YAML file") from error
    own: dict[str, list[Measurement]] = {}
    records: list[dict[str, Any]] = []
    for task_name, samples in found["samples"].items():
        own[task_name] = _of_task(task_name, loaded["tasks"][task_name], samples)
        records += [_record(task_name, sample) for sample in samples]
    measurements = [one for listed in own.values() for one in listed]
    if name in loaded.get("groups", {}):
        measurements = _of_group(name, loaded["groups"][name], own, found.get("groups", {}).get(name, {})) + measurements
    if not measurements:
        raise ConfigError("harness", f"the task {name} gives no number for a sample", "Choose another task")
    return measurements, records


def _of_task(name: str, task: Any, samples: Sequence[dict[str, Any]]) -> list[Measurement]:
    aggregations = task.aggregation()
    found = []
    for key in dict.fromkeys(sample["filter"] for sample in samples):
        of_filter = [sample for sample in samples if sample["filter"] == key]
        for metric in dict.fromkeys(metric for sample in of_filter for metric in sample["metrics"]):
            values = [sample[metric] for sample in of_filter if metric in sample]
            label = metric if key == _DEFAULT_FILTER else f"{metric}/{key}"
            if metric in aggregations and (made := measurement_of(f"{PREFIX}{name}", label, values, aggregations[metric])) is not None:
                found.append(made)
    return found


def measurement_of(task: str, metric: str, values: Sequence[Any], aggregate: Callable[[Sequence[Any]], Any]) -> Measurement | None:
    """A measurement whose ratio is `aggregate(values)`, see the module's docstring; None when that is no finite number."""
    from lm_eval.api import metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = _number(aggregate(list(values)))
        if total is None:
            return None
        tops, bottoms, is_share = [total], [1.0], False
        if aggregate is metrics.bits_per_byte:
            tops, bottoms = [-float(top) / math.log(2) for top, _ in values], [float(weight) for _, weight in values]
        else:
            numbers = [_number(value) for value in values]
            plain = [number for number in numbers if number is not None]
            if len(plain) == len(values) and abs(sum(plain) / len(plain) - total) <= _SAME * max(1.0, abs(total)):
                tops, bottoms, is_share = plain, [1.0] * len(plain), set(plain) <= {0.0, 1.0}
            elif len(values) > 1:
                tops, bottoms = _pseudo_values(values, total, aggregate), [1.0] * len(values)
    return Measurement(task=task, metric=metric, numerators=tops, denominators=bottoms, is_share=is_share)


def _pseudo_values(values: Sequence[Any], total: float, aggregate: Callable[[Sequence[Any]], Any]) -> list[float]:
    """One unit for each sample: their mean is `total`, and the spread of that mean is the jackknife's estimate of the metric's."""
    parts = min(len(values), JACKKNIFE_PARTS)
    without = []
    for part in range(parts):
        left = _number(aggregate([value for index, value in enumerate(values) if index % parts != part]))
        without.append(total if left is None else left)
    middle = sum(without) / parts
    # The spread among groups of samples becomes that among samples, so that the mean over all of them varies as it should.
    scale = (parts - 1) * math.sqrt(len(values) / parts)
    units = [total + scale * (middle - without[index % parts]) for index in range(len(values))]
    shift = total - sum(units) / len(units)
    return [unit + shift for unit in units]


def _of_group(name: str, group: Any, own: dict[str, list[Measurement]], reported: dict[str, Any]) -> list[Measurement]:
    """The group's own numbers: means over all samples, or over tasks, whichever the harness reports."""
    members = [task.task_name for task in group.get_all_tasks()]
    found = []
    for metric in dict.fromkeys(one.metric for member in members for one in own.get(member, [])):
        parts = [one for member in members for one in own.get(member, []) if one.metric == metric]
        label, _, key = metric.partition("/")
        value = _number(reported.get(f"{label},{key or _DEFAULT_FILTER}"))
        for by_size in (True, False):
            weights = [1.0 if by_size else 1.0 / part.n for part in parts]
            tops = [weight * value for weight, part in zip(weights, parts, strict=True) for value in part.numerators]
            bottoms = [weight * value for weight, part in zip(weights, parts, strict=True) for value in part.denominators]
            if value is not None and abs(sum(tops) / sum(bottoms) - value) <= _SAME * max(1.0, abs(value)):
                is_share = by_size and all(part.is_share for part in parts)
                found.append(Measurement(task=f"{PREFIX}{name}", metric=metric, numerators=tops, denominators=bottoms, is_share=is_share))
                break
    return found


def _record(name: str, sample: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a sample beside the numbers: who answered what."""
    kept = {"sample": sample["doc_id"], "filter": sample["filter"], "target": sample["target"], "answers": sample["filtered_resps"]}
    values = {metric: sample.get(metric) for metric in sample["metrics"]}
    return {"task": f"{PREFIX}{name}", **json.loads(json.dumps({**kept, **values}, default=str))}


def _number(value: Any) -> float | None:
    """A finite float, or None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
