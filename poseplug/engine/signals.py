"""Being stopped from outside: the step at hand is finished and saved before the run ends."""

from __future__ import annotations

import signal
import threading
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Within this context Ctrl-C and SIGTERM only set `signal`; a second one acts as it always does, at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._usual = {number: signal.signal(number, self._ask) for number in WATCHED}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: Any) -> None:
        self.signal = number
        self.__exit__()

    def leave(self) -> None:
        """End the process as the signal asks, with exit code 130 or 143; nothing happens where there was none."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is not None:
            raise SystemExit(128 + self.signal)
