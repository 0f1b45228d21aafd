"""A run that is stopped in any way and resumed ends like an undisturbed one, to the last bit."""

import os
import signal

import pytest
import torch

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.engine import launch
from poseplug.engine.checkpoint import save_checkpoint
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.files.weights import load_checkpoint
from poseplug.report.charts import read_curve


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(('save_interval', 'killed_at'), [(3, 4), (2, 5)])
def test_a_killed_and_resumed_run_ends_like_an_undisturbed_one(
    tiny_config, assert_resumes_exactly, workers, save_interval, killed_at
):
    """Dropout, averages, batch norm, both kinds of schedule, 2.5 steps an epoch, evaluation; resumed at step 3 or 4."""
    cfg = tiny_config(val=True, **{'train_dataloader.num_workers': workers, 'train_cfg.val_interval': 2})
    cfg.default_hooks.checkpoint.interval = save_interval
    assert 'ema_state_dict' in assert_resumes_exactly(cfg, killed_at)


def test_these_runs_have_dropout_and_augmentation(tiny_config, tmp_path, are_equal):
    cfg = tiny_config()
    runner = launch.run_training(cfg, tmp_path / 'a')
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in runner.model.modules())
    launch.train(tiny_config(seed=1), tmp_path / 'b')
    a, b = (load_checkpoint(tmp_path / name) for name in 'ab')
    assert not are_equal(a['state_dict'], b['state_dict'])


def test_the_weights_do_not_depend_on_the_number_of_workers(tiny_config, tmp_path, are_equal):
    for workers in (0, 1):
        launch.train(tiny_config(**{'train_dataloader.num_workers': workers}), tmp_path / str(workers))
    a, b = (load_checkpoint(tmp_path / str(workers)) for workers in (0, 1))
    assert are_equal(a['state_dict'], b['state_dict'])


@pytest.mark.parametrize(('number', 'expected', 'code'), [
    (signal.SIGTERM, SystemExit, 143),
    (signal.SIGINT, KeyboardInterrupt, None),
])  # fmt: skip
def test_a_signal_finishes_the_step_saves_and_exits(
    tiny_config, tmp_path, interrupt_and_resume, are_equal, caplog, number, expected, code
):
    previous_handler = signal.getsignal(number)
    cfg = tiny_config()
    launch.train(cfg, tmp_path / 'undisturbed')
    raised, _ = interrupt_and_resume(cfg, tmp_path / 'resumed', 1, lambda: os.kill(os.getpid(), number), expected)
    assert code is None or raised.code == code
    assert 'stopped at step 2 of 6 and saved; continue with --resume' in caplog.text
    assert 'step_0000002.pth at step 2 of 6' in caplog.text
    assert signal.getsignal(number) is previous_handler
    assert are_equal(
        load_checkpoint(tmp_path / 'undisturbed')['state_dict'], load_checkpoint(tmp_path / 'resumed')['state_dict']
    )


def test_an_evaluation_that_a_signal_interrupted_is_repeated_after_the_resume(
    tiny_config, tmp_path, interrupt_and_resume
):
    cfg = tiny_config(val=True, **{'train_cfg.val_interval': 2})
    interrupt_and_resume(cfg, tmp_path, 1, lambda: os.kill(os.getpid(), signal.SIGTERM), SystemExit)
    assert [line['step'] for line in read_curve(tmp_path / CURVE_FILE) if 'PCK@0.2' in line] == [2, 4, 6]


def test_the_curve_of_a_resumed_run_has_every_step_once(tiny_config, tmp_path, interrupt_and_resume):
    def write_partial_line():
        assert [line['step'] for line in read_curve(tmp_path / CURVE_FILE)] == [2, 4]
        with open(tmp_path / CURVE_FILE, 'a') as file:
            file.write('{"step": 5, "lo')  # as if the process was killed while writing
        raise InterruptedError

    interrupt_and_resume(tiny_config(), tmp_path, 5, write_partial_line, InterruptedError)
    assert [line['step'] for line in read_curve(tmp_path / CURVE_FILE)] == [2, 4, 6]


def test_the_best_score_is_restored_by_a_resume(tiny_config, tmp_path, monkeypatch, interrupt_and_resume):
    """Scores 3, 9, 5, 7 at steps 1 to 4; killed at step 3: the 7 after the resume is not the best."""
    scores = iter([3.0, 9.0, 5.0, 5.0, 7.0, 1.0, 2.0])
    monkeypatch.setattr('poseplug.engine.evaluate.compute_metrics', lambda _: create_result(next(scores)))
    hooks = dict(checkpoint=dict(type='SaveHook', interval=2, save_best='PCK@0.2'))
    cfg = tiny_config(val=True, **{'default_hooks': hooks, 'train_cfg.val_interval': 1})
    interrupt_and_resume(cfg, tmp_path, 3)
    assert load_checkpoint(tmp_path / 'best.pth')['meta']['step'] == 2
    assert load_checkpoint(tmp_path)['meta']['best_score'] == 9.0


def create_result(value):
    from poseplug.evaluation.base import MetricResult

    return MetricResult({'PCK@0.2': value})


def test_a_best_score_without_a_metric_is_an_error(tiny_config, tmp_path):
    hooks = dict(checkpoint=dict(type='SaveHook', save_best='PCK@0.3'))
    cfg = tiny_config(val=True, default_hooks=hooks)
    with pytest.raises(ConfigError, match=r"no score is called save_best='PCK@0.3'; closest: 'PCK@0.2'"):
        launch.train(cfg, tmp_path)


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny_config, tmp_path, are_equal):
    launch.train(tiny_config(), tmp_path)
    before = load_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r'holds a run already \(step_0000006.pth\); continue it with --resume'):
        launch.train(tiny_config(), tmp_path)
    assert are_equal(before, load_checkpoint(tmp_path))


def test_resuming_without_a_run_is_an_error_and_creates_no_folder(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match='holds no checkpoint to resume from'):
        launch.train(tiny_config(), tmp_path / 'new', resume=True)
    assert not (tmp_path / 'new').exists()


def test_resuming_with_another_model_names_the_difference(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    with pytest.raises(CheckpointError, match='not of the config.s model .*missing.*head'):
        launch.train(tiny_config(**{'model.head.num_stages': 3}), tmp_path, resume=True)


def test_resuming_a_finished_run_changes_nothing(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path)
    before = (tmp_path / 'step_0000006.pth').read_bytes()
    assert launch.run_training(tiny_config(), tmp_path, resume=True).iter == 6
    assert (tmp_path / 'step_0000006.pth').read_bytes() == before


def test_weights_alone_cannot_be_resumed(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'run')
    file = max((tmp_path / 'run').glob('step_*.pth'))
    save_checkpoint(tmp_path / 'other', file.name, {'state_dict': load_checkpoint(file)['state_dict']}, 1)
    with pytest.raises(CheckpointError, match=rf'{file.name} holds weights only; use --init to start from them'):
        launch.train(tiny_config(), tmp_path / 'other', resume=True)


@pytest.mark.parametrize('setting', ['interval', 'max_keep_ckpts'])
def test_an_interval_or_a_number_of_checkpoints_below_1_is_an_error(tiny_config, tmp_path, setting):
    cfg = tiny_config()
    cfg.default_hooks.checkpoint[setting] = 0
    with pytest.raises(ConfigError, match=f'SaveHook: {setting} is a whole number from 1 on; got 0'):
        launch.train(cfg, tmp_path / 'run')
