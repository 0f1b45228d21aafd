"""Schedules, intervals and averages that are fractions of a run, or are changed with its length."""

import json

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from poseplug.config.load import load_config
from poseplug.config.run_options import change_run_length, change_run_options
from poseplug.config.shipped import list_configs
from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks.averaging import EMAHook
from poseplug.engine.schedule_lengths import fraction_to_steps, resolve_schedule_lengths
from poseplug.registry import PARAM_SCHEDULERS


def compute_rates(spec, max_iters, steps_per_epoch=10):
    """The learning rate of a schedule of base rate 1 at every step."""
    wrapper = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0))
    resolved = resolve_schedule_lengths(spec, max_iters, steps_per_epoch)
    schedule = PARAM_SCHEDULERS.get(resolved.pop('type'))(wrapper, **resolved)
    rates = []
    for _ in range(max_iters):
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        wrapper.step()
        schedule.step()
    return rates


@pytest.mark.parametrize('max_iters', [40, 400])
def test_a_cosine_of_the_whole_run_is_at_half_the_rate_in_its_middle_and_near_0_at_its_end(max_iters):
    rates = compute_rates(dict(type='CosineAnnealingLR', begin=0, end=1.0), max_iters)
    assert rates[max_iters // 2] == pytest.approx(0.5)
    assert rates[0] == 1
    assert rates[-1] < 2 / max_iters


def test_milestones_as_fractions_of_epochs_are_those_of_whole_epochs():
    fractions = resolve_schedule_lengths(dict(type='MultiStepLR', milestones=[170 / 210, 200 / 210]), 2100, 10)
    assert fractions == dict(type='MultiStepLR', milestones=[1700, 2000], by_epoch=False)


def test_a_schedule_without_fractions_stays_as_it_is():
    spec = dict(type='CosineAnnealingLR', begin=0, end=5, convert_to_iter_based=True)
    assert resolve_schedule_lengths(spec, 100, 10) == spec


def test_whole_epochs_beside_a_fraction_become_steps():
    spec = dict(type='CosineAnnealingLR', begin=5, end=1.0, convert_to_iter_based=True)
    assert resolve_schedule_lengths(spec, 100, 10) == dict(type='CosineAnnealingLR', begin=50, end=100, by_epoch=False)


@pytest.mark.parametrize(('max_iters', 'end'), [(10_000, 500), (2_000, 200), (10, 2)])
def test_a_warm_up_takes_at_most_its_fraction_of_the_run(max_iters, end):
    spec = dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=500, max_fraction=0.1)
    assert resolve_schedule_lengths(spec, max_iters, 10)['end'] == end
    assert compute_rates(spec, max(max_iters, 12))[end] == pytest.approx(1.0)


@pytest.mark.parametrize('fraction', [-0.1, 1.5, 100.0])
def test_a_fraction_beyond_the_run_is_an_error_that_says_what_a_float_means(fraction):
    with pytest.raises(ConfigError, match=r'param_scheduler.end=.* is a fraction of the run, from 0 to 1'):
        resolve_schedule_lengths(dict(type='CosineAnnealingLR', end=fraction), 100, 10)


def test_a_length_is_a_fraction_of_the_run_or_counts_units():
    assert [fraction_to_steps(value, 40, 10) for value in (0.5, 1.0, 1, 3)] == [20, 40, 10, 30]


def test_an_average_over_a_fraction_of_the_run_has_the_momentum_of_its_length(tiny_config, tmp_path):
    hooks = [dict(type='EMAHook', run_fraction=0.5)]
    runner = launch.run_training(tiny_config(custom_hooks=hooks), tmp_path)
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    assert hook.momentum == pytest.approx(1 / (0.5 * 6))


@pytest.mark.parametrize(
    'settings', [dict(run_fraction=0.0), dict(run_fraction=2.0), dict(run_fraction=0.1, momentum=0.1)]
)
def test_an_average_over_no_fraction_is_an_error(settings):
    with pytest.raises(ConfigError, match='run_fraction is above 0 and at most 1, and stands instead of momentum'):
        EMAHook(**settings)


def test_a_fraction_as_interval_divides_the_run_into_equal_parts(tiny_config, tmp_path):
    options = {'train_cfg.val_interval': 0.5, 'default_hooks.checkpoint.interval': 0.5}
    launch.train(tiny_config(val=True, **options), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'curve.jsonl').read_text().splitlines()]
    assert [line['step'] for line in lines if 'PCK@0.2' in line] == [3, 6]
    assert sorted(file.name for file in tmp_path.glob('step_*.pth')) == ['step_0000003.pth', 'step_0000006.pth']


# --- common options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('name', 'epochs'), [
    ('hrnet_w32_coco_256x192', 21), ('rtmpose_m_coco_256x192', 42), ('cpm_lsp_lite', 15),
    ('vitpose_b_coco_256x192', 700),
])  # fmt: skip
def test_a_changed_length_leaves_no_schedule_behind(name, epochs):
    """At the same fraction of the run the rate is that of the config's own length."""
    steps_per_epoch = 100

    def resolve(cfg):
        max_iters = cfg.train_cfg.max_epochs * steps_per_epoch
        return max_iters, [resolve_schedule_lengths(s, max_iters, steps_per_epoch) for s in cfg.param_scheduler]

    old_iters, old = resolve(load_config(name))
    new_iters, new = resolve(change_run_options(load_config(name), epochs=epochs))
    assert new_iters == epochs * steps_per_epoch
    for before, after in zip(old, new, strict=True):
        for key in ('end', 'T_max', 'milestones'):
            values = [s.get(key) for s in (before, after)]
            if values[0] is None:
                continue
            before_steps, after_steps = ([v] if isinstance(v, int) else v for v in values)
            if before['type'] == 'LinearLR':  # the steps of a warm-up stay, up to a tenth of the run
                assert after_steps == [min(before_steps[0], new_iters // 10)]
            else:
                assert [s / new_iters for s in after_steps] == pytest.approx(
                    [s / old_iters for s in before_steps], abs=1e-3
                )


def test_whole_numbers_of_a_config_become_fractions_of_its_run(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        "_base_ = ['poseplug::rtmo_s_coco_640']\n"
        "optim_wrapper = dict(optimizer=dict(lr=1e-3))\n"
    )  # fmt: skip
    cfg = load_config(file)
    change_run_length(cfg, 60)
    schedule = cfg.param_scheduler[3]
    assert (schedule.begin, schedule.end, schedule.T_max) == pytest.approx((280 / 600, 580 / 600, 0.5))
    assert cfg.train_cfg.val_interval == pytest.approx(20 / 600)
    average, phases = cfg.custom_hooks
    assert average.momentum == pytest.approx(2e-3)
    assert [float(start) for start in phases.phases] == pytest.approx([280 / 600, 580 / 600])
    assert cfg.train_dataloader.dataset.pipeline[0].switch_epoch == pytest.approx(580 / 600)


@pytest.mark.parametrize('length', [dict(epochs=60), dict(steps=900)])
def test_epochs_of_hooks_and_transforms_become_fractions_in_either_unit(length, tmp_path):
    """A run in steps would never come to epoch 280 of the config's 600."""
    switch = "dict(_delete_=True, type='PipelineSwitch', switch_epoch=150, first_transforms=[dict(type='RandomShift')])"
    file = tmp_path / 'mine.py'
    file.write_text(
        "_base_ = ['poseplug::rtmo_s_coco_640']\n"
        f'train_dataloader = dict(dataset=dict(pipeline=dict(hsv={switch})))\n'
        "freeze = dict(patterns=['^backbone'], epochs=30)\n"
    )
    cfg = load_config(file)
    change_run_length(cfg, **length)
    assert [float(start) for start in cfg.custom_hooks[1].phases] == pytest.approx([280 / 600, 580 / 600])
    points = [t.switch_epoch for t in cfg.train_dataloader.dataset.pipeline if t.type == 'PipelineSwitch']
    assert points == pytest.approx([580 / 600, 0.25])
    assert cfg['freeze']['epochs'] == pytest.approx(0.05)


@pytest.mark.parametrize(
    'file', [f for f in list_configs().values() if 'switch' in f.read_text()], ids=lambda f: f.stem
)
def test_shipped_transforms_switch_at_a_fraction_of_the_run(file):
    """Projects build on these configs with runs in steps."""
    steps = load_config(file).train_dataloader.dataset.pipeline
    points = [t.switch_epoch for t in steps if t.type == 'PipelineSwitch']
    assert points
    assert all(0.8 < point < 1 for point in points)


def test_a_run_in_steps_can_be_changed_to_epochs():
    cfg = change_run_options(load_config('cpm_synthetic'), epochs=3)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.max_steps) == (3, None)
    assert cfg.param_scheduler[0].end == pytest.approx(50 / 1400)
    assert cfg.param_scheduler[1].end == 1.0
    assert cfg.custom_hooks[0].run_fraction == pytest.approx(1 / (0.01 * 1400))
    assert cfg.default_hooks.checkpoint.interval == pytest.approx(500 / 1400)


def test_the_other_options_change_their_settings_alone():
    cfg = change_run_options(load_config('hrnet_w32_coco_256x192'), batch_size=7, lr=0.02, num_workers=0)
    assert cfg.train_dataloader.batch_size == 7
    assert cfg.val_dataloader.batch_size == 32
    assert cfg.optim_wrapper.optimizer.lr == 0.02
    assert [cfg[key].num_workers for key in ('train_dataloader', 'val_dataloader', 'test_dataloader')] == [0, 0, 0]
    assert cfg.train_cfg.max_epochs == 210


def test_the_options_of_train_and_test_reach_the_run(command, root, tmp_path, tiny_cli_options):
    config, run = root / 'configs/cpm/cpm_synthetic.py', tmp_path / 'run'
    args = ('--epochs', 2, '--batch-size', 5, '--lr', 1e-4, '--workers', 0, '--device', 'cpu')
    code, out, err = command('train', config, '--work-dir', run, *args, *tiny_cli_options())
    assert (code, out) == (0, f'done: 4 steps, in {run}\n'), err  # ten samples
    last = json.loads((run / 'curve.jsonl').read_text().splitlines()[-1])
    assert last['lr'] <= 1e-4
    saved = load_config(run / 'cpm_synthetic.py')
    assert (saved.train_cfg.max_epochs, saved.train_dataloader.batch_size) == (2, 5)
    code, out, err = command(
        'test', run / 'cpm_synthetic.py', run, '--batch-size', 2, '--device', 'cpu', '--workers', 0
    )
    assert code == 0, err


@pytest.mark.parametrize('args', [('--epochs', 0), ('--lr', 0), ('--workers', -1), ('--batch-size', 'x')])
def test_an_option_out_of_range_is_an_error(command, args):
    code, out, err = command('train', 'cpm_synthetic', *args)
    assert (code, out) == (2, '')
    assert f'argument {args[0]}' in err


def test_a_device_that_is_not_there_is_an_error(command, tmp_path):
    code, out, err = command('train', 'cpm_synthetic', '--work-dir', tmp_path / 'run', '--device', 'tpu')
    assert (code, out) == (2, '')
    assert "device 'tpu' cannot be used" in err
