"""Runs that were cut: which inputs and frames have a finished line, so that they are not predicted again."""

from __future__ import annotations

__all__ = ['FinishedFrames', 'FinishedLine', 'FinishedLines', 'truncate_to_lines']

import json
import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from poseplug.core.errors import ConfigError
from poseplug.files.jsonable import to_json_text
from poseplug.predict.result_files import LINE_KINDS, RESULTS_STEM, iterate_results

_FINISHED_KINDS = {'instances': 'images', 'num_frames': 'videos'}  # by a key that only such lines have
_START_OVER = 'run without --resume to start over'


class FinishedLine(NamedTuple):
    """A line of results that is complete.

    Attributes:
        kind: 'images' or 'videos'.
        content: as in results.json.
    """

    kind: str
    content: dict[str, Any]


class FinishedLines:
    """The finished lines of a run that was ended (results.json) or killed (results.jsonl.partial).

    They are read one by one, each time anew. Skipped files are not among them, so that they are tried again.

    Args:
        out: the output folder, which may have no results.
        header: of the run that goes on; what it says must be the same.

    Raises:
        ConfigError: the results are those of another model or of other options; in the iteration, a line is damaged.
    """

    def __init__(self, out: Path, header: Mapping[str, Any]):
        self.json_file, self.lines_file = out / f'{RESULTS_STEM}.json', out / f'{RESULTS_STEM}.jsonl.partial'
        self.num_lines = 0
        # a run that ended has removed its lines, one that was killed has no results.json
        if self.json_file.is_file():
            _check_header(self.json_file, _read_json_header(self.json_file), header)
        elif self.lines_file.is_file():
            self.num_lines = truncate_to_lines(self.lines_file)
        if self.num_lines:
            with open(self.lines_file, encoding='utf-8') as lines:
                _check_header(self.lines_file, _parse_line(self.lines_file, 1, next(lines)), header)

    def __iter__(self) -> Iterator[FinishedLine]:
        if not self.num_lines and self.json_file.is_file():
            for kind in _FINISHED_KINDS.values():
                yield from (FinishedLine(kind, content) for content in iterate_results(self.json_file, kind))
        if not self.num_lines:
            return
        with open(self.lines_file, encoding='utf-8') as lines:
            for number, line in enumerate(islice(lines, 1, self.num_lines), 2):
                content = _parse_line(self.lines_file, number, line)
                kinds = [kind for key, kind in _FINISHED_KINDS.items() if key in content]
                yield from (FinishedLine(kind, content) for kind in kinds)


def truncate_to_lines(file: Path) -> int:
    """Cut off what follows the last whole line of a file, and return the number of its lines."""
    num_lines, num_bytes = 0, 0
    with open(file, 'r+b') as opened:
        for line in opened:
            if not line.endswith(b'\n'):
                break
            num_lines, num_bytes = num_lines + 1, num_bytes + len(line)
        # a killed run may have written a part of its last line
        opened.truncate(num_bytes)
    return num_lines


def _read_json_header(json_file: Path) -> dict[str, Any]:
    """What results.json says before its lists."""
    text = []
    with open(json_file, encoding='utf-8') as lines:
        for line in lines:
            if line.startswith(f' "{LINE_KINDS[0]}": ['):
                break
            # the lists may be larger than the memory, so that only the lines before them are parsed
            text.append(line)
    return _parse_line(json_file, 1, ''.join(text).rstrip().removesuffix(',') + '}')


def _parse_line(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ConfigError(f'{file}, line {number}: no line of results ({error}); {_START_OVER}') from None
    if not isinstance(content, dict):
        raise ConfigError(f'{file}, line {number}: no line of results; {_START_OVER}')
    return content


def _check_header(file: Path, before: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Refuse to mix results of another model or of other options."""
    # through JSON, so that tuples equal the lists that a file has
    for key, value in json.loads(to_json_text(header)).items():
        if before.get(key) != value:
            raise ConfigError(f'{file}: {key} was {before.get(key)!r} and is now {value!r}; {_START_OVER}')


class FinishedFrames:
    """The frames of a video that a run which was cut has predicted.

    Args:
        file: the lines of the video, NAME.jsonl.partial, which need not exist.

    Attributes:
        count: number of frames.
    """

    def __init__(self, file: Path):
        self.file = file
        # the first line is the header
        self.count = max(0, truncate_to_lines(file) - 1) if file.is_file() else 0

    @classmethod
    def empty(cls) -> FinishedFrames:
        """Return no frames."""
        return cls(Path())

    def check_header(self, header: Mapping[str, Any]) -> None:
        """Start over where the video was predicted with other settings.

        Args:
            header: of the run that goes on.
        """
        if not self.count:
            return
        with open(self.file, encoding='utf-8') as lines:
            before = _parse_line(self.file, 1, next(lines))
        if before != json.loads(to_json_text(header)):
            logging.getLogger('poseplug').warning('%s: of other settings; the video is predicted anew', self.file)
            self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the frames, one by one."""
        if not self.count:
            return
        with open(self.file, encoding='utf-8') as lines:
            for number, line in enumerate(islice(lines, 1, self.count + 1), 2):
                yield _parse_line(self.file, number, line)
