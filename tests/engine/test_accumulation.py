"""A step of k batches of n samples equals a step of one batch of k times n; learning rates scale with the samples."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError, NonFiniteLossError
from poseplug.engine import dataloaders, launch
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.engine.training_step import average_losses
from poseplug.files.weights import load_checkpoint
from poseplug.report.charts import read_curve

SCHEDULES = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=4),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
]
NO_BATCH_NORM = {
    'model.backbone.norm_cfg': None,
    'model.head.norm_cfg': None,
    'model.head.first_layers': ((1, 16),),
}  # batch norm would see the batch size
OPTIMIZER = dict(type='SGD', lr=1e-4, momentum=0.9)


@pytest.fixture
def create_config(tiny_config):
    """A function from batch size and accumulation to a config without batch norm and dropout."""

    def create(size, count, **options):
        wrapper = dict(type='OptimWrapper', optimizer=OPTIMIZER, accumulative_counts=count)
        cfg = tiny_config(param_scheduler=SCHEDULES, **NO_BATCH_NORM, **options)
        cfg.train_dataloader.batch_size, cfg.optim_wrapper = size, wrapper
        return cfg

    return create


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_two_batches_of_two_equal_one_batch_of_four(create_config, tmp_path, clip):
    """Weights, averages, schedules, the epoch and the losses of the curve, over 6 steps of 2.5 an epoch."""
    runs, checkpoints = {}, {}
    for name, sizes in dict(one=(4, 1), two=(2, 2)).items():
        cfg = create_config(*sizes)
        cfg.optim_wrapper.clip_grad, cfg.custom_hooks = clip, [dict(type='EMAHook', momentum=0.3)]
        cfg.optim_wrapper.optimizer.lr = 0.01 if clip else 1e-4
        runs[name] = launch.run_training(cfg, tmp_path / name)
        checkpoints[name] = load_checkpoint(tmp_path / name)
    torch.manual_seed(0)
    initial = build_model(create_config(4, 1)).state_dict()
    for part in (lambda name: checkpoints[name]['state_dict'], lambda name: runs[name].model.state_dict()):
        change = max_difference(part('one'), initial)
        assert change > 3e-4
        assert max_difference(part('one'), part('two')) < 1e-3 * change
    assert checkpoints['one']['param_schedulers'] == checkpoints['two']['param_schedulers']
    assert runs['one'].epoch == runs['two'].epoch == 2
    a, b = (read_curve(tmp_path / name / CURVE_FILE) for name in runs)
    assert [line['step'] for line in a] == [line['step'] for line in b] == [2, 4, 6]
    assert [line['loss'] for line in a] == pytest.approx([line['loss'] for line in b], rel=1e-4)
    assert [line['lr'] for line in a] == [line['lr'] for line in b]


def max_difference(a, b):
    """The largest difference between the weights of two models."""
    return max((a[n] - b[n]).abs().max().item() for n in a)


def test_a_step_uses_the_samples_of_the_larger_batch(create_config):
    large, small = (
        dataloaders.build_dataloader(create_config(size, 1), 'train_dataloader', 0).batch_sampler for size in (4, 2)
    )
    # as the training loop says it: 10 samples are three steps of 4, and so six batches of 2
    small.num_epoch_batches = 6
    a, b = iter(large), iter(small)
    for _ in range(7):
        assert next(a) == next(b) + next(b)


def test_an_epoch_is_one_pass_over_the_data_rounded_up_to_steps(create_config, tmp_path):
    """10 samples: 10 / 4, 10 / (3 x 2) and 10 / (1 x 11) steps."""
    for size, count, expected in ((4, 1, 3), (3, 2, 2), (1, 11, 1)):
        cfg = create_config(size, count)
        cfg.train_cfg = dict(max_epochs=2)
        assert launch.run_training(cfg, tmp_path / f'{size}x{count}').iter == 2 * expected


def test_batches_by_source_ratio_accumulate_and_resume_exactly(create_config, assert_resumes_exactly):
    cfg = create_config(2, 2)
    cfg.train_dataloader.source_ratios = dict(lsp=1.0)
    assert_resumes_exactly(cfg, 4)


def test_the_ratio_of_an_unknown_source_is_an_error(create_config, tmp_path):
    cfg = create_config(2, 1)
    cfg.train_dataloader.source_ratios = dict(coco=1.0)
    with pytest.raises(ConfigError, match='source_ratios are positive numbers by source; the data has lsp'):
        launch.train(cfg, tmp_path)


def test_a_run_that_accumulates_resumes_exactly_at_any_step(create_config, assert_resumes_exactly):
    cfg = create_config(2, 3)
    cfg.train_cfg.max_steps = 5
    assert assert_resumes_exactly(cfg, 4)['meta']['step'] == 5


def test_accumulation_with_dropout_and_batch_norm_resumes_exactly(tiny_config, assert_resumes_exactly):
    assert_resumes_exactly(tiny_config(**{'optim_wrapper.accumulative_counts': 2}), 4)


def test_a_non_finite_loss_names_the_samples_of_all_its_batches(create_config, tmp_path, monkeypatch):
    cfg = create_config(1, 4, **{'optim_wrapper.optimizer.lr': 1.0})
    monkeypatch.setattr('poseplug.engine.hooks.invalid_loss._MAX_LISTED_SAMPLES', 9)
    monkeypatch.setattr('poseplug.models.losses.squared.SumSquaredError.forward', lambda *a: a[1].sum() * float('nan'))
    with pytest.raises(NonFiniteLossError) as error:
        launch.train(cfg, tmp_path)
    assert str(error.value).count('lsp im00') == 4


def test_the_loss_of_a_step_is_the_mean_of_its_batches():
    outputs = [{'loss': torch.tensor(1.0), 'a': torch.tensor(4.0)}, {'loss': torch.tensor(2.0)}]
    assert average_losses(outputs) == {'loss': torch.tensor(1.5), 'a': torch.tensor(2.0)}


@pytest.mark.parametrize('count', [0, -1, 1.5, '2'])
def test_accumulating_a_wrong_number_of_batches_is_an_error(tiny_config, tmp_path, count):
    with pytest.raises(ConfigError, match='accumulative_counts is an integer of at least 1'):
        launch.train(tiny_config(**{'optim_wrapper.accumulative_counts': count}), tmp_path)


def test_learning_rates_are_scaled_by_the_samples_of_a_step_and_logged(tiny_config, tmp_path, caplog):
    """4 samples x 2 accumulated of 64: an eighth of every group's initial learning rate."""
    options = {'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_steps': 1, 'param_scheduler': None}
    unscaled = launch.run_training(tiny_config(**options), tmp_path / 'plain').optim_wrapper.param_groups
    cfg = tiny_config(auto_scale_lr=dict(base_batch_size=64), **options)
    scaled = launch.run_training(cfg, tmp_path / 'scaled').optim_wrapper.param_groups
    assert [g['lr'] for g in scaled] == pytest.approx([g['lr'] / 8 for g in unscaled])
    assert (
        'learning rates x 0.125: 8 samples a step (batch 4 x 2 accumulated x 1 processes), stated for 64; '
        'the largest is now 0.0005'
    ) in caplog.text


def test_schedules_multiply_the_scaled_learning_rate(tiny_config, tmp_path):
    cfg = tiny_config(auto_scale_lr=dict(base_batch_size=8))
    for name, settings in (('plain', None), ('scaled', cfg.auto_scale_lr)):
        cfg.auto_scale_lr = settings
        launch.train(cfg, tmp_path / name)
    unscaled, scaled = ([line['lr'] for line in read_curve(tmp_path / n / CURVE_FILE)] for n in ('plain', 'scaled'))
    assert scaled == pytest.approx([lr / 2 for lr in unscaled])


def test_a_run_with_scaled_learning_rates_resumes_exactly(tiny_config, assert_resumes_exactly):
    assert_resumes_exactly(tiny_config(auto_scale_lr=dict(base_batch_size=64)), 4)


def test_without_the_setting_nothing_is_scaled_or_logged(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(**{'train_cfg.max_steps': 1}), tmp_path)
    assert 'learning rates' not in caplog.text


@pytest.mark.parametrize('settings', [dict(base_batch_size=0), dict(base_batch_size=1.5), dict(base=8), dict(enable=1)])
def test_a_wrong_base_batch_size_is_an_error(tiny_config, tmp_path, settings):
    cfg = tiny_config()
    cfg.auto_scale_lr = settings
    with pytest.raises(ConfigError, match='base_batch_size'):
        launch.train(cfg, tmp_path)
