"""The layers of docs/architecture.md hold: imports point downwards only, light modules stay light, forbidden calls stay out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAGES = (
    "corpus",
    "tokenizer",
    "embeddings",
    "training",
    "propagation",
    "tuning",
    "calibration",
    "evaluation",
    "inference",
    "export",
    "demo",
)
FOUNDATION = {"errors", "progress", "files", "config", "models", "measuring", "names", "ranks", "risk"}
# stage -> other stages that it may use
BETWEEN_STAGES = {
    "embeddings": {"tokenizer"},
    "propagation": {"tokenizer"},
    "training": {"tokenizer"},
    # Conversations are read like corpora, rendered as chat renders them, and learned with the parts of training.
    "tuning": {"corpus", "tokenizer", "training", "propagation", "inference"},
    "calibration": {"tuning", "inference", "evaluation"},
    "evaluation": {"inference"},
    "inference": {"tokenizer"},
    "export": {"tokenizer", "inference"},
}
HEAVY = {"torch", "transformers", "gradio", "datasets", "pandas", "plotly", "accelerate"}
STUDIES = sorted(ROOT.glob("studies/**/*.py"))
SOURCES = sorted([*ROOT.glob("lep_core/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "app.py"])


def imports_of(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _module_level(tree) if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _module_level(tree: ast.Module):
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        is_type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.If | ast.Try | ast.With) and not is_type_checking:
            pending.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


def place_of(name: str) -> str | None:
    """ "tokenizer" for lep_core.tokenizer.bytes.token_bytes, "pipeline" for lep_core.pipeline, None for foreign modules."""
    parts = name.split(".")
    return parts[1] if parts[0] == "lep_core" and len(parts) > 1 else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards_only(path):
    relative = path.relative_to(ROOT).with_suffix("").parts
    names = imports_of(path)
    places = {place for name in names if (place := place_of(name))}
    if relative[0] != "lep_core":
        return
    own = relative[1] if len(relative) > 1 else "__init__"
    assert not any(name.split(".")[0] in {"ui", "gradio", "app"} for name in names), "the core knows nothing of the user interface"
    if own in FOUNDATION:
        # models loads and hashes; reading a tokenizer definition belongs to tokenizer.load
        assert places <= FOUNDATION | ({"tokenizer"} if own == "models" else set())
    elif own in STAGES and relative[1:] != ("demo", "run"):
        allowed = FOUNDATION | {own, "__version__"} | BETWEEN_STAGES.get(own, set())
        assert places <= allowed, f"{places - allowed} may not be used by a stage"
    elif own == "runs":
        assert places <= FOUNDATION | {"runs", "pipeline", "__version__"}
    elif own == "jobs":
        assert places <= FOUNDATION | {"runs", "jobs", "pipeline"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_studies_use_the_core_only(path):
    names = imports_of(path)
    assert not any(name.split(".")[0] in {"ui", "gradio", "app", "tests", "benchmarks"} for name in names)
    assert not {place for name in names if (place := place_of(name))} & {"jobs", "runs", "cli", "execute"}


def test_nothing_uses_the_studies():
    assert not any(name.split(".")[0] in {"studies", "benchmarks"} for path in SOURCES for name in imports_of(path))


LIGHT = (
    "errors",
    "progress",
    "files",
    "config",
    "cli",
    "__main__",
    "__init__",
    "execute",
    "pipeline",
    "adapt",
    "runs",
    "jobs",
    "tokenizer",
    "corpus",
)


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).with_suffix("").parts[1:2] and p.relative_to(ROOT).with_suffix("").parts[0] == "lep_core"],
                         ids=lambda path: str(path.relative_to(ROOT)))  # fmt: skip
def test_light_modules_import_nothing_heavy_at_module_level(path):
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    heavy = {name.split(".")[0] for name in imports_of(path, top_level_only=True)} & HEAVY
    if own in LIGHT:
        assert not heavy
    elif own in ("training", "models", "embeddings", "propagation", "tuning", "calibration", "evaluation", "inference"):
        # These must run on a machine that has torch and transformers only.
        assert not heavy & {"gradio", "datasets", "pandas", "plotly"}


def test_help_comes_without_importing_torch():
    code = "import sys, lep_core.cli, lep_core.pipeline; assert not {'torch', 'transformers', 'gradio', 'datasets'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


FORBIDDEN_NAMES = {"eval", "exec"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "shelve"}


@pytest.mark.parametrize("path", [*SOURCES, *STUDIES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unsafe_calls(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {name.split(".")[0] for name in imports_of(path)} & FORBIDDEN_MODULES
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, f"line {node.lineno}"
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func)
            assert owner not in {"torch.load", "os.system", "gr.HTML"}, f"line {node.lineno}"
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            assert not (
                keyword.arg in {"trust_remote_code", "shell", "weights_only"} and value is True and keyword.arg != "weights_only"
            ), f"line {node.lineno}"
            assert not (keyword.arg == "sanitize_html" and value is False), f"line {node.lineno}"


@pytest.mark.parametrize("path", [*SOURCES, *STUDIES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_swallowed_exceptions(path):
    """`except Exception` that hides a fault: a handler of everything must raise, report or record."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"}):
            assert not all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body), f"line {node.lineno}"
