"""The held-out part depends on each text alone, and neither side is empty."""

from __future__ import annotations

import random

from lep_core.corpus.split import HELDOUT, TRAIN, SplitBalance, digest_of, is_heldout


def test_the_split_does_not_depend_on_order() -> None:
    texts = [f"document {number}" for number in range(2000)]
    decided = {text: is_heldout(digest_of(text), 0.1) for text in texts}
    random.Random(1).shuffle(texts)
    assert all(is_heldout(digest_of(text), 0.1) == decided[text] for text in texts)
    assert 150 < sum(decided.values()) < 250


def test_a_larger_share_keeps_what_was_held_out() -> None:
    digests = [digest_of(str(number)) for number in range(500)]
    assert {item for item in digests if is_heldout(item, 0.05)} < {item for item in digests if is_heldout(item, 0.2)}


def test_digests_are_stable() -> None:
    assert digest_of("Привет").hex() == "79ee0df6126fa29932b3e4cf8c05d7c3"


def test_one_document_changes_sides_when_a_side_is_empty() -> None:
    balance = SplitBalance(1e-9)
    digests = [digest_of(str(number)) for number in range(5)]
    assert {balance.decide(item) for item in digests} == {TRAIN}
    assert balance.correction() == (min(digests), HELDOUT)
    everything = SplitBalance(0.9999)
    assert {everything.decide(item) for item in digests} == {HELDOUT}
    assert everything.correction() == (max(digests), TRAIN)


def test_a_single_text_is_never_held_out_and_share_zero_holds_nothing_out() -> None:
    single = SplitBalance(0.5)
    for _ in range(3):
        single.decide(digest_of("same"))
    assert single.correction() in (None, (digest_of("same"), TRAIN))
    assert not (single.has_heldout and single.correction() is None)
    nothing = SplitBalance(0.0)
    for number in range(5):
        nothing.decide(digest_of(str(number)))
    assert nothing.correction() is None
    assert not nothing.has_heldout
