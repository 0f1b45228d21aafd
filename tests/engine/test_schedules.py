"""The optimizers and learning-rate schedules of the papers: each works with any model and has its published rates."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_SCHEDULERS
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.engine.optim import build_param_groups
from poseplug.engine.schedule_lengths import resolve_schedule_lengths
from poseplug.engine.schedules import QuadraticWarmupLR
from poseplug.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from poseplug.report.charts import read_curve

CONFIG = """_base_ = ['{root}/configs/_base_/schedules/{name}.py']
skeleton = 'lsp'
model = dict(
    type='TopDown',
    codec=dict(type='CPMHeatmap', input_size=(32, 32)),
    backbone=dict(type='CPMTrunk', channels=(4, 4, 4), kernel_sizes=(3, 3, 3)),
    head=dict(
        type='CPMHead',
        num_stages=2,
        first_layers=((3, 8),),
        image_layers=((3, 4),),
        context_layers=((3, 8), (1, 8)),
    ),
)
"""


@pytest.fixture
def schedule(root, tmp_path):
    """A function from the name of a schedule to a config of a small model that uses it."""

    def load(name):
        (tmp_path / 'config.py').write_text(CONFIG.format(root=root, name=name))
        return load_config(tmp_path / 'config.py', training=True)

    return load


def compute_rates(cfg, steps_per_epoch, steps):
    """The learning rate of a schedule at some steps, counted from 0."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapper = OptimWrapper(optimizer)
    max_iters = cfg.train_cfg.get('max_steps') or cfg.train_cfg.max_epochs * steps_per_epoch
    specs = [resolve_schedule_lengths(s, max_iters, steps_per_epoch) for s in cfg.param_scheduler or ()]
    schedulers = []
    for spec in specs:
        spec['type'] = PARAM_SCHEDULERS.get(spec['type'])  # which mmengine's registry does not find by name
        schedulers.append(MMENGINE_SCHEDULERS.build(spec, default_args=dict(optimizer=wrapper)))
    rates = []
    for step in range(max(steps) + 1):
        if step in steps:
            rates.append(optimizer.param_groups[0]['lr'])
        wrapper.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (step + 1) % steps_per_epoch == 0:
                scheduler.step()
    return rates


@pytest.mark.parametrize(('name', 'steps_per_epoch', 'steps', 'expected', 'length'), [
    ('hrnet', 1, (0, 169, 170, 199, 200, 209), (1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5), dict(max_epochs=210)),
    ('simple_baseline', 1, (0, 89, 90, 119, 120, 139), (1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5), dict(max_epochs=140)),
    ('vitpose', 10, (0, 500, 1699, 1700, 2000), (5e-7, 5e-4, 5e-4, 5e-5, 5e-6), dict(max_epochs=210)),
    ('hourglass', 8000, (0, 80000), (2.5e-4, 2.5e-4), dict(max_steps=100 * 8000)),
    ('cpn', 1875, (0, 112499, 112500), (5e-4, 5e-4, 2.5e-4), dict(max_steps=24_000_000 // 32)),
])  # fmt: skip
def test_a_schedule_has_its_published_rates(schedule, name, steps_per_epoch, steps, expected, length):
    cfg = schedule(name)
    assert compute_rates(cfg, steps_per_epoch, steps) == pytest.approx(list(expected), rel=1e-6)
    assert {k: v for k, v in cfg.train_cfg.items() if k in ('max_epochs', 'max_steps')} == length


@pytest.mark.parametrize('name', ['adamw', 'cpm', 'hrnet', 'simple_baseline', 'hourglass', 'cpn'])
def test_every_schedule_builds_an_optimizer_for_any_model(schedule, name):
    cfg = schedule(name)
    model = build_model(cfg)
    assert sum(len(g['params']) for g in build_optimizer(cfg, model).param_groups) == len([*model.parameters()])


def build_optimizer(cfg, model):
    """The optimizer of a config, as mmengine's runner builds it."""
    spec = dict(cfg.optim_wrapper)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(spec.pop('constructor', 'DefaultOptimWrapperConstructor'))
    return constructor(spec, spec.pop('paramwise_cfg', None))(model).optimizer


def test_layer_decay_counts_the_modules_of_a_backbone_that_declares_no_layers():
    """ResNet's last stage learns at the full rate, each one before it at 0.75 of the next; the stem is one layer."""
    model = SimpleNamespace(backbone=MODELS.build(dict(type='ResNet', depth=18)))
    model.named_parameters = lambda: ((f'backbone.{n}', p) for n, p in model.backbone.named_parameters())
    groups = build_param_groups(model, layer_decay_rate=0.75, base_lr=2.0)
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    layers = [['conv1', 'bn1'], ['layer1'], ['layer2'], ['layer3'], ['layer4']]
    for layers_above, names in enumerate(layers[::-1]):
        parameters = [p for name in names for p in model.backbone.get_submodule(name).parameters()]
        assert [rates[id(p)] for p in parameters] == pytest.approx([2.0 * 0.75**layers_above] * len(parameters))


def test_layer_decay_needs_a_backbone_with_layers():
    with pytest.raises(
        ConfigError, match='layer_decay_rate=0.5 needs a backbone of several layers .* Linear is neither'
    ):
        build_param_groups(SimpleNamespace(backbone=nn.Linear(2, 2)), layer_decay_rate=0.5)


def test_the_optimizers_are_the_published_ones(schedule):
    """Weight decay of 0.1 and norms of gradients up to 1 in ViTPose; none in HRNet, whose code never passed it on."""
    optim_wrappers = {n: schedule(n).optim_wrapper for n in ('hrnet', 'simple_baseline', 'vitpose', 'hourglass', 'cpn')}
    settings = {n: (s.optimizer.type, s.optimizer.get('weight_decay', 0)) for n, s in optim_wrappers.items()}
    assert settings == {
        'hrnet': ('Adam', 0),
        'simple_baseline': ('Adam', 0),
        'vitpose': ('AdamW', 0.1),
        'hourglass': ('RMSprop', 0),
        'cpn': ('Adam', 1e-5),
    }
    assert optim_wrappers['vitpose'].clip_grad == dict(max_norm=1.0, norm_type=2)


def test_vitpose_learns_slowest_at_the_patches_without_weight_decay_of_vectors_and_the_embedding(schedule):
    """Three layers at 0.75: 0.75^4 at the patches, 0.75^(3 - i) in block i, 1 at the last norm."""
    cfg = schedule('vitpose')
    settings, optimizer = cfg.optim_wrapper.paramwise_cfg, cfg.optim_wrapper.optimizer
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='ViT', embed_dim=12, depth=3, num_heads=2), input_size=(64, 64))
    model.head = nn.Linear(12, 2)
    groups = build_param_groups(model, base_lr=optimizer.lr, base_weight_decay=optimizer.weight_decay, **settings)
    names = {id(p): n for n, p in model.named_parameters()}
    factors = {names[id(p)]: (g['lr'] / optimizer.lr, g['weight_decay']) for g in groups for p in g['params']}
    assert factors['head.weight'] == (1.0, 0.1)
    assert factors['head.bias'] == (1.0, 0.0)
    assert factors['backbone.norm.weight'] == (1.0, 0.0)
    assert factors['backbone.pos_embed'] == pytest.approx((0.75**4, 0.0))
    assert factors['backbone.patch_embed.proj.weight'] == pytest.approx((0.75**4, 0.1))
    for name, (rate, decay) in factors.items():
        if '.blocks.' in name:
            is_vector = model.get_parameter(name).ndim == 1
            assert (rate, decay) == pytest.approx((0.75 ** (3 - int(name.split('.')[2])), 0.0 if is_vector else 0.1)), (
                name
            )


def test_the_learning_rate_of_rtmo_warms_up_quadratically_and_decays_twice(schedule):
    """With ten steps per epoch: from 4e-3 at epoch 5 to 2e-4 at 280, then from 5e-4 to 2e-4 at 580."""
    cfg = schedule('rtmo')
    by_steps = [dict(s, epoch_length=10) if s.get('convert_to_iter_based') else s for s in cfg.param_scheduler]
    cfg.param_scheduler = by_steps
    expected = {4: 4e-5, 24: 1e-3, 49: 4e-3, 50: 4e-3, 1425: 2.1e-3, 2799: 2e-4, 2800: 5e-4, 4300: 3.5e-4, 5800: 2e-4}
    assert compute_rates(cfg, 10, (*expected, 5999)) == pytest.approx([*expected.values(), 2e-4], rel=2e-3)


def test_a_warm_up_without_an_end_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match='begin must be at least 0 and below end'):
        QuadraticWarmupLR(optimizer)


# --- a rate that follows a score --------------------------------------------------------------------------------------

PLATEAU = dict(type='ReduceOnPlateauLR', monitor='PCK@0.2', rule='greater', factor=0.2, patience=0, threshold=1000)


def train_on_plateau(tiny_config, **settings):
    """A run of 6 steps whose evaluations after each never gain enough, except by the threshold of its schedule."""
    options = {'train_cfg.val_interval': 1, 'train_cfg.max_steps': 6, 'optim_wrapper.optimizer.lr': 0.01}
    cfg = tiny_config(val=True, **options)
    cfg.default_hooks.progress.interval = 1
    cfg.param_scheduler = [{**PLATEAU, **settings}]
    return cfg


def test_a_rate_is_divided_by_5_where_the_score_stalls_and_resumes_exactly(
    tiny_config, tmp_path, assert_resumes_exactly
):
    launch.train(train_on_plateau(tiny_config), tmp_path / 'run')
    rates = [line['lr'] for line in read_curve(tmp_path / 'run' / CURVE_FILE) if 'lr' in line]
    # The first evaluation, after step 1, is the best so far; every later one brings too little.
    assert rates == pytest.approx([0.01, 0.01, *(0.01 * 0.2**n for n in range(1, 5))])
    assert_resumes_exactly(train_on_plateau(tiny_config), 5)


def test_the_paper_config_of_the_hourglass_draws_what_its_text_says(root):
    cfg = load_config(root / 'configs/hourglass/hourglass8_mpii_256_paper.py')
    affine = cfg.train_dataloader.dataset.pipeline[1]
    assert (affine.type, tuple(affine.scale_factor), affine.degrees) == ('RandomScaleRotate', (0.75, 1.25), 30)
    assert (cfg.param_scheduler.factor, cfg.param_scheduler.monitor) == (0.2, 'PCKh@0.5')


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(monitor='PCK@0.3'), r"param_scheduler, ReduceOnPlateauLR: no score is called 'PCK@0.3'; closest: 'PCK@0.2'"),
    (dict(rule='less'), "a higher PCK@0.2 is better, but rule='less'; set rule='greater'"),
])  # fmt: skip
def test_a_schedule_that_would_follow_no_score_or_the_wrong_direction_is_refused(
    tiny_config, tmp_path, settings, message
):
    with pytest.raises(ConfigError, match=message):
        launch.train(train_on_plateau(tiny_config, **settings), tmp_path / 'run')


def test_a_schedule_that_follows_a_score_needs_evaluations(tiny_config, tmp_path):
    cfg = train_on_plateau(tiny_config)
    cfg.val_dataloader = None
    with pytest.raises(ConfigError, match="follows 'PCK@0.2', but nothing is evaluated; set val_dataloader"):
        launch.train(cfg, tmp_path / 'run')
