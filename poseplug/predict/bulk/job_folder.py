"""The output folder of a job over many images: what it is a job of, its parts, and which of them are done."""

from __future__ import annotations

__all__ = ['JobFolder', 'compute_list_digest']

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.files.atomic import open_atomically, write_atomically
from poseplug.files.jsonable import to_json_text
from poseplug.files.parquet_table import IMAGE_COLUMNS, ParquetTable
from poseplug.predict.result_files import raise_write_errors

# An image without instances has one row, whose other columns are null.
_PARQUET_COLUMNS = {'image': str, 'width': int, 'height': int, **dict(list(IMAGE_COLUMNS.items())[1:])}


def compute_list_digest(paths: Iterable[str]) -> str:
    """Compute the SHA-256 of a list of paths, in hexadecimal digits.

    Example:
        >>> compute_list_digest(['a.jpg', 'b.jpg']) == compute_list_digest(['b.jpg', 'a.jpg'])
        False
    """
    digest = hashlib.sha256()
    for path in paths:
        # the zero byte, which no path has, keeps ['ab'] and ['a', 'b'] apart
        digest.update(path.encode('utf-8', 'surrogateescape') + b'\0')
    return digest.hexdigest()


class JobFolder:
    """Names, writes and reads the files of a job.

    A part is written before its record in `done/`, both in one step each, so that a record stands for a whole part.

    Args:
        out: the output folder.
        is_parquet: whether parts are Parquet files instead of lines of JSON.
    """

    def __init__(self, out: Path, is_parquet: bool = False):
        self.out, self.is_parquet = out, is_parquet

    def get_part_file(self, number: int) -> Path:
        """Return the path of the results of a chunk."""
        suffix = '.parquet' if self.is_parquet else '.jsonl'
        return self.out / f'part-{number:06d}{suffix}'

    def get_done_file(self, number: int) -> Path:
        """Return the path of the record that a chunk is done."""
        return self.out / 'done' / f'part-{number:06d}.json'

    def get_position_file(self, number: int) -> Path:
        """Return the path of the note of which input of a chunk is being predicted by itself."""
        return self.out / 'done' / f'part-{number:06d}.position'

    def get_timeout_file(self, number: int) -> Path:
        """Return the path of the note of where a chunk took too much time; it is empty until then."""
        return self.out / 'done' / f'part-{number:06d}.timeout'

    def open_job(self, description: Mapping[str, Any], resume: bool) -> None:
        """Begin a job, or go on with the one that the folder has.

        Args:
            description: what decides the results: the list, the chunks, the model, the options.
            resume: go on with the job in the folder, if there is one.

        Raises:
            ConfigError: the folder has a job already and `resume` is false, or it has another job.
        """
        job_file = self.out / 'job.json'
        content = json.loads(to_json_text(description))
        with raise_write_errors(self.out):
            if not job_file.exists():
                write_atomically(job_file, (json.dumps(content, indent=1) + '\n').encode())
                return
            before = _parse_job(job_file)
        if not resume:
            raise ConfigError(f'{job_file}: a job is there already; go on with it by --resume, or name another --out')
        for key in sorted({*before, *content}):
            if before.get(key) != content.get(key):
                values = f'{key} was {before.get(key)!r} and is now {content.get(key)!r}'
                raise ConfigError(f'{job_file}: {values}; give what it was, or name another --out')

    def list_done(self) -> set[int]:
        """Return the numbers of the chunks that are done."""
        return {int(file.stem.removeprefix('part-')) for file in (self.out / 'done').glob('part-*.json')}

    def write_part(self, number: int, lines: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        """Write the results of a chunk, then the record that it is done.

        Args:
            number: of the chunk.
            lines: an image each, or a row each of a Parquet file.
            record: counts, and the bad inputs.

        Raises:
            ConfigError: a file cannot be written.
        """
        part_file = self.get_part_file(number)
        with raise_write_errors(part_file):
            write_atomically(part_file, _format_parquet(lines) if self.is_parquet else _format_lines(lines))
            self.get_position_file(number).unlink(missing_ok=True)
            write_atomically(self.get_done_file(number), to_json_text(record).encode())

    def iterate_records(self, num_chunks: int) -> Iterator[dict[str, Any]]:
        """Yield the records of the chunks in their order; all of them are done."""
        for number in range(num_chunks):
            with raise_write_errors(self.out):
                yield json.loads(self.get_done_file(number).read_bytes())

    def write_summary(self, num_chunks: int, header: Mapping[str, Any]) -> dict[str, int]:
        """Write `dead_letters.jsonl` and `summary.json` from the records of all chunks.

        Args:
            num_chunks: of the job.
            header: what results mean, as `build_result_header` returns it; empty if no worker was started.

        Returns:
            The numbers of inputs, predicted images, instances, bad inputs and parts.
        """
        counts = dict.fromkeys(('inputs', 'predicted', 'instances', 'bad'), 0)
        with raise_write_errors(self.out), open_atomically(self.out / 'dead_letters.jsonl') as file:
            for record in self.iterate_records(num_chunks):
                for name in ('inputs', 'predicted', 'instances'):
                    counts[name] += record[name]
                counts['bad'] += len(record['bad'])
                file.write(_format_lines(record['bad']))
        counts['parts'] = num_chunks
        summary_file = self.out / 'summary.json'
        # of a job that was complete before, the file has the header already
        if header or not summary_file.exists():
            text = to_json_text({**header, **counts}, indent=1)
            with raise_write_errors(summary_file):
                write_atomically(summary_file, (text + '\n').encode())
        return counts


def _parse_job(job_file: Path) -> dict[str, Any]:
    try:
        content = json.loads(job_file.read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError(f'{job_file}: no description of a job; name another --out')
    return content


def _format_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return ''.join(to_json_text(line) + '\n' for line in lines).encode()


def _format_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    # pyarrow and polars write to a path; the bytes then go the same way as lines, in one step
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        file = Path(folder) / 'part.parquet'
        with ParquetTable(file, _PARQUET_COLUMNS) as table:
            table.add_rows(rows)
        return file.read_bytes()
