"""What rows stand for: nearest neighbours of words in each model, and a common map of their rows.

    python -m lep_core explore-embeddings --model BASE TRAINED --words дом река

Tokens of different models are matched by canonical bytes (special tokens by their string). Matrices are read from the files in blocks:
a model of any size needs some hundred megabytes and no model is constructed.

Shapes: V vocabulary, Q queries, T tokens on the map, D hidden.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lep_core.config import ExploreEmbeddingsConfig
from lep_core.embeddings.neighbours import nearest_rows
from lep_core.embeddings.projection import principal_plane
from lep_core.embeddings.rows import read_rows, row_blocks
from lep_core.errors import ConfigError, ModelError
from lep_core.models import ModelFolder, inspect_model, load_tokenizer
from lep_core.names import distinct_names
from lep_core.progress import SILENT, Reporter
from lep_core.tokenizer.bytes import control_tokens, token_bytes
from lep_core.tokenizer.load import as_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL_SHARE, NEW_SHARE = 0.02, 0.5
DIGITS = 4

# A token as all models know it: its bytes, or the string of a special token.
Key = bytes | str


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A token and the cosine of its row with the word's."""

    token: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class WordNeighbours:
    """`token` shows the word's pieces, joined by " + " where it has several: the row is then their mean. `side`: "input" or "output"."""

    model: str
    word: str
    token: str
    pieces: int
    side: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, kw_only=True)
class ModelPoints:
    """Coordinates of the map's tokens in one model; None where it lacks the token."""

    name: str
    x: tuple[float | None, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class EmbeddingMap:
    """`kinds` are those of the first model's vocabulary: "shared" (it has the token), "new" (only others have it), "special"."""

    tokens: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    models: tuple[ModelPoints, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExploreEmbeddingsReport:
    """Result of `explore-embeddings`."""

    neighbours: tuple[WordNeighbours, ...]
    map: EmbeddingMap

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_summary(self) -> dict[str, Any]:
        """Neighbours as lines, and how many points the map has: the points are for drawing."""
        rows = [
            {"model": row.model, "word": row.word, "token": row.token, "side": row.side, "neighbours": _listed(row.neighbours)}
            for row in self.neighbours
        ]
        return {"neighbours": rows, "map_tokens": len(self.map.tokens)}


def explore_embeddings(config: ExploreEmbeddingsConfig, reporter: Reporter = SILENT) -> ExploreEmbeddingsReport:
    """Neighbours of `config.words` in every model, and the map.

    Raises:
        ModelError: a folder is damaged, or has no tokenizer.
        ConfigError: there is nothing to show.
    """
    if not config.words and not config.tokens:
        raise ConfigError("words", "no words are given and the map is off", "Give --words, or --tokens above 0")
    if not all(word.strip() for word in config.words):
        raise ConfigError("words", "--words holds an empty word", "Give words that have letters")
    names = distinct_names(config.model)
    models = [_Model(name, inspect_model(source)) for name, source in zip(names, config.model, strict=True)]
    neighbours: list[WordNeighbours] = []
    for number, model in enumerate(models):
        reporter.stage(f"neighbours in {model.name}")
        reporter.progress(number, len(models), "models")
        found = model.neighbours(config.words, config.limit)
        for word in sorted(set(config.words) - {row.word for row in found}):
            reporter.message(f"{model.name} has no token for {word}")
        neighbours += found
    reporter.stage("drawing the map")
    drawn = embedding_map(models, count=config.tokens, words=config.words, seed=config.seed) if config.tokens else EmbeddingMap()
    return ExploreEmbeddingsReport(neighbours=tuple(neighbours), map=drawn)


class _Model:
    """A model folder with its tokenizer and the ids of its tokens by key."""

    def __init__(self, name: str, folder: ModelFolder) -> None:
        if not folder.tokenizer_size:
            raise ModelError(f"{folder.path} has no tokenizer.json", "Give a model folder with its tokenizer")
        self.name, self.folder = name, folder
        self.tokenizer: Tokenizer = as_tokenizer(load_tokenizer(folder.path))
        self.control = control_tokens(self.tokenizer)
        self.spellings = token_bytes(self.tokenizer)
        self.ids: dict[Key, int] = {}
        for index, data in enumerate(self.spellings):
            if data is not None:
                self.ids.setdefault(data, index)
        self.ids.update(self.control)

    def shown(self, index: int) -> str:
        """One token as text."""
        data = self.spellings[index] if index < len(self.spellings) else None
        return self.tokenizer.id_to_token(index) or "" if data is None else data.decode("utf-8", "backslashreplace")

    def pieces(self, word: str) -> list[int]:
        """The word's ids as it stands inside a text, behind a space, or at its beginning, whichever takes fewer tokens."""
        clean = word.encode("utf-8", "replace").decode()
        inside, alone = (self.tokenizer.encode(text, add_special_tokens=False).ids for text in (f" {clean.lstrip()}", clean))
        exact = self.ids.get(word)
        if exact is not None:
            alone = [exact]
        return inside if len(inside) <= len(alone) else alone

    def neighbours(self, words: tuple[str, ...], count: int) -> list[WordNeighbours]:
        """For each word and side the nearest rows."""
        asked = [(word, tuple(pieces)) for word in words if (pieces := self.pieces(word))]
        sides = {"input": self.folder.input_name, "output": self.folder.output_name}
        rows: list[WordNeighbours] = []
        for side, name in sides.items():
            if name is None or not asked:
                continue
            slot = self.folder.slots[name]
            queries_QD = torch.stack([read_rows(slot, np.array(pieces)).mean(dim=0) for _, pieces in asked])
            blocks = row_blocks(slot, rows=self.folder.tokenizer_size)
            found = nearest_rows(blocks, queries_QD, [pieces for _, pieces in asked], count=count)
            for (word, pieces), near in zip(asked, found, strict=True):
                shown = tuple(
                    Neighbour(token=self.shown(index), similarity=cosine)
                    for index, cosine in zip(near.neighbour_ids, near.cosines, strict=True)
                )
                rows.append(
                    WordNeighbours(
                        model=self.name,
                        word=word,
                        token=" + ".join(map(self.shown, pieces)),
                        pieces=len(pieces),
                        side=side,
                        neighbours=shown,
                    )
                )
        return sorted(rows, key=lambda row: words.index(row.word))


def embedding_map(models: list[_Model], *, count: int, words: tuple[str, ...] = (), seed: int = 0) -> EmbeddingMap:
    """About `count` tokens on the plane of the first model's rows: the words' own tokens, some special ones, and a random part of the rest."""
    first = models[0]
    widths = {model.folder.hidden_size for model in models}
    if len(widths) > 1:
        given = ", ".join(f"{model.name} {model.folder.hidden_size}" for model in models)
        raise ConfigError("model", f"one map needs rows of one length, the models have {given}", "Choose models of one size, or --tokens 0")
    keys = _chosen(models, count=count, words=words, seed=seed)
    known = [key for key in keys if key in first.ids]
    ids = _ids(first, known)
    rows_TD = read_rows(first.folder.slots[first.folder.input_name], ids)
    is_bad_T = ~rows_TD.isfinite().all(dim=1)
    if is_bad_T.any():
        row = int(ids[is_bad_T.numpy()].min())
        raise ModelError(f"row {row} of {first.folder.input_name} of {first.folder.path} holds NaN or infinity", "Give sound weights")
    plane = principal_plane(rows_TD)
    points = []
    for model in models:
        present = [place for place, key in enumerate(keys) if key in model.ids]
        rows_TD = read_rows(model.folder.slots[model.folder.input_name], _ids(model, [keys[place] for place in present]))
        coordinates = np.full((len(keys), 2), np.nan)
        coordinates[present] = plane.project(rows_TD).numpy()
        x, y = (tuple(None if math.isnan(value) else float(f"{value:.{DIGITS}g}") for value in column) for column in coordinates.T)
        points.append(ModelPoints(name=model.name, x=x, y=y))
    return EmbeddingMap(
        tokens=tuple(key if isinstance(key, str) else key.decode("utf-8", "backslashreplace") for key in keys),
        kinds=tuple("special" if isinstance(key, str) else "shared" if key in first.ids else "new" for key in keys),
        models=tuple(points),
    )


def _chosen(models: list[_Model], *, count: int, words: tuple[str, ...], seed: int) -> list[Key]:
    """Tokens for the map; up to half of them are new ones, and only tokens that are readable text are drawn."""
    first, rng = models[0], np.random.default_rng(seed)
    asked: list[Key] = [data for model in models for word in words for index in model.pieces(word) if (data := model.spellings[index])]
    special: list[Key] = []
    special += islice(first.control, max(1, int(SPECIAL_SHARE * count)))
    readable: dict[Key, None] = {key: None for model in models for key in model.ids if isinstance(key, bytes) and _is_readable(key)}
    shared = [key for key in readable if key in first.ids]
    new = [key for key in readable if key not in first.ids]
    taken_new = min(len(new), max(int(NEW_SHARE * count), count - len(shared)))
    drawn = [*_sample(new, taken_new, rng), *_sample(shared, count - taken_new, rng)]
    return list(dict.fromkeys([*asked, *special, *drawn]))[: max(count, len(asked))]


def _sample(keys: list[Key], count: int, rng: np.random.Generator) -> list[Key]:
    chosen = rng.permutation(len(keys))[: max(0, count)]
    return [keys[place] for place in sorted(chosen)]


def _is_readable(data: bytes) -> bool:
    try:
        return data.decode().strip().isprintable() and bool(data.strip())
    except UnicodeDecodeError:
        return False


def _ids(model: _Model, keys: list[Key]) -> NDArray[np.int64]:
    return np.array([model.ids[key] for key in keys], dtype=np.int64)


def _listed(neighbours: tuple[Neighbour, ...]) -> str:
    return "  ".join(f"{_legible(near.token)} {near.similarity:.2f}" for near in neighbours)


def _legible(token: str) -> str:
    """The token without spaces around it; in quotes where nothing is left or a control character would reach the screen."""
    text = token.strip()
    return text if text and text.isprintable() else repr(token)
