"""What propagated models have to show: fits as rows and series, what deserves a warning, and the settings that a method takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lep_core.risk import LARGE_MOVE
from lep_core.runs.run import Run
from lep_core.runs.workspace import Project
from ui.i18n import Translator
from ui.material import CONTROL, finished, number_of, result_of, run_name
from ui.messages import escape

MATRICES = ("input", "output")
FIT_COLUMNS: dict[str, tuple[str, ...]] = {
    "tokens": ("tokens",),
    "rank": ("rank", "hidden_size"),
    "condition_number": ("condition_number",),
    "relative_residual": ("relative_residual", "identity_residual"),
    "heldout_residual": ("heldout_residual", "heldout_identity_residual"),
    "distance_from_identity": ("distance_from_identity",),
}
"""Column -> the figures of a fit that stand in it."""
_WEIGHTED = ("rcond", "gamma", "input", "text_field", "encoding")
_FITTED = (*_WEIGHTED, "leave_out_special")
METHOD_FIELDS: dict[str, tuple[str, ...]] = {
    "swap": (),
    "overlap": _WEIGHTED,
    "conversion": _FITTED,
    "ridge": ("alpha", *_FITTED),
    "residual-carry": _FITTED,
    "chat-vector": (),
    "procrustes": _FITTED,
    "low-rank": ("rank", *_FITTED),
}
"""Settings that only some methods take; all others hold for every method."""
DRAWN_TO_IDENTITY = ("ridge", "low-rank", "procrustes")
ILL_CONDITIONED = 1e6
WORSE = 1.01
"""A map is called worse than none when its held-out residual is that much larger."""
SHOWN_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A finished propagation with the names that it goes by: in tables, and in charts where room is short."""

    run: Run
    name: str
    short_name: str
    method: str
    report: dict[str, Any]

    @property
    def fits(self) -> list[tuple[str, Mapping[str, Any]]]:
        """(matrix, fit report) of input embedding and head; a tied model has one matrix."""
        return [(name, self.report[name]) for name in MATRICES if isinstance(self.report.get(name), Mapping)]


def propagations(project: Project, t: Translator) -> list[Shown]:
    """The newest finished propagations of trained models, newest first."""
    runs = [run for run in finished(project, "propagate") if not run.inputs.get(CONTROL)][:SHOWN_RUNS]
    return [
        Shown(
            run=run,
            name=run_name(run, project, t),
            short_name=f"{number_of(run, project)} · {run.config.get('method')}",
            method=str(run.config.get("method")),
            report=result_of(run),
        )
        for run in runs
    ]


def settings_for(methods: Iterable[str]) -> frozenset[str]:
    """Settings that at least one of the methods takes, of those that not all take."""
    return frozenset(name for method in methods for name in METHOD_FIELDS.get(method, ()))


def special_settings() -> frozenset[str]:
    """Settings that belong to some methods only."""
    return settings_for(METHOD_FIELDS)


def values_for(method: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a method takes."""
    unused = special_settings() - settings_for([method])
    return {"method": method, **{name: value for name, value in values.items() if name not in unused}}


def fit_rows(shown: Sequence[Shown], t: Translator) -> list[list[str]]:
    """One row per result and matrix."""
    rows = []
    for item in shown:
        for matrix, fit in item.fits:
            rows.append(
                [item.short_name, t(f"fit.{matrix}"), *(_figures(fit, names, t) for names in FIT_COLUMNS.values()), options_text(fit)]
            )
    return rows


def _figures(fit: Mapping[str, Any], names: Sequence[str], t: Translator) -> str:
    values = [fit.get(name) for name in names]
    if values[0] is None:
        return "–"
    return " / ".join(t.number(value) if isinstance(value, int) else f"{value:.3g}" for value in values if value is not None)


def options_text(fit: Mapping[str, Any]) -> str:
    """What the method chose or was given: alpha of ridge, rank of the correction."""
    parts = []
    if fit.get("alpha") is not None:
        parts.append(f"α = {fit['alpha']:.3g}")
    if fit.get("correction_rank") is not None:
        parts.append(f"r = {fit['correction_rank']}")
    return ", ".join(parts) or "–"


def residual_series(shown: Sequence[Shown], matrix: str, t: Translator) -> tuple[list[str], dict[str, list[float | None]]]:
    """Results, and for each of fitted, held-out and identity one residual per result."""
    found = [(item.short_name, dict(item.fits)[matrix]) for item in shown if matrix in dict(item.fits)]
    fields = ("relative_residual", "heldout_residual", "heldout_identity_residual")
    return [name for name, _ in found], {t(f"residual.{field}"): [fit.get(field) for _, fit in found] for field in fields}


def curve_name(item: Shown, matrix: str, t: Translator) -> str:
    """What a curve of singular values is called."""
    return f"{item.short_name} · {t(f'fit.{matrix}')}"


def spectra(shown: Sequence[Shown], t: Translator) -> dict[str, tuple[list[int], list[float]]]:
    """Singular values of each fit; methods that fit the same rows share one curve."""
    series: dict[str, tuple[list[int], list[float]]] = {}
    seen: set[tuple[float, ...]] = set()
    for item in shown:
        for matrix, fit in item.fits:
            values = [value for value in fit.get("singular_values") or [] if value and value > 0]
            digest = tuple(round(value, 6) for value in values)
            if len(values) > 1 and digest not in seen:
                seen.add(digest)
                series[curve_name(item, matrix, t)] = (list(range(1, len(values) + 1)), values)
    return series


def cross_validations(shown: Sequence[Shown], t: Translator) -> dict[str, tuple[list[float], list[float]]]:
    """Residual on unseen tokens against the strength of the ridge, for each fit that chose it so."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for item in shown:
        for matrix, fit in item.fits:
            points = sorted((row["alpha"], row["residual"]) for row in fit.get("cross_validation") or [] if row["alpha"] > 0)
            if points:
                name = f"{item.short_name} · {t(f'fit.{matrix}')} · α = {fit.get('alpha'):.3g}"
                series[name] = ([alpha for alpha, _ in points], [residual for _, residual in points])
    return series


def worst_rows(shown: Sequence[Shown], t: Translator, *, most: int = 8) -> list[list[str]]:
    """Tokens that each map misses most."""
    return [
        [item.short_name, t(f"fit.{matrix}"), repr(token["token"])[1:-1], f"{token['relative_residual']:.3g}"]
        for item in shown
        for matrix, fit in item.fits
        for token in (fit.get("worst_tokens") or [])[:most]
    ]


def warnings(shown: Sequence[Shown], t: Translator) -> list[str]:
    """Markdown sentences about fits that deserve no blind trust; each kind of doubt is said once, with the fits that it holds for."""
    places: dict[str, list[str]] = {}
    for item in shown:
        for matrix, fit in item.fits:
            for key, figures in _doubts(item.method, matrix, fit, t).items():
                places.setdefault(key, []).append(f"**{escape(item.short_name)}**, {t(f'fit.{matrix}')} ({figures})")
    return [f"{t(f'propagate.warn_{key}')} {'; '.join(found)}." for key, found in places.items()]


def _doubts(method: str, matrix: str, fit: Mapping[str, Any], t: Translator) -> dict[str, str]:
    """Kind of doubt -> the figures that it comes from."""
    said = {}
    moved = fit.get("moved_shared")
    if moved is not None and moved > LARGE_MOVE[matrix]:
        said["moved"] = f"{100 * moved:.0f} %"
    rank, hidden, condition = fit.get("rank"), fit.get("hidden_size"), fit.get("condition_number")
    if rank is not None and hidden and rank < hidden:
        said["rank_identity" if method in DRAWN_TO_IDENTITY else "rank"] = f"{t.number(rank)} / {t.number(hidden)}"
    elif condition is not None and condition > ILL_CONDITIONED and method != "ridge":
        said["condition"] = f"{condition:.2g}"
    heldout, identity = fit.get("heldout_residual"), fit.get("heldout_identity_residual")
    if heldout is not None and identity is not None and heldout > WORSE * identity:
        said["worse"] = f"{heldout:.3g} / {identity:.3g}"
    if fit.get("alpha"):
        tried = [row["alpha"] for row in fit.get("cross_validation") or []]
        said["ridge_edge" if tried and fit["alpha"] == max(tried) else "ridge"] = f"α = {fit['alpha']:.3g}"
    return said


def proof_text(shown: Sequence[Shown], t: Translator) -> str:
    """Markdown: whether the results load in plain transformers with equal logits."""
    lines = []
    for equal, key in ((True, "equal"), (False, "differ"), (None, "unknown")):
        names = [escape(item.short_name) for item in shown if item.report.get("logits_equal") is equal]
        if names:
            lines.append(f"{t(f'propagate.logits_{key}')} **{', '.join(names)}**.")
    return "  \n".join(lines) or t("propagate.none")


def place_lines(shown: Sequence[Shown], t: Translator) -> str:
    """Markdown: where each result lies and what writing it took."""
    lines = []
    for item in shown:
        report, parts = item.report, [f"**{escape(item.name)}**"]
        if report.get("bytes_written") is not None:
            written = t.number(report["bytes_written"] / 2**20, 1)
            parts.append(t("propagate.written", mib=written, linked=t.number(report.get("shards_linked") or 0)))
        if report.get("seconds") is not None:
            parts.append(t("jobs.seconds", time=t.duration(report["seconds"])))
        lines.append(f"- {' · '.join(parts)}  \n  {escape(item.run.output)}")
    return "\n".join(lines)


def method_lines(methods: Sequence[str], t: Translator) -> str:
    """Markdown: what each method does, in one sentence with its formula."""
    lines = []
    for method in methods:
        key = f"method.{method}"
        if t.has(key):
            lines.append(f"- **{escape(method)}** `{t(f'method_formula.{method}')}` – {t(key)}")
    return "\n".join([*lines, "", t("propagate.letters")])
