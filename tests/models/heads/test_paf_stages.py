import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from poseplug.errors import ConfigError
from poseplug.models.backbones.cpm import CPMVGGTrunk
from poseplug.models.estimators.base import completed
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.paf_stages import DenseBlock, PAFStagesHead
from poseplug.sample import Batch

BODY25 = {'paf': 52, 'heatmap': 26}
FIELDS = {'paf': 4, 'heatmap': 3}
LAYERS = dict(first=(4, 6), later=(5, 8), blocks=2)


def published(**settings) -> tuple[CPMVGGTrunk, PAFStagesHead]:
    """The network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = CPMVGGTrunk(extra=(256, 128), prelu=3)
        return trunk, PAFStagesHead(trunk.out_channels, trunk.strides, BODY25, **settings)


def small(fields: dict[str, int] = FIELDS, **settings) -> PAFStagesHead:
    torch.manual_seed(0)
    return PAFStagesHead((7,), (8,), fields, **{**LAYERS, **settings}).eval()


def features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 7, 6, 5)]


def test_the_body_25_network_has_the_published_number_of_weights():
    assert sum(p.numel() for m in published() for p in m.parameters()) == 26_166_084


def test_at_368_px_the_body_25_network_multiplies_80_6_billion_times():
    trunk, head = published()
    with FlopCounterMode(display=False) as counter:
        head(trunk(torch.zeros(1, 3, 368, 368, device='meta')))
    assert counter.get_total_flops() / 2 == pytest.approx(80.6e9, abs=0.05e9)


@pytest.mark.parametrize(('limb_stages', 'joint_stages'), [(4, 2), (5, 1), (1, 1), (1, 3)])
def test_every_prediction_is_returned_once_and_the_last_stage_has_all_fields(limb_stages, joint_stages):
    head = small(limb_stages=limb_stages, joint_stages=joint_stages)
    names = [set(stage) for stage in head(features())]
    assert names == [{'paf'}] * (limb_stages - 1) + [{'heatmap'}] * (joint_stages - 1) + [{'paf', 'heatmap'}]
    assert len(names) == head.stages


def test_stages_read_the_picture_what_their_kind_made_before_and_joints_the_last_limbs():
    head, joined = small(limb_stages=2, joint_stages=2), []
    for step in (*head.limb_steps, *head.joint_steps):
        step.register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))
    (seen,) = maps = features()
    limbs, joints, last = head(maps)
    inputs = [[seen], [seen, limbs['paf']], [seen, last['paf']], [seen, joints['heatmap'], last['paf']]]
    for found, wanted in zip(joined, inputs, strict=True):
        assert_close(found, torch.cat(wanted, dim=1))


def test_the_first_stage_of_each_kind_is_narrower_than_the_later_ones():
    _, head = published()
    shapes = {n: tuple(p.shape[:3]) for n, p in head.named_parameters() if n.endswith('weight') and p.ndim == 4}
    of = {(kind, t): [s for n, s in shapes.items() if n.startswith(f'{kind}_steps.{t}.')] for kind, t in STAGES}
    for stage, inputs in STAGES.items():
        width, hidden = (96, 256) if stage[1] == 0 else (128, 512)
        out = BODY25['paf' if stage[0] == 'limb' else 'heatmap']
        later = [(width, 3 * width, 3), (width, width, 3), (width, width, 3)] * 4
        assert of[stage] == [
            (width, inputs, 3), (width, width, 3), (width, width, 3), *later, (hidden, 3 * width, 1), (out, hidden, 1),
        ]  # fmt: skip


STAGES = {  # the channels that a stage reads
    ('limb', 0): 128,
    ('limb', 1): 128 + 52,
    ('limb', 3): 128 + 52,
    ('joint', 0): 128 + 52,
    ('joint', 1): 128 + 26 + 52,
}


def test_a_dense_block_gives_the_outputs_of_its_three_layers_side_by_side():
    block, maps = DenseBlock(3, 4), torch.rand(1, 3, 5, 5)
    first = block.convs[0](maps)
    second = block.convs[1](first)
    assert_close(block(maps), torch.cat([first, second, block.convs[2](second)], dim=1))


def test_slopes_below_0_are_learnt_for_every_channel():
    _, head = published(limb_stages=1, joint_stages=1)
    slopes = [m.num_parameters for m in head.modules() if isinstance(m, nn.PReLU)]
    assert slopes == ([96] * 15 + [256]) * 2
    assert not any(isinstance(m, nn.ReLU) for m in head.modules())


def test_a_codec_without_limbs_has_the_joint_stages_alone_and_one_of_limbs_the_limb_stages():
    joints = small({'heatmap': 3, 'offset': 6}, limb_stages=4, joint_stages=2)
    assert [set(stage) for stage in joints(features())] == [{'heatmap', 'offset'}] * 2
    limbs = small({'paf': 4}, limb_stages=4, joint_stages=2)
    assert [set(stage) for stage in limbs(features())] == [{'paf'}] * 4
    assert (joints.stages, limbs.stages) == (2, 4)


@pytest.mark.parametrize('wrong', [dict(limb_stages=0), dict(joint_stages=0), dict(blocks=0)])
def test_no_stages_or_blocks_are_an_error_that_names_them(wrong):
    with pytest.raises(ConfigError, match=f'got .*{next(iter(wrong))}=0'):
        small(**wrong)


def test_a_stage_is_completed_from_the_last_one():
    assert completed([{'a': 1}, {'b': 2}, {'a': 3, 'b': 4}]) == [{'a': 1, 'b': 4}, {'a': 3, 'b': 2}, {'a': 3, 'b': 4}]


def model(**changes) -> TopDown:
    torch.manual_seed(0)
    parts = dict(
        skeleton='coco18',
        codec=dict(type='PAF', input_size=(48, 40), subject=True),
        backbone=dict(type='CPMVGGTrunk', vgg=(4, 4, 6, 6), extra=(5,), init_std=None, prelu=2),
        head=dict(type='PAFStagesHead', limb_stages=2, joint_stages=2, **LAYERS),
        loss=dict(type='SumSquaredError'),
    )
    return TopDown(**{**parts, **changes}).eval()


def batch() -> Batch:
    """Two pictures of noise with two people each."""
    chance = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.randint(0, 256, (2, 1, 40, 48, 3), generator=chance, dtype=torch.uint8),
        keypoints=torch.rand(2, 2, 18, 2, generator=chance) * 40,
        visible=torch.full((2, 2, 18), 2),
        people=torch.ones(2, 2, dtype=torch.bool),
        centers=torch.full((2, 2), 20.0),
        matrices=torch.eye(3, dtype=torch.float64).repeat(2, 1, 1, 1),
        sizes=[(48, 40)] * 2,
        records=[],
        draws=[],
    )


def test_the_loss_of_a_stage_is_that_of_the_fields_it_predicts():
    net, b = model(), batch()
    wanted = net.codec.encode(b.keypoints, b.visible, b.people).stages[0]
    limbs, joints, last = net(b.images[:, 0])
    predicted = [[('paf', limbs)], [('heatmap', joints)], [('paf', last), ('heatmap', last)]]
    by_hand = [sum((stage[n] - wanted[n]).square().sum() / (2 * 2) for n, stage in stages) for stages in predicted]
    losses = net.losses(b)
    assert list(losses) == ['loss_1', 'loss_2', 'loss_3']
    assert_close(torch.stack(list(losses.values())), torch.stack(by_hand))


def test_every_stage_can_be_asked_for_its_people():
    found = model(flip_test=True).predict(batch(), every_stage=True)
    assert [len(stage) for stage in found] == [2] * 3
    assert all(len(poses) == 1 for stage in found for poses in stage)


def test_the_fields_of_every_stage_are_those_that_are_decoded():
    net, b = model(), batch()
    ((limbs, joints, last),) = net.fields(b)
    with torch.inference_mode():
        stages = net(b.images[:, 0])
    assert torch.equal(limbs['paf'], stages[0]['paf'])
    assert torch.equal(limbs['heatmap'], last['heatmap'])
    assert torch.equal(joints['paf'], last['paf'])
    assert torch.equal(joints['heatmap'], stages[1]['heatmap'])
