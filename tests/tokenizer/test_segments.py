from collections import Counter

import numpy as np
import pytest

from lep_core.tokenizer.segments import LEAD, SegmentCounter, whitespace_mask, whole_texts, word_edges


def mask(text):
    return whitespace_mask(np.frombuffer(text.encode(), dtype=np.uint8))


def test_whitespace_is_what_python_takes_for_it():
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    text = "".join(f"{space}x" for space in spaces) + "ж日👍\u200b\u180e—«"
    expected = [character.isspace() for character in text for _ in character.encode()]
    assert mask(text).tolist() == expected


@pytest.mark.parametrize("text", ["", "  ", "a", " дом \u3000日本\u00a0x\n", "x\u2028"])
def test_words_are_those_of_split(text):
    data = text.encode()
    starts, ends = word_edges(mask(text))
    assert [data[start:end].decode() for start, end in zip(starts, ends, strict=True)] == text.split()


def segments_of(*documents, owner=0):
    counter = SegmentCounter()
    counter.add([text.encode() for text in documents], owner)
    return counted(counter.drain())


def counted(segments):
    """(text before, segment) -> occurrences."""
    found = Counter()
    for text in segments.texts:
        ends = [*text.starts[1:].tolist(), len(text.data)]
        for offset, (start, end) in enumerate(zip(text.starts.tolist(), ends, strict=True)):
            before = (LEAD if text.starts[0] else b"").decode()
            found[(before, text.data[start:end].decode())] += int(segments.weights_S[text.number + offset])
    return dict(found)


def test_equal_segments_are_counted_and_beginnings_kept_apart():
    assert segments_of("a b b c", "b b") == {("", "a"): 1, ("a", " b"): 3, ("a", " c"): 1, ("", "b"): 1}


def test_only_single_spaces_between_other_characters_are_cut():
    text = "a  b\t c d\u00a0 e \u3000f\n g"
    assert segments_of(text) == {("", "a  b\t c"): 1, ("a", " d\u00a0 e \u3000f\n g"): 1}


def test_documents_do_not_run_into_each_other():
    assert segments_of("a ", "b", " c") == {("", "a "): 1, ("", "b"): 1, ("", " c"): 1}


def test_whitespace_at_the_end_of_a_document_stays_there():
    counter = SegmentCounter()
    counter.add([b"x a\n", b"x a"], 0)
    segments = counter.drain()
    assert counted(segments) == {("", "x"): 2, ("a", " a\n"): 1, ("a", " a"): 1}
    assert all(len(text.starts) == 1 for text in segments.texts if text.data.endswith(b"\n"))


def test_a_literal_space_mark_keeps_its_document_whole():
    assert segments_of("x \u2581 y", "") == {("", "x \u2581 y"): 1}


def test_long_segments_get_a_text_of_their_own():
    counter = SegmentCounter()
    counter.add([("x " + "y" * 5000 + " z").encode()], 0)
    texts = [text.data for text in counter.drain().texts]
    assert texts == [b"x", b"a " + b"y" * 5000, b"a z"]


def test_all_text_is_in_the_segments_and_owners_get_their_share():
    words = ["дом", "сад", "x", "12,", "река"]
    rng = np.random.default_rng(0)
    documents = [[" ".join(rng.choice(words, size=400)).encode() for _ in range(5)] for _ in range(3)]
    counter = SegmentCounter()
    for _ in range(2):
        for owner, own in enumerate(documents):
            counter.add(own, owner)
    segments = counter.drain()
    sizes = np.zeros(len(segments.weights_S), dtype=np.int64)
    for text in segments.texts:
        sizes[text.number : text.number + len(text.starts)] = np.diff(np.append(text.starts, len(text)))
    assert segments.totals(sizes, 3).tolist() == [2 * sum(map(len, own)) for own in documents]
    assert int(sizes @ segments.weights_S) == 2 * sum(len(data) for own in documents for data in own)
    assert counter.held_bytes == 0
    assert not counter.drain().texts


def test_whole_texts_are_not_cut():
    segments = whole_texts([b"a b c", b""], owner=0)
    assert [text.data for text in segments.texts] == [b"a b c", b""]
    assert segments.totals(np.array([3, 4]), 1).tolist() == [7]
