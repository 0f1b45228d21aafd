"""A run that is stopped, by whatever, and goes on is the run that was never stopped, to the last bit."""

import os
import signal

import pytest
import torch

from poseplug.engine import launch
from poseplug.engine.checkpoint import load, save
from poseplug.engine.hooks.progress import CURVE
from poseplug.errors import CheckpointError, ConfigError
from poseplug.visualization.curves import read_curve


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(('saved_every', 'killed_at'), [(3, 4), (2, 5)])
def test_killed_and_resumed_it_ends_like_the_run_that_never_stopped(
    tiny_config, killed_and_resumed, workers, saved_every, killed_at
):
    """Dropout, averages, batch norm, both kinds of schedule, 2.5 steps an epoch, evaluation; resumed at step 3 or 4."""
    cfg = tiny_config(val=True, **{'train_dataloader.num_workers': workers, 'train_cfg.val_interval': 2})
    cfg.default_hooks.checkpoint.interval = saved_every
    assert 'ema_state_dict' in killed_and_resumed(cfg, killed_at)


def test_dropout_and_augmentation_are_really_on_in_these_runs(tiny_config, tmp_path, equal):
    cfg = tiny_config()
    runner = launch.train(cfg, tmp_path / 'a')
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in runner.model.modules())
    launch.train(tiny_config(seed=1), tmp_path / 'b')
    a, b = (load(tmp_path / name) for name in 'ab')
    assert not equal(a['state_dict'], b['state_dict'])


def test_the_weights_do_not_depend_on_the_number_of_workers(tiny_config, tmp_path, equal):
    for workers in (0, 1):
        launch.train(tiny_config(**{'train_dataloader.num_workers': workers}), tmp_path / str(workers))
    a, b = (load(tmp_path / str(workers)) for workers in (0, 1))
    assert equal(a['state_dict'], b['state_dict'])


@pytest.mark.parametrize(('number', 'expected', 'code'), [
    (signal.SIGTERM, SystemExit, 143),
    (signal.SIGINT, KeyboardInterrupt, None),
])  # fmt: skip
def test_a_signal_finishes_the_step_saves_and_leaves(
    tiny_config, tmp_path, run_in_two, equal, caplog, number, expected, code
):
    usual = signal.getsignal(number)
    cfg = tiny_config()
    launch.train(cfg, tmp_path / 'whole')
    left, _ = run_in_two(cfg, tmp_path / 'two', 1, lambda: os.kill(os.getpid(), number), expected)
    assert code is None or left.code == code
    assert 'stopped at step 2 of 6, saved; go on with --resume' in caplog.text
    assert 'step_0000002.pth at step 2 of 6' in caplog.text
    assert signal.getsignal(number) is usual
    assert equal(load(tmp_path / 'whole')['state_dict'], load(tmp_path / 'two')['state_dict'])


def test_the_evaluation_that_a_signal_prevented_is_made_when_the_run_goes_on(tiny_config, tmp_path, run_in_two):
    cfg = tiny_config(val=True, **{'train_cfg.val_interval': 2})
    run_in_two(cfg, tmp_path, 1, lambda: os.kill(os.getpid(), signal.SIGTERM), SystemExit)
    assert [line['step'] for line in read_curve(tmp_path / CURVE) if 'PCK@0.2' in line] == [2, 4, 6]


def test_the_curve_goes_on_without_steps_told_twice(tiny_config, tmp_path, run_in_two):
    def cut_off():
        assert [line['step'] for line in read_curve(tmp_path / CURVE)] == [2, 4]
        with open(tmp_path / CURVE, 'a') as file:
            file.write('{"step": 5, "lo')  # the line that was being written
        raise InterruptedError

    run_in_two(tiny_config(), tmp_path, 5, cut_off, InterruptedError)
    assert [line['step'] for line in read_curve(tmp_path / CURVE)] == [2, 4, 6]


def test_the_best_score_is_remembered_over_a_resume(tiny_config, tmp_path, monkeypatch, run_in_two):
    """Scores 3, 9, 5, 7 at steps 1 to 4; killed at step 3: the 7 after the resume is not taken for the best."""
    scores = iter([3.0, 9.0, 5.0, 5.0, 7.0, 1.0, 2.0])
    monkeypatch.setattr('poseplug.engine.evaluate.merged', lambda parts: scored(next(scores)))
    hooks = dict(checkpoint=dict(type='SaveHook', interval=2, best='PCK@0.2'))
    cfg = tiny_config(val=True, **{'default_hooks': hooks, 'train_cfg.val_interval': 1})
    run_in_two(cfg, tmp_path, 3)
    assert load(tmp_path / 'best.pth')['meta']['step'] == 2
    assert load(tmp_path)['meta']['highest'] == 9.0


def scored(value):
    from poseplug.evaluation.base import Scores

    return Scores({'PCK@0.2': value})


def test_a_best_score_that_nobody_measures_is_an_error(tiny_config, tmp_path):
    hooks = dict(checkpoint=dict(type='SaveHook', best='PCK@0.3'))
    cfg = tiny_config(val=True, default_hooks=hooks)
    with pytest.raises(ConfigError, match=r"no score is called best='PCK@0.3'; closest: 'PCK@0.2'"):
        launch.train(cfg, tmp_path)


def test_a_folder_that_holds_a_run_is_not_written_over(tiny_config, tmp_path, equal):
    launch.train(tiny_config(), tmp_path)
    before = load(tmp_path)
    with pytest.raises(ConfigError, match=r'holds a run already \(step_0000006.pth\); go on with it by --resume'):
        launch.train(tiny_config(), tmp_path)
    assert equal(before, load(tmp_path))


def test_resuming_without_a_run_says_so_and_makes_no_folder(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match='holds no checkpoint to resume from'):
        launch.train(tiny_config(), tmp_path / 'new', resume=True)
    assert not (tmp_path / 'new').exists()


def test_resuming_with_another_model_names_the_difference(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    with pytest.raises(CheckpointError, match='not of the config.s model .*missing.*head'):
        launch.train(tiny_config(**{'model.head.stages': 3}), tmp_path, resume=True)


def test_resuming_with_other_schedules_is_an_error(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    with pytest.raises(CheckpointError, match='does not fit this config .*; resume with the config of the run'):
        launch.train(tiny_config(param_scheduler=None), tmp_path, resume=True)


def test_resuming_with_a_changed_config_tells_what_changed(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(), tmp_path)
    launch.train(tiny_config(**{'train_cfg.steps': 7}), tmp_path, resume=True)
    assert 'the config is not the one of that checkpoint' in caplog.text
    assert 'steps=7' in caplog.text
    assert load(tmp_path)['meta']['step'] == 7


def test_a_finished_run_that_is_resumed_stays_as_it_is(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    before = (tmp_path / 'step_0000006.pth').read_bytes()
    assert launch.train(tiny_config(), tmp_path, resume=True).iter == 6
    assert (tmp_path / 'step_0000006.pth').read_bytes() == before


def test_weights_alone_are_nothing_to_go_on_from(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'run')
    file = max((tmp_path / 'run').glob('step_*.pth'))
    save(tmp_path / 'other', file.name, {'state_dict': load(file)['state_dict']}, 1)
    with pytest.raises(CheckpointError, match=rf'{file.name} holds weights only; use --init to start from them'):
        launch.train(tiny_config(), tmp_path / 'other', resume=True)


@pytest.mark.parametrize('setting', ['interval', 'keep'])
def test_saving_never_or_keeping_nothing_is_refused(tiny_config, tmp_path, setting):
    cfg = tiny_config()
    cfg.default_hooks.checkpoint[setting] = 0
    with pytest.raises(ConfigError, match='interval and keep are at least 1; got'):
        launch.train(cfg, tmp_path / 'run')
