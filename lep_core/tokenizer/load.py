"""Get a `tokenizers.Tokenizer` from whatever the caller has, and turn failures of the Rust library into sentences.

A damaged or crafted `tokenizer.json` makes the Rust library raise a plain `Exception` or panic; a panic surfaces as
`PanicException`, which is a `BaseException` and would otherwise take a whole server thread with it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lep_core.errors import TokenizerError
from lep_core.models.folder import JSON_LIMIT_BYTES
from lep_core.models.tokenizer_steps import check_steps

_HIGHEST_ID = 10_000_000


@contextmanager
def rust_errors(what: str) -> Generator[None, None, None]:
    """Turn an error or a panic of the tokenizers library into a `TokenizerError` that begins with `what`."""
    try:
        yield
    except BaseException as error:
        # The library raises bare `Exception` for its own errors; subclasses (ValueError from our code, ...) stay as they are, but for
        # text that cannot enter it: lone surrogates.
        if type(error) in (Exception, UnicodeEncodeError) or type(error).__name__ == "PanicException":
            reason = str(error) or "the tokenizers library gave no reason"
            raise TokenizerError(
                f"{what}: {reason[:300]}", "Get a sound copy of tokenizer.json, for example from the model's page"
            ) from error
        raise


def read_definition(folder: str | Path) -> dict[str, Any]:
    """The parsed `tokenizer.json` of a folder (or of the file itself).

    Raises:
        TokenizerError: there is none, or it is not JSON, or not an object with a model.
    """
    path = Path(folder)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise TokenizerError(
            f"there is no tokenizer.json in {path.parent if path.name == 'tokenizer.json' else path}",
            "Save the tokenizer in the fast format: AutoTokenizer.from_pretrained(...).save_pretrained(folder)",
        )
    try:
        if path.stat().st_size > JSON_LIMIT_BYTES:
            raise TokenizerError(f"{path} is larger than {JSON_LIMIT_BYTES // 10**6} MB", "Get a sound copy of tokenizer.json")
        definition = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path} is not readable as JSON: {error}", "Get a sound copy of tokenizer.json") from error
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}", "Check the path and its rights") from error
    if not isinstance(definition, dict) or not isinstance(definition.get("model"), dict):
        raise TokenizerError(f"{path} describes no tokenizer model", "Get a sound copy of tokenizer.json")
    if not definition["model"].get("vocab"):
        raise TokenizerError(f"the tokenizer {path} has an empty vocabulary", "Get a sound copy of tokenizer.json")
    return definition


def tokenizer_from_definition(definition: dict[str, Any], what: str = "the tokenizer cannot be used") -> Tokenizer:
    """A tokenizer from parsed `tokenizer.json` content, without truncation and padding."""
    _check_definition(definition, what)
    with rust_errors(what):
        tokenizer = Tokenizer.from_str(json.dumps(definition, ensure_ascii=False))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return tokenizer


def _check_definition(definition: dict[str, Any], what: str) -> None:
    """Refuse before the library reads it: steps that let text grow, and an id far beyond any vocabulary (tables have a row for each id)."""
    vocabulary, added = definition["model"].get("vocab"), definition.get("added_tokens") or []
    table = vocabulary if isinstance(vocabulary, dict) else {}
    if isinstance(vocabulary, list):
        table = {str(entry[0]): number for number, entry in enumerate(vocabulary) if isinstance(entry, list) and entry}
    known = [token for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    ids = {**table, **{str(token.get("content")): token.get("id") for token in known}}
    highest = max((number for number in ids.values() if type(number) in (int, float)), default=0)
    if highest > _HIGHEST_ID:
        raise TokenizerError(f"{what}: it has a token with the id {highest}, above {_HIGHEST_ID}", "Get a sound copy of tokenizer.json")
    check_steps(definition, ids, what)


def as_tokenizer(source: Any) -> Tokenizer:
    """`source` as a `tokenizers.Tokenizer`: one itself, a transformers fast tokenizer, or a folder or file path."""
    if isinstance(source, Tokenizer):
        return source
    if isinstance(source, (str, Path)):
        what = f"{source} holds a tokenizer that cannot be used"
        definition, path = read_definition(source), Path(source)
        path = path / "tokenizer.json" if path.is_dir() else path
        _check_definition(definition, what)
        with rust_errors(what):
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        return tokenizer
    backend = getattr(source, "backend_tokenizer", None)
    if isinstance(backend, Tokenizer):
        return backend
    raise TokenizerError(
        f"{type(source).__name__} is not a fast tokenizer",
        "Give a folder with tokenizer.json, or a fast tokenizer of the tokenizers library",
    )


def definition_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of `tokenizer.json` that a tokenizer would be saved as."""
    with rust_errors("the tokenizer cannot be written"):
        return json.loads(tokenizer.to_str())


def bare(tokenizer: Tokenizer) -> Tokenizer:
    """Only the model of a tokenizer (shared, not copied): no normaliser, pre-tokeniser, added tokens or template."""
    return Tokenizer(tokenizer.model)
