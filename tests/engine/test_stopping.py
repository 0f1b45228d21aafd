"""A run ends early where its score stops improving or its time is over, says why, and saves in between."""

import argparse
import importlib
import json
from types import SimpleNamespace

import pytest
import torch

from poseplug.cli.commands.new import run_new
from poseplug.core.errors import ConfigError
from poseplug.engine import dataloaders, launch
from poseplug.engine.hooks import save
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.evaluation.base import MetricResult
from poseplug.files.weights import load_checkpoint
from poseplug.report.charts import build_learning_charts, read_curve


class Clock:
    """A clock that advances by `step` seconds whenever it is read."""

    def __init__(self, step):
        self.seconds, self.step = 0.0, step

    def __call__(self):
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def set_scores(monkeypatch):
    """A function that gives the scores of the evaluations to come."""

    def set_scores(values):
        remaining = iter(values)

        def compute(_):
            return MetricResult({'PCK@0.2': next(remaining)})

        # where evaluations merge the results of their metrics
        import poseplug.engine.evaluate as module

        name = 'compute_metrics' if hasattr(module, 'compute_metrics') else 'merge_metric_results'
        monkeypatch.setattr(module, name, compute)

    return set_scores


def stop_early(tiny_config, **settings):
    cfg = tiny_config(val=True, **{'train_cfg.val_interval': 1, 'train_cfg.max_steps': 9})
    cfg.early_stop = dict(metric='PCK@0.2', **settings)
    return cfg


def test_a_run_ends_when_its_score_has_not_improved_and_says_so(tiny_config, tmp_path, set_scores, caplog):
    """Scores of steps 1 to 5: the best is that of step 2, a gain of 0.4 is none, three evaluations bring nothing."""
    set_scores([1.0, 5.0, 5.4, float('nan'), 3.0])
    result = launch.train(stop_early(tiny_config, patience=3, min_delta=0.5), tmp_path)
    assert result.steps == 5
    assert 'ended at step 5 of 9: PCK@0.2 has not improved in 3 evaluations (best 5, last 3)' in caplog.text
    assert load_checkpoint(tmp_path)['meta']['early_stop'] == ['PCK@0.2', 5.0, 3]


def test_a_resumed_run_ends_where_an_undisturbed_one_does(tiny_config, tmp_path, set_scores, interrupt_and_resume):
    set_scores([1.0, 5.0, 4.0, 4.0, 3.0, 2.0, 2.0, 2.0])
    cfg = stop_early(tiny_config, patience=3)
    cfg.default_hooks.checkpoint.interval = 1
    _, runner = interrupt_and_resume(cfg, tmp_path, 4)
    assert runner.iter == 5


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(patience=0), 'early_stop: patience is a whole number from 1 on; got 0'),
    (dict(min_delta=-1), 'early_stop: min_delta is .*; got -1'),
    (dict(min_delta='x'), "early_stop: min_delta is .*; got 'x'"),
    (dict(patiens=3), "patiens"),
])  # fmt: skip
def test_wrong_settings_of_early_stopping_are_errors(tiny_config, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        launch.train(stop_early(tiny_config, **settings), tmp_path)


def test_a_score_that_no_evaluation_returns_is_an_error(tiny_config, tmp_path):
    cfg = stop_early(tiny_config)
    cfg.early_stop.metric = 'PCK@0.3'
    with pytest.raises(ConfigError, match=r"early_stop: no score is called 'PCK@0.3'; closest: 'PCK@0.2'"):
        launch.train(cfg, tmp_path)
    cfg.val_dataloader = None
    with pytest.raises(ConfigError, match='early_stop waits for .* but nothing is evaluated; set val_dataloader'):
        launch.train(cfg, tmp_path / 'other')


def test_a_time_limit_ends_the_run_and_a_resume_goes_on(tiny_config, tmp_path, monkeypatch, caplog, are_equal):
    clock = Clock(step=0.0)
    monkeypatch.setattr('poseplug.engine.loops.time', SimpleNamespace(monotonic=clock))
    cfg = tiny_config(**{'train_cfg.max_minutes': 2.0})
    clock.step = 40.0
    result = launch.train(cfg, tmp_path / 'limited')
    assert result.steps == 1  # the clock is read at the start, before each step, and after an evaluation is due
    message = f'ended at step {result.steps} of 6: the time limit of 2 minutes; continue with --resume'
    assert message in caplog.text
    clock.step = 0.0
    launch.train(cfg, tmp_path / 'limited', resume=True)
    launch.train(tiny_config(), tmp_path / 'whole')
    limited, whole = (load_checkpoint(tmp_path / name) for name in ('limited', 'whole'))
    assert are_equal(limited['state_dict'], whole['state_dict'])


def test_a_time_limit_of_nothing_is_an_error(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match='train_cfg: max_minutes is a positive number; got 0'):
        launch.train(tiny_config(**{'train_cfg.max_minutes': 0}), tmp_path)


def test_checkpoints_are_saved_by_time_beside_those_by_steps(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(save, 'time', SimpleNamespace(monotonic=Clock(step=250.0)))
    steps = []
    original = save.SaveHook._write_file

    def write(self, runner, file_name):
        steps.append(runner.iter)
        original(self, runner, file_name)

    monkeypatch.setattr(save.SaveHook, '_write_file', write)
    hooks = {'default_hooks.checkpoint.interval': 100}
    launch.train(tiny_config(**hooks, **{'train_cfg.max_minutes': None}), tmp_path / 'ten')
    assert steps == [3, 6]  # after three readings, one a step, 750 s are over
    steps.clear()
    launch.train(tiny_config(**hooks, **{'default_hooks.checkpoint.interval_minutes': None}), tmp_path / 'none')
    assert steps == [6]
    with pytest.raises(ConfigError, match='interval_minutes is a positive number; got 0'):
        launch.train(tiny_config(**{'default_hooks.checkpoint.interval_minutes': 0}), tmp_path / 'zero')


def test_the_loss_of_the_validation_set_is_measured_on_request(tiny_config, tmp_path, are_equal):
    """It equals the mean over the batches of the evaluated weights' losses, and changes nothing in the training."""
    options = {'train_cfg.val_interval': 3, 'train_cfg.val_loss': True}
    cfg = tiny_config(val=True, custom_hooks=None, **options)
    runner = launch.run_training(cfg, tmp_path / 'with')
    runner.model.eval()
    losses, counts = [], []
    with torch.no_grad():
        for batch in dataloaders.build_dataloader(cfg, 'val_dataloader', 0):
            losses.append(float(sum(runner.model.losses(batch).values())) * len(batch))
            counts.append(len(batch))
    lines = [line for line in read_curve(tmp_path / 'with' / CURVE_FILE) if 'loss_val' in line]
    assert [line['step'] for line in lines] == [3, 6]
    assert lines[-1]['loss_val'] == pytest.approx(sum(losses) / sum(counts), rel=1e-5)
    launch.train(tiny_config(val=True, custom_hooks=None, **{'train_cfg.val_interval': 3}), tmp_path / 'without')
    a, b = (load_checkpoint(tmp_path / name) for name in ('with', 'without'))
    assert are_equal(a['state_dict'], b['state_dict'])
    chart = build_learning_charts(read_curve(tmp_path / 'with' / CURVE_FILE))[0]
    assert chart.series[-1].name == 'validation'


def test_the_curve_goes_to_the_visualizer_of_the_config(tiny_config, tmp_path):
    """mmengine's own local backend writes JSON lines; the others are named in the same way."""
    cfg = tiny_config(val=True)
    cfg.visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])
    launch.train(cfg, tmp_path)
    file = next(tmp_path.rglob('scalars.json'))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line['step'] for line in lines if 'loss' in line] == [2, 4, 6]
    assert any('PCK@0.2' in line for line in lines)
    assert not (tmp_path / 'tensorboard').exists()


def test_the_logger_of_the_template_gets_the_curve(tiny_config, tmp_path, monkeypatch):
    run_new(argparse.Namespace(kind='logger', name='CurveTable', out=tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module('curve_table')
    cfg = tiny_config(val=True)
    cfg.visualizer = dict(vis_backends=[dict(type='CurveTable')])
    launch.train(cfg, tmp_path / 'run')
    (file,) = (tmp_path / 'run').rglob('values.csv')
    rows = [line.split(',') for line in file.read_text().splitlines()]
    curve = [json.loads(line) for line in (tmp_path / 'run' / 'curve.jsonl').read_text().splitlines()]
    expected = [[str(line['step']), k, str(float(v))] for line in curve for k, v in line.items() if k != 'step']
    assert rows == expected


def test_tensorboard_is_a_backend_of_the_visualizer(tiny_config, tmp_path):
    pytest.importorskip('tensorboard')
    cfg = tiny_config()
    cfg.visualizer = dict(vis_backends=[dict(type='TensorboardVisBackend')])
    launch.train(cfg, tmp_path)
    assert list(tmp_path.rglob('events.out.tfevents.*'))
