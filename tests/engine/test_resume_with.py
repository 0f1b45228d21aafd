"""A resumed run has the settings of its checkpoint, or those that `--resume-with` lets count from there."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from mmengine.optim import CosineAnnealingLR, LinearLR, StepLR
from torch import nn

from poseplug.config.saved import format_runnable_config
from poseplug.core.errors import ConfigError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.engine import launch
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.engine.resume_settings import (
    check_resume_settings,
    compute_label_checksum,
    find_differences,
    read_config_settings,
)
from poseplug.engine.resume_state import fast_forward_schedules
from poseplug.files.weights import load_checkpoint, select_weights
from poseplug.report.charts import read_curve

COUNTS = {'train_dataloader.batch_size, in all processes': 4, 'train_dataloader.dataset, its samples': 10}


def check(old, new, accepted=(), counts=COUNTS):
    meta = {'config': format_runnable_config(old), 'run_counts': COUNTS}
    return check_resume_settings(meta, format_runnable_config(new), counts, accepted, 'RUN/step_0000003.pth')


@pytest.mark.parametrize(('options', 'message'), [
    ({'optim_wrapper.optimizer.lr': 0.25}, r'optim_wrapper.optimizer.lr: 0.004 in the checkpoint, 0.25 now'),
    ({'optim_wrapper.optimizer.weight_decay': 0.0}, r'optimizer.weight_decay: .* in the checkpoint, 0.0 now'),
    ({'optim_wrapper.optimizer.type': 'Adam'}, r"optim_wrapper.optimizer: .*'AdamW'.* in the checkpoint, .*'Adam'"),
    ({'optim_wrapper.accumulative_counts': 2}, r'optim_wrapper.accumulative_counts: not set .*, 2 now'),
    ({'param_scheduler.0.end': 6}, r'param_scheduler.0.end: 4 in the checkpoint, 6 now'),
    ({'param_scheduler': None}, r'param_scheduler: \[.*LinearLR.* in the checkpoint, None now'),
    ({'train_cfg.max_steps': 9}, r'train_cfg.max_steps: 6 in the checkpoint, 9 now'),
    ({'train_cfg': dict(max_epochs=3)}, r'train_cfg.max_epochs: None .*, 3 now'),
    ({'seed': 7}, r'seed: not set in the checkpoint, 7 now'),
    ({'freeze': ['^backbone']}, r"freeze: not set in the checkpoint, \['\^backbone'\] now"),
    ({'auto_scale_lr': dict(base_batch_size=8)}, r"auto_scale_lr: not set .*\{'base_batch_size': 8\} now"),
    ({'custom_hooks.0.momentum': 0.5}, r'custom_hooks.0.momentum: 0.01 in the checkpoint, 0.5 now'),
    ({'custom_hooks': None}, r'custom_hooks: \[.*EMAHook.* None now'),
    ({'model.codec.sigma_px': 9.0}, r'model.codec.sigma_px: .*9.0 now'),
    ({'train_dataloader.source_ratios': dict(lsp=1.0)}, r'train_dataloader.source_ratios: not set'),
    ({'train_dataloader.dataset.pipeline.1.degrees': 80}, r'train_dataloader.dataset.pipeline.1.degrees: 8 .*, 80'),
    ({'train_dataloader.dataset.sources.0.split': 'test'}, r"sources.0.split: 'train' in the checkpoint, 'test' now"),
])  # fmt: skip
def test_a_changed_setting_is_refused_by_name_unless_it_may_count_from_here(tiny_config, options, message):
    old, new = tiny_config(), tiny_config(**options)
    with pytest.raises(ConfigError, match=rf'^RUN/step_0000003.pth was trained with other settings: .*{message}'):
        check(old, new)
    key = next(iter(options)).partition('.')[0]
    with pytest.raises(ConfigError, match=f'or add --resume-with {key} to let the new ones count'):
        check(old, new)
    assert all(change.key.startswith(key) for change in check(old, new, [key]))
    assert check(old, new, [key])


@pytest.mark.parametrize('options', [
    {},
    {'train_cfg.val_interval': 1},
    {'train_cfg.distributed': 'fsdp'},
    {'train_dataloader.num_workers': 3},
    {'train_dataloader.dataset.sources.0.data_root': 'moved'},
    {'default_hooks.checkpoint.interval': 1},
    {'test_dataloader.batch_size': 1},
    {'model.flip_test': True},
])  # fmt: skip
def test_a_setting_that_changes_no_training_step_may_differ(tiny_config, options):
    assert check(tiny_config(), tiny_config(**options)) == []


def test_another_number_of_samples_is_refused(tiny_config):
    cfg = tiny_config()
    for key in COUNTS:
        with pytest.raises(ConfigError, match=rf'{key}: {COUNTS[key]} in the checkpoint, 8 now.*with train_dataloader'):
            check(cfg, cfg, counts={**COUNTS, key: 8})
        assert len(check(cfg, cfg, ['train_dataloader'], {**COUNTS, key: 8})) == 1


def test_other_labels_of_as_many_samples_are_refused(tiny_config, tmp_path):
    """Labels that were corrected between stop and resume are another run; where the images lie is none."""
    cfg = tiny_config(**{'train_cfg.max_steps': 2})
    launch.train(cfg, tmp_path / 'run')
    source = cfg.train_dataloader.dataset.sources[0]
    moved = shutil.copytree(source.data_root, tmp_path / 'moved')
    source.data_root = str(moved)
    launch.train(cfg, tmp_path / 'run', resume=True)
    labels = scipy.io.loadmat(moved / 'joints.mat')
    labels['joints'][0, 0, 0] += 1
    scipy.io.savemat(moved / 'joints.mat', {'joints': labels['joints']})
    message = r'dataset, checksum of its labels: [0-9a-f]{8} in the checkpoint, [0-9a-f]{8} now.*with train_dataloader'
    with pytest.raises(ConfigError, match=message):
        launch.train(cfg, tmp_path / 'run', resume=True)
    launch.train(cfg, tmp_path / 'run', resume=True, resume_with=['train_dataloader'])


def test_the_checksum_of_labels_ignores_what_is_not_labeled():
    def build(visible, x):
        points = np.array([[[1.0, 2.0], [x, 4.0]]])
        return [Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.array([[2, visible]])))]

    labeled = [compute_label_checksum(build(visible, x)) for visible, x in ((2, 3.0), (1, 3.0), (2, 3.5))]
    assert labeled[0] == labeled[1] != labeled[2]
    assert compute_label_checksum(build(0, 3.0)) == compute_label_checksum(build(0, np.nan))


def test_a_setting_below_another_one_is_accepted_alone(tiny_config):
    new = tiny_config(**{'optim_wrapper.optimizer.lr': 0.5, 'train_cfg.max_steps': 9})
    with pytest.raises(ConfigError) as error:
        check(tiny_config(), new, ['optim_wrapper.optimizer.lr'])
    assert 'max_steps' in str(error.value)
    assert 'optimizer.lr' not in str(error.value)
    assert len(check(tiny_config(), new, ['optim_wrapper.optimizer.lr', 'train_cfg'])) == 2


def test_a_key_that_is_no_setting_of_a_resumed_run_is_an_error(tiny_config):
    with pytest.raises(ConfigError, match=r"--resume-with param_schedule: .*closest: 'param_scheduler'"):
        check(tiny_config(), tiny_config(), ['param_schedule'])


def test_configs_are_read_as_data_and_not_run(tmp_path):
    text = f"a = dict(b=[1, dict(c=(2, None))])\nd = open({str(tmp_path / 'made')!r}, 'w')\n"
    settings = read_config_settings(text)
    assert settings['a'] == {'b': [1, {'c': [2, None]}]}
    assert settings['d'].startswith('open(')
    assert not (tmp_path / 'made').exists()
    assert read_config_settings('not Python !') == {}


def test_lists_equal_tuples_and_nothing_equals_none():
    assert not [*find_differences({'a': (1, 2)}, {'a': [1, 2], 'b': None}, 'key')]


# --- schedules --------------------------------------------------------------------------------------------------------


def build_schedules(end):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    warm_up = LinearLR(optimizer, start_factor=0.1, by_epoch=False, begin=0, end=4)
    return optimizer, [warm_up, CosineAnnealingLR(optimizer, by_epoch=False, end=end), StepLR(optimizer, 2, gamma=0.5)]


def test_fast_forwarded_schedules_equal_those_that_were_stepped():
    """Warm-up and cosine by step and decay by epoch, whose rates multiply, after 3 epochs of 3 steps and a step."""
    optimizer, schedules = build_schedules(end=12)
    for step in range(1, 11):
        optimizer.step()
        for schedule in schedules[: 3 if step % 3 == 0 else 2]:
            schedule.step()
    forwarded_optimizer, forwarded = build_schedules(end=12)
    fast_forward_schedules(forwarded, 10, steps_per_epoch=3)
    assert forwarded_optimizer.param_groups[0]['lr'] == optimizer.param_groups[0]['lr']
    for a, b in zip(schedules, forwarded, strict=True):
        assert a.last_step == b.last_step
        assert a._last_value == b._last_value


# --- runs -------------------------------------------------------------------------------------------------------------


def cosine(steps, **options):
    schedule = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=steps)]
    hooks = {'default_hooks.progress.interval': 1, 'default_hooks.checkpoint.interval': 4}
    return {'train_cfg.max_steps': steps, 'param_scheduler': schedule, **hooks, **options}


def read_rates(folder):
    return [line['lr'] for line in read_curve(folder / CURVE_FILE) if 'lr' in line]


def test_a_longer_run_with_a_longer_schedule_has_its_rates_from_the_resume_on(tiny_config, tmp_path):
    launch.train(tiny_config(**cosine(4)), tmp_path)
    saved = (tmp_path / 'cpm_synthetic.py').read_text()
    longer = tiny_config(**cosine(8))
    with pytest.raises(ConfigError, match=r'param_scheduler.0.end: 4 .*, 8 now; train_cfg.max_steps: 4 .*, 8 now'):
        launch.train(longer, tmp_path, resume=True)
    assert (tmp_path / 'cpm_synthetic.py').read_text() == saved
    launch.train(longer, tmp_path, resume=True, resume_with=['param_scheduler', 'train_cfg'])
    # a step is logged after its schedule: line t has the rate of step t + 1
    expected = [2e-3 * (1 + math.cos(math.pi * t / 8)) for t in (5, 6, 7)]
    assert read_rates(tmp_path)[4:7] == pytest.approx(expected, rel=1e-3)
    assert 'max_steps=8' in (tmp_path / 'cpm_synthetic.py').read_text().replace(' ', '')


def test_a_longer_run_at_a_constant_rate_ends_like_an_undisturbed_one(tiny_config, tmp_path, are_equal):
    options = {'param_scheduler': None, 'default_hooks.checkpoint.interval': 4}
    four, six = (tiny_config(**options, **{'train_cfg.max_steps': steps}) for steps in (4, 6))
    launch.train(four, tmp_path / 'resumed')
    launch.train(six, tmp_path / 'resumed', resume=True, resume_with=['train_cfg.max_steps'])
    launch.train(six, tmp_path / 'undisturbed')
    a, b = (load_checkpoint(tmp_path / name) for name in ('resumed', 'undisturbed'))
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'random_state'):
        assert are_equal(a[part], b[part]), part


def test_a_new_rate_and_a_new_optimizer_count_from_the_resume_on(tiny_config, tmp_path, caplog):
    """The momenta of AdamW stay under another rate; another optimizer starts its state anew and says so."""
    constant = {'param_scheduler': None, 'default_hooks.progress.interval': 1, 'default_hooks.checkpoint.interval': 2}
    launch.train(tiny_config(**constant, **{'train_cfg.max_steps': 2}), tmp_path)
    lower = tiny_config(**constant, **{'train_cfg.max_steps': 3, 'optim_wrapper.optimizer.lr': 3e-6})
    launch.train(lower, tmp_path, resume=True, resume_with=['optim_wrapper', 'train_cfg'])
    assert read_rates(tmp_path) == pytest.approx([4e-3, 4e-3, 3e-6])
    assert 'starts anew' not in caplog.text
    assert 'from here on counts optim_wrapper.optimizer.lr: 0.004 in the checkpoint, 3e-06 now' in caplog.text
    adam = dict(type='Adam', lr=1e-4)
    other = tiny_config(**constant, **{'train_cfg.max_steps': 4, 'optim_wrapper.optimizer': adam})
    launch.train(other, tmp_path, resume=True, resume_with=['optim_wrapper', 'train_cfg'])
    assert read_rates(tmp_path)[3] == pytest.approx(1e-4)
    assert 'the state of the optimizer, such as its momenta, starts anew: optim_wrapper.optimizer: {' in caplog.text
    assert {float(state['step']) for state in load_checkpoint(tmp_path)['optimizer']['state'].values()} == {1.0}


def test_a_run_without_its_average_continues_with_the_weights_that_were_trained(tiny_config, tmp_path, are_equal):
    launch.train(tiny_config(**{'train_cfg.max_steps': 3}), tmp_path)
    trained = select_weights(load_checkpoint(tmp_path), 'raw')
    cfg = tiny_config(custom_hooks=None, **{'train_cfg.max_steps': 3})
    runner = launch.run_training(cfg, tmp_path, resume=True, resume_with=['custom_hooks'])
    assert are_equal(dict(runner.model.state_dict()), dict(trained))


def test_settings_of_a_resume_need_a_resume(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match='--resume-with says what changes in a run that is resumed; add --resume'):
        launch.train(tiny_config(), tmp_path, resume_with=['seed'])


def test_a_run_that_is_shorter_than_its_checkpoint_says_that_nothing_is_left(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(**{'train_cfg.max_steps': 3}), tmp_path)
    shorter = tiny_config(**{'train_cfg.max_steps': 2})
    launch.train(shorter, tmp_path, resume=True, resume_with=['train_cfg'])
    assert 'the run ends at step 2, so that nothing is left to train' in caplog.text
