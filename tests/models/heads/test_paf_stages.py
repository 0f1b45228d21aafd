import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.models.backbones.cpm import CPMVGGTrunk
from poseplug.models.estimators.network import complete_stages
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.paf_stages import DenseBlock, PAFStagesHead

BODY25 = {'paf': 52, 'heatmap': 26}
FIELDS = {'paf': 4, 'heatmap': 3}
LAYERS = dict(first_channels=(4, 6), later_channels=(5, 8), num_blocks=2)


def build_published(**settings) -> tuple[CPMVGGTrunk, PAFStagesHead]:
    """The network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = CPMVGGTrunk(extra_channels=(256, 128), num_prelu=3)
        return trunk, PAFStagesHead(trunk.out_channels, trunk.strides, BODY25, **settings)


def build_small(fields: dict[str, int] = FIELDS, **settings) -> PAFStagesHead:
    torch.manual_seed(0)
    return PAFStagesHead((7,), (8,), fields, **{**LAYERS, **settings}).eval()


def random_features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 7, 6, 5)]


def test_the_body_25_network_has_the_published_number_of_weights():
    assert sum(p.numel() for m in build_published() for p in m.parameters()) == 26_166_084


def test_at_368_px_the_body_25_network_multiplies_80_6_billion_times():
    trunk, head = build_published()
    with FlopCounterMode(display=False) as counter:
        head(trunk(torch.zeros(1, 3, 368, 368, device='meta')))
    assert counter.get_total_flops() / 2 == pytest.approx(80.6e9, abs=0.05e9)


@pytest.mark.parametrize(('num_limb_stages', 'num_keypoint_stages'), [(4, 2), (5, 1), (1, 1), (1, 3)])
def test_every_prediction_is_returned_once_and_the_last_stage_has_all_fields(num_limb_stages, num_keypoint_stages):
    head = build_small(num_limb_stages=num_limb_stages, num_keypoint_stages=num_keypoint_stages)
    names = [set(stage) for stage in head(random_features())]
    early = [{'paf'}] * (num_limb_stages - 1) + [{'heatmap'}] * (num_keypoint_stages - 1)
    assert names == [*early, {'paf', 'heatmap'}]
    assert len(names) == head.num_stages


def test_stages_read_the_image_and_the_stage_of_their_kind_before_and_keypoint_stages_the_last_limbs():
    head, stage_inputs = build_small(num_limb_stages=2, num_keypoint_stages=2), []
    for step in (*head.limb_steps, *head.joint_steps):
        step.register_forward_pre_hook(lambda _, inputs: stage_inputs.append(inputs[0]))
    (image,) = maps = random_features()
    limbs, keypoints, last = head(maps)
    expected = [[image], [image, limbs['paf']], [image, last['paf']], [image, keypoints['heatmap'], last['paf']]]
    for stage_input, parts in zip(stage_inputs, expected, strict=True):
        assert_close(stage_input, torch.cat(parts, dim=1))


def test_the_first_stage_of_each_kind_is_narrower_than_the_later_ones():
    _, head = build_published()
    shapes = {n: tuple(p.shape[:3]) for n, p in head.named_parameters() if n.endswith('weight') and p.ndim == 4}
    stage_shapes = {
        (kind, t): [s for n, s in shapes.items() if n.startswith(f'{kind}_steps.{t}.')] for kind, t in STAGES
    }
    for stage, inputs in STAGES.items():
        width, hidden = (96, 256) if stage[1] == 0 else (128, 512)
        out = BODY25['paf' if stage[0] == 'limb' else 'heatmap']
        later = [(width, 3 * width, 3), (width, width, 3), (width, width, 3)] * 4
        assert stage_shapes[stage] == [
            (width, inputs, 3), (width, width, 3), (width, width, 3), *later, (hidden, 3 * width, 1), (out, hidden, 1),
        ]  # fmt: skip


STAGES = {  # the channels that a stage reads
    ('limb', 0): 128,
    ('limb', 1): 128 + 52,
    ('limb', 3): 128 + 52,
    ('joint', 0): 128 + 52,
    ('joint', 1): 128 + 26 + 52,
}


def test_a_dense_block_concatenates_the_outputs_of_its_three_layers():
    block, maps = DenseBlock(3, 4), torch.rand(1, 3, 5, 5)
    first = block.convs[0](maps)
    second = block.convs[1](first)
    assert_close(block(maps), torch.cat([first, second, block.convs[2](second)], dim=1))


def test_slopes_below_0_are_learned_for_every_channel():
    _, head = build_published(num_limb_stages=1, num_keypoint_stages=1)
    slopes = [m.num_parameters for m in head.modules() if isinstance(m, nn.PReLU)]
    assert slopes == ([96] * 15 + [256]) * 2
    assert not any(isinstance(m, nn.ReLU) for m in head.modules())


def test_a_codec_without_limbs_has_keypoint_stages_alone_and_one_of_limbs_limb_stages():
    keypoints = build_small({'heatmap': 3, 'offset': 6}, num_limb_stages=4, num_keypoint_stages=2)
    assert [set(stage) for stage in keypoints(random_features())] == [{'heatmap', 'offset'}] * 2
    limbs = build_small({'paf': 4}, num_limb_stages=4, num_keypoint_stages=2)
    assert [set(stage) for stage in limbs(random_features())] == [{'paf'}] * 4
    assert (keypoints.num_stages, limbs.num_stages) == (2, 4)


@pytest.mark.parametrize('settings', [dict(num_limb_stages=0), dict(num_keypoint_stages=0), dict(num_blocks=0)])
def test_no_stages_or_blocks_are_an_error_that_names_them(settings):
    with pytest.raises(ConfigError, match=f'got .*{next(iter(settings))}=0'):
        build_small(**settings)


def test_a_stage_is_completed_from_the_last_one():
    assert complete_stages([{'a': 1}, {'b': 2}, {'a': 3, 'b': 4}]) == [
        {'a': 1, 'b': 4},
        {'a': 3, 'b': 2},
        {'a': 3, 'b': 4},
    ]


def build_model(**changes) -> TopDown:
    torch.manual_seed(0)
    backbone = dict(type='CPMVGGTrunk', vgg_channels=(4, 4, 6, 6), extra_channels=(5,), init_std=None, num_prelu=2)
    parts = dict(
        skeleton='coco18',
        codec=dict(type='PAF', input_size=(48, 40), single_instance=True),
        backbone=backbone,
        head=dict(type='PAFStagesHead', num_limb_stages=2, num_keypoint_stages=2, **LAYERS),
        loss=dict(type='SumSquaredError'),
    )
    return TopDown(**{**parts, **changes}).eval()


def random_batch() -> Batch:
    """Two images of noise with two people each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 1, 40, 48, 3), generator=generator, dtype=torch.uint8)
    keypoints = torch.rand(2, 2, 18, 2, generator=generator) * 40
    visible = torch.full((2, 2, 18), 2)
    return Batch.from_instances(images, keypoints, visible, centers=torch.full((2, 2), 20.0))


def test_the_loss_of_a_stage_is_that_of_the_fields_it_predicts():
    net, batch = build_model(), random_batch()
    targets = net.codec.encode(batch.keypoints, batch.visible, batch.valid).stages[0]
    limbs, keypoints, last = net.network(batch.images[:, 0])
    predicted = [[('paf', limbs)], [('heatmap', keypoints)], [('paf', last), ('heatmap', last)]]
    by_hand = [sum((stage[n] - targets[n]).square().sum() / (2 * 2) for n, stage in stages) for stages in predicted]
    losses = net.losses(batch)
    assert list(losses) == ['loss_1', 'loss_2', 'loss_3']
    assert_close(torch.stack(list(losses.values())), torch.stack(by_hand))


def test_every_stage_can_be_decoded():
    stages = build_model(flip_test=True).predict_stages(random_batch())
    assert [len(stage) for stage in stages] == [2] * 3
    assert all(len(poses) == 1 for stage in stages for poses in stage)


def test_the_fields_of_every_stage_are_those_that_are_decoded():
    net, batch = build_model(), random_batch()
    ((limbs, keypoints, last),) = net.predict_fields(batch)
    with torch.inference_mode():
        stages = net.network(batch.images[:, 0])
    assert torch.equal(limbs['paf'], stages[0]['paf'])
    assert torch.equal(limbs['heatmap'], last['heatmap'])
    assert torch.equal(keypoints['paf'], last['paf'])
    assert torch.equal(keypoints['heatmap'], stages[1]['heatmap'])
