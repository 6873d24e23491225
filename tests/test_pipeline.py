"""The method from end to end on tiny pairs and on the demo pair, and what no stage sees alone: which text goes where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from lep_core import pipeline
from lep_core.adapt import adapt
from lep_core.config import (
    AdaptConfig,
    AddCorpusConfig,
    BuildTokenizerConfig,
    EvaluateConfig,
    InitializeConfig,
    PropagateConfig,
    TrainConfig,
)
from lep_core.corpus.load import read_documents
from lep_core.demo.corpora import write_corpora
from lep_core.demo.path import demo_pair
from lep_core.demo.settings import DEMO_SETTINGS
from lep_core.errors import ConfigError, CorpusError, LepError, OutputError
from lep_core.progress import SilentReporter
from tests.factories import CHAT_TOKENS, SENTENCES, load_weights

EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


def write_jsonl(path: Path, texts: Sequence[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def documents(seed: int, sentences: Sequence[str], count: int = 200) -> list[str]:
    random = Random(seed)
    return [" ".join(random.sample(sentences, 3)) + f" {number}" for number in range(count)]


def settings(tmp_path: Path, base: Path, instruct: Path, **changes: Any) -> AdaptConfig:
    values: dict[str, Any] = {
        "base": str(base),
        "instruct": str(instruct),
        "input": (write_jsonl(tmp_path / "ru.jsonl", documents(0, SENTENCES[6:])),),
        "output": str(tmp_path / "out"),
        "steps": 4,
        "batch_size": 2,
        "block_size": 32,
        "learning_rate": 5e-3,
        "limit": 3,
        "device": "cpu",
    }
    return AdaptConfig(**(values | changes))


def assert_special_rows_are_the_instruct_models(result: Path, instruct: Path) -> None:
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (instruct, result))
    before, after = load_weights(instruct), load_weights(result)
    for token in old.get_added_tokens_decoder().values():
        old_id, new_id = old.token_to_id(token.content), new.token_to_id(token.content)
        assert new.encode(token.content, add_special_tokens=False).ids == [new_id]
        for name in EMBEDDINGS:
            if name in before:
                assert torch.equal(after[name][new_id], before[name][old_id]), token.content
    assert all(torch.equal(after[name], value) for name, value in before.items() if name not in EMBEDDINGS)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        # The new tokens take the ids that the instruct model's own four tokens have there.
        ({"padded": 7, "dtype": "bfloat16"}, {"new_tokens": 40}),
        ({"family": "sentencepiece", "vocab_size": 420, "tied": True}, {"variant": "bpe", "vocab_size": 450}),
    ],
    ids=["untied byte-level, continued", "tied SentencePiece, from nothing"],
)
def test_adapt_makes_an_instruct_model_that_plain_transformers_runs(tiny, tmp_path, model, changes):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tiny(name="base", max_position_embeddings=160, **model)
    # Called like a result of ours: rows of original and result must not be mixed up.
    instruct = tiny(name="instruct-conversion", sibling_of=base, chat=True, padded=5)
    replay = write_jsonl(tmp_path / "en.jsonl", documents(1, SENTENCES[:6]))
    report = adapt(settings(tmp_path, base, instruct, replay=(replay,), **changes))
    result = tmp_path / "out" / "instruct-conversion"
    assert report.propagate["conversion"]["logits_equal"]
    assert report.stages["trained"]["frozen_sha256_before"] == report.stages["trained"]["frozen_sha256_after"]
    assert any("out/instruct-conversion: training" in sentence for sentence in report.verdict)
    assert_special_rows_are_the_instruct_models(result, instruct)
    assert_special_rows_are_the_instruct_models(tmp_path / "out" / "untrained", instruct)

    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(result), AutoTokenizer.from_pretrained(result)
    plain = Tokenizer.from_file(str(result / "tokenizer.json"))
    assert loaded.config.vocab_size == len(tokenizer) == len(load_weights(result)[EMBEDDINGS[0]])
    assert loaded.config.tie_word_embeddings == model.get("tied", False)
    for text in SENTENCES:
        assert tokenizer(text).input_ids == plain.encode(text).ids
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Где ключ?"}], add_generation_prompt=True)["input_ids"]
    assert [ids.count(plain.token_to_id(token)) for token in ("<s>", *CHAT_TOKENS)] == [1, 0, 1, 1, 1]
    assert [plain.id_to_token(number) for number in loaded.generation_config.eos_token_id] == ["<|end|>", "</s>"]
    assert tokenizer.eos_token_id == loaded.config.eos_token_id == plain.token_to_id("<|end|>")
    with torch.no_grad():
        loaded.lm_head.weight = torch.nn.Parameter(loaded.lm_head.weight * 0)
    # All logits equal: the first id is chosen for ever, unless it is one that ends the answer.
    loaded.generation_config.update(do_sample=False, temperature=1.0, top_p=1.0)
    assert loaded.generate(torch.tensor([ids]), max_new_tokens=3, eos_token_id=[0, 1]).shape[1] == len(ids) + 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"block_size": 512}, ConfigError, "reads at most 256"),
        ({"vocab_size": 300}, ConfigError, "has 400 tokens already"),
        ({"items": ("items.jsonl",)}, CorpusError, "items.jsonl"),
    ],
)
def test_adapt_refuses_what_cannot_work_before_it_begins(tiny, tmp_path, changes, error, words):
    base = tiny()
    with pytest.raises(error, match=words):
        adapt(settings(tmp_path, base, tiny(sibling_of=base), **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"heldout_share": 0.0}, {"variant": "bpe", "new_tokens": 5}, {"vocab_size": 500, "new_tokens": 5}])
def test_adapt_settings_that_cannot_work_are_no_config(tmp_path, changes):
    with pytest.raises(ConfigError):
        settings(tmp_path, tmp_path, tmp_path, **changes)


def test_a_resumed_adapt_keeps_finished_stages_and_takes_no_other_settings(tiny, tmp_path):
    base = tiny()
    config = settings(tmp_path, base, tiny(sibling_of=base), new_tokens=10)
    first = adapt(config)
    weights = load_weights(tmp_path / "out" / "instruct-conversion")
    for folder in ("trained", "instruct-conversion", "evaluation"):
        shutil.rmtree(tmp_path / "out" / folder)
    (tmp_path / "out" / "speed" / "report.json").write_text("{")
    (tmp_path / "out" / ".partial-trained-0123").mkdir()
    for changes, words in (
        ({"learning_rate": 0.1}, "--learning-rate was 0.005, now it is 0.1"),
        ({"new_tokens": 11}, "--new-tokens was 10, now it is 11"),
        ({"method": ("swap",)}, "--method was"),
    ):
        with pytest.raises(OutputError, match=words):
            adapt(config.replace(resume=True, **changes))
    corpus = (tmp_path / "out" / "corpus").stat().st_ino
    second = adapt(config.replace(resume=True, threads=1))
    assert (tmp_path / "out" / "corpus").stat().st_ino == corpus
    again = load_weights(tmp_path / "out" / "instruct-conversion")
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert second.results == first.results
    assert not list((tmp_path / "out").glob(".partial-*"))


def test_an_unfinished_adapt_can_be_overwritten_and_a_failed_first_stage_leaves_nothing_in_the_way(tiny, tmp_path):
    base = tiny()
    instruct = tiny(sibling_of=base)
    for _ in range(2):
        with pytest.raises(CorpusError):
            adapt(settings(tmp_path, base, instruct, input=(str(tmp_path / "no.txt"),)))
    for overwrite in (False, True):
        with pytest.raises(CorpusError, match="replay text has"):
            adapt(settings(tmp_path, base, instruct, overwrite=overwrite, new_tokens=10, replay=(write_jsonl(tmp_path / "r.jsonl", ["a", "b"]),)))  # fmt: skip
        assert (tmp_path / "out" / "tokenizer").is_dir()


class StopsWhileTraining(SilentReporter):
    """Asks to stop once a training step is done."""

    def __init__(self) -> None:
        self.stop = False

    def progress(self, done: float, total: float | None = None, unit: str = "") -> None:
        self.stop = self.stop or (unit == "steps" and done >= 2)

    def should_stop(self) -> bool:
        return self.stop


def test_going_on_replaces_what_a_stopped_training_had_finished(tiny, tmp_path):
    config = TrainConfig(
        model=str(tiny()), input=(write_jsonl(tmp_path / "a.jsonl", documents(0, SENTENCES)),), output=str(tmp_path / "out"),
        steps=5, batch_size=2, block_size=32, device="cpu",
    )  # fmt: skip
    assert pipeline.train(config, StopsWhileTraining()).to_json()["stopped"]
    with pytest.raises(OutputError, match="not empty"):
        pipeline.train(config)
    assert pipeline.train(config.replace(resume=True)).to_json()["steps"] == 5
    with pytest.raises(OutputError, match="not empty"):
        pipeline.train(config.replace(resume=True))
    pipeline.train(config.replace(output=str(tmp_path / "whole")))
    one, other = load_weights(tmp_path / "out"), load_weights(tmp_path / "whole")
    assert all(torch.equal(one[name], value) for name, value in other.items())


@dataclass
class Read:
    """What the training stage was given."""

    learned: list[str]
    measured: list[str]
    replayed: list[str]

    def to_json(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def read(tiny, tmp_path, monkeypatch):
    """`read(**settings)`: the texts that reach training."""

    def stage(config: TrainConfig, *, texts: Any, heldout: Any, replay: Any, **_: Any) -> Read:
        return Read(learned=list(texts()), measured=list(heldout()), replayed=list(replay()) if replay else [])

    monkeypatch.setattr("lep_core.training.loop.train", stage)
    model = str(tiny())

    def call(**changes: Any) -> Any:
        return pipeline.train(TrainConfig(model=model, output=str(tmp_path / "trained"), **changes))

    return call


def corpus_of(folder: Path, source: str, share: float) -> str:
    pipeline.add_corpus(AddCorpusConfig(input=(source,), output=str(folder), heldout_share=share))
    return str(folder)


def test_what_one_corpus_holds_out_is_not_learned_from_another_source(read, tmp_path):
    texts = documents(0, SENTENCES)
    plain = write_jsonl(tmp_path / "plain.jsonl", texts)
    strict, loose = corpus_of(tmp_path / "strict", plain, 0.3), corpus_of(tmp_path / "loose", plain, 0.01)
    found = read(input=(plain, loose, strict), replay=(loose, plain))
    assert set(found.measured) >= {document.text for document in read_documents([strict], split="heldout")}
    assert not set(found.learned) & set(found.measured)
    assert not set(found.replayed) & set(found.measured)
    assert set(found.learned) | set(found.measured) == set(texts)


def test_given_held_out_text_is_not_learned_even_when_it_is_in_the_input(read, tmp_path):
    texts = documents(0, SENTENCES)
    plain, part = write_jsonl(tmp_path / "a.jsonl", texts), write_jsonl(tmp_path / "b.jsonl", texts[:20])
    found = read(input=(plain,), heldout=(part,))
    assert (found.measured, found.learned) == (texts[:20], texts[20:])


def test_nothing_but_held_out_text_is_refused(read, tmp_path):
    plain = write_jsonl(tmp_path / "a.jsonl", documents(0, SENTENCES, 5))
    with pytest.raises(CorpusError, match="held out"):
        read(input=(plain,), heldout=(plain,))


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_text_is_split_whether_or_not_a_corpus_holds_some_out(read, tmp_path, share):
    texts = documents(0, SENTENCES)
    found = read(input=(corpus_of(tmp_path / "c", write_jsonl(tmp_path / "a.jsonl", texts), share),))
    assert found.measured
    assert sorted(found.learned + found.measured) == sorted(texts)


def test_the_vocabulary_is_built_without_held_out_text(tiny, tmp_path):
    plain = write_jsonl(tmp_path / "a.jsonl", documents(0, SENTENCES))
    corpus = corpus_of(tmp_path / "c", plain, 0.3)
    config = BuildTokenizerConfig(base=str(tiny()), input=(corpus,), new_tokens=5, output=str(tmp_path / "t"))
    assert pipeline.build_tokenizer(config).to_json()["documents"] == len(list(read_documents([corpus], split="train")))


def test_a_limit_on_documents_reaches_every_input(tmp_path):
    inputs = tuple(write_jsonl(tmp_path / f"{name}.jsonl", [f"{name} {n}" for n in range(count)]) for name, count in (("a", 3), ("b", 1)))
    texts = pipeline.measuring_texts(EvaluateConfig(model=("m",), input=inputs))
    assert list(texts) == ["a 0", "b 0", "a 1", "a 2"]


def test_a_measurement_never_replaces_the_model_that_it_measures(tiny):
    model = tiny()
    with pytest.raises(OutputError, match="inside each other"):
        pipeline.evaluate(EvaluateConfig(model=(str(model),), input=(str(model),), output=str(model), overwrite=True))
    assert (model / "model.safetensors").is_file()


def test_tokenizers_in_memory_are_measured_too(tiny):
    tokenizer = Tokenizer.from_file(str(tiny() / "tokenizer.json"))
    rows = pipeline.measure_fertility([tokenizer, tokenizer], SENTENCES).to_json()["tokenizers"]
    assert [row["name"] for row in rows] == ["Tokenizer", "Tokenizer (2)"]


def test_the_verbs_adapt_the_demo_pair(tmp_path):
    base, instruct = demo_pair()
    text = write_corpora(tmp_path / "text", russian_bytes=500_000, english_bytes=120_000)
    russian = corpus_of(tmp_path / "russian", str(text.russian_corpus), 0.03)
    english = corpus_of(tmp_path / "english", str(text.english_corpus), 0.05)

    def path(name: str) -> str:
        return str(tmp_path / name)

    built = pipeline.build_tokenizer(
        BuildTokenizerConfig(base=str(base), input=(russian,), new_tokens=DEMO_SETTINGS["new_tokens"], output=path("tokenizer"))
    ).to_json()
    assert built["round_trip_ok"]
    assert built["unreachable_tokens"] == 0
    assert built["characters_per_token_before"] / built["characters_per_token_after"] < 0.7
    pipeline.initialize(InitializeConfig(base=str(base), tokenizer=path("tokenizer"), output=path("initialized")))
    names = ("learning_rate", "batch_size", "block_size", "replay_share")
    options: dict[str, Any] = {name: DEMO_SETTINGS[name] for name in names}
    trained = pipeline.train(
        TrainConfig(model=path("initialized"), input=(russian,), replay=(english,), output=path("trained"), steps=80, **options)
    ).to_json()
    assert trained["frozen_sha256_before"] == trained["frozen_sha256_after"]
    assert trained["bits_per_byte_after"] < trained["bits_per_byte_before"]
    # The control: the instruct model's own averaged rows, without training.
    pipeline.initialize(InitializeConfig(base=str(instruct), tokenizer=path("tokenizer"), output=path("rows")))
    for name, root, adapted in (("untrained", str(instruct), path("rows")), ("swap", str(base), path("trained"))):
        config = PropagateConfig(base=root, adapted=adapted, instruct=str(instruct), method="swap", output=path(name))
        pipeline.propagate(config)
        assert_special_rows_are_the_instruct_models(tmp_path / name, instruct)
    measured = pipeline.evaluate(
        EvaluateConfig(
            model=(str(instruct), path("untrained"), path("swap")),
            task=("bits-per-byte", "instruct"),
            input=(russian,),
            items=(str(text.items),),
            limit=200,
            block_size=DEMO_SETTINGS["block_size"],
        )
    ).to_json()
    value = {(row["model"], row["task"]): row["value"] for row in measured["results"]}
    assert value["swap", "bits-per-byte"] < value["untrained", "bits-per-byte"]
    assert value["swap", "instruct/en"] > value["instruct", "instruct/en"] - 0.1


def test_every_refusal_is_a_sentence(tmp_path):
    with pytest.raises(LepError) as caught:
        adapt(settings(tmp_path, tmp_path / "no-base", tmp_path / "no-instruct"))
    assert caught.value.hint
