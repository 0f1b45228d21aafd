"""The learning rate of each parameter, and training in mixed precision."""

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.engine.optim import (
    AutocastOptimWrapper,
    RuleOptimWrapperConstructor,
    build_param_groups,
    check_default_paramwise_cfg,
)
from poseplug.files.weights import load_checkpoint
from poseplug.report.charts import read_curve


class Tower(nn.Module):
    """A backbone of two layers: patches (0), blocks (1, 2), the last norm (3)."""

    num_layers = 2

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 3))
        self.patches = nn.Conv2d(3, 3, 1)
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
        self.norm = nn.LayerNorm(3)

    def get_layer_id(self, name):
        if name.startswith('blocks.'):
            return 1 + int(name.split('.')[1])
        return 3 if name.startswith('norm') else 0


class Model(nn.Module):
    def __init__(self, backbone=None):
        super().__init__()
        self.backbone, self.head = backbone or Tower(), nn.Linear(3, 2)


def compute_rates(model, **settings):
    """(lr, weight decay) of every parameter, by name."""
    groups = build_param_groups(model, base_lr=1.0, base_weight_decay=0.1, **settings)
    by_id = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    return {n: by_id[id(p)] for n, p in model.named_parameters() if id(p) in by_id}


def test_the_learning_rate_decays_by_one_factor_per_layer_from_the_head_down():
    rates_by_name = {n: lr for n, (lr, _) in compute_rates(Model(), layer_decay_rate=0.5).items()}
    assert rates_by_name['head.weight'] == rates_by_name['backbone.norm.weight'] == 1.0
    assert rates_by_name['backbone.blocks.1.weight'] == 0.5
    assert rates_by_name['backbone.blocks.0.weight'] == 0.25
    assert rates_by_name['backbone.patches.weight'] == rates_by_name['backbone.pos_embed'] == 0.125


def test_a_layer_decay_rate_of_1_changes_nothing():
    assert compute_rates(Model(), layer_decay_rate=1.0) == compute_rates(Model())


def test_vectors_have_no_weight_decay_and_all_others_have_it():
    model = Model()
    rates_by_name = compute_rates(model, no_weight_decay='vectors', rules={'pos_embed$': dict(decay_mult=0)})
    shapes = {n: p.ndim for n, p in model.named_parameters()}
    assert {n: decay for n, (_, decay) in rates_by_name.items()} == {
        n: 0.0 if ndim == 1 or n == 'backbone.pos_embed' else 0.1 for n, ndim in shapes.items()
    }


def test_the_factors_of_rule_and_layer_are_multiplied():
    rates_by_name = compute_rates(
        Model(), layer_decay_rate=0.5, rules={r'^backbone\.blocks\.0\.weight': dict(lr_mult=3, decay_mult=0.5)}
    )
    assert rates_by_name['backbone.blocks.0.weight'] == (0.75, 0.05)
    assert rates_by_name['backbone.blocks.0.bias'] == (0.25, 0.1)


def test_there_is_one_group_for_each_pair_of_learning_rate_and_weight_decay():
    groups = build_param_groups(
        Model(), base_lr=1.0, base_weight_decay=0.1, layer_decay_rate=0.5, no_weight_decay='vectors'
    )
    pairs = [(g['lr'], g['weight_decay']) for g in groups]
    assert (
        len(pairs) == len(set(pairs)) == 8
    )  # four layers, with and without decay; the head has the factor of the last one


def test_frozen_parameters_are_in_no_group_and_a_rule_may_match_them():
    model = Model()
    model.backbone.requires_grad_(False)
    assert compute_rates(model, rules={'^backbone': dict(lr_mult=0.1)}).keys() == {'head.weight', 'head.bias'}


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(layer_decay_rate=0.5), r'layer_decay_rate=0.5 needs a backbone of several layers .* Linear is neither'),
    (dict(no_weight_decay='bias'), "no_weight_decay is None or 'vectors'; got 'bias'"),
    (dict(rules={'nowhere': dict(lr_mult=2)}), "the rule 'nowhere' matches no parameter; names look like backbone"),
    (dict(rules={'bias': dict(lr_mlt=2)}), "the rule 'bias' has no setting 'lr_mlt'; closest: 'lr_mult'"),
])  # fmt: skip
def test_settings_that_do_not_fit_the_model_are_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_param_groups(Model(nn.Linear(3, 3)), **settings)


@pytest.mark.parametrize('rate', [0, -0.5, 1.5])
def test_a_layer_decay_rate_outside_0_to_1_is_an_error(rate):
    with pytest.raises(ConfigError, match='layer_decay_rate is above 0 and at most 1'):
        build_param_groups(Model(), layer_decay_rate=rate)


def test_a_backbone_that_returns_an_unknown_layer_is_an_error(monkeypatch):
    monkeypatch.setattr(Tower, 'get_layer_id', lambda self, name: 4)
    with pytest.raises(ConfigError, match=r"get_layer_id\('pos_embed'\) of a backbone with 2 layers is 0 to 3; got 4"):
        build_param_groups(Model(), layer_decay_rate=0.5)


def test_an_unknown_setting_of_the_constructor_is_an_error():
    with pytest.raises(
        ConfigError, match="no setting 'norm_decay_mult'; known: rules, layer_decay_rate, no_weight_decay"
    ):
        RuleOptimWrapperConstructor(dict(optimizer=dict(type='SGD', lr=1)), dict(norm_decay_mult=0))


def test_an_optimizer_without_a_learning_rate_is_an_error():
    with pytest.raises(ConfigError, match='optimizer has no lr'):
        RuleOptimWrapperConstructor(dict(optimizer=dict(type='Adadelta')), dict(no_weight_decay='vectors'))


AUTOCAST = {'optim_wrapper.type': 'AutocastOptimWrapper'}


def record_dtypes(monkeypatch, cfg, folder):
    """The output types of the convolutions of a run, in training and in evaluation, and the runner."""
    dtypes = {True: set(), False: set()}
    original_forward = nn.Conv2d.forward

    def forward(self, x):
        result = original_forward(self, x)
        dtypes[self.training].add(result.dtype)
        return result

    monkeypatch.setattr(nn.Conv2d, 'forward', forward)
    return dtypes, launch.train(cfg, folder)


def test_autocast_computes_in_bfloat16_on_the_cpu_while_weights_and_averages_stay_float32(
    tiny_config, tmp_path, monkeypatch
):
    dtypes, runner = record_dtypes(monkeypatch, tiny_config(val=True, **AUTOCAST), tmp_path)
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}
    content = load_checkpoint(tmp_path)
    for part in ('state_dict', 'ema_state_dict'):
        assert {v.dtype for v in content[part].values() if v.is_floating_point()} == {torch.float32}
    assert {v.dtype for s in content['optimizer']['state'].values() for v in s.values()} == {torch.float32}


def test_autocast_learns_nearly_what_float32_learns(tiny_config, tmp_path):
    options_of_both = {'train_cfg.max_steps': 30, 'param_scheduler': None}
    losses = {}
    for name, options in (('float32', {}), ('bfloat16', AUTOCAST)):
        launch.train(tiny_config(**options_of_both, **options), tmp_path / name)
        lines = [line['loss'] for line in read_curve(tmp_path / name / CURVE_FILE)]
        losses[name] = [lines[0], lines[-1]]
    assert losses['bfloat16'][1] < 0.8 * losses['bfloat16'][0]
    assert losses['bfloat16'][1] == pytest.approx(losses['float32'][1], rel=0.1)
    assert losses['bfloat16'] != losses['float32']


def test_a_run_in_bfloat16_resumes_exactly(tiny_config, assert_resumes_exactly):
    assert_resumes_exactly(tiny_config(**AUTOCAST), 4)


def test_autocast_works_with_mmengines_constructor_and_clips_accumulated_gradients(tiny_config, tmp_path):
    """Three steps of plain SGD at learning rate 1 on gradients of norm 0.01 change the weights by 0.03 at most."""
    cfg = tiny_config(**{'train_cfg.max_steps': 3, 'param_scheduler': None})
    optimizer = dict(type='SGD', lr=1.0)
    cfg.optim_wrapper = dict(
        type='AutocastOptimWrapper', optimizer=optimizer, accumulative_counts=2, clip_grad=dict(max_norm=0.01)
    )
    torch.manual_seed(0)
    initial = torch.cat([p.detach().flatten() for p in build_model(cfg).parameters()])
    final = torch.cat([p.detach().flatten() for p in launch.run_training(cfg, tmp_path).model.parameters()])
    assert 0.01 < torch.linalg.vector_norm(final - initial) <= 0.0301


@pytest.mark.parametrize(('dtype', 'message'), [
    ('float16', "dtype='float16' needs a GPU; on the CPU use 'bfloat16'"),
    ('half', "dtype is one of bfloat16, float16; got 'half'"),
])  # fmt: skip
def test_a_wrong_dtype_is_an_error(dtype, message):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ConfigError, match=message):
        AutocastOptimWrapper(dtype=dtype, optimizer=optimizer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='float16 is scaled on a GPU only')
def test_float16_scales_its_loss_and_saves_the_scale():
    weight = nn.Parameter(torch.ones(1, device='cuda'))
    wrapper = AutocastOptimWrapper('float16', loss_scale=1024.0, optimizer=torch.optim.SGD([weight], lr=0.5))
    wrapper.update_params(weight.sum() * float('inf'))
    assert weight.item() == 1.0  # no step was taken
    wrapper.update_params(weight.sum())
    assert weight.item() == 0.5
    other = AutocastOptimWrapper('float16', optimizer=torch.optim.SGD([weight], lr=0.5))
    other.load_state_dict(wrapper.state_dict())
    assert other.scaler.get_scale() == wrapper.scaler.get_scale() == 512.0


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(custom_keys={'backbne': dict(lr_mult=0.1)}), "custom_keys has 'backbne', which is part of no parameter"),
    (dict(custom_keys={'backbone': dict(lr_mlt=0.1)}), r"custom_keys\['backbone'\] has no setting 'lr_mlt'"),
    (dict(norm_decay=0), "DefaultOptimWrapperConstructor has no setting 'norm_decay'; closest: 'norm_decay_mult'"),
    (dict(rules={'backbone': dict(lr_mult=0.1)}), "DefaultOptimWrapperConstructor has no setting 'rules'"),
])  # fmt: skip
def test_the_default_constructor_is_given_no_name_that_it_would_ignore(settings, message):
    cfg = dict(optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=settings)
    with pytest.raises(ConfigError, match=message):
        check_default_paramwise_cfg(Model(), cfg)
    check_default_paramwise_cfg(Model(), {**cfg, 'constructor': 'AnotherConstructor'})


def test_the_default_constructor_takes_factors_and_settings_of_the_optimizer():
    keys = {'backbone': dict(lr_mult=0.1, momentum=0.5), 'head': dict(decay_mult=0)}
    optimizer_cfg = dict(type='SGD', lr=0.1, weight_decay=0.01)
    cfg = dict(optimizer=optimizer_cfg, paramwise_cfg=dict(custom_keys=keys, norm_decay_mult=0))
    model = Model()
    check_default_paramwise_cfg(model, cfg)
    optimizer = DefaultOptimWrapperConstructor(dict(optimizer=optimizer_cfg), cfg['paramwise_cfg'])(model).optimizer
    names = ('lr', 'momentum', 'weight_decay')
    by_id = {id(p): [group[name] for name in names] for group in optimizer.param_groups for p in group['params']}
    assert by_id[id(model.backbone.pos_embed)] == pytest.approx([0.01, 0.5, 0.01])
    assert by_id[id(model.head.weight)] == pytest.approx([0.1, 0, 0])


@pytest.mark.skipif(torch.accelerator.is_available(), reason='with a GPU mixed precision works')
def test_mmengines_mixed_precision_on_the_cpu_is_an_error_that_names_the_other(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match="AmpOptimWrapper needs a GPU; on the CPU set type='AutocastOptimWrapper'"):
        launch.run_training(tiny_config(**{'optim_wrapper.type': 'AmpOptimWrapper'}), tmp_path)
