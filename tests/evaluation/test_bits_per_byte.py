"""Bits per byte equal a plain computation over whole documents."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lep_core.errors import CorpusError, ModelError
from lep_core.evaluation import bits_per_byte
from lep_core.evaluation.bits_per_byte import measure_bits_per_byte
from lep_core.inference.generator import Generator
from tests.factories import SENTENCES, edit_json, tiny_model


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    torch.set_num_threads(1)
    return Generator.load(tiny_model(tmp_path_factory.mktemp("m"), family=request.param, padded=5), device="cpu")


def nats_by_hand(generator: Generator, ids: list[int]) -> list[float]:
    """Negative log-likelihood of ids[1:], one token after the other, by the full softmax."""
    with torch.no_grad():
        logits = generator.model(torch.tensor([ids])).logits[0].double()
    return [float(torch.logsumexp(logits[at], -1) - logits[at, token]) for at, token in enumerate(ids[1:])]


def bits(measurement) -> float:
    return sum(measurement.numerators) / sum(measurement.denominators)


def test_whole_documents_in_one_window_equal_the_definition(generator):
    found = measure_bits_per_byte(generator, SENTENCES, block_size=200, batch_size=5)
    nats = sum(sum(nats_by_hand(generator, generator.tokenizer(text)["input_ids"])) for text in SENTENCES)
    assert bits(found) == pytest.approx(nats / math.log(2) / sum(len(text.encode()) for text in SENTENCES), rel=1e-5)
    assert found.n == len(SENTENCES)
    assert found.denominators == [len(text.encode()) for text in SENTENCES]


def test_windows_overlap_by_one_token_and_score_each_token_once(generator):
    text, block = " ".join(SENTENCES[:4]), 16
    ids = generator.tokenizer(text)["input_ids"]
    nats = sum(sum(nats_by_hand(generator, ids[at : at + block + 1])) for at in range(0, len(ids) - 1, block))
    found = measure_bits_per_byte(generator, [text], block_size=block, batch_size=3)
    assert bits(found) == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-5)


def test_logits_in_pieces_change_nothing(generator, monkeypatch):
    whole = measure_bits_per_byte(generator, SENTENCES, block_size=64, batch_size=4)
    monkeypatch.setattr(bits_per_byte, "LOGIT_ELEMENTS", 4 * 7 * generator.rows)
    pieces = measure_bits_per_byte(generator, SENTENCES, block_size=64, batch_size=4)
    assert pieces.numerators == pytest.approx(whole.numerators, rel=1e-5)


def test_a_long_document_has_units_and_the_same_score(generator, monkeypatch):
    text = "\n".join(SENTENCES * 4)
    monkeypatch.setattr(bits_per_byte, "UNIT_CHARACTERS", len(text))
    whole = measure_bits_per_byte(generator, [text], block_size=64, batch_size=8)
    monkeypatch.setattr(bits_per_byte, "UNIT_CHARACTERS", 300)
    cut = measure_bits_per_byte(generator, [text], block_size=64, batch_size=8)
    assert whole.n == 1
    assert cut.n == math.ceil(len(text) / 300)
    assert sum(cut.denominators) == len(text.encode())
    assert bits(cut) == pytest.approx(bits(whole), rel=1e-9)
    assert cut.interval(0).low < bits(cut) < cut.interval(0).high


def test_control_strings_in_a_text_are_text(generator):
    found = measure_bits_per_byte(generator, ["a</s>b <s>"], block_size=64, batch_size=1)
    ids = generator.prompts.encode_text("a</s>b <s>")
    assert generator.tokenizer.eos_token_id not in ids
    assert found.numerators[0] == pytest.approx(sum(nats_by_hand(generator, ids)) / math.log(2), rel=1e-5)


def without_opening(tmp_path: Path, *, eos: bool) -> Generator:
    folder = tiny_model(tmp_path)
    edit_json(folder / "tokenizer.json", post_processor=None)
    edit_json(folder / "tokenizer_config.json", bos_token=None, eos_token="</s>" if eos else None)
    return Generator.load(folder, device="cpu")


def test_without_bos_the_end_token_stands_before_a_document(tmp_path):
    generator = without_opening(tmp_path, eos=True)
    ids = [generator.tokenizer.eos_token_id, *generator.tokenizer(SENTENCES[6])["input_ids"]]
    found = measure_bits_per_byte(generator, SENTENCES[6:7], block_size=200, batch_size=1)
    assert found.numerators[0] == pytest.approx(sum(nats_by_hand(generator, ids)) / math.log(2), rel=1e-5)
    assert found.denominators == [len(SENTENCES[6].encode())]


def test_without_any_opening_token_the_first_token_and_its_bytes_are_left_out(tmp_path):
    generator = without_opening(tmp_path, eos=False)
    ids = generator.tokenizer(SENTENCES[6])["input_ids"]
    found = measure_bits_per_byte(generator, SENTENCES[6:7], block_size=200, batch_size=1)
    assert found.numerators[0] == pytest.approx(sum(nats_by_hand(generator, ids)) / math.log(2), rel=1e-5)
    assert found.denominators == [len(SENTENCES[6].encode()) - len(generator.pieces[ids[0]])]


def test_no_text_and_nan_are_refused(generator, tmp_path):
    with pytest.raises(CorpusError, match="no text"):
        measure_bits_per_byte(generator, [""], block_size=64, batch_size=1)
    broken = Generator.load(tiny_model(tmp_path), device="cpu")
    with torch.no_grad():
        broken.model.get_output_embeddings().weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="NaN"):
        measure_bits_per_byte(broken, SENTENCES, block_size=64, batch_size=4)


def test_a_stop_gives_no_half_measurement(generator):
    assert measure_bits_per_byte(generator, SENTENCES, block_size=64, batch_size=4, should_stop=lambda: True) is None
