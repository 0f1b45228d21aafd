"""A part of a model can begin with weights from elsewhere; what became of each tensor is told."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from poseplug.engine import launch
from poseplug.engine.checkpoint import load, load_weights
from poseplug.engine.init import init_weights, part_weights
from poseplug.errors import CheckpointError, ConfigError


class Embedding(nn.Module):
    """A part whose weights depend on the input's size, and that resizes those of another."""

    def __init__(self, size):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, size))

    def adapt_weights(self, state, prefix):
        name = f'{prefix}table'
        if name in state:
            state[name] = nn.functional.interpolate(state[name][None], self.table.shape[1])[0]


class Model(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), Embedding(size))
        self.head = nn.Linear(3, 1)


def weights(seed=1, **settings):
    torch.manual_seed(seed)
    model = Model(**settings)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return {n: v.clone() for n, v in model.state_dict().items()}


def stored(folder, state, name='w.pth'):
    path = folder / name
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    return path


BARE = {k.removeprefix('backbone.'): v for k, v in weights().items() if k.startswith('backbone.')}


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
@pytest.mark.parametrize('before', ['', 'backbone.', 'encoder.'])
def test_a_backbone_is_loaded_whatever_stands_before_its_names(tmp_path, name, before):
    file = stored(tmp_path, {f'{before}{k}': v for k, v in BARE.items()}, name)
    settings = dict(prefix=before) if before == 'encoder.' else {}
    model = Model()
    head = model.head.weight.clone()
    report = part_weights(model, 'backbone', file, **settings)
    assert all(torch.equal(v, BARE[n]) for n, v in model.backbone.state_dict().items())
    assert torch.equal(model.head.weight, head)
    assert (report.prefix, report.loaded, report.missing, report.unused) == (before, [*BARE], [], [])


def test_what_a_classifier_adds_is_told_and_not_used(tmp_path, caplog):
    caplog.set_level('INFO', 'poseplug')
    file = stored(tmp_path, {'model': {**BARE, 'fc.weight': torch.zeros(9, 3), 'fc.bias': torch.zeros(9)}})
    init_weights(Model(), dict(backbone=str(file)))
    assert caplog.messages == [
        f'init: backbone: weights of {file}: {len(BARE)} loaded, 0 missing, 2 not used (fc.weight, fc.bias)'
    ]


def test_every_tensor_of_the_part_and_of_the_file_is_in_the_report_once(tmp_path):
    state = {**BARE, 'fc.weight': torch.zeros(1)}
    del state['0.bias'], state['1.num_batches_tracked']
    report = part_weights(Model(), 'backbone', stored(tmp_path, state), missing='keep')
    assert sorted([*report.loaded, *report.unused]) == sorted(state)
    assert report.missing == ['0.bias']  # a counter of batches is none of the weights
    assert sorted([*report.loaded, *report.missing, '1.num_batches_tracked']) == sorted(BARE)


def test_what_is_missing_may_be_kept_as_it_was_initialised(tmp_path):
    model = Model()
    bias = model.backbone[0].bias.clone()
    file = stored(tmp_path, {k: v for k, v in BARE.items() if k != '0.bias'})
    part_weights(model, 'backbone', file, missing='keep')
    assert torch.equal(model.backbone[0].bias, bias)
    assert torch.equal(model.backbone[0].weight, BARE['0.weight'])


@pytest.mark.parametrize(('change', 'settings', 'told'), [
    ({'0.bias': None}, {}, r"lack 1 of \d+ tensors \(0.bias\); init.backbone.missing='keep' leaves them"),
    ({'0.bias': torch.zeros(4)}, {}, r'of another shape \(first: 0.bias: \(4,\) in the file, \(3,\)'),
    ({'fc.bias': torch.zeros(1)}, dict(unused='error'), r'hold 1 more tensors than are used \(fc.bias\)'),
    ({}, dict(prefix='module.'), r'fit nothing: .* other names \(0.weight, .*set init.backbone.prefix'),
    ({}, dict(prefix='module.', missing='keep'), 'fit nothing'),
])  # fmt: skip
def test_weights_that_do_not_fit_are_errors_and_change_nothing(tmp_path, change, settings, told):
    state = {k: v for k, v in {**BARE, **change}.items() if v is not None}
    model = Model()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=told):
        part_weights(model, 'backbone', stored(tmp_path, state), **settings)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


@pytest.mark.parametrize(('spec', 'told'), [
    (dict(backbon='x'), "the model has no part 'backbon'; closest: 'backbone'.*parts: backbone, head"),
    (dict(backbone=dict(fil='x')), "init.backbone has no setting 'fil'; closest: 'file'"),
    (dict(backbone=dict(prefix='x')), "init.backbone has no 'file'"),
    (dict(backbone=dict(file='x', missing='ignore')), "init.backbone.missing is one of error, keep; got 'ignore'"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_errors(spec, told):
    with pytest.raises(ConfigError, match=told):
        init_weights(Model(), spec)


def test_a_part_brings_weights_of_another_input_size_to_its_own(tmp_path):
    file = stored(tmp_path, {k: v for k, v in weights(size=2).items() if k.startswith('backbone.')})
    wanted = load(file)['state_dict']['backbone.2.table'][0]
    model = Model(size=4)
    part_weights(model, 'backbone', file)
    assert model.backbone[2].table[0].tolist() == [wanted[0], wanted[0], wanted[1], wanted[1]]
    whole = Model(size=4)
    load_weights(whole, stored(tmp_path, weights(size=2)))
    assert torch.equal(whole.backbone[2].table, model.backbone[2].table)


def test_a_run_begins_with_the_backbone_of_another_and_its_averages_do_too(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    first = load(tmp_path / 'first')['state_dict']
    cfg = tiny_config(init=dict(backbone=str(tmp_path / 'first')), freeze=['^backbone'], seed=5)
    runner = launch.train(cfg, tmp_path / 'second')
    for state in (runner.model.state_dict(), load(tmp_path / 'second')['state_dict']):
        same = {n for n, v in state.items() if torch.equal(v, first[n]) and 'num_batches' not in n}
        assert same == {n for n in state if n.startswith('backbone.') and 'num_batches' not in n}


def test_init_of_a_config_may_be_given_by_the_command_line(tiny_config):
    assert tiny_config(**{'init.backbone': 'vgg.pth'}).init == dict(backbone='vgg.pth')


def test_a_resumed_run_does_not_look_for_the_weights_it_began_with(tiny_config, tmp_path, run_in_two):
    launch.train(tiny_config(), tmp_path / 'first')
    file = (tmp_path / 'first' / 'step_0000006.pth').rename(tmp_path / 'first.pth')
    _, runner = run_in_two(
        tiny_config(init=dict(backbone=str(file))), tmp_path / 'two', 4, lambda: leave(file), SystemExit
    )
    assert runner.iter == 6


def leave(file):
    file.unlink()
    raise SystemExit


def test_weights_on_the_command_line_come_before_those_of_the_config(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    cfg = tiny_config(init=dict(backbone='nowhere.pth'), **{'train_cfg.steps': 1, 'optim_wrapper.optimizer.lr': 0.0})
    runner = launch.train(cfg, tmp_path / 'second', init=str(tmp_path / 'first'))
    first = load(tmp_path / 'first')['state_dict']
    assert all(torch.equal(p, first[n]) for n, p in runner.model.named_parameters())
