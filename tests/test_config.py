"""A config checks itself and says which field is wrong and what to do."""

import dataclasses
import inspect
import json

import pytest

from lep_core import config as configs
from lep_core.config import (
    BuildTokenizerConfig,
    Config,
    EvaluateConfig,
    TrainConfig,
    base_type,
    field_type,
    is_repeatable,
)
from lep_core.errors import ConfigError

ALL = [item for _, item in inspect.getmembers(configs, inspect.isclass) if issubclass(item, Config) and item is not Config]


def train(**changes) -> TrainConfig:
    return TrainConfig(**{"model": "m", "input": ("t",), "output": "o", **changes})


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("learning_rate", float("nan"), "Give a finite number"),
        ("learning_rate", float("inf"), "Give a finite number"),
        ("learning_rate", 0.0, "from 1e-08 to 1.0"),
        ("learning_rate", "fast", "not a number"),
        ("steps", -1, "from 1 to"),
        ("steps", 1.5, "not a whole number"),
        ("steps", True, "not a whole number"),
        ("batch_size", None, "is missing"),
        ("schedule", "linnear", "Choose one of: cosine, linear, constant"),
        ("input", "text.txt", "must be a list"),
        ("input", (), "is empty"),
        ("model", " ", "is empty"),
        ("model", "a\0b", "NUL"),
        ("model", "a/" + "b" * 256, "256 of them in one name"),
        ("output", "ё" * 128, "256 of them in one name"),
        ("output", "a/" * 2001, "has 4002 bytes"),
        ("output", "a\udcff", "no UTF-8"),
        ("sample_prompt", "half \ud83d of an emoji", "no UTF-8"),
        ("resume", 1, "not true or false"),
    ],
)
def test_a_wrong_value_names_its_field(field, value, complaint):
    with pytest.raises(ConfigError, match=complaint) as caught:
        train(**{field: value})
    assert caught.value.field == field
    assert caught.value.message.startswith("--" + field.replace("_", "-"))


def test_json_and_back_gives_the_same_config():
    config = train(replay=("a", "b"), steps=5)
    assert TrainConfig.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config


def test_unknown_and_missing_settings_are_named():
    with pytest.raises(ConfigError, match="no setting called stepps"):
        TrainConfig.from_mapping({"model": "m", "input": ["t"], "output": "o", "stepps": 1})
    with pytest.raises(ConfigError, match="--output is missing"):
        TrainConfig.from_mapping({"model": "m", "input": ["t"]})


def test_whole_floats_are_whole_numbers():
    assert train(steps=5.0).steps == 5
    assert isinstance(train(learning_rate=1).learning_rate, float)


def test_settings_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigError, match="both given"):
        BuildTokenizerConfig(base="b", input=("t",), output="o", new_tokens=5, vocab_size=9)
    with pytest.raises(ConfigError, match="replaces the vocabulary"):
        BuildTokenizerConfig(base="b", input=("t",), output="o", variant="bpe", new_tokens=5)
    with pytest.raises(ConfigError, match="needs --items"):
        EvaluateConfig(model=("m",), task=("instruct",))
    with pytest.raises(ConfigError, match="old vocabulary"):
        train(new_rows_only=True)


@pytest.mark.parametrize("config", ALL, ids=lambda config: config.__name__)
def test_every_field_is_explained_and_of_a_known_type(config):
    assert config.__doc__
    for item in dataclasses.fields(config):
        hint = field_type(config, item.name)
        assert base_type(hint) in (str, int, float, bool)
        assert item.metadata["help"], item.name
        if item.default is not dataclasses.MISSING and item.default is not None and not is_repeatable(hint):
            assert isinstance(item.default, base_type(hint)), item.name
