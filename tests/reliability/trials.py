"""Small trainings in processes of their own, which the reliability goals kill, stop and damage.

The parent imports all that a run needs, and forks; so a run with dropout, augmentation, averaged weights and a dozen
saves takes a second.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import cv2
import numpy as np
import torch
from mmengine.hooks import Hook

from poseplug.config.load import load_config
from poseplug.core.errors import PoseplugError
from poseplug.data.synthetic import write_lsp
from poseplug.engine import launch
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.files.weights import load_checkpoint
from poseplug.registry import METRICS
from tests.conftest import tiny_options

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'
HASHED_KEYS = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'random_state')
TIMEOUT_SECONDS = 1800  # of a run, after which it counts as hung


def get_count(name: str, default: int) -> int:
    """The number of trials: that of an environment variable, or the default of the goal."""
    return int(os.environ.get(name, default))


# --- the run ----------------------------------------------------------------------------------------------------------


@functools.cache
def get_data_folder() -> Path:
    """The folder of an embedded data set of 10 training and 4 test images, which is deleted with this process."""
    folder = Path(tempfile.mkdtemp(prefix='trials-'))
    parent = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == parent else None)
    return write_lsp(folder / 'synthetic', num_images=14, num_train=10, seed=3)


@functools.cache
def warm_up() -> None:
    """Run a first training in this process, so that its children need not import; one thread, so that it may fork."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    launch.Runner = CachedConfigRunner  # type: ignore[misc]
    METRICS.register_module(module=RisingScore, force=True)
    screen, sys.stderr = sys.stderr, io.StringIO()
    try:
        launch.train(build_config(val=True, max_steps=2, save_interval=1), get_data_folder().parent / 'first')
    finally:
        sys.stderr = screen


def build_options(
    max_steps: int = 16,
    save_interval: int = 2,
    max_keep_ckpts: int = 2,
    save_best: str | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Options of all trials: a CPM of 40,000 parameters at 32 px with dropout, augmentation and averaged weights."""
    return {
        **tiny_options(get_data_folder()),
        'model.backbone.vgg_channels': (8, 8, 16, 16),
        'model.head.context_layers': ((3, 32), (1, 32)),
        'train_cfg.max_steps': max_steps,
        'default_hooks': dict(
            checkpoint=dict(
                type='SaveHook', interval=save_interval, max_keep_ckpts=max_keep_ckpts, save_best=save_best
            ),
            progress=dict(type='ProgressHook', interval=4, tensorboard=False),
        ),
        **overrides,
    }


def build_config(val: bool = False, **options: Any) -> Any:
    """The config of a trial; with `val` it is evaluated, too."""
    cfg = load_config(CONFIG, build_options(**options))
    cfg.val_dataloader = cfg.test_dataloader if val else None
    key = format_config_key(cfg)
    CONFIG_TEXTS[key] = CONFIG_TEXTS.get(key) or cfg.pretty_text
    return cfg


CONFIG_TEXTS: dict[str, str] = {}


def format_config_key(cfg: Any) -> str:
    return repr(cfg._cfg_dict)


class CachedConfigRunner(launch.Runner):
    """A runner with a cache of config texts, since formatting a config takes as long as ten steps of these runs."""

    @functools.cached_property
    def config_text(self) -> str:
        return CONFIG_TEXTS.get(format_config_key(self.cfg)) or self.cfg.pretty_text


class RisingScore(Metric):
    """A score that is the highest so far on every evaluation."""

    def __init__(self, skeleton: Any):
        self.skeleton = skeleton

    def update(self, predictions: Any, record: Any) -> None:
        pass

    def compute(self) -> MetricResult:
        return MetricResult({'rising': time.monotonic()})


class CallbackHook(Hook):
    """Calls `before` and `after` with the runner around every step, `begin` before the first one."""

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


def install_callbacks(**callbacks: Callable[[Any], None]) -> Callable[[], None]:
    """The setup of a child whose run calls functions through `CallbackHook`: a config cannot hold functions."""

    def setup() -> None:
        original = launch.Runner.register_hooks

        def register(runner: Any, *hooks: Any) -> None:
            original(runner, *hooks)
            runner.register_hook(CallbackHook(**callbacks))

        launch.Runner.register_hooks = register  # type: ignore[method-assign]

    return setup


def touch_at_fraction(mark: Path, fraction: float = 0) -> Callable[[], None]:
    """The setup of a child that creates a file when a fraction of its steps is done."""
    steps: list[int] = []

    def before(runner: Any) -> None:
        steps[:] = steps or [runner.iter + int(fraction * (runner.max_iters - runner.iter))]
        if runner.iter == steps[0]:
            mark.touch()

    return install_callbacks(before=before)


def wait_for_file(mark: Path, child: Child) -> float:
    """Wait until a child creates a file, remove the file, and return the time."""
    while not mark.exists() and not child.has_ended():
        time.sleep(0.001)
    mark.unlink(missing_ok=True)
    return time.monotonic()


# --- processes --------------------------------------------------------------------------------------------------------


@dataclass
class Child:
    """A forked process; `log` has its output, `code` is its exit code, a negative one the signal that ended it."""

    pid: int
    log: Path
    code: int | None = None

    def has_ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self, seconds: float = TIMEOUT_SECONDS) -> int:
        """Wait for its exit code; after `seconds` the process is killed."""
        until = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                until = float('inf')
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')


def fork_child(action: Callable[[], Any], log: Path) -> Child:
    """Fork a process that runs a function and exits as a command would."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        run_and_exit(action, log)
    return Child(pid, log)


def run_and_exit(action: Callable[[], Any], log: Path) -> NoReturn:
    """Run a function with its output in a file, and exit with the code of a command (poseplug/cli/options.py)."""
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = open(handle, 'w', buffering=1)  # noqa: SIM115 - as long as the process lives
        logging.basicConfig(level=logging.WARNING, format='%(message)s', stream=sys.stderr, force=True)
        action()
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


def start_training(
    cfg: Any,
    folder: Path,
    resume: bool | str = 'auto',
    setup: Callable[[], Any] | None = None,
    resume_with: Sequence[str] = (),
) -> Child:
    """Start a process that trains, after its setup."""

    def run() -> None:
        if setup is not None:
            setup()
        launch.train(cfg, folder, resume=resume, resume_with=resume_with)

    return fork_child(run, folder.with_name(f'{folder.name}.log'))


def run_training(
    cfg: Any,
    folder: Path,
    resume: bool | str = 'auto',
    setup: Callable[[], Any] | None = None,
    resume_with: Sequence[str] = (),
) -> Child:
    """Train in a process to its end."""
    child = start_training(cfg, folder, resume, setup, resume_with)
    child.wait()
    return child


# --- comparing runs ---------------------------------------------------------------------------------------------------


def hash_checkpoint(folder: Path) -> str:
    """The SHA-256 of the newest checkpoint's weights, averages, optimizer, schedules and random states."""
    content = load_checkpoint(folder)
    digest = hashlib.sha256(str(content['meta']['step']).encode())
    for key in HASHED_KEYS:
        update_hash(digest, content.get(key))
    return digest.hexdigest()


def update_hash(digest: Any, value: Any) -> None:
    """Add a value, with types, names and order, to a hash."""
    if isinstance(value, torch.Tensor):
        digest.update(f'{value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            digest.update(f'{key}:'.encode())
            update_hash(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f'{len(value)} of'.encode())
        for item in value:
            update_hash(digest, item)
    else:
        digest.update(repr(value).encode())


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for trials, on a disk: the goals measure how files are written there."""
    with tempfile.TemporaryDirectory(prefix='trials-', dir=os.environ.get('TRIALS_FOLDER')) as folder:
        yield Path(folder)


def create_rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))
