"""Being stopped from outside: the step at hand is finished and saved before the run ends."""

from __future__ import annotations

import signal
import threading
from typing import Any

# What asks a run to stop, and the exit code it then leaves with (Ctrl-C leaves as Python does, with 130)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 85}


class Stop:
    """Within this context Ctrl-C, SIGTERM and SIGUSR1 only set `signal`; a second one acts as it always does, at once.

    SIGUSR1 is what a scheduler sends before time is up: its exit code, 85, says that the run wants to go on.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._usual = {number: signal.signal(number, self._ask) for number in CODES}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        self.signal = number
        self.__exit__()

    def leave(self) -> None:
        """End the process as the signal asks, with its exit code; nothing happens where there was none."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(CODES[signal.Signals(self.signal)])
