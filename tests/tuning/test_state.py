"""The loss of a step: prompts are learned from in no way, conversations do not see each other, and the gradients are those of autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lep_core.config import CalibrateConfig
from lep_core.models import inspect_model
from lep_core.progress import SILENT
from lep_core.training.loss import IGNORED
from lep_core.training.optimizer import RowAdamW
from lep_core.tuning.learner import load_learner
from lep_core.tuning.packing import MicroBatch, micro_batches, stacked
from lep_core.tuning.rendering import ChatRenderer, Row
from lep_core.tuning.state import TuningState
from lep_core.tuning.template import choose_template
from tests.tuning.data import conversations

ALL_OF_IT = {"scope": "full"}
LORA = {"scope": "lora", "lora_rank": 4, "lora_alpha": 8, "full_parts": ("none",)}
HEAD = {**LORA, "full_parts": ("head",)}


@pytest.fixture
def made(tiny, tmp_path):
    """`made(model, **settings)` gives (state, rows)."""

    def make(model, *, dtype=torch.float32, most_tokens=10_000, count=8, **settings):
        folder = inspect_model(model)
        config = CalibrateConfig(model=str(model), output="x", data=("x",), **settings).resolved()
        chat = choose_template(folder, None, tmp_path)
        learner = load_learner(config, folder, chat, merged={}, device=torch.device("cpu"), dtype=dtype, recompute=False)
        optimizer = RowAdamW(learner.masters, weight_decay=0.01, gradient_clip=1.0)
        renderer = ChatRenderer(chat.tokenizer, end_ids=chat.end_ids, max_length=200)
        rows = [row for one in conversations(count) for row in renderer.render(one).rows]
        return TuningState(learner=learner, optimizer=optimizer, micro_batch_tokens=most_tokens), rows

    return make


def gradients_of(state, batches):
    state.optimizer.zero_gradients()
    loss = sum(state.add_gradients(batch, scale=0.01) for batch in batches)
    return loss, {name: gradient.clone() for name, gradient in state.optimizer.gradients.items()}


def with_other_labels(rows, *, of_answers, tokens=400):
    """The same inputs, with other tokens to say wherever the row is an answer (or wherever it is not)."""
    generator = np.random.default_rng(0)
    changed = []
    for row in rows:
        chosen_L = row.learned_L == of_answers
        other_L = (row.ids_L + generator.integers(1, tokens, len(row.ids_L))) % tokens
        changed.append(Row(np.where(chosen_L, other_L, row.ids_L), row.learned_L, row.answer_bytes))
    batch = stacked(rows)
    return MicroBatch(batch.inputs_BL, stacked(changed).targets_BL, batch.tokens)


@pytest.mark.parametrize("settings", [ALL_OF_IT, LORA, HEAD], ids=["full", "lora", "lora and head"])
def test_other_prompt_labels_change_nothing_and_other_answer_labels_do(made, tiny, settings):
    state, rows = made(tiny(chat=True), **settings)
    loss, gradients = gradients_of(state, [stacked(rows)])
    same_loss, same = gradients_of(state, [with_other_labels(rows, of_answers=False)])
    assert loss == same_loss
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)
    other_loss, other = gradients_of(state, [with_other_labels(rows, of_answers=True)])
    assert loss != other_loss
    # The first factor of an adapter has no gradient as long as the second is zero.
    assert all(not torch.equal(gradients[name], other[name]) for name in gradients if not name.endswith(".A"))


def test_the_targets_are_the_answers_and_nothing_else(made, tiny):
    _, rows = made(tiny(chat=True), **ALL_OF_IT)
    assert sum(batch.tokens for batch in micro_batches(rows, most_tokens=500)) == sum(len(row.ids_L) - 1 for row in rows)
    targets = [batch.targets_BL[batch.targets_BL != IGNORED] for batch in micro_batches(rows, most_tokens=500)]
    assert sorted(np.concatenate(targets)) == sorted(np.concatenate([row.ids_L[row.learned_L] for row in rows]))


def test_no_conversation_changes_what_another_one_computes(made, tiny):
    state, rows = made(tiny(chat=True), **ALL_OF_IT)
    first, second = sorted(rows, key=lambda row: -len(row.ids_L))[:2]
    strangers = Row((second.ids_L[::-1] % 300).copy(), second.learned_L, second.answer_bytes)
    silent = np.zeros_like(second.learned_L)
    split = state.learner.split
    computed, learned = [], []
    for other in (second, strangers):
        [batch] = micro_batches([first, other], most_tokens=10**9)
        computed.append(split.hidden(split.embed(torch.from_numpy(batch.inputs_BL)))[0].detach())
        # With nothing to learn in the other one, all gradients are those of the first.
        [batch] = micro_batches([first, Row(other.ids_L, silent, 0)], most_tokens=10**9)
        learned.append(gradients_of(state, [batch])[1])
    assert torch.equal(*computed)
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])
    _, alone = gradients_of(state, micro_batches([first], most_tokens=10**9))
    for name, gradient in alone.items():
        torch.testing.assert_close(learned[0][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_loss_and_gradients_are_those_of_transformers(made, tiny, tied):
    from transformers import AutoModelForCausalLM

    model = tiny(chat=True, tied=tied)
    state, rows = made(model, most_tokens=300, **ALL_OF_IT)
    answer_tokens = sum(row.answer_tokens for row in rows)
    reference = AutoModelForCausalLM.from_pretrained(model)
    expected = torch.zeros(())
    for row in rows:
        ids = torch.from_numpy(row.ids_L.astype(np.int64))[None]
        logits = reference(ids).logits[0, :-1].log_softmax(-1)
        picked = logits.gather(1, ids[0, 1:, None])[:, 0]
        expected = expected - picked[torch.from_numpy(row.learned_L[1:])].sum() / answer_tokens
    expected.backward()
    state.optimizer.zero_gradients()
    loss = sum(state.add_gradients(batch, scale=1 / answer_tokens) for batch in micro_batches(rows, most_tokens=300)) / answer_tokens
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    named = dict(reference.named_parameters())
    names = {"input": "model.embed_tokens.weight", "output": "lm_head.weight"}
    assert {names.get(name, name.removeprefix("weight.")) for name in state.optimizer.gradients} == set(named)
    for name, gradient in state.optimizer.gradients.items():
        torch.testing.assert_close(gradient, named[names.get(name, name.removeprefix("weight."))].grad, rtol=1e-3, atol=1e-6)
    measured = state.answer_loss(rows)
    assert measured.nats_per_token == pytest.approx(loss, rel=1e-6)
    assert measured.bits_per_byte == pytest.approx(loss * answer_tokens / np.log(2) / sum(row.answer_bytes for row in rows), rel=1e-6)


def test_the_size_of_a_micro_batch_changes_nothing_but_rounding(made, tiny):
    model = tiny(chat=True)
    states = [made(model, most_tokens=most, **ALL_OF_IT)[0] for most in (100, 10_000)]
    rows = made(model, **ALL_OF_IT)[1]
    losses = [[state.run_step(rows, learning_rate=1e-3, reporter=SILENT).loss for _ in range(3)] for state in states]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0][2] < losses[0][0]


def test_bfloat16_adds_up_gradients_in_float32(made, tiny):
    model = tiny(chat=True, dtype="bfloat16")
    exact, rows = made(model, **ALL_OF_IT)
    rounded, _ = made(model, dtype=torch.bfloat16, most_tokens=100, **ALL_OF_IT)
    assert {master.dtype for master in rounded.learner.masters.values()} == {torch.float32}
    _, wanted = gradients_of(exact, micro_batches(rows, most_tokens=10_000))
    _, found = gradients_of(rounded, micro_batches(rows, most_tokens=100))
    for name, gradient in wanted.items():
        assert float((gradient - found[name]).norm() / gradient.norm()) < 0.05, name
    before = {name: copy.clone() for name, copy in rounded.learner.copies.items()}
    rounded.run_step(rows, learning_rate=1e-2, reporter=SILENT)
    for name, copy in rounded.learner.copies.items():
        assert not torch.equal(copy, before[name])
        assert torch.equal(copy, rounded.learner.masters[name].to(torch.bfloat16))


def test_rows_of_like_length_stand_together_and_all_are_there():
    generator = np.random.default_rng(0)
    rows = [Row(np.arange(size), np.ones(size, dtype=bool), 1) for size in generator.integers(2, 400, 200)]
    batches = micro_batches(rows, most_tokens=2000)
    assert sum(batch.tokens for batch in batches) == sum(len(row.ids_L) - 1 for row in rows)
    assert max(batch.inputs_BL.size for batch in batches) <= 2000
    assert 1 - sum(batch.tokens for batch in batches) / sum(batch.inputs_BL.size for batch in batches) < 0.05
    long = [Row(np.arange(5000), np.ones(5000, dtype=bool), 1)]
    assert len(micro_batches(rows[:3] + long, most_tokens=2000)[0].inputs_BL) == 1
    assert micro_batches([], most_tokens=10) == []
