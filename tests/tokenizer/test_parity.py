import pytest
from tokenizers import Tokenizer

from lep_core.errors import ConfigError
from lep_core.tokenizer.fertility import measure_fertility
from lep_core.tokenizer.parity import choose_reference, parity_of
from tests.tokenizer.conftest import ENGLISH, RUSSIAN, trained


def test_ratio_is_tokens_over_those_of_the_reference_with_the_same_tokenizer():
    tokenizers = [(kind, Tokenizer.from_str(trained(kind))) for kind in ("byte-level", "prepend")]
    report = measure_fertility(tokenizers, {"eng": ENGLISH, "rus": RUSSIAN})
    entries = parity_of(report, "eng")
    assert [(entry.tokenizer, entry.language) for entry in entries] == [
        (kind, language) for kind in ("byte-level", "prepend") for language in ("eng", "rus")
    ]
    for (_, tokenizer), english, russian in zip(tokenizers, entries[::2], entries[1::2], strict=True):
        expected = [sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts) for texts in (ENGLISH, RUSSIAN)]
        assert [english.tokens, russian.tokens] == expected
        assert english.ratio == 1
        assert russian.ratio == expected[1] / expected[0]
        assert russian.characters_per_token == sum(map(len, RUSSIAN)) / expected[1]


def test_english_is_the_reference_unless_another_is_wanted():
    assert choose_reference(["deu", "eng", "en"], None) == "eng"
    assert choose_reference(["deu", "en"], None) == "en"
    assert choose_reference(["deu", "rus"], None) == "deu"
    assert choose_reference(["deu", "eng"], "deu") == "deu"
    with pytest.raises(ConfigError, match="no parallel text called 'fra'") as caught:
        choose_reference(["deu", "eng"], "fra")
    assert "deu, eng" in caught.value.hint
