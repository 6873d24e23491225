"""Words of any script, and how much the words of an answer agree with those of a reference.

    normalized_answer   SQuAD's normalisation (Rajpurkar et al. 2016) in MLQA's multilingual form (Lewis et al. 2020): case folded, punctuation
                        of all scripts and articles of the language left out, white space collapsed
    f1                  2 P R / (P + R), where P and R are the shared words (with repetitions) over the words of answer and reference
    rouge_n             the same over runs of n words (Lin 2004)
    rouge_l             the same over the longest common subsequence of words

Words are cut at white space after the normalisation (f1), or are runs of letters, marks and digits (ROUGE). Scripts that put no spaces
between words (Han, Kana, Thai, Lao, Khmer, Burmese) count each character as a word.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from lep_core.evaluation.copy_task import longest_common_subsequence

# Articles are no part of an answer (MLQA's list; Arabic writes its own together with the word).
ARTICLES = {
    "de": "ein eine einen einem eines einer der die das den dem des",
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "fr": "le la les un une des",
    "it": "il lo la i gli le un uno una",
    "nl": "de het een",
    "pt": "o a os as um uma uns umas",
    "vi": "của là cái chiếc những",
}
_UNSPACED = re.compile(
    r"([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
_ARABIC_ARTICLE = re.compile(r"\bال")


class _Kept(dict[int, int | None]):
    """A table for `str.translate` that is filled as characters are met: those that `keeps` refuses become a space, or nothing."""

    def __init__(self, keeps: Callable[[str], bool], instead: int | None) -> None:
        super().__init__()
        self._keeps, self._instead = keeps, instead

    def __missing__(self, code: int) -> int | None:
        self[code] = found = code if self._keeps(chr(code)) else self._instead
        return found


_WITHOUT_PUNCTUATION = _Kept(lambda one: one not in string.punctuation and not unicodedata.category(one).startswith("P"), None)
_WORDS_ONLY = _Kept(lambda one: unicodedata.category(one)[0] in "LMN", ord(" "))


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits, case folded."""
    return _UNSPACED.sub(r" \1 ", unicodedata.normalize("NFKC", text).casefold().translate(_WORDS_ONLY)).split()


def normalized_answer(text: str, language: str | None) -> str:
    """The text without case, punctuation, articles and superfluous white space. Without a language, English articles go."""
    kept = unicodedata.normalize("NFKC", text).casefold().translate(_WITHOUT_PUNCTUATION)
    if language == "ar":
        kept = _ARABIC_ARTICLE.sub("", kept)
    articles = set(ARTICLES.get(language or "en", "").split())
    return " ".join(word for word in kept.split() if word not in articles)


def exact_match(answer: str, reference: str, language: str | None) -> bool:
    """Whether the two are the same after the normalisation; where it leaves nothing, before it."""
    first, second = normalized_answer(answer, language), normalized_answer(reference, language)
    return first == second if first and second else answer.strip() == reference.strip()


def f1(answer: str, reference: str, language: str | None) -> float:
    """F1 over the words that are left after the normalisation; where it leaves none, 1 for equal texts."""
    first, second = (_UNSPACED.sub(r" \1 ", normalized_answer(text, language)).split() for text in (answer, reference))
    if not first or not second:
        return float(answer.strip() == reference.strip())
    return _f1(sum((Counter(first) & Counter(second)).values()), len(first), len(second))


def rouge_n(answer: Sequence[str], reference: Sequence[str], n: int) -> float:
    """F1 over runs of `n` words, counted with repetitions."""
    first, second = (Counter(_runs(one, n)) for one in (answer, reference))
    return _f1((first & second).total(), first.total(), second.total())


def rouge_l(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 over the longest common subsequence of words."""
    return _f1(longest_common_subsequence(answer, reference), len(answer), len(reference))


def _runs(listed: Sequence[str], n: int) -> list[Hashable]:
    return [tuple(listed[at : at + n]) for at in range(len(listed) - n + 1)]


def _f1(shared: int, first: int, second: int) -> float:
    return 2 * shared / (first + second) if shared else 0.0
