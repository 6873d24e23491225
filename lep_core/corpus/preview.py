"""Reading a corpus folder: its summary, pages of documents, all documents. One row group is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lep_core.corpus.source import CORPUS_DOCUMENTS, CORPUS_SUMMARY, is_corpus_folder
from lep_core.errors import CorpusError
from lep_core.files import read_json

BATCH_ROWS = 512


def load_summary(folder: Path | str) -> dict[str, Any]:
    """The content of corpus.json.

    Raises:
        CorpusError: the folder is no corpus, or corpus.json is damaged.
    """
    folder = Path(folder)
    if not is_corpus_folder(folder):
        raise CorpusError(f"{folder} is no corpus folder", "Make one with add-corpus")
    try:
        summary = read_json(folder / CORPUS_SUMMARY)
    except (OSError, ValueError) as error:
        raise CorpusError(f"{folder / CORPUS_SUMMARY} cannot be read ({error})", "Add the corpus again") from error
    if not isinstance(summary, dict):
        raise CorpusError(f"{folder / CORPUS_SUMMARY} holds no summary of a corpus", "Add the corpus again")
    return summary


def has_heldout(folder: Path | str) -> bool:
    """Whether a corpus keeps documents apart for measuring."""
    try:
        return load_summary(folder)["splits"]["heldout"]["documents"] > 0
    except (KeyError, TypeError) as error:
        raise CorpusError(f"{Path(folder) / CORPUS_SUMMARY} holds no summary of a corpus", "Add the corpus again") from error


def preview(
    folder: Path | str, offset: int = 0, count: int = 20, split: str = "all", *, maximum_characters: int | None = None
) -> list[dict[str, Any]]:
    """A page of documents: `index` (within the split), `text`, `source`, `line`, `split`, `characters`.

    `maximum_characters` cuts long texts; `characters` is always the length of the whole.
    """
    folder = Path(folder)
    if not is_corpus_folder(folder):
        raise CorpusError(f"{folder} is no corpus folder", "Make one with add-corpus")
    offset, count = max(0, offset), max(0, count)
    rows: list[dict[str, Any]] = []
    with _opened(folder / CORPUS_DOCUMENTS) as file:
        import pyarrow as pa

        passed = 0
        for group in range(file.num_row_groups):
            if len(rows) == count:
                break
            matching = _matching_rows(file, group, split)
            wanted = matching[max(0, offset - passed) : max(0, offset - passed) + count - len(rows)]
            first = passed + max(0, offset - passed)
            passed += len(matching)
            if wanted:
                table = file.read_row_group(group, use_threads=False).take(pa.array(wanted, type=pa.int64()))
                rows += [_page_row(first + place, row, maximum_characters) for place, row in enumerate(table.to_pylist())]
    return rows


def stored_documents(path: Path, progress: Callable[[float], None] = lambda share: None) -> Iterator[tuple[str, int, str, str]]:
    """All rows of documents.parquet as (source, line, split, text), streamed."""
    with _opened(path) as file:
        done, total = 0, max(1, file.metadata.num_rows)
        columns = ["source", "line", "split", "text"]
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            done += batch.num_rows
            progress(done / total)


def _page_row(index: int, row: dict[str, Any], maximum_characters: int | None) -> dict[str, Any]:
    text = row["text"]
    shown = text if maximum_characters is None else text[:maximum_characters]
    return {"index": index, "text": shown, "source": row["source"], "line": row["line"], "split": row["split"], "characters": len(text)}


def _matching_rows(file: Any, group: int, split: str) -> Any:
    if split == "all":
        return range(file.metadata.row_group(group).num_rows)
    splits = file.read_row_group(group, columns=["split"], use_threads=False).column("split").to_pylist()
    return [place for place, value in enumerate(splits) if value == split]


class _opened:
    """A parquet file of a corpus; damage becomes a `CorpusError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 18)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        missing = {"text", "source", "line", "split"} - set(self._file.schema_arrow.names)
        if missing:
            self._file.close()
            raise CorpusError(f"{self._path} lacks the columns {', '.join(sorted(missing))}", "Add the corpus again")
        return self._file

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow as pa

        self._file.close()
        if isinstance(error, (pa.ArrowException, OSError, UnicodeDecodeError)):
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> CorpusError:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return CorpusError(f"{self._path} is damaged ({reason})", "Add the corpus again")
