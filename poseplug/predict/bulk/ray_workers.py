"""Workers that are actors of Ray, on this machine or a cluster whose nodes share the output folder."""

from __future__ import annotations

__all__ = ['RayWorkers']

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.predict.bulk.chunk_prediction import ChunkPredictor, ChunkTask, WorkerSettings
from poseplug.predict.bulk.worker_pool import WorkerEvent, WorkerPool


class RayWorkers(WorkerPool):
    """Actors, each with one predictor.

    The cluster is that of RAY_ADDRESS, or one that is started on this machine and ends with the job.

    Args:
        settings: of each worker.
        num_workers: that GPUs are divided among; each gets one at most.
        use_gpus: whether actors get GPUs where there are any.

    Raises:
        ConfigError: Ray is not installed, or cannot be started.
    """

    def __init__(self, settings: WorkerSettings, num_workers: int = 2, use_gpus: bool = True):
        if find_spec('ray') is None:
            raise ConfigError("--engine ray needs the package ray; pip install 'poseplug[ray]', or use --engine local")
        self.settings = settings
        self.ray: Any = import_module('ray')
        self.is_owner = not self.ray.is_initialized()
        if self.is_owner:
            try:
                self.ray.init(log_to_driver=False, include_dashboard=False, logging_level='ERROR')
            except Exception as error:  # Ray raises plain ones, as after 30 s on a machine that is busy
                reason = str(error).partition('\n')[0]
                raise ConfigError(f'Ray cannot be started: {reason} Go on by --resume, or by --engine local') from error
        num_gpus = self.ray.cluster_resources().get('GPU', 0) / num_workers if use_gpus else 0
        # Ray hides all GPUs from an actor that asks for none, and divides one GPU among several that ask for a fraction
        self.actor_class = self.ray.remote(num_gpus=min(1, num_gpus))(_ChunkActor)
        self.actors: dict[int, Any] = {}
        self.workers_by_reference: dict[Any, tuple[int, str]] = {}
        self.num_started = 0

    def start_worker(self) -> int:
        number = self.num_started
        self.num_started += 1
        actor = self.actors[number] = self.actor_class.remote(self.settings)
        self.workers_by_reference[actor.load_model.remote()] = (number, 'ready')
        return number

    def submit_task(self, worker: int, task: ChunkTask) -> None:
        self.workers_by_reference[self.actors[worker].predict_chunk.remote(task)] = (worker, 'done')

    def stop_worker(self, worker: int) -> None:
        self.ray.kill(self.actors.pop(worker))

    def wait_events(self) -> list[WorkerEvent]:
        references, _ = self.ray.wait(list(self.workers_by_reference))
        return [self._receive_event(reference) for reference in references]

    def _receive_event(self, reference: Any) -> WorkerEvent:
        worker, kind = self.workers_by_reference.pop(reference)
        try:
            return WorkerEvent(worker, kind, self.ray.get(reference))  # type: ignore[arg-type]
        except self.ray.exceptions.RayActorError as error:
            del self.actors[worker]
            # the first line; what follows are addresses and ids of the cluster
            return WorkerEvent(worker, 'ended', str(error).partition('\n')[0])
        except self.ray.exceptions.RayTaskError as error:
            return WorkerEvent(worker, 'error', error.cause)

    def close(self) -> None:
        for worker in list(self.actors):
            self.stop_worker(worker)
        if self.is_owner:
            self.ray.shutdown()


class _ChunkActor:
    """Predicts chunks in a process of Ray."""

    def __init__(self, settings: WorkerSettings):
        self.settings = settings
        self.predictor: ChunkPredictor | None = None

    def load_model(self) -> dict[str, Any]:
        """Build the predictor; not in the constructor, whose errors Ray passes on as text alone."""
        self.predictor = self.settings.build_chunk_predictor()
        return self.predictor.header

    def predict_chunk(self, task: ChunkTask) -> int:
        """Predict a chunk and return the number of its inputs."""
        assert self.predictor is not None
        return self.predictor.predict_chunk(task)
