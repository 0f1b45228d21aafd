"""Tables of keypoints as Parquet files, written in parts by pyarrow, or at once by polars."""

from __future__ import annotations

__all__ = ['FRAME_COLUMNS', 'IMAGE_COLUMNS', 'ParquetTable', 'check_parquet']

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from poseplug.core.errors import ConfigError

IMAGE_COLUMNS = {'image': str, 'instance': int, 'keypoint': str, 'x': float, 'y': float, 'score': float}
FRAME_COLUMNS = {'image': str, 'frame': int, 'seconds': float, 'id': int, **dict(list(IMAGE_COLUMNS.items())[1:])}
_MAX_ROWS_IN_MEMORY = 100_000
_POLARS_TYPES = {str: 'String', int: 'Int64', float: 'Float64'}
_ARROW_TYPES = {str: 'string', int: 'int64', float: 'float64'}


def check_parquet() -> str:
    """Return the package that writes Parquet files.

    Raises:
        ConfigError: neither pyarrow nor polars is installed.
    """
    package = next((name for name in ('pyarrow', 'polars') if find_spec(name)), None)
    if package is None:
        raise ConfigError('Parquet needs pyarrow or polars, of which none is installed; pip install pyarrow')
    return package


class ParquetTable:
    """A Parquet file in a `with` block; after an error it is removed.

    Args:
        file: path of the file, whose folder is created.
        columns: type of each column: str, int or float. A column that a row lacks is null.

    Raises:
        ConfigError: neither pyarrow nor polars is installed, or the file cannot be written.
    """

    def __init__(self, file: Path, columns: Mapping[str, type]):
        self.package, self.file, self.columns = check_parquet(), file, columns
        self.rows: list[Mapping[str, Any]] = []
        self.writer: Any = None

    def __enter__(self) -> ParquetTable:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.package == 'pyarrow':
                arrow = import_module('pyarrow')
                types = [(name, getattr(arrow, _ARROW_TYPES[kind])()) for name, kind in self.columns.items()]
                self.writer = import_module('pyarrow.parquet').ParquetWriter(str(self.file), arrow.schema(types))
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f'{self.file}: {reason}; name another file') from error
        return self

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, dicts of values by column."""
        self.rows.extend(rows)
        if self.writer is not None and len(self.rows) >= _MAX_ROWS_IN_MEMORY:
            self._write_rows()

    def _write_rows(self) -> None:
        table = import_module('pyarrow').Table.from_pylist(self.rows, schema=self.writer.schema)
        self.writer.write_table(table)
        self.rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish_file()
            elif self.writer is not None:
                self.writer.close()
                self.file.unlink(missing_ok=True)
        except OSError as failure:
            reason = failure.strerror or failure
            raise ConfigError(f'{self.file}: {reason}; name another file') from failure

    def _finish_file(self) -> None:
        if self.writer is not None:
            self._write_rows()
            self.writer.close()
            return
        polars = import_module('polars')
        values = {name: [row.get(name) for row in self.rows] for name in self.columns}
        schema = {name: getattr(polars, _POLARS_TYPES[kind]) for name, kind in self.columns.items()}
        polars.DataFrame(values, schema=schema).write_parquet(self.file)
