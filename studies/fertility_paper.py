"""The paper's table of Russian symbols per token, measured on our texts (method, section 1).

Three ways for each row of it: the published vocabulary put into the model as published, where whole words are looked up before merges are
tried; the same by merges alone; and with merges that reach every token; each on held-out novels and on news. The published figures were taken on another text, of the web and of Wikipedia.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

import lep_core as lep
from lep_core.evaluation.intervals import bootstrap_ratio
from lep_core.files import write_text
from studies.fertility_texts import HELD_OUT_MB, find_tokenizer, parallel_documents, passages, report_of, split_files, spread, without

SAMPLE_MB = 2.0  # for ready vocabularies, which take no more from a text than which old tokens it needs


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the published table. `published`: the folder of the vocabulary that was used; `keep`: old tokens that stay."""

    tokenizer: str
    variant: str
    figure: float
    published: str | None = None
    keep: int | None = None

    @property
    def name(self) -> str:
        return f"{self.tokenizer} {self.variant}"


TABLE = (
    Entry(tokenizer="mistral-7b-v0.1", variant="original", figure=2.44),
    Entry(tokenizer="mistral-7b-v0.1", variant="bpe", figure=3.76, published="ruadapt-32000_bpe"),
    Entry(tokenizer="mistral-7b-v0.1", variant="unigram", figure=3.78, published="ruadapt-32000_unigram"),
    Entry(tokenizer="mistral-7b-v0.1", variant="extension", figure=3.77, published="ruadapt-32000_bpe"),
    Entry(tokenizer="llama-3", variant="original", figure=2.89),
    Entry(tokenizer="llama-3", variant="bpe", figure=4.40, published="ruadapt-128000_bpe"),
    Entry(tokenizer="llama-3", variant="unigram", figure=4.35, published="ruadapt-128000_unigram"),
    Entry(tokenizer="llama-3", variant="extension", figure=3.78, published="ruadapt-64000_bpe"),
    Entry(tokenizer="llama-3", variant="optimization", figure=3.40, published="ruadapt-64000_bpe", keep=64_000),
)


def entries(places: Sequence[Path]) -> list[Entry]:
    """The rows whose tokenizer is at hand; the last place is the data folder."""
    return [entry for entry in TABLE if places and find_tokenizer(_folders(places), entry.tokenizer)]


def rows(entry: Entry, places: Sequence[Path], work: Path) -> list[dict[str, Any]]:
    """One row for each way that can be gone here."""
    base = find_tokenizer(_folders(places), entry.tokenizer)
    assert base is not None
    learning, rest = split_files(sorted((places[-1] / "corpora" / "ru").glob("*.txt")))
    texts = {
        "novels": spread(passages(without(rest, learning)), HELD_OUT_MB),
        "news": ["\n".join(document) for document in parallel_documents(places[-1] / "parallel" / "ntrex")["rus"]],
    }
    head = {"kind": "paper", "tokenizer": entry.tokenizer, "variant": entry.variant, "published_figure": entry.figure}
    if entry.published is None:
        return [{**head, "way": "original", **_measured(Tokenizer.from_file(str(base / "tokenizer.json")), texts)}]
    corpus = work / "corpora" / "ru-sample.txt"
    write_text(corpus, "\n".join(spread(learning, SAMPLE_MB)) + "\n")
    given = find_tokenizer(_folders(places), entry.published or "")
    if given is None:
        return []
    found = []
    for way, changes in _ways(entry, str(given)).items():
        output = work / "tokenizers" / f"paper-{entry.tokenizer}-{entry.variant}-{way}"
        try:
            config = lep.BuildTokenizerConfig(base=str(base), input=(str(corpus),), output=str(output), overwrite=True)
            report = report_of(config.replace(**changes))
        except lep.LepError as error:
            found.append({**head, "way": way, "reason": str(error)})
            continue
        tokenizer = Tokenizer.from_file(str(output / "tokenizer.json"))
        found.append({**head, "way": way, "unreachable_tokens": report["unreachable_tokens"], **_measured(tokenizer, texts)})
        if way == "published" and entry.variant not in ("bpe", "unigram"):
            tokenizer.model.ignore_merges = False
            found.append({**head, "way": "published, merges alone", **_measured(tokenizer, texts)})
    return found


def _ways(entry: Entry, given: str) -> dict[str, dict[str, Any]]:
    """way -> settings of build-tokenizer."""
    if entry.variant in ("bpe", "unigram"):
        return {"published": {"variant": "import", "source": given}}
    appended = {"variant": entry.variant, "source": given} | ({} if entry.keep is None else {"keep_tokens": entry.keep})
    return {"published": {**appended, "paper": True}, "published, merges that reach": appended}


def _measured(tokenizer: Tokenizer, texts: dict[str, list[str]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size()}
    for name, listed in texts.items():
        tokens_N = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(listed, add_special_tokens=False)]
        value, low, high = bootstrap_ratio(list(map(len, listed)), tokens_N)
        figures |= {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(listed)}
    return figures


def _folders(places: Sequence[Path]) -> list[Path]:
    return [*places, places[-1] / "tokenizers"]
