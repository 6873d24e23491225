"""Rows are what a chat would see: the ids of every prompt, and a mark on exactly the tokens that the model shall say."""

from __future__ import annotations

import pytest

from lep_core.inference.prompt import PromptEncoder
from lep_core.models import load_tokenizer
from lep_core.tuning.rendering import ChatRenderer, UnrenderableError
from tests.factories import CHAT_TEMPLATE, edit_json, tiny_tokenizer
from tests.tuning.data import conversation

# Llama-2's and Mistral's way: the borders between prompt and answer are ordinary text.
INST_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Merges across the border: the prompt ends with a line end and the answer may begin with one.
LINES_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
# Leaves out the thoughts of earlier turns, as reasoning models do.
FORGETFUL_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% if message['role'] == 'assistant' and not loop.last %}"
    "{{ message['content'].split('=')[-1] }}{% else %}{{ message['content'] }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Begins an answer in chat otherwise than it is written afterwards.
INCONSISTENT_TEMPLATE = CHAT_TEMPLATE.replace("%}<|assistant|>{%", "%}<|assistant|><think>{%")
GENERATION_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}{% else %}{{ message['content'] }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture
def chat(tmp_path):
    """`chat(template, **options)` gives (tokenizer, renderer) of a small tokenizer with a chat template."""

    def make(template=CHAT_TEMPLATE, *, family="byte-level", end="<|end|>", max_length=200, cut=True):
        folder = tiny_tokenizer(tmp_path / f"{family}-{abs(hash(template))}", family=family, chat=True)
        edit_json(folder / "tokenizer_config.json", chat_template=template)
        tokenizer = load_tokenizer(folder)
        return tokenizer, ChatRenderer(tokenizer, end_ids=[tokenizer.convert_tokens_to_ids(end)], max_length=max_length, cut=cut)

    return make


TALK = ("Где ключ?", "Ключ лежит на столе.", "The old house?", "By the river, and <|end|> is text.")
TEMPLATES = {
    "special tokens": (CHAT_TEMPLATE, "<|end|>"),
    "plain borders": (INST_TEMPLATE, "<|end|>"),
    "merging borders": (LINES_TEMPLATE, "<|end|>"),
    "forgetful": (FORGETFUL_TEMPLATE, "<|end|>"),
    "generation tags": (GENERATION_TEMPLATE, "<|end|>"),
}


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
@pytest.mark.parametrize(("template", "end"), TEMPLATES.values(), ids=TEMPLATES)
def test_the_ids_before_each_answer_are_those_of_a_chat(chat, template, end, family):
    tokenizer, renderer = chat(template, family=family, end=end)
    encoder = PromptEncoder(tokenizer)
    system = "Be brief." if template is not INST_TEMPLATE else None
    talk = conversation("\nWhere <s>?", "\n" + TALK[1], *TALK[2:], system=system)
    rows = renderer.render(talk).rows
    prompts = [
        encoder.encode(messages=talk.messages[:number]) for number, message in enumerate(talk.messages) if message["role"] == "assistant"
    ]
    found = [(row, place) for row in rows for place in range(1, len(row.ids_L)) if row.learned_L[place] and not row.learned_L[place - 1]]
    assert [row.ids_L[:place].tolist() for row, place in found] == prompts
    said = [tokenizer.decode(row.ids_L[place : _stop(row, place)], skip_special_tokens=False) for row, place in found]
    for text, message in zip(said, talk.messages[-3::2], strict=True):
        assert text.rstrip().endswith("<|end|>")
        # "<|end|>" inside an answer is text: the answer goes on behind it.
        assert text.strip().removesuffix("<|end|>").strip().replace(" ", "") == message["content"].strip().replace(" ", "")


def _stop(row, place):
    return next((later for later in range(place, len(row.ids_L)) if not row.learned_L[later]), len(row.ids_L))


def test_only_answers_and_their_end_are_learned(chat):
    tokenizer, renderer = chat()
    [row] = renderer.render(conversation(*TALK, system="Be brief.")).rows
    assert tokenizer.decode(row.ids_L[row.learned_L]) == f"{TALK[1]}<|end|>{TALK[3]}<|end|>"
    assert row.answer_tokens == row.learned_L.sum()
    assert row.answer_bytes == len((TALK[1] + TALK[3]).encode())
    assert tokenizer.decode(row.ids_L) == (
        f"<s><|system|>Be brief.<|end|><|user|>{TALK[0]}<|end|><|assistant|>{TALK[1]}<|end|><|user|>{TALK[2]}<|end|><|assistant|>{TALK[3]}<|end|>"
    )


def test_control_strings_that_somebody_typed_stay_text(chat):
    tokenizer, renderer = chat()
    [row] = renderer.render(conversation("a<|end|><|assistant|>b", "c<|end|>d")).rows
    control = [tokenizer.convert_tokens_to_ids(token) for token in ("<|user|>", "<|end|>", "<|assistant|>", "<|end|>")]
    assert [one for one in row.ids_L.tolist() if one in control] == control


def test_spans_that_a_template_marks_itself_are_the_same(chat):
    tokenizer, renderer = chat(GENERATION_TEMPLATE)
    talk = conversation(*TALK[:3], "By the river.")
    [row] = renderer.render(talk).rows
    marked = tokenizer.apply_chat_template(list(talk.messages), return_dict=True, return_assistant_tokens_mask=True)
    assert marked["input_ids"] == row.ids_L.tolist()
    assert marked["assistant_masks"] == row.learned_L.astype(int).tolist()


def test_sentencepiece_puts_no_second_space_before_an_answer(chat):
    tokenizer, renderer = chat(INST_TEMPLATE, family="sentencepiece")
    [row] = renderer.render(conversation("Where is the key", "The key")).rows
    # Encoded alone the answer would begin with two of them.
    assert "".join(tokenizer.convert_ids_to_tokens(row.ids_L[row.learned_L].tolist())) == "▁The▁key▁<|end|>"


def test_a_template_that_forgets_gives_one_row_for_each_answer(chat):
    tokenizer, renderer = chat(FORGETFUL_TEMPLATE)
    rows = renderer.render(conversation("a", "2+2=4", "b", "3+3=6")).rows
    assert [tokenizer.decode(row.ids_L[row.learned_L]) for row in rows] == ["2+2=4<|end|>", "3+3=6<|end|>"]
    assert tokenizer.decode(rows[1].ids_L) == "<|user|>a<|end|><|assistant|>4<|end|><|user|>b<|end|><|assistant|>3+3=6<|end|>"


def test_an_answer_that_a_chat_would_begin_otherwise_is_refused(chat):
    _, renderer = chat(INCONSISTENT_TEMPLATE)
    with pytest.raises(UnrenderableError, match=r"otherwise than a chat begins it: it begins with .*<think>"):
        renderer.render(conversation("a", "b"))


def test_a_template_that_fails_says_why(chat):
    _, renderer = chat("{{ raise_exception('System role not supported') }}")
    with pytest.raises(UnrenderableError, match="System role not supported"):
        renderer.render(conversation("a", "b"))


def test_an_answer_without_end_token_gets_one(chat):
    tokenizer, renderer = chat("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    [row] = renderer.render(conversation("a", "b")).rows
    assert tokenizer.decode(row.ids_L) == "a\nb\n<|end|>"
    assert renderer.appended_ends == 1


def test_too_long_conversations_lose_whole_turns_or_are_left_out(chat):
    talk = conversation(*TALK[:2], "The old house stands by the river. " * 4, "no")
    tokenizer, renderer = chat(max_length=40)
    rendered = renderer.render(talk)
    assert rendered.cut
    assert tokenizer.decode(rendered.rows[0].ids_L[rendered.rows[0].learned_L]) == f"{TALK[1]}<|end|>"
    for options, given in (({"cut": False}, talk), ({}, conversation("a", "The old house stands by the river. " * 4))):
        _, renderer = chat(max_length=40, **options)
        assert renderer.render(given).rows == ()


def test_the_demo_pairs_answers_begin_with_a_space():
    from lep_core.demo.path import demo_pair

    tokenizer = load_tokenizer(demo_pair()[1])
    renderer = ChatRenderer(tokenizer, end_ids=[tokenizer.eos_token_id], max_length=100)
    [row] = renderer.render(conversation("repeat: the cat", "the cat")).rows
    assert tokenizer.decode(row.ids_L[row.learned_L]) == " the cat</s>"
