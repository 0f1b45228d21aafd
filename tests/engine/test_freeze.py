"""Frozen weights and statistics do not change, not in a single bit."""

import pytest
import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError
from poseplug.core.weight_names import weight_name
from poseplug.engine import launch
from poseplug.engine.freeze import freeze_parameters, set_train_mode
from poseplug.files.weights import load_checkpoint

BACKBONE = [r'^backbone\.']


def initial_weights(cfg):
    """The weights that a run of a config starts with."""
    torch.manual_seed(cfg.get('seed', 0))
    return {n: v.clone() for n, v in build_model(cfg).state_dict().items()}


def find_changed(before, after):
    return {n for n, v in after.items() if not torch.equal(v, before[n])}


def test_frozen_weights_and_statistics_stay_and_all_others_change(tiny_config, tmp_path, caplog):
    cfg = tiny_config(val=True, freeze=BACKBONE, **{'train_cfg.val_interval': 2})
    before, runner = initial_weights(cfg), launch.run_training(cfg, tmp_path)
    content = load_checkpoint(tmp_path)
    for after in (runner.model.state_dict(), content['state_dict']):  # of the last step, and the averaged ones
        assert find_changed(before, after) == {n for n in after if not n.startswith('backbone.')}
    assert any(n.endswith('running_mean') for n in before if n.startswith('backbone.'))
    assert any(n.endswith('running_mean') for n in before if n.startswith('head.'))
    tensors = [p for n, p in runner.model.named_parameters() if weight_name(n).startswith('backbone.')]
    message = f'frozen: {len(tensors)} of {len([*runner.model.parameters()])} parameter tensors'
    assert f'{message} ({sum(p.numel() for p in tensors):,} values) and the statistics of 11 of 1' in caplog.text


def test_without_freezing_all_weights_change(tiny_config, tmp_path):
    cfg = tiny_config()
    before, runner = initial_weights(cfg), launch.run_training(cfg, tmp_path)
    assert find_changed(before, runner.model.state_dict()) == set(before)


def test_weights_can_be_frozen_while_running_statistics_are_updated(tiny_config, tmp_path):
    cfg = tiny_config(freeze=[r'^backbone\..*(weight|bias)$'])
    before, runner = initial_weights(cfg), launch.run_training(cfg, tmp_path)
    names = {n for n in find_changed(before, runner.model.state_dict()) if n.startswith('backbone.')}
    assert names
    assert all('running_' in n or 'num_batches' in n for n in names)


def test_a_frozen_run_resumes_exactly(tiny_config, assert_resumes_exactly):
    cfg = tiny_config(freeze=BACKBONE)
    assert not find_changed(
        initial_weights(cfg), {n: v for n, v in assert_resumes_exactly(cfg, 4)['state_dict'].items() if 'bone' in n}
    )


def test_frozen_weights_have_no_weight_decay():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    freeze_parameters(model, ['^0'])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.5)
    before = [p.clone() for p in model.parameters()]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)] == [True, True, False, False]


def test_a_norm_without_parameters_is_frozen_by_the_name_of_its_statistics():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    frozen_norms = freeze_parameters(model, [r'^1\.'])
    set_train_mode(model, frozen_norms)
    model(torch.randn(8, 2))
    assert frozen_norms == ['1']
    assert torch.equal(model[1].running_mean, torch.zeros(2))


@pytest.mark.parametrize(('patterns', 'message'), [
    (['^backbon$'], r"freeze: '\^backbon\$' matches no parameter; names look like 0\.weight"),
    (['0', 'nowhere'], "freeze: 'nowhere' matches no parameter"),
    (['('], r"freeze: '\(' is not a regular expression"),
    ('^0', 'freeze is a list of regular expressions'),
    ([3], 'freeze is a list of regular expressions'),
    (['.'], r"freeze=\['.'\] leaves no parameter to train"),
])  # fmt: skip
def test_wrong_patterns_are_errors(patterns, message):
    with pytest.raises(ConfigError, match=message):
        freeze_parameters(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), patterns)


# --- the first epochs -------------------------------------------------------------------------------------------------


def test_parts_are_frozen_for_the_first_epochs_and_trained_from_then_on(tiny_config, tmp_path, caplog):
    """An epoch has three steps: nothing of the backbone has changed at step 3, everything at step 6."""
    cfg = tiny_config(freeze=dict(patterns=BACKBONE, epochs=1), custom_hooks=None)
    before, runner = initial_weights(cfg), launch.run_training(cfg, tmp_path)
    assert runner.train_loop.steps_per_epoch == 3
    frozen = load_checkpoint(tmp_path / 'step_0000003.pth')['state_dict']
    assert find_changed(before, frozen) == {n for n in frozen if not n.startswith('backbone.')}
    assert find_changed(before, runner.model.state_dict()) == set(before)
    assert 'epoch 1: ' in caplog.text
    assert 'frozen parameter tensors are trained from here' in caplog.text


def test_parts_are_frozen_for_a_fraction_of_the_run(tiny_config, tmp_path):
    cfg = tiny_config(**{'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': 9})
    cfg.merge_from_dict(dict(freeze=dict(patterns=BACKBONE, epochs=1 / 3), custom_hooks=None))
    before, _ = initial_weights(cfg), launch.run_training(cfg, tmp_path)
    changed = [find_changed(before, load_checkpoint(tmp_path / f'step_000000{n}.pth')['state_dict']) for n in (2, 3)]
    assert changed[0] == {n for n in before if not n.startswith('backbone.')}
    assert changed[1] == set(before)


@pytest.mark.parametrize('step', [2, 4])
def test_a_run_with_a_frozen_epoch_resumes_exactly(tiny_config, assert_resumes_exactly, step):
    options = {'default_hooks.checkpoint.interval': 2 if step == 2 else 1}
    assert_resumes_exactly(tiny_config(freeze=dict(patterns=BACKBONE, epochs=1), **options), step + 1)


def test_a_part_that_stays_frozen_in_the_whole_run_is_reported(tiny_config, tmp_path, caplog):
    launch.train(tiny_config(freeze=dict(patterns=BACKBONE, epochs=2)), tmp_path)
    assert r'freeze: ^backbone\. stay frozen in the whole run, which has 2 epochs and epochs=2' in caplog.text


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(patterns=BACKBONE, epochs=0), 'freeze: epochs is the number of epochs, at least 1, or a fraction .*; got 0'),
    (dict(patterns=BACKBONE, epochs=0.0), 'freeze: epochs is the number of epochs, .*; got 0.0'),
    (dict(patterns=['^bakbone'], epochs=1), r"freeze: '\^bakbone' matches no parameter"),
    (dict(patterns=BACKBONE), 'epochs'),
    (dict(patterns=BACKBONE, epochs=1, epoch=2), 'epoch'),
])  # fmt: skip
def test_wrong_settings_of_a_frozen_epoch_are_errors(tiny_config, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        launch.train(tiny_config(freeze=settings), tmp_path)
