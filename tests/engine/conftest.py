"""Shared fixtures for tests of runs: interrupted runs, and the comparison of two checkpoints."""

import pytest
import torch

from poseplug.engine import launch
from poseplug.engine.loops import TrainLoop
from poseplug.files.weights import load_checkpoint


class Killed(BaseException):
    """Raised by a test in place of a killed process: nothing is logged or saved."""


@pytest.fixture(scope='session')
def are_equal():
    """A function that compares the contents of two checkpoints bit by bit."""

    def compare(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(compare(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(compare, a, b))
        return a == b

    return compare


@pytest.fixture
def interrupt_and_resume(monkeypatch):
    """A function that trains until step `step` (from 0), acts there (by default it kills the run), and resumes."""

    def kill():
        raise Killed

    def run(cfg, folder, step, act=kill, expected=Killed):
        original_run_step = TrainLoop.run_step

        def run_step(self, batches):
            if self._iter == step:
                act()
            original_run_step(self, batches)

        with monkeypatch.context() as patch:
            patch.setattr(TrainLoop, 'run_step', run_step)
            with pytest.raises(expected) as raised:
                launch.train(cfg, folder)
        return raised.value, launch.run_training(cfg, folder, resume=True)

    return run


@pytest.fixture
def assert_resumes_exactly(tmp_path, interrupt_and_resume, are_equal):
    """A function that asserts that a run killed at a step and resumed ends like an undisturbed one; returns its end."""

    def train_both(cfg, step):
        runner = launch.run_training(cfg, tmp_path / 'undisturbed')
        interrupt_and_resume(cfg, tmp_path / 'resumed', step)
        a, b = load_checkpoint(tmp_path / 'undisturbed'), load_checkpoint(tmp_path / 'resumed')
        assert a['meta']['step'] == runner.max_iters
        for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'random_state'):
            assert are_equal(a.get(part), b.get(part)), part
        return a

    return train_both
