"""Small trainings in processes of their own that are killed, stopped and spoiled, which goals of runs are asked with.

The parent has imported all that a run needs, and forks; so a run with dropout, augmentation, averaged weights and a
dozen saves takes a second.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import cv2
import numpy as np
import torch
from mmengine.hooks import Hook

from poseplug.config import load_config
from poseplug.datasets.synthetic import write_lsp
from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.errors import PoseplugError
from poseplug.evaluation.base import Metric, Scores
from poseplug.registry import METRICS
from tests.conftest import tiny_options

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'
PARTS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'random')
DROPOUT = ((1, 16, 0.5),)
PATIENCE = 1800  # s for a run, before it counts as hung


def count(name: str, usual: int) -> int:
    """How many trials: what the environment says under a name, or as many as the goal asks."""
    return int(os.environ.get(name, usual))


# --- the run ----------------------------------------------------------------------------------------------------------


@functools.cache
def data() -> Path:
    """The folder of an embedded set of 10 pictures to learn from and 4 to test, which goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix='trials-'))
    parent = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == parent else None)
    return write_lsp(folder / 'synthetic', count=14, train=10, seed=3)


@functools.cache
def warm() -> None:
    """One thread, so that children may be forked, and all that the first run of a process imports and makes."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    launch.Runner = WarmRunner  # type: ignore[misc]
    METRICS.register_module(module=RisingScore, force=True)
    screen, sys.stderr = sys.stderr, io.StringIO()
    try:
        launch.train(config(val=True, steps=2, save=1), data().parent / 'first')
    finally:
        sys.stderr = screen


def options(steps: int = 16, save: int = 2, keep: int = 2, best: str | None = None, **further: Any) -> dict[str, Any]:
    """Settings of all trials' run: a CPM of 40,000 parameters at 32 px with dropout, augmentation and averages."""
    return {
        **tiny_options(data()),
        'model.backbone.vgg': (8, 8, 16, 16),
        'model.head.context': ((3, 32), (1, 32)),
        'train_cfg.steps': steps,
        'default_hooks': dict(
            checkpoint=dict(type='SaveHook', interval=save, keep=keep, best=best),
            progress=dict(type='ProgressHook', interval=4, tensorboard=False),
        ),
        **further,
    }


def config(val: bool = False, **settings: Any) -> Any:
    """The config of the run; with `val` it is evaluated, too."""
    cfg = load_config(CONFIG, options(**settings))
    cfg.val_dataloader = cfg.test_dataloader if val else None
    text = laid_out(cfg)
    TEXTS[text] = TEXTS.get(text) or cfg.pretty_text
    return cfg


TEXTS: dict[str, str] = {}


def laid_out(cfg: Any) -> str:
    return repr(cfg._cfg_dict)


class WarmRunner(launch.Runner):
    """A runner that finds its config laid out, which takes as long as ten steps of these runs."""

    @functools.cached_property
    def config_text(self) -> str:
        return TEXTS.get(laid_out(self.cfg)) or self.cfg.pretty_text


class RisingScore(Metric):
    """A score that is the best so far whenever it is asked."""

    def __init__(self, skeleton: Any):
        self.skeleton = skeleton

    def add(self, predicted: Any, true: Any) -> None:
        pass

    def compute(self) -> Scores:
        return Scores({'rising': time.monotonic()})


class ActHook(Hook):
    """Calls `before` and `after` with the runner around every step, `begin` before the first."""

    priority = 'LOWEST'

    def __init__(self, before: Any = None, after: Any = None, begin: Any = None):
        self.before, self.after, self.begin = before, after, begin

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if self.begin is not None:
            self.begin(runner)
            self.begin = None
        if self.before is not None:
            self.before(runner)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.after is not None:
            self.after(runner)


def acting(**acts: Callable[[Any], None]) -> Callable[[], None]:
    """What a child does first, so that its run calls `ActHook`'s functions: configs hold none."""

    def act() -> None:
        usual = launch.Runner.register_hooks

        def register(runner: Any, *hooks: Any) -> None:
            usual(runner, *hooks)
            runner.register_hook(ActHook(**acts))

        launch.Runner.register_hooks = register  # type: ignore[method-assign]

    return act


def begins(mark: Path, share: float = 0) -> Callable[[], None]:
    """What a child does first, so that it makes a file when a share of its steps is done."""
    steps: list[int] = []

    def before(runner: Any) -> None:
        steps[:] = steps or [runner.iter + int(share * (runner.max_iters - runner.iter))]
        if runner.iter == steps[0]:
            mark.touch()

    return acting(before=before)


def appears(mark: Path, child: Child) -> float:
    """The time at which a child has made a file; the file is removed."""
    while not mark.exists() and not child.ended():
        time.sleep(0.001)
    mark.unlink(missing_ok=True)
    return time.monotonic()


# --- processes --------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A forked process. What it says is in `log`; `code` is its exit code, a negative one the signal that ended it."""

    pid: int
    log: Path
    code: int | None = None

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code; after `seconds` it is killed."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                until = float('inf')
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        if not self.ended():
            os.kill(self.pid, number)

    @property
    def said(self) -> str:
        return self.log.read_text(errors='replace')


def start(act: Callable[[], Any], log: Path) -> Child:
    """Fork a process that acts, and ends as a command would."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        act_and_leave(act, log)
    return Child(pid, log)


def act_and_leave(act: Callable[[], Any], log: Path) -> NoReturn:
    """Act with the screen in a file, and leave with the exit code that a command would have (poseplug/cli.py)."""
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = open(handle, 'w', buffering=1)  # noqa: SIM115 - for as long as the process is there
        logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stderr, force=True)
        act()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except PoseplugError as error:
        print(f'{type(error).__name__}: {error}')
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def train(cfg: Any, folder: Path, resume: bool | str = 'auto', act: Callable[[], Any] | None = None) -> Child:
    """A process that trains, after it has acted."""

    def trained() -> None:
        if act is not None:
            act()
        launch.train(cfg, folder, resume=resume)

    return start(trained, folder.with_name(f'{folder.name}.log'))


def ended(cfg: Any, folder: Path, resume: bool | str = 'auto', act: Callable[[], Any] | None = None) -> Child:
    """The process of `train` when it has ended."""
    child = train(cfg, folder, resume, act)
    child.wait()
    return child


# --- what came of it --------------------------------------------------------------------------------------------------


def digest(folder: Path) -> str:
    """The SHA-256 of all that the newest checkpoint holds of weights, averages, optimiser, schedules and randomness."""
    content = load(folder)
    found = hashlib.sha256(str(content['meta']['step']).encode())
    for part in PARTS:
        feed(found, content.get(part))
    return found.hexdigest()


def feed(found: Any, value: Any) -> None:
    """Add a value, with types, names and order, to a hash."""
    if isinstance(value, torch.Tensor):
        found.update(f'{value.dtype} {tuple(value.shape)}'.encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            found.update(f'{key}:'.encode())
            feed(found, value[key])
    elif isinstance(value, (list, tuple)):
        found.update(f'{len(value)} of'.encode())
        for one in value:
            feed(found, one)
    else:
        found.update(repr(value).encode())


@contextmanager
def place() -> Iterator[Path]:
    """A folder for trials, on a disk: what is to be measured is how files are written there."""
    with tempfile.TemporaryDirectory(prefix='trials-', dir=os.environ.get('TRIALS_FOLDER')) as folder:
        yield Path(folder)


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))
