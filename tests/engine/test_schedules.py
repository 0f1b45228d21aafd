"""The solvers of the papers: every schedule fits any model, and gives the rates that its recipe states."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.engine.optim import parameter_groups
from poseplug.engine.schedules import QuadraticWarmupLR
from poseplug.errors import ConfigError
from poseplug.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

CONFIG = """_base_ = ['{root}/configs/_base_/schedules/{name}.py']
skeleton = 'lsp'
model = dict(
    type='TopDown',
    codec=dict(type='CPMHeatmap', input_size=(32, 32)),
    backbone=dict(type='CPMTrunk', channels=(4, 4, 4), kernels=(3, 3, 3)),
    head=dict(type='CPMHead', stages=2, first=((3, 8),), image=((3, 4),), context=((3, 8), (1, 8))),
)
"""


@pytest.fixture
def schedule(root, tmp_path):
    """A function from the name of a schedule to a config of a small model that uses it."""

    def load(name):
        (tmp_path / 'config.py').write_text(CONFIG.format(root=root, name=name))
        return load_config(tmp_path / 'config.py', training=True)

    return load


def rates(cfg, epoch, at):
    """The learning rate of a schedule at each of some steps (counted from 0), with `epoch` steps an epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    wrapped = OptimWrapper(optimizer)
    built = [PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=wrapped)) for s in cfg.param_scheduler or ()]
    found = []
    for step in range(max(at) + 1):
        if step in at:
            found.append(optimizer.param_groups[0]['lr'])
        wrapped.step()
        for scheduler in built:
            if not scheduler.by_epoch or (step + 1) % epoch == 0:
                scheduler.step()
    return found


@pytest.mark.parametrize(('name', 'epoch', 'at', 'wanted', 'length'), [
    ('hrnet', 1, (0, 169, 170, 199, 200, 209), (1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5), dict(epochs=210)),
    ('simple_baseline', 1, (0, 89, 90, 119, 120, 139), (1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5), dict(epochs=140)),
    ('vitpose', 10, (0, 500, 1699, 1700, 2000), (5e-7, 5e-4, 5e-4, 5e-5, 5e-6), dict(epochs=210)),
    ('hourglass', 8000, (0, 80000), (2.5e-4, 2.5e-4), dict(steps=100 * 8000)),
    ('cpn', 1875, (0, 112499, 112500), (5e-4, 5e-4, 2.5e-4), dict(steps=24_000_000 // 32)),
])  # fmt: skip
def test_a_schedule_gives_the_rates_of_its_recipe(schedule, name, epoch, at, wanted, length):
    cfg = schedule(name)
    assert rates(cfg, epoch, at) == pytest.approx(list(wanted), rel=1e-6)
    assert {k: v for k, v in cfg.train_cfg.items() if k in ('epochs', 'steps')} == length


@pytest.mark.parametrize('name', ['adamw', 'cpm', 'hrnet', 'simple_baseline', 'hourglass', 'cpn'])
def test_every_schedule_builds_an_optimiser_for_any_model(schedule, name):
    cfg = schedule(name)
    model = build_model(cfg)
    assert sum(len(g['params']) for g in optimiser(cfg, model).param_groups) == len([*model.parameters()])


def optimiser(cfg, model):
    """The optimiser of a config, as mmengine's runner builds it."""
    spec = dict(cfg.optim_wrapper)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.get(spec.pop('constructor', 'DefaultOptimWrapperConstructor'))
    return constructor(spec, spec.pop('paramwise_cfg', None))(model).optimizer


def test_the_rate_that_falls_over_depth_asks_for_a_backbone_with_depth(schedule):
    cfg = schedule('vitpose')
    with pytest.raises(ConfigError, match='layer_decay=0.75 needs a backbone .* CPMTrunk lacks'):
        optimiser(cfg, build_model(cfg))


def test_the_optimisers_are_those_of_the_recipes(schedule):
    """Weight decay of 0.1 and norms of gradients up to 1 in ViTPose; none in HRNet, whose code never passed it on."""
    solvers = {n: schedule(n).optim_wrapper for n in ('hrnet', 'simple_baseline', 'vitpose', 'hourglass', 'cpn')}
    kinds = {n: (s.optimizer.type, s.optimizer.get('weight_decay', 0)) for n, s in solvers.items()}
    assert kinds == {
        'hrnet': ('Adam', 0),
        'simple_baseline': ('Adam', 0),
        'vitpose': ('AdamW', 0.1),
        'hourglass': ('RMSprop', 0),
        'cpn': ('Adam', 1e-5),
    }
    assert solvers['vitpose'].clip_grad == dict(max_norm=1.0, norm_type=2)


def test_vitpose_learns_slowest_at_the_pixels_and_keeps_vectors_and_the_embedding_undecayed(schedule):
    """Three layers at 0.75: 0.75^4 at the patches, 0.75^(3 - i) in block i, 1 at the last norm."""
    cfg = schedule('vitpose')
    settings, solver = cfg.optim_wrapper.paramwise_cfg, cfg.optim_wrapper.optimizer
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='ViT', dim=12, depth=3, heads=2), input_size=(64, 64))
    model.head = nn.Linear(12, 2)
    groups = parameter_groups(model, lr=solver.lr, decay=solver.weight_decay, **settings)
    names = {id(p): n for n, p in model.named_parameters()}
    found = {names[id(p)]: (g['lr'] / solver.lr, g['weight_decay']) for g in groups for p in g['params']}
    assert found['head.weight'] == (1.0, 0.1)
    assert found['head.bias'] == (1.0, 0.0)
    assert found['backbone.norm.weight'] == (1.0, 0.0)
    assert found['backbone.pos_embed'] == pytest.approx((0.75**4, 0.0))
    assert found['backbone.patch_embed.proj.weight'] == pytest.approx((0.75**4, 0.1))
    for name, (rate, decay) in found.items():
        if '.blocks.' in name:
            vector = model.get_parameter(name).ndim == 1
            assert (rate, decay) == pytest.approx((0.75 ** (3 - int(name.split('.')[2])), 0.0 if vector else 0.1)), name


def test_rtmos_rate_warms_up_by_squares_and_falls_twice(schedule):
    """Ten steps an epoch: 4e-3 from epoch 5 to 2e-4 at 280, 5e-4 there, 2e-4 from 580 on; half way in between."""
    cfg = schedule('rtmo')
    by_steps = [dict(s, epoch_length=10) if s.get('convert_to_iter_based') else s for s in cfg.param_scheduler]
    cfg.param_scheduler = by_steps
    wanted = {4: 4e-5, 24: 1e-3, 49: 4e-3, 50: 4e-3, 1425: 2.1e-3, 2799: 2e-4, 2800: 5e-4, 4300: 3.5e-4, 5800: 2e-4}
    assert rates(cfg, 10, (*wanted, 5999)) == pytest.approx([*wanted.values(), 2e-4], rel=2e-3)


def test_a_warm_up_without_an_end_is_refused():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match='begin lies before end'):
        QuadraticWarmupLR(optimizer)
