"""Pauses Python's garbage collector while millions of objects are made that all stay alive."""

from __future__ import annotations

__all__ = ['pause_garbage_collector']

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collector() -> Iterator[None]:
    """Pause the collector of reference cycles; for a block, or as a decorator for a function.

    It starts after every few hundred new objects and walks all those alive, though none of them can go. Opening a
    COCO file of 50,000 instances takes 0.8 of the time without it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
