"""Schedules and intervals that reach beyond the end of a run are reported."""

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, StepLR
from torch import nn

from poseplug.engine import launch
from poseplug.engine.run_length import find_run_length_problems
from poseplug.engine.schedules import QuadraticWarmupLR


def find(create, max_iters, **settings):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    return find_run_length_problems([create(optimizer)], max_iters, steps_per_epoch=10, **settings)


@pytest.mark.parametrize(('create', 'message'), [
    (lambda o: LinearLR(o, begin=0, end=500, by_epoch=False),
     'param_scheduler.0 (LinearLR) ends at step 500, so that only 100 of its 500 steps take place'),
    (lambda o: QuadraticWarmupLR(o, begin=0, end=11), 'ends at step 110, so that only 100 of its 110 steps'),
    (lambda o: CosineAnnealingLR(o, begin=2, end=30), 'ends at step 300, so that only 80 of its 280 steps'),
    (lambda o: CosineAnnealingLR(o, begin=100, end=300, by_epoch=False), 'begins at step 100 and has no effect'),
    (lambda o: MultiStepLR(o, milestones=[5, 10, 20]), 'changes the rate at steps 100, 200, which are not reached'),
    (lambda o: StepLR(o, step_size=10), 'changes the rate at steps 100, which are not reached'),
])  # fmt: skip
def test_a_schedule_that_a_run_does_not_reach_is_named(create, message):
    problems = find(create, max_iters=100)
    assert len(problems) == 1
    assert message in problems[0]


@pytest.mark.parametrize('create', [
    lambda o: LinearLR(o, begin=0, end=100, by_epoch=False),
    lambda o: MultiStepLR(o, milestones=[5, 9]),
    lambda o: StepLR(o, step_size=9),
    lambda o: CosineAnnealingLR(o, T_max=10),
])  # fmt: skip
def test_a_schedule_that_ends_with_the_run_is_no_problem(create):
    assert find(create, max_iters=100) == []


def test_an_evaluation_interval_beyond_the_run_is_named():
    assert find_run_length_problems([], 100, 10, 100) == []
    assert 'val_interval is 101 steps, more than the run has' in find_run_length_problems([], 100, 10, 101)[0]


@pytest.mark.parametrize(('point', 'num_reports'), [(390, 1), (1, 0), (0.9, 0)])
def test_transforms_that_a_run_in_steps_does_not_reach_are_reported(tiny_config, tmp_path, caplog, point, num_reports):
    cfg = tiny_config()
    cfg.train_dataloader.dataset.pipeline.append(
        dict(type='PipelineSwitch', switch_epoch=point, first_transforms=[dict(type='RandomErase')])
    )
    runner = launch.run_training(cfg, tmp_path)
    assert caplog.text.count('which is not reached in 2 epochs; give a fraction of the run instead') == num_reports
    assert runner.train_loop.batch_sampler.num_run_batches == 6


def test_a_run_reports_them_before_its_first_step(tiny_config, tmp_path, caplog):
    warm_up = dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=40)
    options = {'param_scheduler': [warm_up], 'train_cfg.val_interval': 1000}
    launch.train(tiny_config(val=True, **options), tmp_path)
    assert 'the run has 6 steps: param_scheduler.0 (LinearLR) ends at step 40, so that only 6 of its 40' in caplog.text
    assert 'train_cfg.val_interval is 1000 steps, more than the run has: it is evaluated at its end' in caplog.text


@pytest.mark.parametrize(('settings', 'evaluator', 'shown'), [
    (dict(val_interval=2), None, 'train_cfg.val_interval=2'),
    (dict(val_loss=True), None, 'train_cfg.val_loss=True'),
    ({}, dict(type='PCK'), 'val_evaluator'),
])  # fmt: skip
def test_settings_of_evaluation_without_data_are_reported(tiny_config, tmp_path, caplog, settings, evaluator, shown):
    cfg = tiny_config()
    cfg.pop('val_dataloader')
    cfg.train_cfg, cfg.val_evaluator = dict(max_steps=1, **settings), evaluator
    launch.train(cfg, tmp_path / 'absent')
    message = f'nothing is evaluated during training, and {shown} has no effect: the config has no val_dataloader'
    assert message in caplog.text
    caplog.clear()
    cfg.val_dataloader = None
    launch.train(cfg, tmp_path / 'none')
    assert 'nothing is evaluated' not in caplog.text
