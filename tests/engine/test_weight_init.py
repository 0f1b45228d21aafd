"""A part of a model can start with weights of another file; a report lists what happened to each tensor."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.weight_names import weight_name
from poseplug.engine import launch
from poseplug.engine.weight_init import init_weights, load_part_weights
from poseplug.files.weights import load_checkpoint, load_weights


class Embedding(nn.Module):
    """A part whose weights depend on the input size, and that resizes those of another size."""

    def __init__(self, size):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, size))

    def adapt_weights(self, state_dict, prefix):
        name = f'{prefix}table'
        if name in state_dict:
            state_dict[name] = nn.functional.interpolate(state_dict[name][None], self.table.shape[1])[0]


class Model(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), Embedding(size))
        self.head = nn.Linear(3, 1)


def create_weights(seed=1, **settings):
    torch.manual_seed(seed)
    model = Model(**settings)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return {n: v.clone() for n, v in model.state_dict().items()}


def write_weights(folder, state_dict, name='w.pth'):
    path = folder / name
    save_file(state_dict, path) if path.suffix == '.safetensors' else torch.save(state_dict, path)
    return path


BACKBONE_WEIGHTS = {k.removeprefix('backbone.'): v for k, v in create_weights().items() if k.startswith('backbone.')}


@pytest.mark.parametrize('name', ['w.pth', 'w.safetensors'])
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'encoder.'])
def test_a_backbone_is_loaded_with_any_prefix_of_its_names(tmp_path, name, prefix):
    file = write_weights(tmp_path, {f'{prefix}{k}': v for k, v in BACKBONE_WEIGHTS.items()}, name)
    settings = dict(prefix=prefix) if prefix == 'encoder.' else {}
    model = Model()
    head = model.head.weight.clone()
    report = load_part_weights(model, 'backbone', file, **settings)
    assert all(torch.equal(v, BACKBONE_WEIGHTS[n]) for n, v in model.backbone.state_dict().items())
    assert torch.equal(model.head.weight, head)
    assert (report.prefix, report.loaded, report.missing, report.unused) == (prefix, [*BACKBONE_WEIGHTS], [], [])


@pytest.mark.parametrize('prefix', ['module.', 'module._orig_mod.backbone.', '_orig_mod.encoder.'])
def test_what_a_wrapper_put_in_front_of_names_is_removed(tmp_path, prefix):
    file = write_weights(tmp_path, {f'{prefix}{name}': value for name, value in BACKBONE_WEIGHTS.items()})
    report = load_part_weights(Model(), 'backbone', file, unused='error')
    assert (report.loaded, report.missing) == ([*BACKBONE_WEIGHTS], [])


def test_tensors_of_a_classifier_are_not_used_and_logged(tmp_path, caplog):
    caplog.set_level('INFO', 'poseplug')
    file = write_weights(
        tmp_path, {'model': {**BACKBONE_WEIGHTS, 'fc.weight': torch.zeros(9, 3), 'fc.bias': torch.zeros(9)}}
    )
    init_weights(Model(), dict(backbone=str(file)))
    assert caplog.messages == [
        f'init: backbone: weights of {file}: {len(BACKBONE_WEIGHTS)} loaded, 0 missing, 2 not used (fc.weight, fc.bias)'
    ]


def test_every_tensor_of_the_part_and_of_the_file_is_in_the_report_once(tmp_path):
    state_dict = {**BACKBONE_WEIGHTS, 'fc.weight': torch.zeros(1)}
    del state_dict['0.bias'], state_dict['1.num_batches_tracked']
    report = load_part_weights(Model(), 'backbone', write_weights(tmp_path, state_dict), missing='keep')
    assert sorted([*report.loaded, *report.unused]) == sorted(state_dict)
    assert report.missing == ['0.bias']  # a counter of batches is no weight
    assert sorted([*report.loaded, *report.missing, '1.num_batches_tracked']) == sorted(BACKBONE_WEIGHTS)


def test_missing_tensors_may_be_kept_as_they_were_initialized(tmp_path):
    model = Model()
    bias = model.backbone[0].bias.clone()
    file = write_weights(tmp_path, {k: v for k, v in BACKBONE_WEIGHTS.items() if k != '0.bias'})
    load_part_weights(model, 'backbone', file, missing='keep')
    assert torch.equal(model.backbone[0].bias, bias)
    assert torch.equal(model.backbone[0].weight, BACKBONE_WEIGHTS['0.weight'])


@pytest.mark.parametrize(('change', 'settings', 'message'), [
    ({'0.bias': None}, {}, r"lack 1 of \d+ tensors \(0.bias\); init.backbone.missing='keep' leaves them"),
    ({'0.bias': torch.zeros(4)}, {}, r'of another shape \(first: 0.bias: \(4,\) in the file, \(3,\)'),
    ({'fc.bias': torch.zeros(1)}, dict(unused='error'), r'hold 1 tensors that are not used \(fc.bias\)'),
    ({}, dict(prefix='module.'), r'fit nothing: .* other names \(0.weight, .*set init.backbone.prefix'),
    ({}, dict(prefix='module.', missing='keep'), 'fit nothing'),
])  # fmt: skip
def test_weights_that_do_not_fit_are_errors_and_change_nothing(tmp_path, change, settings, message):
    state_dict = {k: v for k, v in {**BACKBONE_WEIGHTS, **change}.items() if v is not None}
    model = Model()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_part_weights(model, 'backbone', write_weights(tmp_path, state_dict), **settings)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


@pytest.mark.parametrize(('spec', 'message'), [
    (dict(backbon='x'), "the model has no part 'backbon'; closest: 'backbone'.*parts: backbone, head"),
    (dict(backbone=dict(fil='x')), "init.backbone has no setting 'fil'; closest: 'file'"),
    (dict(backbone=dict(prefix='x')), "init.backbone has no 'file'"),
    (dict(backbone=dict(file='x', missing='ignore')), "init.backbone.missing is one of error, keep; got 'ignore'"),
])  # fmt: skip
def test_wrong_settings_are_errors(spec, message):
    with pytest.raises(ConfigError, match=message):
        init_weights(Model(), spec)


def test_a_part_resizes_weights_of_another_input_size(tmp_path):
    file = write_weights(tmp_path, {k: v for k, v in create_weights(size=2).items() if k.startswith('backbone.')})
    expected = load_checkpoint(file)['state_dict']['backbone.2.table'][0]
    model = Model(size=4)
    load_part_weights(model, 'backbone', file)
    assert model.backbone[2].table[0].tolist() == [expected[0], expected[0], expected[1], expected[1]]
    whole_model = Model(size=4)
    load_weights(whole_model, write_weights(tmp_path, create_weights(size=2)))
    assert torch.equal(whole_model.backbone[2].table, model.backbone[2].table)


def test_a_run_and_its_averages_start_with_the_backbone_of_another_run(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    first = load_checkpoint(tmp_path / 'first')['state_dict']
    cfg = tiny_config(init=dict(backbone=str(tmp_path / 'first')), freeze=['^backbone'], seed=5)
    runner = launch.run_training(cfg, tmp_path / 'second')
    for state_dict in (runner.model.state_dict(), load_checkpoint(tmp_path / 'second')['state_dict']):
        same = {n for n, v in state_dict.items() if torch.equal(v, first[n]) and 'num_batches' not in n}
        assert same == {n for n in state_dict if n.startswith('backbone.') and 'num_batches' not in n}


def test_init_of_a_config_may_be_set_by_the_command_line(tiny_config):
    assert tiny_config(**{'init.backbone': 'vgg.pth'}).init == dict(backbone='vgg.pth')


def test_a_resumed_run_does_not_need_its_initial_weights(tiny_config, tmp_path, interrupt_and_resume):
    launch.train(tiny_config(), tmp_path / 'first')
    file = (tmp_path / 'first' / 'step_0000006.pth').rename(tmp_path / 'first.pth')
    _, runner = interrupt_and_resume(
        tiny_config(init=dict(backbone=str(file))), tmp_path / 'two', 4, lambda: remove_and_exit(file), SystemExit
    )
    assert runner.iter == 6


def remove_and_exit(file):
    file.unlink()
    raise SystemExit


def test_weights_of_the_command_line_replace_those_of_the_config(tiny_config, tmp_path):
    launch.train(tiny_config(), tmp_path / 'first')
    cfg = tiny_config(
        init=dict(backbone='nowhere.pth'), **{'train_cfg.max_steps': 1, 'optim_wrapper.optimizer.lr': 0.0}
    )
    runner = launch.run_training(cfg, tmp_path / 'second', init=str(tmp_path / 'first'))
    first = load_checkpoint(tmp_path / 'first')['state_dict']
    assert all(torch.equal(p, first[weight_name(n)]) for n, p in runner.model.named_parameters())
