"""Variant `import`: a ready tokenizer in place of the model's own, with the model's control tokens (method, section 1).

Normaliser, pre-tokeniser, decoder and ordinary tokens are those of the given tokenizer; special and other added tokens, the template
and the chat template are the model's, each token under one id. Left out are added tokens of the model that are nothing but white space
(GPT-NeoX: runs of spaces): they would be cut out of a text before the given tokenizer sees it, and one that puts a space in front of every
stretch would then lose text. A ready vocabulary can also be the one that `extension` and
`optimization` append from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lep_core.errors import TokenizerError
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import SPACE_MARK, Family, from_byte_level, from_sentencepiece, is_byte_token, to_byte_level
from lep_core.tokenizer.definition import Definition, update_template_ids
from lep_core.tokenizer.load import read_definition, tokenizer_from_definition
from lep_core.tokenizer.parts import ordinary_tokens
from lep_core.tokenizer.spm_model import as_tokenizer_json, read_sentencepiece_model
from lep_core.tokenizer.train import added_tokens_around


def read_given(source: str, reporter: Reporter = SILENT) -> Definition:
    """The tokenizer at `source`: a folder, a `tokenizer.json`, or a SentencePiece `.model`.

    Raises:
        TokenizerError: it is something else, damaged, or of a kind that is not lossless.
    """
    path = Path(source).expanduser()
    model = path / "tokenizer.model" if path.is_dir() and not (path / "tokenizer.json").is_file() else path
    if model.is_file() and model.suffix == ".model":
        parsed = read_sentencepiece_model(model)
        if parsed.normalization not in ("", "identity"):
            reporter.message(f"The normalisation {parsed.normalization} of {model.name} is left out, so that any text survives")
        data = as_tokenizer_json(parsed)
    else:
        data = read_definition(path)
    tokenizer_from_definition(data, f"{source} holds a tokenizer that cannot be used")
    return Definition.parse(data, source)


def import_tokenizer(definition: Definition, given: Definition) -> Definition:
    """The given tokenizer with the control tokens and the template of `definition`."""
    spaces = set(space_tokens(definition))
    first, last = ([token for token in part if token not in spaces] for part in added_tokens_around(definition))
    ours = {*first, *last}
    # The given tokenizer's special tokens mean nothing to the model; its other added tokens are text.
    theirs = {token["content"] for token in given.added if token.get("special")} | ({given.unknown} if given.unknown else set())
    names = [token for token in given.by_id if token is not None and token not in theirs and token not in ours]
    # A model that spells in bytes has no use for an unknown token; the library asks for the one that it names.
    unknown = given.unknown
    head = [unknown] if unknown and unknown not in ours and given.family == "sentencepiece" else []
    vocab = {token: index for index, token in enumerate([*head, *first, *names, *last])}
    merges = [(left, right) for left, right in given.merges if {left, right, left + right} <= vocab.keys()]
    added = [{**token, "id": vocab[token["content"]]} for token in definition.added if token["content"] not in spaces]
    taken = set(names)
    added += [{**token, "id": vocab[token["content"]]} for token in given.added if token["content"] in taken]
    shell: dict[str, Any] = {**given.data, "post_processor": _template(definition, given.family)}
    if given.data["model"].get("unk_token") not in vocab and not given.is_unigram:
        shell["model"] = {**given.data["model"], "unk_token": None}
    update_template_ids(shell["post_processor"], vocab)
    lowest = min(given.scores.values(), default=0.0)
    scores = {token: given.scores.get(token, lowest) for token in vocab} if given.is_unigram else None
    whole = Definition(data=shell, vocab=given.vocab, merges=given.merges, family=given.family, scores=given.scores)
    return whole.replaced(vocab, merges, added, scores=scores)


def space_tokens(definition: Definition) -> list[str]:
    """Added tokens of nothing but white space that are no special tokens."""
    return [token["content"] for token in definition.added if token["content"].isspace() and not token.get("special")]


def given_tokens(given: Definition, family: Family) -> Iterator[str]:
    """The ordinary tokens of a vocabulary as another family writes them, whole characters only, in the order of their ids."""
    read = from_byte_level if given.family == "byte-level" else from_sentencepiece
    for token in ordinary_tokens(given):
        data = read(token)
        if data is None or (given.family == "sentencepiece" and is_byte_token(token)):
            continue
        if family == "byte-level":
            yield to_byte_level(data)
        elif (text := _whole_text(data)) is not None:
            yield text.replace(" ", SPACE_MARK)


def _whole_text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _template(definition: Definition, family: Family) -> Any:
    """The model's post-processor without the steps that belong to byte-level tokens where these are gone."""
    processor = copy.deepcopy(definition.data.get("post_processor"))
    if family == "byte-level" or not isinstance(processor, dict):
        return processor
    if processor.get("type") == "ByteLevel":
        return None
    if processor.get("type") == "Sequence":
        processor["processors"] = [part for part in processor.get("processors") or [] if part.get("type") != "ByteLevel"]
    return processor


def check_importable(given: Definition) -> None:
    """Refuse a tokenizer that cannot spell every byte."""
    if given.family == "byte-level":
        missing = [byte for byte in range(256) if to_byte_level(bytes([byte])) not in given.vocab]
    else:
        missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in given.vocab]
    if missing:
        raise TokenizerError(
            f"the tokenizer to import has no token for {len(missing)} of the 256 bytes, so text would be lost",
            "Choose a byte-level tokenizer or one with byte fallback",
        )
