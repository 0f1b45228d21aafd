"""Workers that predict chunks: what the driver of a job asks of them."""

from __future__ import annotations

__all__ = ['WorkerEvent', 'WorkerPool']

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from poseplug.predict.bulk.chunk_prediction import ChunkTask


@dataclass(frozen=True)
class WorkerEvent:
    """An event of a worker: it is ready, has done a task, failed, or ended.

    Attributes:
        worker: its number.
        kind: 'ready' with the header of results, 'done' with the number of inputs, 'error' with an exception that ends
            the job, or 'ended' with the reason why there is no such worker any more.
        content: as `kind` says.
    """

    worker: int
    kind: Literal['ready', 'done', 'error', 'ended']
    content: Any


class WorkerPool(ABC):
    """Starts workers and passes tasks to them; each has one predictor and works on one chunk at a time."""

    @abstractmethod
    def start_worker(self) -> int:
        """Start a worker and return its number; its first event is 'ready', 'error' or 'ended'."""

    @abstractmethod
    def submit_task(self, worker: int, task: ChunkTask) -> None:
        """Pass a task to a worker that has none."""

    @abstractmethod
    def stop_worker(self, worker: int) -> None:
        """End a worker that has no task; it has no further events."""

    @abstractmethod
    def wait_events(self) -> list[WorkerEvent]:
        """Wait until something happens to a worker, and return what happened."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, also those that are at work."""
