"""Files that people upload: moved into the project, so that the job finds them however long it waits for its turn."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

from lep_core.errors import InputError


def keep_uploads(folder: Path, uploaded: list[str]) -> list[Path]:
    """Move uploads into a folder of the project under their own names; a name that is taken gets a number in front."""
    kept = []
    for item in uploaded:
        source = Path(item)
        if not source.is_file():
            raise InputError(
                f"the uploaded file {source.name} is no longer there", "Uploads that nobody uses go after a day: upload it again"
            )
        name = unicodedata.normalize("NFC", source.name)
        folder.mkdir(parents=True, exist_ok=True)
        target, number = folder / name, 2
        while target.exists():
            target, number = folder / f"{number}-{name}", number + 1
        shutil.move(source, target)
        kept.append(target)
    return kept
