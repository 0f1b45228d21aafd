"""Result files that are written as the work goes on: lines of JSON, tables, and results.json made from the lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from poseplug.core.errors import ConfigError
from poseplug.core.poses import POSES_CSV_COLUMNS, Poses
from poseplug.files.atomic import open_atomically
from poseplug.files.jsonable import to_json_text

RESULTS_STEM = 'results'  # of results.jsonl, results.json and results.csv
_RESULTS_START, _MAX_START_BYTES = r'\s*\{\s*"model":', 4096  # of results.json, see `build_result_header`
LINE_KINDS = ('images', 'videos', 'skipped')  # the lists of results.json


def iterate_results(json_file: Path, title: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of a list of results.json one by one: memory holds one, however many there are.

    Args:
        json_file: a results.json that this package wrote, an entry a line.
        title: of the list: 'images', 'videos' or 'skipped'.
    """
    decoder, is_inside = json.JSONDecoder(), False
    with open(json_file, encoding='utf-8') as lines:
        for line in lines:
            # the layout that `ResultLines.close` writes: a list begins with one space, an entry with two
            if line.startswith(' "'):
                is_inside = line.startswith(f' "{title}": [')
            elif is_inside and line.startswith('  {'):
                # what follows the object is a comma, except after the last
                yield decoder.raw_decode(line.strip())[0]


def check_earlier_results(out: Path, save_csv: bool) -> None:
    """Check that the results in an output folder are those of an earlier run, which a new run replaces.

    Args:
        out: the folder, which need not exist.
        save_csv: whether the run also writes results.csv.

    Raises:
        ConfigError: results.json, or results.csv, is the file of another program.
    """
    starts = {f'{RESULTS_STEM}.json': _RESULTS_START}
    if save_csv:
        starts[f'{RESULTS_STEM}.csv'] = re.escape(','.join(POSES_CSV_COLUMNS))
    for name, start in starts.items():
        file = out / name
        if not file.is_file():
            continue
        with raise_write_errors(file), open(file, 'rb') as opened:
            text = opened.read(_MAX_START_BYTES).decode(errors='replace')
        # a run that the machine's end cut may leave an empty file
        if text and not re.match(start, text):
            raise ConfigError(
                f'{file} would be overwritten, but no run of poseplug predict wrote it; move it, or name another '
                f'folder for --out'
            )


class PartialTextFile:
    """A text file that is written line by line as FILE.partial and renamed when it is complete.

    Args:
        file: path of the complete file.
        appends: write behind the lines of a FILE.partial that is there.

    Raises:
        ConfigError: the file cannot be written, now or later.
    """

    def __init__(self, file: Path, appends: bool = False):
        self.file, self.partial_file = file, file.with_name(f'{file.name}.partial')
        with raise_write_errors(self.partial_file):
            self.stream = open_text_lines(self.partial_file, appends)

    def write(self, text: str) -> None:
        """Write text, whose complete lines are on the disk at once."""
        with raise_write_errors(self.partial_file):
            self.stream.write(text)

    def __enter__(self) -> PartialTextFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with raise_write_errors(self.partial_file):
            self.stream.close()
            if kind is None:
                self.partial_file.replace(self.file)


def open_text_lines(file: Path, appends: bool = False) -> IO[str]:
    """Open a text file for writing line by line; a killed run leaves all lines that were written."""
    # A name that is no UTF-8 (the bytes of an old archive) is written with escapes, so that the file stays readable.
    return open(file, 'a' if appends else 'w', newline='', buffering=1, encoding='utf-8', errors='backslashreplace')


@contextmanager
def raise_write_errors(file: Path) -> Iterator[None]:
    """Raise a `ConfigError` that names the file in place of an error of the system."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{file}: {reason}; name another folder for --out') from error


class ResultLines:
    """`results.jsonl.partial`, a line per image and video that is written when its result is known, and `results.json`.

    The first line has the header. Files of an earlier run are replaced.

    Args:
        out: folder of both files; it is created.
        header: what the results mean, as `build_result_header` returns it.
        unread_counts: number of files in the input folders that were not read, by suffix.
        finished: kind ('images' or 'videos') and content of the lines of a run that was cut.

    Attributes:
        json_file: path of `results.json`, which `close` writes.

    Raises:
        ConfigError: the folder or a file cannot be written, now or later.
    """

    def __init__(
        self,
        out: Path,
        header: Mapping[str, Any],
        unread_counts: Mapping[str, int],
        finished: Iterable[tuple[str, Mapping[str, Any]]] = (),
    ):
        self.header = {**header, 'unread_files': dict(unread_counts)}
        self.lines_file, self.json_file = out / f'{RESULTS_STEM}.jsonl.partial', out / f'{RESULTS_STEM}.json'
        with raise_write_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            # Under another name until all lines of a run that was cut are in: being cut again loses none of them.
            new_file = self.lines_file.with_suffix('.new')
            self.stream = open_text_lines(new_file)
        self._line_kinds = bytearray()  # of every line behind the header
        self._write_line(self.header)
        for kind, content in finished:
            self._write_line(content, kind)
        with raise_write_errors(out):
            new_file.replace(self.lines_file)
            self.json_file.unlink(missing_ok=True)  # results of an earlier run beside lines of this one would mislead

    def add_image(
        self, file: Path | str, image_size: tuple[int, int], poses: Poses, outputs: Mapping[str, Any]
    ) -> None:
        """Write the result of an image.

        Args:
            file: the image, or its address.
            image_size: (width, height).
            poses: its instances.
            outputs: names of the drawings by kind.
        """
        width, height = image_size
        content = {'file': str(file), 'width': width, 'height': height, 'instances': poses.to_dicts()}
        self._write_line({**content, 'outputs': outputs}, 'images')

    def add_video(self, summary: Mapping[str, Any]) -> None:
        """Write the summary of a video."""
        self._write_line(summary, 'videos')

    def add_skipped(self, file: Path | str, reason: str) -> None:
        """Write that a file was left out, and why."""
        self._write_line({'file': str(file), 'error': reason}, 'skipped')

    def _write_line(self, content: Mapping[str, Any], kind: str | None = None) -> None:
        line = to_json_text(content) + '\n'
        # Before the line: Ctrl-C between the two must not leave a line without a kind.
        if kind is not None:
            self._line_kinds.append(LINE_KINDS.index(kind))
        with raise_write_errors(self.lines_file):
            self.stream.write(line)

    def close(self, is_complete: bool) -> None:
        """Write `results.json` from the lines, and remove their file.

        Args:
            is_complete: whether all inputs were predicted or skipped.
        """
        with raise_write_errors(self.json_file):
            self.stream.close()
            header = to_json_text({**self.header, 'complete': is_complete}, indent=1)
            with open_atomically(self.json_file) as file:
                # the object stays open for the lists
                file.write(header.removesuffix('\n}').encode())
                # One pass per list: the lines may be more than fit in memory.
                for kind, title in enumerate(LINE_KINDS):
                    file.write(f',\n "{title}": ['.encode())
                    separator = '\n  '
                    for line in self._iter_lines(kind):
                        file.write(separator.encode() + line.rstrip().encode())
                        separator = ',\n  '
                    file.write(b']')
                file.write(b'\n}\n')
            self.lines_file.unlink()

    def _iter_lines(self, kind: int) -> Iterator[str]:
        """The lines of a kind."""
        with open(self.lines_file, encoding='utf-8') as file:
            next(file)  # the header
            for line, line_kind in zip(file, self._line_kinds, strict=False):
                if line_kind == kind and line.endswith('\n'):  # Ctrl-C may have cut the last one
                    yield line
