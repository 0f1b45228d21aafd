"""Prediction of one chunk of a job, in a worker."""

from __future__ import annotations

__all__ = ['ChunkPredictor', 'ChunkTask', 'WorkerSettings']

import faulthandler
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import ImageError, PoseplugError
from poseplug.files.atomic import write_atomically
from poseplug.files.images import read_image, read_image_bytes
from poseplug.files.live_sources import describe_address
from poseplug.files.media_address import fetch_media
from poseplug.files.remote_files import read_remote_file
from poseplug.files.tar_images import read_tar_image, split_tar_path
from poseplug.predict.bulk.job_folder import JobFolder
from poseplug.predict.image_inputs.base import NamedImage
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.result import Result
from poseplug.predict.result_files import raise_write_errors
from poseplug.predict.result_records import build_result_header


@dataclass(frozen=True)
class ChunkTask:
    """The next task of a worker.

    Attributes:
        number: of the chunk.
        inputs: its paths and addresses.
        is_careful: predict input by input, and note which one it is: the chunk has ended workers.
        fatal: the positions of the inputs that ended their workers, and what is said of them.
    """

    number: int
    inputs: Sequence[str]
    is_careful: bool = False
    fatal: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerSettings:
    """Settings with which a worker is started, on this machine or another.

    Attributes:
        build_predictor: builds the predictor in the worker, on the `device` that it may be passed; a function of a
            module, or a partial of one.
        folder: of the job.
        batch_size: instances that go through the network at once.
        time_limit_s: after which a process ends that reads an image or predicts a batch; None for no limit.
    """

    build_predictor: Callable[..., PosePredictor]
    folder: JobFolder
    batch_size: int = 32
    time_limit_s: float | None = None

    def build_chunk_predictor(self, device: str | None = None) -> ChunkPredictor:
        """Build the predictor, which takes seconds.

        Args:
            device: passed to `build_predictor`, if there is one.
        """
        predictor = self.build_predictor() if device is None else self.build_predictor(device=device)
        return ChunkPredictor(predictor, self.folder, self.batch_size, self.time_limit_s)


class ChunkPredictor:
    """Predicts chunks and writes their parts.

    Args:
        predictor: of the images.
        folder: of the job.
        batch_size: instances that go through the network at once.
        time_limit_s: after which the process ends that reads an image or predicts a batch.
    """

    def __init__(
        self, predictor: PosePredictor, folder: JobFolder, batch_size: int = 32, time_limit_s: float | None = None
    ):
        self.predictor, self.folder, self.batch_size = predictor, folder, batch_size
        self.time_limit_s = time_limit_s
        self.header = build_result_header(predictor)

    def predict_chunk(self, task: ChunkTask) -> int:
        """Predict a chunk and write its part.

        Args:
            task: the chunk.

        Returns:
            The number of its inputs.

        Raises:
            ConfigError: the part cannot be written.
            Exception: that of the predictor, if it fails for every image that can be read.
        """
        timeout_file = self.folder.get_timeout_file(task.number)
        with _TimeLimit(self.time_limit_s, timeout_file) as time_limit:
            chunk = self._collect_results(task, time_limit)
        self.folder.write_part(task.number, chunk.collect_lines(), chunk.build_record())
        return len(task.inputs)

    def _collect_results(self, task: ChunkTask, time_limit: _TimeLimit) -> _ChunkResults:
        chunk = _ChunkResults(task, self.folder.is_parquet, time_limit)
        if task.is_careful:
            self._predict_singly(chunk)
            return chunk
        try:
            self._predict_positions(chunk, range(len(task.inputs)))
        except Exception as error:
            # one image of the chunk fails; which one shows when each is predicted by itself
            logging.getLogger('poseplug').warning('part %d: %s; input by input now', task.number, error)
            chunk = _ChunkResults(task, self.folder.is_parquet, time_limit)
            self._predict_singly(chunk)
        return chunk

    def _predict_singly(self, chunk: _ChunkResults) -> None:
        """Predict input by input; those that ended workers before are bad."""
        task, last_error = chunk.task, None
        for position in range(len(task.inputs)):
            if position in task.fatal:
                chunk.bad[position] = task.fatal[position]
                continue
            if task.is_careful:
                position_file = self.folder.get_position_file(task.number)
                with raise_write_errors(position_file):
                    write_atomically(position_file, str(position).encode())
            try:
                self._predict_positions(chunk, [position])
            except Exception as error:  # whatever an image does to the network, the job goes on
                last_error = error
                chunk.bad[position] = f'{type(error).__name__}: {error}'
        # not the images but the machine or the model is to blame, and a list of all inputs would hide it
        if last_error is not None and not chunk.lines and len(task.inputs) > 1:
            raise last_error

    def _predict_positions(self, chunk: _ChunkResults, positions: Iterable[int]) -> None:
        read_positions: deque[int] = deque()
        pairs = self._read_pairs(chunk, positions, read_positions)
        for result in self.predictor.stream_pairs(pairs, self.batch_size):
            chunk.add_result(read_positions.popleft(), result)
            chunk.time_limit.restart()

    def _read_pairs(
        self, chunk: _ChunkResults, positions: Iterable[int], read_positions: deque[int]
    ) -> Iterator[tuple[NamedImage, None]]:
        """Yield every image that can be read, without boxes; the others are bad."""
        for position in positions:
            text = chunk.task.inputs[position]
            chunk.time_limit.restart()
            try:
                pixels = _read_input(text)
            except PoseplugError as error:
                chunk.bad[position] = f'{type(error).__name__}: {error}'
                continue
            read_positions.append(position)
            yield NamedImage(Path(_get_title(text)), pixels), None


class _TimeLimit:
    """Ends this process when too much time passes between two restarts, and leaves a file that says where."""

    def __init__(self, seconds: float | None, file: Path):
        self.seconds, self.file = seconds, file

    def __enter__(self) -> _TimeLimit:
        if self.seconds is not None:
            with raise_write_errors(self.file):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.stream = open(self.file, 'w')
        return self

    def restart(self) -> None:
        if self.seconds is not None:
            # Not a thread of Python, which would wait for the lock that a decoder or a network may hold.
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=self.stream)

    def __exit__(self, *error: object) -> None:
        if self.seconds is not None:
            faulthandler.cancel_dump_traceback_later()
            self.stream.close()
            self.file.unlink(missing_ok=True)


class _ChunkResults:
    """What is known of the inputs of a chunk, by position."""

    def __init__(self, task: ChunkTask, is_parquet: bool, time_limit: _TimeLimit):
        self.task, self.is_parquet, self.time_limit = task, is_parquet, time_limit
        self.lines: dict[int, list[dict[str, Any]]] = {}
        self.bad: dict[int, str] = {}
        self.num_instances = 0

    def add_result(self, position: int, result: Result) -> None:
        """Convert a result at once, since it may hold the pixels of its image."""
        title = _get_title(self.task.inputs[position])
        width, height = result.image_size
        self.num_instances += len(result)
        if not self.is_parquet:
            line = {'file': title, 'width': width, 'height': height, 'instances': result.to_dicts()}
            self.lines[position] = [line]
            return
        size = {'width': width, 'height': height}
        rows = [{**row, **size} for row in result.to_rows(title, result.skeleton)]
        self.lines[position] = rows or [{'image': title, **size}]

    def collect_lines(self) -> list[dict[str, Any]]:
        """Return the lines of all images, in the order of the inputs."""
        return [line for position in sorted(self.lines) for line in self.lines[position]]

    def build_record(self) -> dict[str, Any]:
        """Return the counts and the bad inputs."""
        titles = {position: _get_title(self.task.inputs[position]) for position in self.bad}
        return {
            'inputs': len(self.task.inputs),
            'predicted': len(self.lines),
            'instances': self.num_instances,
            'bad': [{'file': titles[position], 'error': self.bad[position]} for position in sorted(self.bad)],
        }


def _get_title(text: str) -> str:
    # without the password of an address, since titles are in result files
    return describe_address(text) if '://' in text else text


def _read_input(text: str) -> np.ndarray:
    """Read a file, a file in a tar file, or an address, which is fetched for as long as it is read."""
    if parts := split_tar_path(text):
        return read_image_bytes(read_tar_image(*parts), _get_title(text))
    if '://' not in text:
        return read_image(Path(text))
    title = _get_title(text)
    if not text.lower().startswith(('http://', 'https://')):
        return read_image_bytes(read_remote_file(text, {}), title)
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        file = fetch_media(text, Path(folder) / 'image')
        if file is None:
            raise ImageError(f'{title}: a stream, but --engine predicts images')
        # by its bytes, so that errors name the address
        return read_image_bytes(file.read_bytes(), title)
