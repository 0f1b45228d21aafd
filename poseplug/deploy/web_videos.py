"""Videos of the web page: predicted in the background, one at a time, in folders that end with the server."""

from __future__ import annotations

__all__ = ['VIDEO_FORMATS', 'VideoJob', 'VideoJobs']

import json
import logging
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from glob import escape as glob_escape
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from poseplug.core.errors import ConfigError, PoseplugError
from poseplug.deploy.web_downloads import Download, pack_files, simplify_file_name
from poseplug.files.animations import open_clip
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.folders import PredictionWriter
from poseplug.predict.input_files import InputListing
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.result import Result
from poseplug.predict.result_exports import check_result_formats, export_results

_LOGGER = logging.getLogger('poseplug')
_MAX_JOBS = 4  # folders that are kept; the oldest is removed for the next
_MAX_LINES_BYTES = 4 << 20  # of frames in one response
# What each format of a video is, below the folder of its results, of which NAME is the name
_FORMAT_PATTERNS = {
    'video': '{name}_pose.*',
    'jsonl': '{name}.jsonl',
    'csv': '{name}.csv',
    'openpose': 'openpose/**/*.json',
    'parquet': 'results.parquet',
}
VIDEO_FORMATS = tuple(_FORMAT_PATTERNS)
_EXPORTED_FORMATS = ('openpose', 'parquet')  # made from the results when they are asked for


class _JobCancelled(Exception):
    """The page no longer wants the results."""


class _LockedPredictor:
    """A predictor that predicts a batch at a time behind a lock, until it is cancelled.

    Args:
        predictor: what is called.
        lock: held for each batch, so that images are served between two of them.
        cancelled: ends the prediction.
    """

    def __init__(self, predictor: Any, lock: Lock, cancelled: Event):
        self._predictor, self._lock, self._cancelled = predictor, lock, cancelled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def stream(self, images: Any, *args: Any, **settings: Any) -> Iterator[Result]:
        results = self._predictor.stream(images, *args, **settings)
        while True:
            with self._lock:
                if self._cancelled.is_set():
                    raise _JobCancelled
                result = next(results, None)
            if result is None:
                return
            yield result


class VideoJob:
    """A video that is being predicted, or was.

    Args:
        predictor: of the frames.
        name: of the file, as a browser sends it.
        options: how to predict and draw.

    Attributes:
        token: names the job in requests.
        upload: where the video is written before `run`.
        state: 'waiting', 'running', 'finished', 'cancelled' or 'failed'.
        error: why it failed.

    Raises:
        ConfigError: the name is not that of a video.
    """

    def __init__(self, predictor: Any, name: str, options: PredictionOptions):
        self.title = simplify_file_name(name, 'video')
        self.predictor, self.options, self.token = predictor, options, secrets.token_urlsafe(16)
        if Path(self.title).suffix.lower() not in VIDEO_SUFFIXES:
            raise ConfigError(f'{self.title} is no video by its name, which ends in one of {", ".join(VIDEO_SUFFIXES)}')
        self._folder = tempfile.TemporaryDirectory(prefix='poseplug-')
        self.upload, self._out = Path(self._folder.name) / self.title, Path(self._folder.name) / 'out'
        self.state, self.error, self.num_frames = 'waiting', '', 0
        self.cancelled = Event()

    def run(self, lock: Lock) -> None:
        """Predict the video.

        Args:
            lock: held for each batch of frames.
        """
        self.state = 'running'
        try:
            # rounded up, as frames are selected
            self.num_frames = -(-open_clip(self.upload).declared_frames // self.options.frame_interval)
            stem = Path(self.title).stem
            listing = InputListing([self.upload], [stem], titles={self.upload: self.title})
            predictor: Any = _LockedPredictor(self.predictor, lock, self.cancelled)
            with PredictionWriter(predictor, listing, self._out, self.options) as writer:
                for _ in writer.process_files(listing.files, None):
                    pass
            self.state = 'finished'
        except _JobCancelled:
            self.state = 'cancelled'
        except PoseplugError as error:
            self.state, self.error = 'failed', str(error).replace(f'{self._folder.name}/', '')
        except Exception:  # whatever it is, the next video must be served
            _LOGGER.exception('%s: the prediction failed', self.title)
            self.state, self.error = 'failed', 'the model failed on this video; the terminal of the server says why'

    def read_frames(self, offset: int) -> dict[str, Any]:
        """Read the results of frames behind those that were read before.

        Args:
            offset: 0, or `offset` of the result before.

        Returns:
            `state`, `error`, `num_frames` (0 where the video does not declare it), `width` and `height` (from the first
            lines alone), `frames` (lines of the result file) and the next `offset`.
        """
        state = self.state  # before the file is read: a finished job has all of its lines
        result: dict[str, Any] = {'state': state, 'error': self.error, 'num_frames': self.num_frames, 'frames': []}
        stem = Path(self.title).stem
        files = (self._out / f'{stem}.jsonl', self._out / f'{stem}.jsonl.partial')
        # the complete file first: the partial one is renamed to it between two requests
        for file in files:
            try:
                with open(file, 'rb') as lines:
                    lines.seek(offset)
                    data = lines.read(_MAX_LINES_BYTES)
                break
            except FileNotFoundError:
                data = b''
        # the last line may be half written
        data = data[: data.rfind(b'\n') + 1]
        for line in map(json.loads, data.splitlines()):
            if 'index' in line:
                result['frames'].append(line)
            else:  # the header
                result |= {'width': line['width'], 'height': line['height']}
        return result | {'offset': offset + len(data)}

    def pack_results(self, formats: Sequence[str]) -> Download:
        """Pack the results of a finished job.

        Args:
            formats: names of `VIDEO_FORMATS`.

        Raises:
            ConfigError: it has not finished, or there is no such format.
        """
        if self.state != 'finished':
            raise ConfigError(f'the video is {self.state}; its files are there when all frames are')
        unknown = [name for name in formats if name not in VIDEO_FORMATS]
        if unknown or not formats:
            known, refused = ', '.join(VIDEO_FORMATS), ', '.join(unknown) or 'none'
            raise ConfigError(f'the results of a video are {known}; got {refused}')
        exported, stem = [name for name in formats if name in _EXPORTED_FORMATS], Path(self.title).stem
        check_result_formats(exported)
        export_results(exported, self._out, self.predictor.skeleton, {self.title: stem}, self.options.threshold)
        patterns = [_FORMAT_PATTERNS[name].format(name=glob_escape(stem)) for name in formats]
        return pack_files(self._out, f'{stem}_poses', patterns)

    def remove_files(self) -> None:
        """Cancel the job and remove its files."""
        self.cancelled.set()
        self._folder.cleanup()


class VideoJobs:
    """The jobs of a server, of which one runs at a time.

    Args:
        lock: held for each batch of frames.
    """

    def __init__(self, lock: Lock):
        self.lock, self._jobs, self._threads = lock, dict[str, VideoJob](), dict[str, Thread]()
        self._jobs_lock = Lock()

    def reserve_job(self, job: VideoJob) -> None:
        """Take a job in, before its video is received.

        Raises:
            ConfigError: another one has not ended.
        """
        with self._jobs_lock:
            if any(each.state in ('waiting', 'running') for each in self._jobs.values()):
                job.remove_files()
                raise ConfigError('another video is being predicted; wait until it has finished, or stop it')
            while len(self._jobs) >= _MAX_JOBS:
                token = next(iter(self._jobs))
                self._remove_job(token)
            self._jobs[job.token] = job

    def start_job(self, job: VideoJob) -> None:
        """Predict a job whose video was received."""
        # a daemon: a video does not keep the process after Ctrl-C
        thread = Thread(target=job.run, args=(self.lock,), daemon=True)
        self._threads[job.token] = thread
        thread.start()

    def discard_job(self, job: VideoJob) -> None:
        """Remove a job whose video did not arrive."""
        with self._jobs_lock:
            self._remove_job(job.token)

    def find_job(self, token: str) -> VideoJob | None:
        """Return the job of a token, None if there is none."""
        return self._jobs.get(token)

    def close(self) -> None:
        """Cancel all jobs and remove their files."""
        with self._jobs_lock:
            for token in list(self._jobs):
                self._remove_job(token)

    def _remove_job(self, token: str) -> None:
        job = self._jobs.pop(token)
        job.cancelled.set()
        thread = self._threads.pop(token, None)
        if thread is not None:
            # its files are open until it ends; it asks for `cancelled` before every batch
            thread.join()
        job.remove_files()
