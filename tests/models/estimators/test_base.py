from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.engine.optim import parameter_groups
from poseplug.errors import ConfigError, MismatchError
from poseplug.models.backbones.cpm import CPMTrunk
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.cpm import CPMHead
from poseplug.sample import Batch

CONFIG = Path(__file__).parents[3] / 'configs/cpm/cpm_lsp_368.py'
BATCH, SIZE = 2, 48
TRUNK = dict(type='CPMTrunk', channels=(4, 4, 4), kernels=(3, 3, 3), init_std=None)
HEAD = dict(
    type='CPMHead',
    stages=3,
    first=((3, 6),),
    image=((3, 4),),
    context=((3, 8), (1, 8)),
    init_std=None,
    center_sigma=7.0,
)
CODEC = dict(type='CPMHeatmap', input_size=(SIZE, SIZE))


def model(**changes) -> TopDown:
    torch.manual_seed(0)
    parts = dict(skeleton='lsp', codec=CODEC, backbone=TRUNK, head=HEAD, loss=dict(type='SumSquaredError'))
    return TopDown(**{**parts, **changes})


def batch() -> Batch:
    """Two pictures of noise with two people each."""
    chance = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randint(0, 256, (BATCH, 1, SIZE, SIZE, 3), generator=chance, dtype=torch.uint8),
        keypoints=torch.rand(BATCH, 2, 14, 2, generator=chance) * SIZE,
        visible=torch.full((BATCH, 2, 14), 2),
        people=torch.ones(BATCH, 2, dtype=torch.bool),
        centers=torch.full((BATCH, 2), 20.0),
        matrices=torch.eye(3, dtype=torch.float64).repeat(BATCH, 1, 1, 1),
        sizes=[(SIZE, SIZE)] * BATCH,
        records=[],
        draws=[],
    )


def gradients(net: TopDown) -> dict[str, float]:
    """The largest gradient of every parameter; 0 where none arrives."""
    net.zero_grad()
    sum(net.losses(batch()).values()).backward()
    return {n: 0.0 if p.grad is None else p.grad.abs().max().item() for n, p in net.named_parameters()}


def test_every_stage_is_compared_with_its_own_targets():
    net = model().eval()
    b = batch()
    targets = net.codec.encode(b.keypoints, b.visible, b.people)
    stages = net(b.images[:, 0], b.centers)
    for t, loss in enumerate(net.losses(b).values()):
        wanted = targets.stages[0 if t == 0 else 1]['heatmap']
        by_hand = (stages[t]['heatmap'] - wanted).square().sum() / (2 * BATCH)
        torch.testing.assert_close(loss, by_hand)
    assert list(net.losses(b)) == ['loss_1', 'loss_2', 'loss_3']


def test_weights_of_stages_scale_their_losses_and_0_leaves_a_stage_out():
    whole, weighted = model().eval().losses(batch()), model(supervision=[0, 0.5, 2]).eval().losses(batch())
    assert list(weighted) == ['loss_2', 'loss_3']
    torch.testing.assert_close(weighted['loss_2'], 0.5 * whole['loss_2'])
    torch.testing.assert_close(weighted['loss_3'], 2 * whole['loss_3'])
    assert list(model(supervision='last').losses(batch())) == ['loss_3']


def without_beliefs(net: TopDown) -> TopDown:
    """The same model, its later stages deaf to the beliefs before them."""
    for context in net.head.contexts:
        image, beliefs = 4, 15
        with torch.no_grad():
            context[0][0].weight[:, image : image + beliefs] = 0
    return net


@pytest.mark.parametrize(
    ('supervision', 'deaf', 'arrives'),
    [('every', False, True), ('every', True, True), ('last', False, True), ('last', True, False)],
)
def test_supervised_at_the_last_stage_alone_stage_1_learns_through_the_beliefs_only(supervision, deaf, arrives):
    net = model(supervision=supervision)
    found = gradients(without_beliefs(net) if deaf else net)
    for name in ('head.predict.0.weight', 'head.first.0.0.weight', 'backbone.trunks.0.0.0.weight'):
        assert (found[name] > 0) == arrives
    assert found['head.predict.2.weight'] > 0
    assert found['backbone.trunks.1.0.0.weight'] > 0


def test_supervision_is_one_setting_of_the_config():
    cfg = load_config(
        CONFIG, {'model.supervision': 'last', 'model.head.stages': 2, 'model.backbone.channels': (4, 4, 4)}
    )
    assert build_model(cfg).stage_weights == [0.0, 1.0]


@pytest.mark.parametrize('wrong', ['first', [1.0, 1.0], [1.0] * 4])
def test_supervision_of_stages_that_do_not_exist_is_an_error(wrong):
    with pytest.raises(ConfigError, match='3 weights'):
        model(supervision=wrong)


@pytest.fixture(scope='module')
def real():
    """The six-stage model of the config, and the groups that its solver makes of it."""
    cfg = load_config(CONFIG)
    with torch.device('meta'):
        net = build_model(cfg)
    optimizer = cfg.optim_wrapper.optimizer
    return net, parameter_groups(net, cfg.optim_wrapper.paramwise_cfg.rules, optimizer.lr, optimizer.weight_decay)


def test_the_config_builds_the_published_network(real):
    assert sum(p.numel() for p in real[0].parameters()) == 31_219_866


def test_every_parameter_is_in_exactly_one_group(real):
    net, groups = real
    times = Counter(id(p) for group in groups for p in group['params'])
    assert times == Counter(id(p) for p in net.parameters())


def test_stage_1_learns_five_times_as_fast_and_biases_twice_as_fast_without_decay(real):
    net, groups = real
    rate = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    stage_1 = {id(p) for m in (net.backbone.trunks[0], net.head.first, net.head.predict[0]) for p in m.parameters()}
    assert len(stage_1) == 2 * 7  # three trunk layers, three of its own, and the prediction
    for name, parameter in net.named_parameters():
        early, bias = id(parameter) in stage_1, name.endswith('.bias')
        factor = (10 if bias else 5) if early else (2 if bias else 1)
        assert rate[id(parameter)] == pytest.approx((8e-5 * factor, 0.0 if bias else 5e-4)), name


def test_a_step_goes_down_the_gradient_of_the_sum_of_the_stages():
    net = model().eval()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    sum(net.losses(batch()).values()).backward()
    wanted = {n: before[n] - 1e-4 * p.grad for n, p in net.named_parameters()}
    net.zero_grad()
    outputs = net.train_step(batch(), OptimWrapper(torch.optim.SGD(net.parameters(), lr=1e-4)))
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), wanted[name])
    assert outputs['loss'].item() == pytest.approx(sum(outputs[f'loss_{t}'].item() for t in (1, 2, 3)))


def message(**changes) -> str:
    with pytest.raises(MismatchError) as error:
        model(**changes)
    return str(error.value)


def test_a_contradiction_in_channels_names_both_parts_both_numbers_and_the_line():
    text = message(head={**HEAD, 'in_channels': (64, 64)})
    for part in ('CPMHead', 'CPMTrunk', 'in_channels=(64, 64)', 'in_channels=(4, 4)', 'leave in_channels out'):
        assert part in text


def test_a_head_built_by_hand_for_other_features_is_told_so_at_construction():
    trunk = CPMTrunk(channels=(4, 4, 4), kernels=(3, 3, 3))
    text = message(backbone=trunk, head=CPMHead((64, 64), (8, 8), {'heatmap': 15}, stages=1))
    for part in ('CPMHead', 'CPMTrunk', 'in_channels=(64, 64)', 'in_channels=(4, 4)'):
        assert part in text
    assert "fields={'heatmap': 14}" in message(
        backbone=trunk, head=CPMHead((4, 4), (8, 8), {'heatmap': 14}, stages=1, first=((1, 4),))
    )


def test_a_contradiction_in_strides_names_both_parts_both_numbers_and_the_line():
    text = message(codec={**CODEC, 'stride': 4})
    for part in ('CPMHead', 'CPMTrunk', 'CPMHeatmap', '4', '(8, 8)', 'set model.codec.stride to one of [8]'):
        assert part in text
    by_hand = CPMHead((4, 4), (8, 8), {'heatmap': 15}, 8, 1, first=((1, 4),))
    assert message(codec={**CODEC, 'stride': 4}, head=by_hand) == (
        'CPMHead predicts at stride 8 but CPMHeatmap draws at stride 4; set model.codec.stride=8'
    )


def test_an_input_that_the_stride_does_not_divide_is_told_the_nearest_that_it_does():
    text = message(codec={**CODEC, 'input_size': (50, 45)})
    for part in ('CPMHeatmap', '(50, 45)', 'CPMTrunk', 'stride 8', 'set model.codec.input_size=(48, 48)'):
        assert part in text


def test_fields_of_another_size_than_the_targets_are_told_at_the_loss():
    class Halved(CPMTrunk):
        def forward(self, images):
            return tuple(nn.functional.max_pool2d(f, 2) for f in super().forward(images))

    net = model(backbone=Halved(channels=(4, 4, 4), kernels=(3, 3, 3)))
    with pytest.raises(MismatchError, match=r"predicts 'heatmap' as \(15, 3, 3\) but CPMHeatmap draws \(15, 6, 6\)"):
        net.losses(batch())


def test_a_backbone_that_declares_nothing_is_an_error():
    with pytest.raises(ConfigError, match='Identity must declare out_channels and strides'):
        model(backbone=nn.Identity())


def test_channels_last_changes_the_layout_and_not_the_numbers():
    plain, last = model().eval(), model(channels_last=True).eval()
    b = batch()
    for one, other in zip(plain(b.images[:, 0], b.centers), last(b.images[:, 0], b.centers), strict=True):
        torch.testing.assert_close(one['heatmap'], other['heatmap'], atol=1e-5, rtol=1e-4)
    assert last.backbone.trunks[0][0][0].weight.is_contiguous(memory_format=torch.channels_last)
