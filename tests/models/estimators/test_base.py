from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.weight_names import weight_name
from poseplug.engine.optim import build_param_groups
from poseplug.engine.strategy import SingleProcessStrategy
from poseplug.engine.training_step import train_step
from poseplug.models.backbones.cpm import CPMTrunk
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.cpm import CPMHead

CONFIG = Path(__file__).parents[3] / 'configs/cpm/cpm_lsp_368.py'
BATCH, SIZE = 2, 48
TRUNK = dict(type='CPMTrunk', channels=(4, 4, 4), kernel_sizes=(3, 3, 3), init_std=None)
HEAD = dict(
    type='CPMHead',
    num_stages=3,
    first_layers=((3, 6),),
    image_layers=((3, 4),),
    context_layers=((3, 8), (1, 8)),
    init_std=None,
    center_sigma_px=7.0,
)
CODEC = dict(type='CPMHeatmap', input_size=(SIZE, SIZE))


def build_estimator(**changes) -> TopDown:
    torch.manual_seed(0)
    parts = dict(skeleton='lsp', codec=CODEC, backbone=TRUNK, head=HEAD, loss=dict(type='SumSquaredError'))
    return TopDown(**{**parts, **changes})


def create_batch() -> Batch:
    """Two images of noise with two people each."""
    generator = torch.Generator().manual_seed(0)
    return Batch.from_instances(
        images=torch.randint(0, 256, (BATCH, 1, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8),
        keypoints=torch.rand(BATCH, 2, 14, 2, generator=generator) * SIZE,
        visible=torch.full((BATCH, 2, 14), 2),
        centers=torch.full((BATCH, 2), 20.0),
    )


def largest_gradients(net: TopDown) -> dict[str, float]:
    """The largest gradient of every parameter; 0 without one."""
    net.zero_grad()
    sum(net.losses(create_batch()).values()).backward()
    return {weight_name(n): 0.0 if p.grad is None else p.grad.abs().max().item() for n, p in net.named_parameters()}


def test_every_stage_is_compared_with_its_own_targets():
    net = build_estimator().eval()
    b = create_batch()
    targets = net.codec.encode(b.keypoints, b.visible, b.valid)
    stages = net.network(b.images[:, 0], b.centers)
    for t, loss in enumerate(net.losses(b).values()):
        target = targets.stages[0 if t == 0 else 1]['heatmap']
        by_hand = (stages[t]['heatmap'] - target).square().sum() / (2 * BATCH)
        torch.testing.assert_close(loss, by_hand)
    assert list(net.losses(b)) == ['loss_1', 'loss_2', 'loss_3']


def test_stage_weights_scale_the_losses_and_0_skips_a_stage():
    unweighted, weighted = (
        build_estimator().eval().losses(create_batch()),
        build_estimator(supervision=[0, 0.5, 2]).eval().losses(create_batch()),
    )
    assert list(weighted) == ['loss_2', 'loss_3']
    torch.testing.assert_close(weighted['loss_2'], 0.5 * unweighted['loss_2'])
    torch.testing.assert_close(weighted['loss_3'], 2 * unweighted['loss_3'])
    assert list(build_estimator(supervision='last').losses(create_batch())) == ['loss_3']


def ignore_previous_heatmaps(net: TopDown) -> TopDown:
    """The same model with the weights of the previous heatmaps set to 0 in its later stages."""
    for context in net.network.head.contexts:
        image_channels, num_heatmaps = 4, 15
        with torch.no_grad():
            context[0][0].weight[:, image_channels : image_channels + num_heatmaps] = 0
    return net


@pytest.mark.parametrize(
    ('supervision', 'ignores_heatmaps', 'has_gradient'),
    [('all', False, True), ('all', True, True), ('last', False, True), ('last', True, False)],
)
def test_supervised_at_the_last_stage_alone_stage_1_learns_through_the_heatmaps_only(
    supervision, ignores_heatmaps, has_gradient
):
    net = build_estimator(supervision=supervision)
    gradients = largest_gradients(ignore_previous_heatmaps(net) if ignores_heatmaps else net)
    for name in ('head.predict.0.weight', 'head.first.0.0.weight', 'backbone.trunks.0.0.0.weight'):
        assert (gradients[name] > 0) == has_gradient
    assert gradients['head.predict.2.weight'] > 0
    assert gradients['backbone.trunks.1.0.0.weight'] > 0


def test_supervision_is_one_setting_of_the_config():
    cfg = load_config(
        CONFIG, {'model.supervision': 'last', 'model.head.num_stages': 2, 'model.backbone.channels': (4, 4, 4)}
    )
    assert build_model(cfg).criterion.stage_weights == [0.0, 1.0]


@pytest.mark.parametrize('wrong', ['first', [1.0, 1.0], [1.0] * 4])
def test_supervision_of_stages_that_do_not_exist_is_an_error(wrong):
    with pytest.raises(ConfigError, match='3 weights'):
        build_estimator(supervision=wrong)


@pytest.fixture(scope='module')
def cpm_368():
    """The six-stage model of the config and the parameter groups of its optimizer."""
    cfg = load_config(CONFIG)
    with torch.device('meta'):
        net = build_model(cfg)
    optimizer = cfg.optim_wrapper.optimizer
    return net, build_param_groups(net, cfg.optim_wrapper.paramwise_cfg.rules, optimizer.lr, optimizer.weight_decay)


def test_the_config_builds_the_published_network(cpm_368):
    assert sum(p.numel() for p in cpm_368[0].parameters()) == 31_219_866


def test_every_parameter_is_in_exactly_one_group(cpm_368):
    net, groups = cpm_368
    counts = Counter(id(p) for group in groups for p in group['params'])
    assert counts == Counter(id(p) for p in net.parameters())


def test_stage_1_learns_five_times_as_fast_and_biases_twice_as_fast_without_decay(cpm_368):
    net, groups = cpm_368
    rate = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    stage_1 = {
        id(p)
        for m in (net.network.backbone.trunks[0], net.network.head.first, net.network.head.predict[0])
        for p in m.parameters()
    }
    assert len(stage_1) == 2 * 7  # three trunk layers, three of its own, and the prediction
    for name, parameter in net.named_parameters():
        in_stage_1, is_bias = id(parameter) in stage_1, name.endswith('.bias')
        factor = (10 if is_bias else 5) if in_stage_1 else (2 if is_bias else 1)
        assert rate[id(parameter)] == pytest.approx((8e-5 * factor, 0.0 if is_bias else 5e-4)), name


def test_a_step_goes_down_the_gradient_of_the_sum_of_the_stages():
    net = build_estimator().eval()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    sum(net.losses(create_batch()).values()).backward()
    expected = {n: before[n] - 1e-4 * p.grad for n, p in net.named_parameters()}
    net.zero_grad()
    strategy = SingleProcessStrategy(net)
    strategy.prepare_training(OptimWrapper(torch.optim.SGD(net.parameters(), lr=1e-4)))
    outputs = train_step(strategy, [create_batch()])
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name])
    assert outputs['loss'].item() == pytest.approx(sum(outputs[f'loss_{t}'].item() for t in (1, 2, 3)))


def get_mismatch_message(**changes) -> str:
    with pytest.raises(MismatchError) as error:
        build_estimator(**changes)
    return str(error.value)


def test_a_mismatch_of_channels_names_both_parts_both_numbers_and_the_setting():
    message = get_mismatch_message(head={**HEAD, 'in_channels': (64, 64)})
    for part in ('CPMHead', 'CPMTrunk', 'in_channels=(64, 64)', 'in_channels=(4, 4)', 'leave in_channels out'):
        assert part in message


def test_a_built_head_for_other_features_is_an_error_at_construction():
    trunk = CPMTrunk(channels=(4, 4, 4), kernel_sizes=(3, 3, 3))
    message = get_mismatch_message(backbone=trunk, head=CPMHead((64, 64), (8, 8), {'heatmap': 15}, num_stages=1))
    for part in ('CPMHead', 'CPMTrunk', 'in_channels=(64, 64)', 'in_channels=(4, 4)'):
        assert part in message
    assert "fields={'heatmap': 14}" in get_mismatch_message(
        backbone=trunk, head=CPMHead((4, 4), (8, 8), {'heatmap': 14}, num_stages=1, first_layers=((1, 4),))
    )


def test_a_mismatch_of_strides_names_both_parts_both_numbers_and_the_setting():
    message = get_mismatch_message(codec={**CODEC, 'stride': 4})
    for part in ('CPMHead', 'CPMTrunk', 'CPMHeatmap', '4', '(8, 8)', 'set model.codec.stride to one of [8]'):
        assert part in message
    by_hand = CPMHead((4, 4), (8, 8), {'heatmap': 15}, 8, 1, first_layers=((1, 4),))
    assert get_mismatch_message(codec={**CODEC, 'stride': 4}, head=by_hand) == (
        'CPMHead predicts at stride 8 but CPMHeatmap draws at stride 4; set model.codec.stride=8'
    )


def test_an_input_size_that_the_stride_does_not_divide_is_an_error_with_the_nearest_multiple():
    message = get_mismatch_message(codec={**CODEC, 'input_size': (50, 45)})
    for part in ('CPMHeatmap', '(50, 45)', 'CPMTrunk', 'stride 8', 'set model.codec.input_size=(48, 48)'):
        assert part in message


def test_fields_of_another_size_than_the_targets_are_an_error_at_the_loss():
    class HalvedTrunk(CPMTrunk):
        def forward(self, images):
            return tuple(nn.functional.max_pool2d(f, 2) for f in super().forward(images))

    net = build_estimator(backbone=HalvedTrunk(channels=(4, 4, 4), kernel_sizes=(3, 3, 3)))
    with pytest.raises(MismatchError, match=r"predicts 'heatmap' as \(15, 3, 3\) but CPMHeatmap draws \(15, 6, 6\)"):
        net.losses(create_batch())


def test_a_backbone_that_declares_nothing_is_an_error():
    with pytest.raises(ConfigError, match='Identity must declare out_channels and strides'):
        build_estimator(backbone=nn.Identity())


def test_channels_last_changes_the_layout_and_not_the_numbers():
    contiguous, channels_last = build_estimator().eval(), build_estimator(channels_last=True).eval()
    b = create_batch()
    inputs = b.images[:, 0], b.centers
    for one, other in zip(contiguous.network(*inputs), channels_last.network(*inputs), strict=True):
        torch.testing.assert_close(one['heatmap'], other['heatmap'], atol=1e-5, rtol=1e-4)
    assert channels_last.network.backbone.trunks[0][0][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_names_in_weight_files_do_not_contain_the_roles():
    net, copied = build_estimator(), build_estimator(head={**HEAD, 'init_std': 0.5})
    names = list(net.state_dict())
    assert {name.partition('.')[0] for name in names} == {'backbone', 'head'}
    assert set(names) >= {weight_name(name) for name, _ in net.named_parameters()}
    copied.load_state_dict(net.state_dict())
    assert all(torch.equal(value, copied.state_dict()[name]) for name, value in net.state_dict().items())
    inside_another = nn.ModuleDict({'module': copied})
    assert list(inside_another.state_dict()) == [f'module.{name}' for name in names]
    inside_another.load_state_dict({f'module.{name}': value for name, value in build_estimator().state_dict().items()})


def test_weights_of_a_loss_are_in_the_state_dict_of_its_estimator():
    loss = nn.Module()
    loss.scale = nn.Parameter(torch.ones(1))
    assert build_estimator(loss=loss).state_dict()['loss.parts.0.scale'] == 1


def test_unknown_weights_are_reported_by_their_own_names():
    net = build_estimator()
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"neck.weight"'):
        net.load_state_dict({**net.state_dict(), 'neck.weight': torch.zeros(1)})
