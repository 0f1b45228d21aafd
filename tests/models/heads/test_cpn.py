import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.config.build import build_model
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.heads.cpn import CPNHead, HalfBottleneck
from poseplug.models.heads.simple import upsample_bilinear

CHANNELS, STRIDES = (4, 6, 8, 10), (4, 8, 16, 32)


def build_small(**settings) -> CPNHead:
    torch.manual_seed(0)
    return CPNHead(CHANNELS, STRIDES, {'heatmap': 3}, 4, **{'channels': 8, **settings}).eval()


def random_features(height: int = 96, width: int = 64) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, c, height // s, width // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@pytest.mark.parametrize(('num_keypoints', 'total'), [(17, 27_009_685), (16, 27_009_685 - 5 * (9 * 256 + 1))])
def test_the_published_network_has_the_published_number_of_weights(num_keypoints, total):
    resnet_50 = 23_508_032  # without its classifier
    with torch.device('meta'):
        head = CPNHead((256, 512, 1024, 2048), STRIDES, {'heatmap': num_keypoints}, 4)
    assert sum(p.numel() for p in head.parameters()) == total - resnet_50


def test_stages_are_the_levels_from_coarse_to_fine_and_then_the_refined_one():
    head, maps = build_small(), random_features()
    assert (head.num_stages, head.feature_indices) == (5, [3, 2, 1, 0])
    stages = head(maps)
    assert [stage['heatmap'].shape for stage in stages] == [(2, 3, 24, 16)] * 5
    changed = [*maps[:3], maps[3] + 1]  # the coarsest map reaches every level
    finest = [maps[0] + 1, *maps[1:]]  # the finest only its own, and the refined one
    assert find_changes(stages, head(changed)) == [True] * 5
    assert find_changes(stages, head(finest)) == [False, False, False, True, True]


def find_changes(stages, other_stages) -> list[bool]:
    return [not torch.equal(a['heatmap'], b['heatmap']) for a, b in zip(stages, other_stages, strict=True)]


def test_a_level_is_its_feature_map_and_the_coarser_level_enlarged_linearly():
    head, maps = build_small(), random_features()
    coarse, fine, *_ = head.build_pyramid(maps[::-1])
    assert_close(coarse, head.laterals[0](maps[3]))
    enlarged = nn.functional.interpolate(coarse, scale_factor=2, mode='bilinear', align_corners=False)
    assert_close(fine, head.laterals[1](maps[2]) + head.merges[0](enlarged))
    assert all(merge.bias is not None for merge in head.merges)


def test_a_level_predicts_at_its_size_and_is_enlarged_afterwards():
    head, maps = build_small(), random_features()
    coarse = head.build_pyramid(maps[::-1])[0]
    prediction = head.predict[0](head.hidden[0](coarse))['heatmap']
    assert prediction.shape == (2, 3, 3, 2)
    assert_close(head(maps)[0]['heatmap'], upsample_bilinear(prediction, (24, 16)))


def test_coarser_levels_pass_more_bottlenecks_and_the_finest_is_concatenated_first():
    head, maps, join_inputs = build_small(), random_features(), []
    assert [len(refine) for refine in head.refine] == [3, 2, 1, 0]
    head.join.register_forward_pre_hook(lambda _, inputs: join_inputs.append(inputs[0]))
    refined = head(maps)[-1]
    assert_close(join_inputs[0][:, :8], head.build_pyramid(maps[::-1])[-1])
    assert_close(refined, head.predict[-1](head.join(join_inputs[0])))


def test_a_bottleneck_has_half_its_channels_inside_and_a_projection_only_if_channels_change():
    same, other = HalfBottleneck(8, 4), HalfBottleneck(32, 4)
    assert {p.shape[:2] for n, p in same.named_parameters() if p.ndim == 4} == {(4, 8), (4, 4), (8, 4)}
    assert sum(p.ndim == 4 for p in other.parameters()) == 4
    assert other(torch.rand(2, 32, 3, 3)).shape == same(torch.rand(2, 8, 3, 3)).shape


def test_gradient_of_every_stage_reaches_the_maps_that_it_reads():
    for t in range(5):
        head, maps = build_small().train(), [m.requires_grad_() for m in random_features()]
        head(maps)[t]['heatmap'].square().sum().backward()
        read = [m.grad is not None and bool(m.grad.any()) for m in maps]
        assert read == [3 - i <= t for i in range(4)]


@pytest.mark.parametrize(
    ('strides', 'stride', 'indices'),
    [
        ((16,), 4, [0]),  # a transformer's only map
        ((4, 8, 16, 32), 8, [3, 2, 1]),  # what is finer than the codec is not read
        ((2, 4, 8, 16, 32), 2, [3, 2, 1, 0]),  # four levels at most: the finest
        ((4,) * 6, 4, [2, 3, 4, 5]),  # stacks: the last ones
    ],
)
def test_levels_are_the_maps_as_coarse_as_the_codec_or_coarser(strides, stride, indices):
    head = CPNHead((6,) * len(strides), strides, {'heatmap': 3, 'offset': 2}, stride, channels=8).eval()
    assert (head.feature_indices, head.num_stages) == (indices, len(indices) + 1)
    for stage in head([torch.rand(1, 6, 64 // s, 96 // s) for s in strides]):
        assert {n: f.shape for n, f in stage.items()} == {
            'heatmap': (1, 3, 64 // stride, 96 // stride),
            'offset': (1, 2, 64 // stride, 96 // stride),
        }


def test_fewer_levels_may_be_requested():
    head = build_small(num_levels=2)
    assert (head.feature_indices, head.num_stages) == ([1, 0], 3)


def test_a_backbone_finer_than_the_codec_and_invalid_settings_are_errors():
    with pytest.raises(MismatchError, match=r'codec, 8, or coarser ones, .* strides \(2, 4\); .* 4 or less'):
        CPNHead((6, 6), (2, 4), {'heatmap': 3}, 8)
    for settings in (dict(num_levels=0), dict(channels=7)):
        ((name, value),) = settings.items()
        with pytest.raises(ConfigError, match=f'{name}={value}'):
            build_small(**settings)


@pytest.mark.parametrize(
    ('kernel_sizes', 'head', 'message'),
    [
        (
            (15, 11, 9),
            'CPNHead',
            r'CPNHead predicts 5 stages but CPNHeatmap draws 4, one for each of its 3 kernel_sizes',
        ),
        ((15, 11, 9, 7, 5), 'CPNHead', r'draws 6, .* and the refined one; set model\.codec\.kernel_sizes to 4 sizes'),
        (
            (15,),
            'DeconvHead',
            r'DeconvHead predicts 1 stages but CPNHeatmap draws 2, .*; use CPNHead, or another codec',
        ),
    ],
)
def test_a_codec_of_other_levels_than_the_heads_is_refused_when_the_model_is_built(kernel_sizes, head, message):
    model = dict(
        type='TopDown',
        codec=dict(type='CPNHeatmap', input_size=(64, 64), kernel_sizes=kernel_sizes),
        backbone=dict(type='ResNet', depth=18),
        head=dict(type=head),
    )
    with pytest.raises(MismatchError, match=message):
        build_model(dict(skeleton='coco', model=model))
