"""Settings of the optimizer, schedules, hooks and the loop that their parts refuse are errors that name the setting."""

import pytest

from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks.averaging import EMAHook
from poseplug.engine.hooks.save import SaveHook
from poseplug.engine.schedule_lengths import check_schedule_numbers
from poseplug.engine.setting_errors import warn_of_zero_rates


@pytest.mark.parametrize(('options', 'message'), [
    ({'optim_wrapper.optimizer': dict(type='Adam', lr=-1.0)}, r"optim_wrapper.optimizer=.*'lr': -1.0.*Invalid"),
    ({'optim_wrapper.optimizer': dict(type='Adam', lr='0.1')}, r"optim_wrapper.optimizer=.*'lr': '0.1'"),
    ({'optim_wrapper.optimizer': dict(type='Adam', betas=(0.9,))}, r'optim_wrapper.optimizer=.*IndexError'),
    ({'param_scheduler': [dict(type='LinearLR', start_factor=5.0)]}, 'param_scheduler: ValueError: Starting'),
    ({'param_scheduler': [dict(type='PolyLR', power='x')]}, 'param_scheduler.0: power is a finite number'),
    ({'custom_hooks': [dict(type='LoggerHook', interval='x')]}, 'hook LoggerHook: TypeError: interval must be'),
    ({'custom_hooks': [dict(type='EarlyStoppingHook', monitor='EPE', rule='greater')]}, r'set early_stop=dict\(metric'),
    ({'custom_hooks': [dict(type='EMAHook'), dict(type='EMAHook', momentum=0.1)]}, 'a second hook that averages'),
    ({'custom_hooks': [dict(type='EMAHook', gamma=2000)]}, "EMAHook, ema_type='ExponentialMovingAverage': TypeError"),
    ({'train_cfg': dict(max_steps=1.5)}, 'train_cfg: max_steps is a whole number from 1 on; got 1.5'),
    ({'train_cfg': dict(max_epochs='2', _delete_=True)}, "train_cfg: max_epochs is a whole number from 1 on; got '2'"),
    ({'train_cfg': dict(max_steps=2, val_interval=-1)}, 'train_cfg: val_interval is a number from 0 on'),
    ({'val_evaluator': []}, 'val_evaluator is an empty list'),
], ids=str)  # fmt: skip
def test_a_setting_that_its_part_refuses_is_named_before_the_first_step(options, message, tiny_config, tmp_path):
    with pytest.raises(ConfigError, match=message):
        launch.train(tiny_config(val=True, **{'train_cfg.max_steps': 1, **options}), tmp_path / 'run')


def test_a_rate_of_0_is_reported(caplog):
    warn_of_zero_rates([dict(lr=0.0), dict(lr=0.1)])
    assert not caplog.records
    warn_of_zero_rates([dict(lr=0.0), dict(lr=0.0)])
    assert 'with lr=0 no weight ever changes' in caplog.text


@pytest.mark.parametrize(('spec', 'message'), [
    (dict(milestones=2), r'milestones is a list of steps or epochs; got 2'),
    (dict(milestones=['a']), r'milestones is a list'),
    (dict(milestones=[-1]), r'milestones is a list'),
    (dict(step_size=0), r'step_size is a positive number; got 0'),
    (dict(T_max=-1), r'T_max is a positive number'),
    (dict(gamma=float('nan')), r'gamma is a finite number'),
    (dict(end='5'), r'end is a finite number'),
])  # fmt: skip
def test_a_number_of_a_schedule_that_is_none_is_refused(spec, message):
    with pytest.raises(ConfigError, match=f'^param_scheduler.0: {message}'):
        check_schedule_numbers(spec, 'param_scheduler.0')
    check_schedule_numbers(dict(milestones=[0.5, 3], gamma=0.1, step_size=4, end=1.0), 'param_scheduler.0')


def test_a_decay_in_the_place_of_a_momentum_is_refused_with_the_momentum():
    """0.9998 is how timm and torch state it: as a momentum, the average would be the last weights alone."""
    with pytest.raises(
        ConfigError, match=r'momentum is above 0 and at most 0.5.*got 0.9998; is 0.9998 the decay.*0.0002'
    ):
        EMAHook(momentum=0.9998)
    with pytest.raises(ConfigError, match=r'got 2$'):
        EMAHook(momentum=2)


def test_the_best_checkpoint_follows_one_score():
    with pytest.raises(ConfigError, match=r"SaveHook: save_best is the name of one score.*got \['EPE', 'AP'\]"):
        SaveHook(save_best=['EPE', 'AP'])
