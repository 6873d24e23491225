"""Forms offer every setting of a config and give its values back; empty inputs mean the default."""

from dataclasses import fields

import gradio as gr
import pytest

from lep_core import pipeline
from lep_core.config import BuildTokenizerConfig, SweepConfig, TrainConfig
from lep_core.errors import ConfigError
from ui.form import HIDDEN, Form, multi_choice
from ui.i18n import LANGUAGES, Translator


@pytest.mark.parametrize("verb", sorted(pipeline.VERBS))
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_form_has_an_input_for_every_setting(verb, language):
    config = pipeline.VERBS[verb].config
    form = _form(config, language)
    assert set(form.components) == {item.name for item in fields(config)} - set(HIDDEN)
    assert len({component.elem_id for component in form.inputs}) == len(form.inputs)
    assert all(component.label and component.info for component in form.inputs)


def test_untouched_inputs_give_the_defaults():
    form = _form(TrainConfig)
    entered = [component.value for component in form.inputs]
    values = form.values(entered)
    config = TrainConfig.from_mapping({**values, "model": "m", "input": ["t"], "output": "o"})
    assert config == TrainConfig(model="m", input=("t",), output="o")


def test_an_empty_optional_number_is_none_and_a_typed_one_is_read():
    form = _form(BuildTokenizerConfig)
    entered = dict.fromkeys(form.components) | {
        "base": "b",
        "input": ["t"],
        "variant": "extension",
        "new_tokens": "1 600",
        "vocab_size": " ",
        "min_frequency": 2,
    }
    values = form.values(list(entered.values()))
    config = BuildTokenizerConfig.from_mapping({**values, "output": "o"})
    assert (config.new_tokens, config.vocab_size) == (1600, None)


def test_a_number_that_is_none_names_its_field():
    form = _form(BuildTokenizerConfig)
    entered = [("many" if name == "new_tokens" else None) for name in form.components]
    with pytest.raises(ConfigError) as caught:
        form.values(entered)
    assert caught.value.field == "new_tokens"


def test_an_unfolded_field_stands_with_the_plain_ones():
    with gr.Blocks():
        form = Form(BuildTokenizerConfig, Translator("en"), prefix="test", unfold=("source",))
    assert "source" not in form.folds
    assert "min_frequency" in form.folds
    assert set(form.components) == set(BuildTokenizerConfig.__dataclass_fields__) - set(HIDDEN)


def test_several_values_may_be_chosen_or_typed():
    with gr.Blocks():
        dropdown = multi_choice("Text", elem_id="text", choices=["a"])
    assert dropdown.multiselect
    assert dropdown.allow_custom_value
    assert dropdown.interactive


def test_several_numbers_are_chosen_or_typed():
    form = _form(SweepConfig)
    rates = form.components["rates"]
    assert rates.multiselect
    entered = {name: component.value for name, component in form.components.items()}
    assert form.values(list(entered.values()))["rates"] == list(SweepConfig.__dataclass_fields__["rates"].default)
    assert form.values(list((entered | {"rates": ["5e-05", "0,002"]}).values()))["rates"] == [5e-5, 2e-3]


def test_only_asked_fields_in_their_folds_and_problems_beside_them():
    with gr.Blocks():
        form = Form(
            TrainConfig,
            Translator("en"),
            prefix="test",
            only=("steps", "seed", "threads"),
            groups={"Devices": ("threads",)},
            folded_under="All",
        )
    assert list(form.components) == ["steps", "seed", "threads"]
    assert form.folds["threads"].label == "Devices"
    said = form.with_problems([{"field": "threads", "message": "<b> no", "hint": "--threads 1"}, {"field": "unknown", "message": "m"}])
    assert said[form.folds["threads"]]["open"] is True
    assert "“Threads” 1" in said[form.components["threads"]]["info"]
    assert "<b>" not in said[form.components["threads"]]["info"]
    assert "⚠" not in said[form.components["seed"]]["info"]
    assert form.folds["seed"] not in said
    assert set(said) <= set(form.marked)


def _form(config, language="en") -> Form:
    with gr.Blocks():
        return Form(config, Translator(language), prefix="test")
