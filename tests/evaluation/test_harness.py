"""Tasks of lm-evaluation-harness give the numbers of its real library and its own Hugging Face model; its task files run no code.

Importing the library takes seconds, so everything here shares one process and one index of tasks.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from lep_core import pipeline
from lep_core.config import EvaluateConfig
from lep_core.errors import ConfigError, CorpusError, ResourceError
from lep_core.evaluation.harness import JACKKNIFE_PARTS, measure_harness, measurement_of
from lep_core.evaluation.harness_tasks import find_tasks
from lep_core.inference.generator import Generator
from lep_core.progress import SilentReporter
from tests.factories import SENTENCES, tiny_model

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

COMMON = "dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {data}}}\n  cache_dir: {cache}\ntest_split: test\n"
TASKS = {
    "endings": "output_type: loglikelihood\ndoc_to_text: '{{begin}}'\ndoc_to_target: '{{end}}'\n"
    "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    "  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}\n",
    "choices": "output_type: multiple_choice\ndoc_to_text: '{{begin}}'\ndoc_to_choice: '{{options}}'\ndoc_to_target: '{{label}}'\n"
    "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    "  - {metric: acc_norm, aggregation: mean, higher_is_better: true}\n  - {metric: f1, aggregation: f1, higher_is_better: true}\n",
    "texts": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
    "metric_list:\n  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}\n"
    "  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}\n"
    "  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}\n",
    "writing": "output_type: generate_until\ndoc_to_text: '{{begin}}'\ndoc_to_target: '{{end}}'\n"
    "generation_kwargs: {until: ['.', ' а'], max_gen_toks: 40, do_sample: false}\nnum_fewshot: 0\n"
    "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}\n",
}
GROUP = "group: both\ntask: [endings, choices]\naggregate_metric_list:\n  - {metric: acc, aggregation: mean, weight_by_size: %s}\n"


def rows():
    found = []
    for index, text in enumerate(SENTENCES):
        middle = len(text) // 2
        ends = [text[middle:], SENTENCES[(index + 1) % len(SENTENCES)][:middle], " xyz"]
        found.append({"text": f"{text} {text}", "begin": text[:middle], "end": ends[0], "options": ends[:2], "label": index % 2})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tasks")
    (place / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()), encoding="utf-8")
    for name, text in TASKS.items():
        # The data file is named as one names a neighbour.
        start = COMMON.format(data="rows.jsonl", cache=tmp_path_factory.getbasetemp() / "cache")
        (place / f"{name}.yaml").write_text(f"task: {name}\n{start}{text}", encoding="utf-8")
    (place / "both.yaml").write_text(GROUP % "true", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def tasks(folder):
    return find_tasks([*TASKS, "both"], folder)


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def generator(request, tmp_path_factory):
    path = tiny_model(tmp_path_factory.mktemp(request.param), family=request.param, max_position_embeddings=128)
    return Generator.load(path, device="cpu", threads=1)


def measured(generator, tasks, name, **options):
    measurements, records = measure_harness(generator, tasks, name, batch_size=4, **options)
    return {(one.task, one.metric): one for one in measurements}, records


def by_the_library(generator, tasks, name):
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(generator.path), device="cpu", dtype="float32", batch_size=1)
    return evaluate(lm=model, task_dict=tasks.load(name), bootstrap_iters=0, log_samples=True)


@pytest.mark.parametrize("name", TASKS)
def test_numbers_and_samples_equal_those_of_the_library_with_its_own_model(generator, tasks, name):
    found, records = measured(generator, tasks, name)
    theirs = by_the_library(generator, tasks, name)
    shown = {key.removesuffix(",none"): value for key, value in theirs["results"][name].items() if key.endswith(",none")}
    expected = {key: value for key, value in shown.items() if not key.endswith("_stderr")}
    assert {metric for _, metric in found} == set(expected)
    for (_, metric), one in found.items():
        assert one.interval(0).value == pytest.approx(expected[metric], rel=1e-3 if "perplexity" in metric else 1e-6, abs=1e-3)
        assert one.n == len(SENTENCES)
    for record, sample in zip(records, theirs["samples"][name], strict=True):
        if name == "writing":
            assert record["answers"] == sample["filtered_resps"]
        elif name == "texts":
            assert record["answers"] == pytest.approx(sample["filtered_resps"], abs=1e-3)
        else:
            ours = [(float(value), greedy in (True, "True")) for value, greedy in record["answers"]]
            assert [value for value, _ in ours] == pytest.approx([value for value, _ in sample["filtered_resps"]], abs=1e-3)
            assert [greedy for _, greedy in ours] == [bool(greedy) for _, greedy in sample["filtered_resps"]]


def test_a_group_has_a_row_of_its_own_over_all_samples(generator, tasks):
    found, _ = measured(generator, replace(tasks, limit=5), "both")
    rights = [found[f"harness/{name}", "acc"].numerators for name in ("endings", "choices")]
    assert found["harness/both", "acc"].numerators == [*rights[0], *rights[1]]
    assert found["harness/both", "acc"].is_share


def test_samples_are_the_units_of_differences(generator, tasks, tmp_path):
    other = Generator.load(tiny_model(tmp_path, name="other", sibling_of=generator.path, perturbation=0.5), device="cpu", threads=1)
    first, second = (measured(one, tasks, "texts")[0]["harness/texts", "bits_per_byte"] for one in (generator, other))
    row = second.difference(first, "other", "first", 0)
    assert row["difference"] == pytest.approx(second.interval(0).value - first.interval(0).value)
    assert row["low"] < row["difference"] < row["high"]
    assert row["n"] == len(SENTENCES)


def test_the_jackknife_gives_the_spread_that_resampling_the_samples_gives():
    from lm_eval.api.metrics import weighted_perplexity

    draw = random.Random(1)
    values = [(-draw.uniform(20, 60), draw.randint(5, 15)) for _ in range(JACKKNIFE_PARTS + 100)]
    one = measurement_of("harness/x", "word_perplexity", values, weighted_perplexity)
    value, low, high = one.interval(0)
    assert value == pytest.approx(math.exp(-sum(top for top, _ in values) / sum(weight for _, weight in values)))
    generator = np.random.default_rng(0)
    table = np.array(values)
    drawn = table[generator.integers(0, len(values), (2000, len(values)))].sum(axis=1)
    expected = np.percentile(np.exp(-drawn[:, 0] / drawn[:, 1]), [2.5, 97.5])
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.15)


def test_a_stop_gives_nothing(generator, tasks):
    for name in TASKS:
        assert measure_harness(generator, tasks, name, batch_size=2, should_stop=lambda: True) is None


def test_an_unknown_name_is_refused_with_names_like_it(folder):
    with pytest.raises(ConfigError, match=r"no task arc_esay.*Did you mean.*arc_easy"):
        find_tasks(["arc_esay"], folder)


def test_a_task_of_the_library_without_its_data_set_names_task_and_data_set():
    tasks = find_tasks(["arc_easy"])
    with pytest.raises(
        ResourceError, match=r"the task arc_easy needs the data set allenai/ai2_arc \(ARC-Easy\), which is not on this machine"
    ):
        tasks.load("arc_easy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doc_to_text: !function evil.run", "line 2 runs Python code (!function)"),
        ("doc_to_text: !!python/object/apply:os.system ['true']", "runs Python code"),
        ("class: evil.Task", "is a Python class"),
        ("use_prompt: 'evil.py:*'", "takes its prompts from elsewhere"),
        ("dataset_kwargs: {trust_remote_code: true}", "lets its data set run code"),
        ("metric_list:\n  - metric: ./evil.py", "counts with ./evil.py"),
        ("metric_list:\n  - {metric: accuracy, hf_evaluate: true}", "counts with accuracy"),
        ("include: ../outside/part.yaml", "part.yaml, line 1 runs Python code"),
        ("unsafe_code: true", "runs what the model writes"),
    ],
)
def test_a_task_folder_that_asks_for_code_is_refused(tmp_path, text, message):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "part.yaml").write_text("process_docs: !function evil.run\n")
    place = tmp_path / "tasks"
    place.mkdir()
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef run(doc): return ''\n")
    (place / "task.yaml").write_text(f"task: mine\n{text}\n")
    with pytest.raises(ConfigError) as refused:
        find_tasks(["mine"], place)
    assert message in refused.value.message
    assert not (tmp_path / "ran").exists()


def test_templates_reach_no_python_objects(folder, tmp_path, generator):
    text = (folder / "writing.yaml").read_text().replace("rows.jsonl", str(folder / "rows.jsonl"))
    (tmp_path / "t.yaml").write_text(text.replace("{{begin}}", "{{ begin.__class__.__mro__ }}").replace("task: writing", "task: mine"))
    with pytest.raises(ConfigError, match="is unsafe"):
        find_tasks(["mine"], tmp_path).load("mine")


def test_a_broken_or_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        find_tasks(["mine"], tmp_path / "none")
    with pytest.raises(ConfigError, match=r"holds no \.yaml file"):
        find_tasks(["mine"], tmp_path)
    (tmp_path / "t.yaml").write_text("task: [unclosed")
    with pytest.raises(CorpusError, match=r"t\.yaml cannot be read as YAML"):
        find_tasks(["mine"], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: 5", 'under the key "task"'),
        ("task: mine\ninclude: 5", 'under the key "include"'),
        ("group: mine\ntask: [mine]", "the group mine holds itself"),
        ("task: mine\nx: &x [*x]", "holds itself"),
        ("task: mine\nmetadata:\n  a: &a [1,1,1,1,1,1,1,1]\n" + "".join(f"  {b}: &{b} [{','.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)), "more than 100,000 values"),
        ("task: mine\nx: " + "[" * 1000, "cannot be read as YAML"),
        ("task: mine\nmetric_list: [{metric: acc, aggregation: foo}]", "has no aggregation 'foo'"),
    ],
)  # fmt: skip
def test_a_task_folder_without_sense_or_end_is_named(tmp_path, text, message):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises((ConfigError, CorpusError)) as refused:
        find_tasks(["mine"], tmp_path)
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("begin", "end", "message"), [("{{ 1 / 0 }}", "{{end}}", "ZeroDivisionError"), ("{{begin}}", 5, "gives 5 where a text")]
)
def test_templates_that_fail_or_give_no_text_are_named(folder, tmp_path, generator, begin, end, message):
    text = (folder / "endings.yaml").read_text().replace("rows.jsonl", str(folder / "rows.jsonl")).replace("task: endings", "task: mine")
    (tmp_path / "t.yaml").write_text(
        text.replace("{{begin}}", begin).replace("'{{end}}'", f"'{end}'" if isinstance(end, str) else str(end))
    )
    with pytest.raises(ConfigError, match=message):
        measure_harness(generator, find_tasks(["mine"], tmp_path), "mine", batch_size=4)


def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.utils", None)
    with pytest.raises(ResourceError) as refused:
        find_tasks(["arc_easy"])
    assert refused.value.hint == 'Install it: pip install "lep-studio[lm-eval]"'


class StopAfter(SilentReporter):
    """Asks to stop once so many rows were reported."""

    def __init__(self, rows):
        self.left = rows

    def metric(self, record):
        self.left -= 1

    def should_stop(self):
        return self.left <= 0


def test_evaluate_runs_harness_tasks_alone_and_goes_on_after_a_stop(generator, folder, tmp_path):
    other = tiny_model(tmp_path, name="other", sibling_of=generator.path, perturbation=0.5)
    options = {"model": (str(generator.path), str(other)), "harness": ("texts", "writing"), "harness_path": str(folder)}
    config = EvaluateConfig(**options, limit=6, device="cpu", threads=1)
    assert config.measured == ("harness/texts", "harness/writing"), "no text was given, so none is asked for"
    whole = pipeline.evaluate(config.replace(output=str(tmp_path / "whole"))).to_json()
    assert {row["n"] for row in whole["results"]} == {6}
    assert {row["task"] for row in whole["differences"]} == {"harness/texts", "harness/writing"}
    partial = config.replace(output=str(tmp_path / "partial"))
    assert pipeline.evaluate(partial, StopAfter(3)).to_json()["stopped"]
    resumed = pipeline.evaluate(partial.replace(resume=True, overwrite=True)).to_json()
    assert resumed["results"] == whole["results"]
    assert resumed["differences"] == whole["differences"]
