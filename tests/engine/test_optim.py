"""How fast each parameter learns, and training in a shorter number format."""

import pytest
import torch
from torch import nn

from poseplug.build import build_model
from poseplug.engine import launch
from poseplug.engine.checkpoint import load
from poseplug.engine.hooks.progress import CURVE
from poseplug.engine.optim import AutocastOptimWrapper, RuleConstructor, parameter_groups
from poseplug.errors import ConfigError
from poseplug.visualization.curves import read_curve


class Tower(nn.Module):
    """A backbone of two layers: patches (0), blocks (1, 2), the last norm (3)."""

    layers = 2

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 3))
        self.patches = nn.Conv2d(3, 3, 1)
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
        self.norm = nn.LayerNorm(3)

    def layer_id(self, name):
        if name.startswith('blocks.'):
            return 1 + int(name.split('.')[1])
        return 3 if name.startswith('norm') else 0


class Model(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone, self.head = backbone or Tower(), nn.Linear(3, 2)


def rates(model, **settings):
    """(lr, weight decay) of every parameter, by name."""
    groups = parameter_groups(model, lr=1.0, decay=0.1, **settings)
    by_id = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    return {n: by_id[id(p)] for n, p in model.named_parameters() if id(p) in by_id}


def test_the_rate_falls_by_one_factor_a_layer_from_the_head_down():
    found = {n: lr for n, (lr, _) in rates(Model(), layer_decay=0.5).items()}
    assert found['head.weight'] == found['backbone.norm.weight'] == 1.0
    assert found['backbone.blocks.1.weight'] == 0.5
    assert found['backbone.blocks.0.weight'] == 0.25
    assert found['backbone.patches.weight'] == found['backbone.pos_embed'] == 0.125


def test_a_layer_decay_of_1_changes_nothing():
    assert rates(Model(), layer_decay=1.0) == rates(Model())


def test_vectors_are_undecayed_and_everything_else_is_not():
    model = Model()
    found = rates(model, undecayed='vectors', rules={'pos_embed$': dict(decay=0)})
    shapes = {n: p.ndim for n, p in model.named_parameters()}
    assert {n: decay for n, (_, decay) in found.items()} == {
        n: 0.0 if ndim == 1 or n == 'backbone.pos_embed' else 0.1 for n, ndim in shapes.items()
    }


def test_the_factors_of_rule_and_layer_are_multiplied():
    found = rates(Model(), layer_decay=0.5, rules={r'^backbone\.blocks\.0\.weight': dict(lr=3, decay=0.5)})
    assert found['backbone.blocks.0.weight'] == (0.75, 0.05)
    assert found['backbone.blocks.0.bias'] == (0.25, 0.1)


def test_there_is_one_group_for_each_pair_of_rate_and_decay():
    groups = parameter_groups(Model(), lr=1.0, decay=0.1, layer_decay=0.5, undecayed='vectors')
    pairs = [(g['lr'], g['weight_decay']) for g in groups]
    assert len(pairs) == len(set(pairs)) == 8  # four layers, with and without decay; the head is on the last one's


def test_frozen_parameters_are_in_no_group_and_a_rule_may_be_written_for_them():
    model = Model()
    model.backbone.requires_grad_(False)
    assert rates(model, rules={'^backbone': dict(lr=0.1)}).keys() == {'head.weight', 'head.bias'}


@pytest.mark.parametrize(('settings', 'told'), [
    (dict(layer_decay=0.5), r'layer_decay=0.5 needs a backbone with `layers` .* which Linear lacks'),
    (dict(undecayed='bias'), "undecayed is None or 'vectors'; got 'bias'"),
    (dict(rules={'nowhere': dict(lr=2)}), "the rule 'nowhere' fits no parameter; names look like backbone.weight"),
])  # fmt: skip
def test_settings_that_do_not_fit_the_model_are_errors(settings, told):
    with pytest.raises(ConfigError, match=told):
        parameter_groups(Model(nn.Linear(3, 3)), **settings)


@pytest.mark.parametrize('rate', [0, -0.5, 1.5])
def test_a_layer_decay_outside_0_to_1_is_an_error(rate):
    with pytest.raises(ConfigError, match='layer_decay is above 0 and at most 1'):
        parameter_groups(Model(), layer_decay=rate)


def test_a_backbone_that_names_a_layer_it_does_not_have_is_an_error(monkeypatch):
    monkeypatch.setattr(Tower, 'layer_id', lambda self, name: 4)
    with pytest.raises(ConfigError, match=r"layer_id\('pos_embed'\) of a backbone with 2 layers is 0 to 3; got 4"):
        parameter_groups(Model(), layer_decay=0.5)


def test_an_unknown_setting_of_the_constructor_is_an_error():
    with pytest.raises(ConfigError, match="no setting 'norm_decay_mult'; known: rules, layer_decay, undecayed"):
        RuleConstructor(dict(optimizer=dict(type='SGD', lr=1)), dict(norm_decay_mult=0))


def test_factors_without_a_rate_to_multiply_are_an_error():
    with pytest.raises(ConfigError, match='optimizer has no lr'):
        RuleConstructor(dict(optimizer=dict(type='Adadelta')), dict(undecayed='vectors'))


AUTOCAST = {'optim_wrapper.type': 'AutocastOptimWrapper'}


def seen_formats(monkeypatch, cfg, folder):
    """The number formats that the convolutions of a run give, in training and in evaluation."""
    formats = {True: set(), False: set()}
    usual = nn.Conv2d.forward

    def forward(self, x):
        out = usual(self, x)
        formats[self.training].add(out.dtype)
        return out

    monkeypatch.setattr(nn.Conv2d, 'forward', forward)
    return formats, launch.train(cfg, folder)


def test_autocast_computes_in_bfloat16_on_the_cpu_while_weights_and_averages_stay_float32(
    tiny_config, tmp_path, monkeypatch
):
    formats, runner = seen_formats(monkeypatch, tiny_config(val=True, **AUTOCAST), tmp_path)
    assert formats == {True: {torch.bfloat16}, False: {torch.float32}}
    content = load(tmp_path)
    for part in ('state_dict', 'ema_state_dict'):
        assert {v.dtype for v in content[part].values() if v.is_floating_point()} == {torch.float32}
    assert {v.dtype for s in content['optimizer']['state'].values() for v in s.values()} == {torch.float32}


def test_autocast_learns_what_float32_learns_a_little_differently(tiny_config, tmp_path):
    long = {'train_cfg.steps': 30, 'param_scheduler': None}
    losses = {}
    for name, options in (('float32', {}), ('bfloat16', AUTOCAST)):
        launch.train(tiny_config(**long, **options), tmp_path / name)
        lines = [line['loss'] for line in read_curve(tmp_path / name / CURVE)]
        losses[name] = [lines[0], lines[-1]]
    assert losses['bfloat16'][1] < 0.8 * losses['bfloat16'][0]
    assert losses['bfloat16'][1] == pytest.approx(losses['float32'][1], rel=0.1)
    assert losses['bfloat16'] != losses['float32']


def test_a_run_in_bfloat16_resumes_exactly(tiny_config, killed_and_resumed):
    killed_and_resumed(tiny_config(**AUTOCAST), 4)


def test_autocast_needs_no_constructor_of_ours_and_clips_what_it_accumulated(tiny_config, tmp_path):
    """Three steps of plain SGD at rate 1 on gradients of norm 0.01 go no further than 0.03."""
    cfg = tiny_config(**{'train_cfg.steps': 3, 'param_scheduler': None})
    solver = dict(type='SGD', lr=1.0)
    cfg.optim_wrapper = dict(
        type='AutocastOptimWrapper', optimizer=solver, accumulative_counts=2, clip_grad=dict(max_norm=0.01)
    )
    torch.manual_seed(0)
    begun = torch.cat([p.detach().flatten() for p in build_model(cfg).parameters()])
    ended = torch.cat([p.detach().flatten() for p in launch.train(cfg, tmp_path).model.parameters()])
    assert 0.01 < torch.linalg.vector_norm(ended - begun) <= 0.0301


@pytest.mark.parametrize(('dtype', 'told'), [
    ('float16', "dtype='float16' needs a GPU; on the CPU use 'bfloat16'"),
    ('half', "dtype is one of bfloat16, float16; got 'half'"),
])  # fmt: skip
def test_a_format_that_does_not_work_is_an_error(dtype, told):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ConfigError, match=told):
        AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 is scaled on a GPU only')
def test_float16_scales_its_loss_and_keeps_the_scale():
    weight = nn.Parameter(torch.ones(1, device='cuda'))
    wrapper = AutocastOptimWrapper('float16', loss_scale=1024.0, optimizer=torch.optim.SGD([weight], lr=0.5))
    wrapper.update_params(weight.sum() * float('inf'))
    assert weight.item() == 1.0  # no step was taken
    wrapper.update_params(weight.sum())
    assert weight.item() == 0.5
    other = AutocastOptimWrapper('float16', optimizer=torch.optim.SGD([weight], lr=0.5))
    other.load_state_dict(wrapper.state_dict())
    assert other.scaler.get_scale() == wrapper.scaler.get_scale() == 512.0
