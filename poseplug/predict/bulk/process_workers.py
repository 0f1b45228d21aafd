"""Workers that are processes of this machine."""

from __future__ import annotations

__all__ = ['ProcessWorkers']

import multiprocessing
import os
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from poseplug.core.errors import PoseplugError
from poseplug.predict.bulk.chunk_prediction import ChunkTask, WorkerSettings
from poseplug.predict.bulk.worker_pool import WorkerEvent, WorkerPool

_END_TIMEOUT_S = 10.0  # of a worker that was asked to end; an interpreter with torch takes about one second


class ProcessWorkers(WorkerPool):
    """Processes, each with a pipe.

    Args:
        settings: of each worker.
        devices: that workers are divided among, such as `['cuda:0', 'cuda:1']`; none for what the settings say.
    """

    def __init__(self, settings: WorkerSettings, devices: Sequence[str] = ()):
        self.settings, self.devices = settings, list(devices)
        self.devices_by_worker: dict[int, str] = {}
        # not forked: threads and CUDA of the parent do not survive a fork
        self.context = multiprocessing.get_context('spawn')
        self.processes: dict[int, BaseProcess] = {}
        self.connections: dict[int, Connection] = {}
        self.num_started = 0

    def start_worker(self) -> int:
        number = self.num_started
        self.num_started += 1
        connection, child_connection = self.context.Pipe()
        arguments = (child_connection, self.settings, self._choose_device(number))
        process = self.context.Process(target=_run_worker, args=arguments, name=f'worker {number}', daemon=True)
        process.start()
        # only the worker has its end now, so that the pipe ends when the worker does
        child_connection.close()
        self.processes[number], self.connections[number] = process, connection
        return number

    def _choose_device(self, worker: int) -> str | None:
        """The device that the fewest workers have, so that one that follows another gets its device."""
        if not self.devices:
            return None
        counts = Counter(device for each, device in self.devices_by_worker.items() if each in self.connections)
        device = self.devices_by_worker[worker] = min(self.devices, key=lambda device: counts[device])
        return device

    def submit_task(self, worker: int, task: ChunkTask) -> None:
        self._send_message(worker, task)

    def stop_worker(self, worker: int) -> None:
        self._send_message(worker, None)
        # its process is waited for by `close`
        self.connections.pop(worker).close()

    def _send_message(self, worker: int, message: Any) -> None:
        # of a worker that has ended the next `wait_events` reports the end
        with suppress(OSError):
            self.connections[worker].send(message)

    def wait_events(self) -> list[WorkerEvent]:
        ready = wait(list(self.connections.values()))
        return [self._receive_event(worker) for worker, pipe in list(self.connections.items()) if pipe in ready]

    def _receive_event(self, worker: int) -> WorkerEvent:
        try:
            kind, content = self.connections[worker].recv()
            return WorkerEvent(worker, kind, content)
        except (EOFError, OSError):
            return WorkerEvent(worker, 'ended', self._describe_end(worker))

    def _describe_end(self, worker: int) -> str:
        """Wait for a process whose pipe has ended, and say how it ended."""
        self.connections.pop(worker).close()
        process = self.processes.pop(worker)
        process.join(_END_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode or 0
        process.close()
        return f'signal {-code}' if code < 0 else f'exit code {code}'

    def close(self) -> None:
        for worker in list(self.connections):
            self.processes[worker].terminate()
            self.connections.pop(worker).close()
        for process in self.processes.values():
            process.join(_END_TIMEOUT_S)
            if process.exitcode is None:
                process.kill()
                process.join()
            process.close()
        self.processes.clear()


def _run_worker(connection: Connection, settings: WorkerSettings, device: str | None = None) -> None:
    """Predict chunk after chunk until the driver sends None or is no more."""
    # Ctrl-C reaches all processes of a terminal; the driver ends its workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        predictor = settings.build_chunk_predictor(device)
        connection.send(('ready', predictor.header))
        while (task := connection.recv()) is not None:
            connection.send(('done', predictor.predict_chunk(task)))
    except (EOFError, BrokenPipeError):  # the driver is no more
        return
    except PoseplugError as error:
        connection.send(('error', error))
    except Exception as error:
        # tracebacks cannot be sent; their text can
        error.add_note(traceback.format_exc())
        connection.send(('error', error))


def _end_with_parent() -> None:
    """End this process at once when the driver was killed: a resumed one starts its own workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
