"""The driver of a job over many images: hands out chunks, replaces workers that end, and sums up."""

from __future__ import annotations

__all__ = ['JobDriver', 'run_bulk_job']

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.progress import start_progress_bar
from poseplug.files.file_lock import lock_file
from poseplug.predict.bulk.chunk_prediction import ChunkTask
from poseplug.predict.bulk.job_folder import JobFolder
from poseplug.predict.bulk.worker_pool import WorkerEvent, WorkerPool

_LOGGER = logging.getLogger('poseplug')
# One end of a worker may be the machine's doing (memory, an operator); two on one chunk point to the chunk. The same
# holds of an input of a chunk that is predicted input by input.
_MAX_ENDS = 2
_MAX_FAILED_STARTS = 3  # in a row: then no worker can start at all
_MAX_UNEXPLAINED_ENDS = 5  # of one chunk, with no input to blame


def run_bulk_job(
    inputs: Sequence[str],
    folder: JobFolder,
    description: Mapping[str, Any],
    create_pool: Callable[[], WorkerPool],
    num_workers: int = 2,
    chunk_size: int = 64,
    resume: bool = False,
) -> dict[str, int]:
    """Predict many images by several workers, each input once.

    Args:
        inputs: paths and addresses.
        folder: of the job.
        description: what decides the results; a job goes on only with an equal one.
        create_pool: creates the pool of workers, if there is something to predict.
        num_workers: number of workers at a time.
        chunk_size: number of inputs of a part.
        resume: go on with the job in the folder.

    Returns:
        The numbers of `inputs`, `predicted` images, `instances`, `bad` inputs and `parts`.

    Raises:
        ConfigError: the folder has another job, or no worker can be started.
        ImageError: no input could be predicted.
    """
    try:
        folder.out.mkdir(parents=True, exist_ok=True)
        lock = lock_file(folder.out / '.lock')
        with lock:  # two drivers of one folder would predict everything twice
            folder.open_job(description, resume)
            chunks = [inputs[start : start + chunk_size] for start in range(0, len(inputs), chunk_size)]
            driver = JobDriver(folder, chunks, num_workers)
            if driver.queue:
                driver.run_workers(create_pool())
            counts = folder.write_summary(len(chunks), driver.header)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{folder.out}: {reason}; name another folder for --out') from error
    if not counts['predicted']:
        raise ImageError(
            f'none of the {counts["inputs"]} inputs could be predicted; see {folder.out}/dead_letters.jsonl'
        )
    return counts


class JobDriver:
    """Hands out the chunks of a job that are not done.

    Args:
        folder: of the job.
        chunks: the inputs of each chunk.
        num_workers: number of workers at a time.

    Attributes:
        queue: the tasks that no worker has.
        header: what results mean; empty until the first worker is ready.
    """

    def __init__(self, folder: JobFolder, chunks: Sequence[Sequence[str]], num_workers: int):
        self.folder, self.chunks, self.num_workers = folder, chunks, num_workers
        done = folder.list_done()
        open_chunks = [(number, chunk) for number, chunk in enumerate(chunks) if number not in done]
        self.queue = deque(ChunkTask(number, chunk) for number, chunk in open_chunks)
        self.header: dict[str, Any] = {}
        self.tasks: dict[int, ChunkTask | None] = {}  # by worker; None while it starts
        self.num_failed_starts = 0
        self.ends_by_chunk: Counter[int] = Counter()
        self.ends_by_input: Counter[tuple[int, int]] = Counter()
        self.unexplained_ends: Counter[int] = Counter()

    def run_workers(self, pool: WorkerPool) -> None:
        """Predict all chunks of the queue.

        Args:
            pool: of the workers; it is closed at the end, however that comes.

        Raises:
            ConfigError: no worker can be started, or a part cannot be written.
        """
        total = sum(map(len, self.chunks))
        num_open = sum(len(task.inputs) for task in self.queue)
        bar = start_progress_bar('predicting', total, total - num_open, unit='image')
        try:
            while self.queue or self.tasks:
                self._start_workers(pool)
                for event in pool.wait_events():
                    if event.kind == 'done':
                        bar.update(event.content)
                    self._handle_event(pool, event)
        finally:
            bar.close()
            pool.close()

    def _start_workers(self, pool: WorkerPool) -> None:
        """Start as many workers as there is work for."""
        num_running = sum(task is not None for task in self.tasks.values())
        num_needed = min(self.num_workers, num_running + len(self.queue))
        while len(self.tasks) < num_needed:
            self.tasks[pool.start_worker()] = None

    def _handle_event(self, pool: WorkerPool, event: WorkerEvent) -> None:
        if event.kind == 'error':
            raise event.content
        if event.kind == 'ended':
            self._handle_end(event)
            return
        if event.kind == 'ready':
            self.header, self.num_failed_starts = event.content, 0
        # one chunk at a time for each worker: a slow one takes fewer
        if self.queue:
            self.tasks[event.worker] = self.queue.popleft()
            pool.submit_task(event.worker, self.tasks[event.worker])  # type: ignore[arg-type]
        else:
            del self.tasks[event.worker]
            pool.stop_worker(event.worker)

    def _handle_end(self, event: WorkerEvent) -> None:
        task = self.tasks.pop(event.worker)
        if task is None:
            self.num_failed_starts += 1
            if self.num_failed_starts >= _MAX_FAILED_STARTS:
                reason = f'{self.num_failed_starts} workers in a row ended before they were ready ({event.content})'
                raise ConfigError(f'{reason}; use fewer --workers if memory is short')
            return
        reason = self._read_timeout(task.number) or event.content
        _LOGGER.warning('a worker ended (%s) in part %d, which is predicted again', reason, task.number)
        self.queue.appendleft(self._change_task(task, reason))

    def _change_task(self, task: ChunkTask, reason: str) -> ChunkTask:
        """The task that follows the end of its worker."""
        number = task.number
        if not task.is_careful:
            self.ends_by_chunk[number] += 1
            self._read_position(number)  # removes the note of a driver that was killed, which would blame an input
            return replace(task, is_careful=self.ends_by_chunk[number] >= _MAX_ENDS)
        position = self._read_position(number)
        if position is None:
            self.unexplained_ends[number] += 1
            if self.unexplained_ends[number] >= _MAX_UNEXPLAINED_ENDS:
                ends = f'{_MAX_UNEXPLAINED_ENDS} workers ended ({reason}) between the inputs of part {number}'
                raise ConfigError(f'{ends}; use fewer --workers if memory is short, and go on by --resume')
            return task
        self.ends_by_input[number, position] += 1
        if self.ends_by_input[number, position] < _MAX_ENDS:
            return task
        text = f'it ended {_MAX_ENDS} workers ({reason}) when it was predicted by itself'
        return replace(task, fatal={**task.fatal, position: text})

    def _read_position(self, number: int) -> int | None:
        """Which input of a careful task was being predicted, if the worker noted one; the note is removed."""
        file = self.folder.get_position_file(number)
        try:
            position = int(file.read_text())
            file.unlink()
        except (OSError, ValueError):
            return None
        return position

    def _read_timeout(self, number: int) -> str:
        """Say that a worker ended itself by its time limit, if it did; its note is removed."""
        file = self.folder.get_timeout_file(number)
        try:
            is_written = file.stat().st_size > 0
            file.unlink()
        except OSError:
            return ''
        return 'it took more than the time limit' if is_written else ''
