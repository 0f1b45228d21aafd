"""The end of a live stream: Ctrl-C, a signal to end, or the key q."""

from __future__ import annotations

__all__ = ['StopRequest']

import select
import signal
import sys
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Is called to ask whether a stream is to end, in a `with` block that catches signals.

    It is to end after the first SIGINT (Ctrl-C) or SIGTERM, or when a line `q` is typed; what was predicted is then
    written to its end. A second signal ends the process as usual.

    Example:
        >>> with StopRequest() as should_stop:
        ...     should_stop()
        False
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, self._request_stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore_handlers()

    def __call__(self) -> bool:
        self.is_requested = self.is_requested or _is_key_typed()
        return self.is_requested

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]


def _is_key_typed() -> bool:
    """Whether a line `q` was typed on a terminal."""
    if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
        return False
    try:
        # without waiting; on Windows `select` takes sockets alone and raises OSError
        is_ready = bool(select.select([sys.stdin], [], [], 0)[0])
    except (OSError, ValueError):
        return False
    return is_ready and sys.stdin.readline().strip().lower() == 'q'
