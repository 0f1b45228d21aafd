"""Averaged weights: how much of the start they hold, and that both kinds of weights can be measured."""

import logging
import math

import pytest
import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks.averaging import EMAHook
from poseplug.engine.hooks.progress import ProgressHook
from poseplug.files.weights import load_checkpoint, load_weights
from poseplug.registry import HOOKS


class FakeRunner:
    """As much of a runner as the hook reads: a model of one weight, which is 1 in step 1 and 0 from then on."""

    def __init__(self):
        self.bare_model = nn.Linear(1, 1, bias=False)
        self.strategy, self.iter, self.epoch, self.rank, self.work_dir = self, 0, 0, 0, 'run'
        self.is_resumed = False
        self.bare_model.weight.data.fill_(1.0)

    def copy_source(self):
        return self.bare_model


def average_start(steps, **settings):
    """Train for so many steps; the weight of the first step in the average, as the average itself and as counted."""
    runner, hook = FakeRunner(), EMAHook(**settings)
    hook.before_run(runner)
    for _ in range(steps):
        hook.after_train_iter(runner, runner.iter)
        runner.iter += 1
        runner.bare_model.weight.data.zero_()
    return hook.ema_model.module.weight.item(), hook.start_weight.item(), hook, runner


@pytest.mark.parametrize(('momentum', 'steps'), [(0.002, 4), (0.002, 30), (2e-4, 8), (0.3, 7), (0.5, 5)])
def test_the_start_weighs_as_the_formula_says(momentum, steps):
    """The product of min(1 - momentum, (1 + t) / (10 + t)) over the updates t = 1, 2, ... after the first step."""
    expected = math.prod(min(1 - momentum, (1 + t) / (10 + t)) for t in range(1, steps))
    average, counted, *_ = average_start(steps, momentum=momentum)
    assert average == pytest.approx(expected, rel=1e-4)
    assert counted == pytest.approx(expected, rel=1e-4)


def test_after_240_steps_nothing_of_the_start_is_left():
    """Without the ramp 62 % are left."""
    assert average_start(240, momentum=0.002)[0] < 1e-12
    average, counted, *_ = average_start(240, momentum=0.002, ramp=False)
    assert average == pytest.approx(0.998**239, rel=1e-3)
    assert counted == pytest.approx(average, rel=1e-5)


@pytest.mark.parametrize(('settings', 'expected'), [
    (dict(ema_type='StochasticWeightAverage'), 1 / 20),
    (dict(ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=4), math.prod(t / (4 + t) for t in range(1, 20))),
    (dict(momentum=0.1, interval=5), math.prod((1 + t) / (10 + t) for t in (1, 2, 3))),
    (dict(momentum=0.1, begin_iter=16), math.prod((1 + t) / (10 + t) for t in (1, 2, 3, 4))),
])  # fmt: skip
def test_other_averages_count_their_start_by_their_own_rule(settings, expected):
    """With `begin_iter` the start is the first step that is averaged, where the weight is 0 already."""
    average, counted, *_ = average_start(20, **settings)
    assert counted == pytest.approx(expected, rel=1e-4)
    assert average == pytest.approx(0.0 if 'begin_iter' in settings else expected, rel=1e-4)


def test_a_warning_says_how_much_of_the_start_is_left(caplog):
    *_, hook, runner = average_start(240, momentum=0.002, ramp=False)
    hook.after_train(runner)
    hook.after_train(runner)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert 'step 240: 62 % of the averaged weights (EMAHook, momentum 0.002) are still those after' in caplog.text
    assert 'poseplug test CONFIG run --weights raw' in caplog.text


def test_there_is_no_warning_once_the_start_weighs_less_than_one_percent(caplog):
    weights = [average_start(steps, momentum=0.002)[0] for steps in (4, 5)]
    assert weights[0] > 0.01 > weights[1]
    *_, hook, runner = average_start(5, momentum=0.002)
    hook.before_val_epoch(runner)
    assert not caplog.records


def test_the_weight_of_the_start_is_part_of_a_checkpoint(tiny_config, assert_resumes_exactly):
    cfg = tiny_config(custom_hooks=[dict(type='EMAHook', momentum=0.1, ramp=False)])
    content = assert_resumes_exactly(cfg, 4)
    assert content['meta']['average_start_weight'] == pytest.approx(0.9**5)


@pytest.mark.parametrize('momentum', [0, 1, -0.1, 1.5])
def test_a_momentum_out_of_range_is_an_error(momentum):
    with pytest.raises(ConfigError, match='EMAHook: momentum is above 0 and at most 0.5'):
        HOOKS.build(dict(type='EMAHook', momentum=momentum))


def test_an_average_that_would_never_begin_is_an_error(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match='EMAHook: begin_iter=7 is after the end of the run, 6; the weights would'):
        launch.train(tiny_config(custom_hooks=[dict(type='EMAHook', begin_iter=7)]), tmp_path)


# --- both kinds of weights --------------------------------------------------------------------------------------------


def read_weights(cfg, path, kind):
    model = build_model(cfg)
    load_weights(model, path, kind)
    return model.state_dict()


def test_raw_and_averaged_weights_of_a_run_are_tested_each(tiny_config, tmp_path, are_equal):
    cfg = tiny_config(custom_hooks=[dict(type='EMAHook', momentum=0.1, update_buffers=True)])
    runner = launch.run_training(cfg, tmp_path)
    raw, averaged = (read_weights(cfg, tmp_path, kind) for kind in ('raw', 'averaged'))
    assert are_equal(dict(raw), dict(runner.model.state_dict()))
    assert are_equal(dict(averaged), dict(read_weights(cfg, tmp_path, None)))
    assert not are_equal(dict(raw), dict(averaged))
    results = [launch.test(cfg, tmp_path, weight_kind=kind) for kind in ('raw', 'averaged', None)]
    points = [torch.as_tensor(result.predictions[0][1].keypoint_scores) for result in results]
    assert points[1].equal(points[2])
    assert not points[0].equal(points[1])


def test_weights_that_a_file_lacks_are_an_error(tiny_config, tmp_path, are_equal):
    cfg = tiny_config(custom_hooks=None)
    runner = launch.run_training(cfg, tmp_path)
    assert are_equal(dict(read_weights(cfg, tmp_path, 'raw')), dict(runner.model.state_dict()))
    with pytest.raises(CheckpointError, match='has no averaged weights beside raw ones; leave --weights out'):
        read_weights(cfg, tmp_path, 'averaged')
    torch.save({'state_dict': load_checkpoint(tmp_path)['state_dict']}, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='does not say whether they are raw or averaged'):
        read_weights(cfg, tmp_path / 'weights.pth', 'raw')


def test_commands_take_the_kind_of_weights(command, root, tmp_path, tiny_cli_options):
    config = root / 'configs/cpm/cpm_synthetic.py'
    options = tiny_cli_options()
    assert command('train', config, '--work-dir', tmp_path, *options)[0] == 0
    tables = [command('test', config, tmp_path, '--weights', kind, *options)[1] for kind in ('raw', 'averaged')]
    assert tables[0] != tables[1]
    assert command('test', config, tmp_path, '--weights', 'best', *options)[0] == 2


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(momentum='x'), "EMAHook: momentum is a finite number; got 'x'"),
    (dict(interval=0), 'EMAHook: interval is a whole number from 1 on; got 0'),
    (dict(begin_iter=-1), 'EMAHook: begin_iter is a whole number from 0 on; got -1'),
    (dict(gamma=-1), 'EMAHook: gamma is a positive number; got -1'),
    (dict(ramp='no'), "EMAHook: ramp is True or False; got 'no'"),
])  # fmt: skip
def test_settings_of_the_average_out_of_range_are_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        EMAHook(**settings)


def test_a_progress_that_is_never_shown_is_an_error():
    with pytest.raises(ConfigError, match='ProgressHook: interval is a whole number from 1 on; got 0'):
        ProgressHook(interval=0)
