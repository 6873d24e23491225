"""Data sets of the hub: streamed row by row, or read from what was downloaded before.

hf://owner/name?config=NAME&split=NAME
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from lep_core.corpus.records import BadRowHandler, Row, TextField
from lep_core.errors import CorpusError

OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def hub_rows(name: str, field: TextField, bad: BadRowHandler) -> Iterator[Row]:
    """Rows of `hf://owner/name?config=...&split=...`, streamed; the split is `train` unless given.

    Offline the data set must have been downloaded whole before (`hf download owner/name --repo-type dataset`).
    """
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(name)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    repository = (parts.netloc + parts.path).strip("/")
    if not repository or set(options) - {"config", "split"}:
        raise CorpusError(f"{name} is no data set name", "Write hf://owner/name, if need be with ?config=NAME&split=NAME")
    try:
        import datasets
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise CorpusError(f"{name} needs the package {error.name}", "Install it with: pip install datasets") from error
    offline = any(os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE") for variable in OFFLINE_VARIABLES)
    place = _downloaded(repository, name) if offline else repository
    # The library of HTTP under huggingface_hub has changed its name before: its error is a base of this one.
    http_errors: Any = HfHubHTTPError.__bases__
    try:
        rows = datasets.load_dataset(place, options.get("config"), split=options.get("split", "train"), streaming=True)
        for number, record in enumerate(rows, 1):
            text = field.of(record, number, bad)
            if text is not None:
                yield number, text
    except (*http_errors, OSError, ValueError, KeyError, RuntimeError, DatasetsError) as error:
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise CorpusError(f"{name} cannot be read ({reason})", "Check the name, the split and the connection") from error


def _downloaded(repository: str, name: str) -> str:
    """Where the hub's own download tool has put a data set on this machine; nothing is asked from the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(repository, repo_type="dataset", local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise CorpusError(
            f"{name} cannot be read: this runs offline (HF_HUB_OFFLINE is set), and it was not downloaded before",
            f"Unset HF_HUB_OFFLINE, or download it where there is a network: hf download {repository} --repo-type dataset",
        ) from error
