"""Where the demo's base and instruct model lie."""

from __future__ import annotations

from pathlib import Path

from lep_core.errors import ModelError

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "demo"


def demo_pair(folder: Path = ASSETS) -> tuple[Path, Path]:
    """The folders of the demo's base and instruct model.

    Raises:
        ModelError: they are not there, for example because only the package was installed, without the assets.
    """
    base, instruct = folder / "base", folder / "instruct"
    for model in (base, instruct):
        missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (model / name).is_file()]
        if missing:
            raise ModelError(
                f"the demo's model folder {model} lacks {', '.join(missing)}",
                f"Rebuild the pair with: python -m lep_core.demo.pair --output {folder} --overwrite",
            )
    return base, instruct
