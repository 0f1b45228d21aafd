"""What both sides of a comparison share: a process that runs one timed turn of one row per request."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


@dataclass
class Task:
    """One row of one side.

    Attributes:
        action: what is timed.
        num_units: by which its time is divided.
        convert_result: converts the result of the action to numbers which should be those of the other side.
        facts: details for the table.
    """

    action: Callable[[], Any]
    num_units: int = 1
    convert_result: Callable[[Any], Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def serve_requests(rows: Mapping[str, Callable[[Path], Task]], import_all: Callable[[], Any]) -> None:
    """Answer requests, one line of JSON each, until the input ends: python SIDE.py COCO_ROOT, or SIDE.py import.

    A request has the arguments of `run_turn` from `row` on.
    """
    if sys.argv[1] == 'import':
        import_all()
        print(time.process_time())
        return
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print must not mix with the replies
    keep_freed_memory()
    tasks: dict[str, Task] = {}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(run_turn(rows, tasks, **request)), file=replies, flush=True)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, up to 32 MiB a piece, as in a process that has run a network.

    A fresh process returns large pieces and is given empty pages again, which costs more than what is measured.
    """
    np.empty(2**25 - 2**13, np.uint8)


def run_turn(
    rows: Mapping[str, Callable[[Path], Task]],
    tasks: dict[str, Task],
    row: str,
    threads: int,
    min_seconds: float,
    clock: str,
) -> dict[str, Any]:
    """Run one turn of a row.

    Args:
        rows: create the tasks from COCO's root, by row.
        tasks: those that were created before; the first turn of a row creates its task and runs it once, untimed.
        row: the name of the row.
        threads: the number of threads.
        min_seconds: the action is repeated until so much time has passed.
        clock: a key of `CLOCKS`.

    Returns:
        `seconds` per unit; of the first turn `answer` and `facts` instead.
    """
    import cv2
    import torch

    torch.set_num_threads(threads)
    # OpenCV's threads are off on both sides: loaders run with one per worker.
    cv2.setNumThreads(0)
    if row not in tasks:
        task = tasks[row] = rows[row](Path(sys.argv[1]))
        # The untimed run also warms caches and the allocator.
        result = task.action()
        answer = None
        if task.convert_result is not None:
            answer = [float(number) for number in task.convert_result(result)]
        return dict(answer=answer, facts=task.facts)
    num_calls, spent, start = 0, 0.0, CLOCKS[clock]()
    # At least once, also where a single call takes longer.
    while not num_calls or spent < min_seconds:
        tasks[row].action()
        num_calls, spent = num_calls + 1, CLOCKS[clock]() - start
    return dict(seconds=spent / num_calls / tasks[row].num_units)
