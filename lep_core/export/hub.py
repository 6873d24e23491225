"""Upload an exported folder to the hub: only when asked by name, with the token of HF_TOKEN, which is never written or shown.

`HF_ENDPOINT` and `HF_HUB_OFFLINE` are those of huggingface_hub. Whatever goes wrong, the folder on the disk stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lep_core.errors import ConfigError, ResourceError
from lep_core.progress import SILENT, Reporter

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - the name of the variable
MESSAGE = "Upload with LEP Studio"
WRITING_RIGHTS = "Check that the token may write to this repository, and the name"


def obstacle() -> str | None:
    """Why nothing can be uploaded now: "offline", "token", or None."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "offline"
    return None if os.environ.get(TOKEN_VARIABLE) else "token"


def check_push(repository: str) -> None:
    """Say before the work what would stop the upload.

    Raises:
        ConfigError: offline, or no token.
    """
    found = obstacle()
    if found == "offline":
        raise ConfigError(
            "push_to", f"--push-to {repository} needs the network and HF_HUB_OFFLINE is set", "Unset HF_HUB_OFFLINE, or leave --push-to out"
        )
    if found == "token":
        raise ConfigError(
            "push_to", f"--push-to {repository} needs a token of the hub and HF_TOKEN is not set", "Set HF_TOKEN to a token that may write"
        )


def push_folder(folder: Path, repository: str, *, private: bool, reporter: Reporter = SILENT) -> str:
    """Upload all files of a folder into a repository, which is made when it does not exist; returns its address.

    Raises:
        ResourceError: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    reporter.stage("uploading to the hub")
    disable_progress_bars()
    api = HfApi(token=os.environ[TOKEN_VARIABLE])
    # The library of HTTP under huggingface_hub has changed its name before: its error is a base of this one.
    http_errors: Any = HfHubHTTPError.__bases__
    try:
        address = api.create_repo(repository, private=private, repo_type="model", exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=repository, repo_type="model", commit_message=MESSAGE)
    except (*http_errors, OSError, ValueError, RuntimeError) as error:
        # Only the kind and the number: messages of the hub repeat addresses and headers.
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"the hub answered {status}" if status else f"the hub cannot be reached ({type(error).__name__})"
        raise ResourceError(
            f"{folder} was not uploaded to {repository}: {reason}; the folder stays where it is",
            WRITING_RIGHTS if status else "Check the network and export again with --overwrite",
        ) from None
    return str(address)
