"""Forms offer every setting of a config and give its values back; empty inputs mean the default."""

import gradio as gr
import pytest

from lep_core import pipeline
from lep_core.config import BuildTokenizerConfig, TrainConfig
from lep_core.errors import ConfigError
from ui.form import HIDDEN, Form
from ui.i18n import LANGUAGES, Translator


@pytest.mark.parametrize("verb", sorted(pipeline.VERBS))
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_form_has_an_input_for_every_setting(verb, language):
    config = pipeline.VERBS[verb].config
    form = _form(config, language)
    assert set(form.components) == set(config.__dataclass_fields__) - set(HIDDEN)
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


def _form(config, language="en") -> Form:
    with gr.Blocks():
        return Form(config, Translator(language), prefix="test")
