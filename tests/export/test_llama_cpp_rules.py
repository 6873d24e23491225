"""llama.cpp's way to cut text, against SentencePiece itself, against llama.cpp's own test vectors, and against the tokenizers library."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from lep_core.export.gguf_vocabulary import LOWEST_SCORE, compare, gguf_vocabulary, missing_splits
from lep_core.export.llama_cpp_rules import PRE_TOKENIZERS, join_by_score
from lep_core.export.samples import LINES, sample_lines
from lep_core.tokenizer.definition import Definition
from tests.factories import SENTENCES, tiny_tokenizer


def test_joining_by_score_is_what_sentencepiece_does() -> None:
    """The "llama" tokenizer of llama.cpp is SentencePiece's BPE; that library is the independent witness."""
    import sentencepiece

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 3), model_writer=stream, vocab_size=420, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=1.0, minloglevel=2,
    )  # fmt: skip
    spm = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())
    ids = {spm.id_to_piece(number): number for number in range(spm.vocab_size())}
    scores = [spm.get_score(number) for number in range(spm.vocab_size())]
    for line in [*SENTENCES, *LINES]:
        if "\r" not in line and "\n" not in line:
            assert join_by_score("▁" + line.replace(" ", "▁"), ids, scores) == spm.encode(line)


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
def test_the_rules_give_the_tokenizers_own_ids(tmp_path: Path, family: str) -> None:
    definition = Definition.read(tiny_tokenizer(tmp_path / family, family=family, vocab_size=420))
    rows = SimpleNamespace(path=tmp_path / family, vocab_size=definition.size, eos_token_id=None, bos_token_id=None)
    found = gguf_vocabulary(rows)  # type: ignore[arg-type]
    total, differing = compare(found.rewritten().encode, definition, sample_lines(definition))
    assert total > 500
    assert differing == 0


def test_a_way_to_join_that_is_no_merge_is_counted(tmp_path: Path) -> None:
    data = Definition.read(tiny_tokenizer(tmp_path, family="sentencepiece")).data
    ids = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "c", "ab", "bc", "abc"]
    data |= {"added_tokens": [], "post_processor": None}
    data["model"] |= {"vocab": {token: number for number, token in enumerate(ids)}, "merges": [["a", "b"], ["b", "c"], ["ab", "c"]]}
    assert missing_splits(Definition.parse(data)) == 1  # a + bc


def test_llama_cpp_own_test_vectors_hold(shared_data: Path) -> None:
    """Ids that the llama.cpp project publishes for GPT-NeoX, over text that is known to go wrong."""
    folder = shared_data / "tokenizers" / "gpt-neox-20b"
    texts = (folder / "llamacpp_vectors.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    expected = [[int(number) for number in line.split()] for line in (folder / "llamacpp_vectors.out").read_text().splitlines()]
    size = Definition.read(folder).size
    found = gguf_vocabulary(SimpleNamespace(path=folder, vocab_size=size, eos_token_id=None, bos_token_id=None))  # type: ignore[arg-type]
    assert found.pre == "gpt-2"
    cut = found.rewritten()
    # Runs of spaces are added tokens there, which the rules do not look for.
    plain = [(text, ids) for text, ids in zip(texts, expected, strict=False) if "  " not in text and not text.isspace()]
    assert len(plain) > 20
    assert all(cut.encode(text) == ids for text, ids in plain)


def test_names_stand_for_distinct_rules() -> None:
    assert len(set(PRE_TOKENIZERS.values())) == len(PRE_TOKENIZERS)
    assert LOWEST_SCORE < -1e8
