"""What tests of runs share: runs that are interrupted, and whether two of them ended alike."""

import pytest
import torch

from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.engine.loops import TrainLoop


class Killed(BaseException):
    """What a test raises where a process would be killed: nothing is told, nothing is saved."""


@pytest.fixture(scope='session')
def equal():
    """A function that says whether two checkpoints' contents are the same, bit by bit."""

    def same(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b

    return same


@pytest.fixture
def run_in_two(monkeypatch):
    """A function that trains until step `step` (from 0), acts there (by default it kills the run), and resumes."""

    def kill():
        raise Killed

    def run(cfg, folder, step, act=kill, expected=Killed):
        usual = TrainLoop.step

        def taken(self, batches):
            if self._iter == step:
                act()
            usual(self, batches)

        with monkeypatch.context() as patch:
            patch.setattr(TrainLoop, 'step', taken)
            with pytest.raises(expected) as left:
                launch.train(cfg, folder)
        return left.value, launch.train(cfg, folder, resume=True)

    return run


@pytest.fixture
def killed_and_resumed(tmp_path, run_in_two, equal):
    """A function that asserts that a run ends alike, whether or not it is killed at a step, and returns its end."""

    def ends(cfg, step):
        whole = launch.train(cfg, tmp_path / 'whole')
        run_in_two(cfg, tmp_path / 'two', step)
        a, b = load(tmp_path / 'whole'), load(tmp_path / 'two')
        assert a['meta']['step'] == whole.max_iters
        for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'random'):
            assert equal(a.get(part), b.get(part)), part
        return a

    return ends
