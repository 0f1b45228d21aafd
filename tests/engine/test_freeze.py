"""What is frozen stays, to the last bit, weights and statistics alike."""

import pytest
import torch
from torch import nn

from poseplug.build import build_model
from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.engine.freeze import freeze, train_mode
from poseplug.errors import ConfigError

BACKBONE = [r'^backbone\.']


def begun(cfg):
    """The weights that a run of a config begins with."""
    torch.manual_seed(cfg.get('seed', 0))
    return {n: v.clone() for n, v in build_model(cfg).state_dict().items()}


def changed(before, after):
    return {n for n, v in after.items() if not torch.equal(v, before[n])}


def test_frozen_weights_and_statistics_stay_and_everything_else_learns(tiny_config, tmp_path, caplog):
    cfg = tiny_config(val=True, freeze=BACKBONE, **{'train_cfg.val_interval': 2})
    before, runner = begun(cfg), launch.train(cfg, tmp_path)
    content = load(tmp_path)
    for after in (runner.model.state_dict(), content['state_dict']):  # of the last step, and averaged
        assert changed(before, after) == {n for n in after if not n.startswith('backbone.')}
    assert any(n.endswith('running_mean') for n in before if n.startswith('backbone.'))
    assert any(n.endswith('running_mean') for n in before if n.startswith('head.'))
    tensors = [p for n, p in runner.model.named_parameters() if n.startswith('backbone.')]
    told = f'frozen: {len(tensors)} of {len([*runner.model.parameters()])} parameter tensors'
    assert f'{told} ({sum(p.numel() for p in tensors):,} numbers) and the statistics of 11 of 1' in caplog.text


def test_without_freezing_everything_in_the_backbone_changes(tiny_config, tmp_path):
    cfg = tiny_config()
    before, runner = begun(cfg), launch.train(cfg, tmp_path)
    assert changed(before, runner.model.state_dict()) == set(before)


def test_weights_can_be_frozen_while_their_statistics_run_on(tiny_config, tmp_path):
    cfg = tiny_config(freeze=[r'^backbone\..*(weight|bias)$'])
    before, runner = begun(cfg), launch.train(cfg, tmp_path)
    names = {n for n in changed(before, runner.model.state_dict()) if n.startswith('backbone.')}
    assert names
    assert all('running_' in n or 'num_batches' in n for n in names)


def test_a_frozen_run_resumes_exactly(tiny_config, killed_and_resumed):
    cfg = tiny_config(freeze=BACKBONE)
    assert not changed(begun(cfg), {n: v for n, v in killed_and_resumed(cfg, 4)['state_dict'].items() if 'bone' in n})


def test_what_is_frozen_is_not_decayed_either():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    freeze(model, ['^0'])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.5)
    before = [p.clone() for p in model.parameters()]
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)] == [True, True, False, False]


def test_a_norm_without_parameters_is_frozen_by_the_name_of_its_statistics():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    still = freeze(model, [r'^1\.'])
    train_mode(model, still)
    model(torch.randn(8, 2))
    assert still == ['1']
    assert torch.equal(model[1].running_mean, torch.zeros(2))


@pytest.mark.parametrize(('patterns', 'told'), [
    (['^backbon$'], r"freeze: '\^backbon\$' fits no parameter; names look like 0\.weight"),
    (['0', 'nowhere'], "freeze: 'nowhere' fits no parameter"),
    (['('], r"freeze: '\(' is no regular expression"),
    ('^0', 'freeze is a list of regular expressions'),
    ([3], 'freeze is a list of regular expressions'),
    (['.'], r"freeze=\['.'\] leaves no parameter to learn"),
])  # fmt: skip
def test_patterns_that_do_not_fit_are_errors(patterns, told):
    with pytest.raises(ConfigError, match=told):
        freeze(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), patterns)
