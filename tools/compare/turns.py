"""What both sides of a comparison share: a process that is asked for one timed turn of one row at a time."""

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
    """One row of one side: what is timed, by how many `units` its time is divided, and what it answers.

    `answer` takes the result of the action to numbers which the other side should agree with. `facts` are shown.
    """

    action: Callable[[], Any]
    units: int = 1
    answer: Callable[[Any], Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def serve(rows: Mapping[str, Callable[[Path], Task]], imports: Callable[[], Any]) -> None:
    """Answer requests, a line of JSON each, until the input ends: python SIDE.py COCO_ROOT, or SIDE.py import.

    A request names a `row`, its `threads`, how many seconds this turn is `lasting` at least, and one of `CLOCKS`. The
    first one for a row prepares it and lets it run once, untimed.
    """
    if sys.argv[1] == 'import':
        imports()
        print(time.process_time())
        return
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print is not a reply
    keep_freed_memory()
    tasks: dict[str, Task] = {}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(turn(rows, tasks, **request)), file=replies, flush=True)


def keep_freed_memory() -> None:
    """From now on the C library keeps what is freed, up to 32 MiB a piece, as in a process that has run a network.

    A fresh process hands large pieces back and is given empty pages again, which costs more than what is measured.
    """
    np.empty(2**25 - 2**13, np.uint8)


def turn(
    rows: Mapping[str, Callable[[Path], Task]],
    tasks: dict[str, Task],
    row: str,
    threads: int,
    lasting: float,
    clock: str,
) -> dict[str, Any]:
    """Seconds a unit of one row; the first turn of a row gives its answer and its facts instead."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    if row not in tasks:
        task = tasks[row] = rows[row](Path(sys.argv[1]))
        result = task.action()
        answer = None if task.answer is None else [float(v) for v in task.answer(result)]
        return dict(answer=answer, facts=task.facts)
    calls, spent, begun = 0, 0.0, CLOCKS[clock]()
    while not calls or spent < lasting:
        tasks[row].action()
        calls, spent = calls + 1, CLOCKS[clock]() - begun
    return dict(seconds=spent / calls / tasks[row].units)
