"""Signals that stop a run: the current step is finished and saved before the process exits."""

from __future__ import annotations

import signal
import threading
from typing import Any

# The signals that stop a run, and the exit code of each. Ctrl-C exits as Python does, with 130 = 128 + SIGINT, and
# SIGTERM with 143 = 128 + SIGTERM. A scheduler sends SIGUSR1 before the time is up; 85 tells tools/slurm.sh to queue
# the job again. Windows has no SIGUSR1.
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
if hasattr(signal, 'SIGUSR1'):
    EXIT_CODES[signal.SIGUSR1] = 85


class StopSignalHandler:
    """A context in which the first Ctrl-C, SIGTERM or SIGUSR1 is only recorded.

    A second signal acts at once, as it does outside of the context. Signals can be handled in the main thread alone;
    in another one the context does nothing.

    Attributes:
        received_signal: the number of the signal, or None.
    """

    def __init__(self) -> None:
        self.received_signal: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignalHandler:
        # `signal.signal` raises ValueError in other threads
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {number: signal.signal(number, self._handle_signal) for number in EXIT_CODES}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _handle_signal(self, number: int, _: Any) -> None:
        """Record the signal and restore the previous handlers for the next one."""
        self.received_signal = number
        # the handlers of before act on the next signal, so that a second Ctrl-C ends a process that hangs
        self.__exit__()

    def exit_if_signaled(self) -> None:
        """End the process if a signal was received.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: after another signal, with its exit code.
        """
        if self.received_signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received_signal is not None:
            raise SystemExit(EXIT_CODES[signal.Signals(self.received_signal)])
