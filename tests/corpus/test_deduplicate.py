"""Exact duplicates are found exactly, near ones with the promised probability, unrelated documents hardly ever."""

from __future__ import annotations

import hashlib
import random

from lep_core.corpus.deduplicate import DigestSet, NearDuplicateCounter

WORDS = [hashlib.md5(str(number).encode()).hexdigest()[: 3 + number % 7] for number in range(3000)]


def document(random_state: random.Random, length: int) -> list[str]:
    return [random_state.choice(WORDS) for _ in range(length)]


def test_a_digest_set_is_a_set() -> None:
    mine, real = DigestSet(), set()
    for number in range(30_000):
        digest = hashlib.blake2b(str(number % 17_000).encode(), digest_size=16).digest()
        assert mine.add(digest) == (digest not in real)
        real.add(digest)
    assert len(mine) == len(real) == 17_000


def test_slightly_changed_documents_count_as_near_duplicates() -> None:
    state = random.Random(0)
    originals = [document(state, 300) for _ in range(100)]
    changed = [[*words[:150], "inserted", *words[150:]] for words in originals]
    counter = NearDuplicateCounter()
    counter.add([" ".join(words) for words in originals])
    assert counter.found == 0
    counter.add([" ".join(words) for words in changed])
    assert counter.found >= 98


def test_near_duplicates_within_one_batch_are_counted_once_each() -> None:
    words = document(random.Random(1), 400)
    texts = [" ".join([*words, str(number)]) for number in range(10)]
    counter = NearDuplicateCounter()
    counter.add(texts)
    assert counter.found == 9
    assert counter.checked == 10


def test_unrelated_and_tiny_documents_are_no_near_duplicates() -> None:
    state = random.Random(2)
    counter = NearDuplicateCounter()
    counter.add([" ".join(document(state, 60)) for _ in range(3000)] + ["да", "нет", "a b c", "1"])
    assert counter.found <= 3


def test_scripts_without_spaces_are_compared_too() -> None:
    state = random.Random(3)
    text = "".join(chr(state.randrange(0x4E00, 0x6000)) for _ in range(500))
    counter = NearDuplicateCounter()
    counter.add([text, text[:250] + "新" + text[250:]])
    assert counter.found == 1
