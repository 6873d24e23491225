import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from lep_core.tokenizer.merges import MergeLearner, apply_merges, pair_key

LETTERS = "abcd"


def learn(words: dict[str, int], steps: int, min_frequency: int = 1):
    learner = MergeLearner(
        [[LETTERS.index(letter) for letter in word] for word in words],
        list(words.values()),
        texts=list(LETTERS),
        vocab={letter: index for index, letter in enumerate(LETTERS)},
        first_id=len(LETTERS),
        admissible=lambda text: True,
        min_frequency=min_frequency,
    )
    merges = list(itertools.islice(learner.learn(), steps))
    return learner, merges


def test_the_most_frequent_pair_is_joined_first():
    _, merges = learn({"ab": 5, "cd": 3, "bc": 4}, 3)
    assert [merge.text for merge in merges] == ["ab", "bc", "cd"]
    assert [merge.count for merge in merges] == [5, 4, 3]


def test_rare_pairs_are_not_joined():
    assert learn({"ab": 1, "cd": 2}, 9, min_frequency=2)[1][-1].text == "cd"


def test_overlapping_pairs_are_joined_from_the_left():
    learner, _ = learn({"aaaaa": 3}, 1)
    assert learner.words == [[4, 4, 0]]


def test_the_counts_after_each_merge_are_those_of_a_recount():
    learner, _merges = learn({"abcabc": 3, "aab": 2, "cabd": 7, "bbbb": 1}, 0)
    for _ in learner.learn():
        recount: Counter[int] = Counter()
        for word, count in zip(learner.words, learner.counts, strict=True):
            for left, right in itertools.pairwise(word):
                recount[pair_key(left, right)] += count
        # A pair of equal neighbours may stand in counts that a run of three makes ambiguous; none is left uncounted.
        assert {pair: count for pair, count in learner._pair_counts.items() if count} == recount


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(LETTERS, min_size=1, max_size=9), st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 25))
def test_the_sequences_are_what_the_library_encodes_with_the_learned_merges(words, steps):
    learner, merges = learn(words, steps)
    vocab = {letter: index for index, letter in enumerate(LETTERS)}
    vocab.update((merge.text, merge.token) for merge in merges)
    names = {index: token for token, index in vocab.items()}
    library = Tokenizer(models.BPE(vocab, [(names[merge.left], names[merge.right]) for merge in merges]))
    ranks = {pair_key(merge.left, merge.right): (rank, merge.token) for rank, merge in enumerate(merges)}
    for word, sequence in zip(words, learner.words, strict=True):
        assert library.encode(word).ids == sequence
        assert apply_merges([LETTERS.index(letter) for letter in word], ranks) == sequence
