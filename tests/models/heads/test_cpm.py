import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.backbones.cpm import CPMTrunk, CPMVGGTrunk
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.cpm import CPMHead

BODY, FLIC = {'heatmap': 15}, {'heatmap': 10}
TRUNK, FIVE = 2_685_696, 5 * 5 * 128 * 32 + 32  # weights of one trunk, and of the 5x5 layer of a stage
SMALL_TRUNK = dict(type='CPMTrunk', channels=(4, 4, 4), kernel_sizes=(3, 3, 3))
SMALL = dict(first_layers=((3, 6, 0.5), (1, 5)), image_layers=((3, 4),), context_layers=((3, 8), (1, 8)))


def count_parameters(*modules: nn.Module) -> int:
    """Number of weights, each counted once even if several modules contain it."""
    return sum({id(p): p.numel() for m in modules for p in m.parameters()}.values())


def build_official(
    num_stages: int = 6, fields: dict[str, int] = BODY, num_trunks: int = 2, **settings
) -> tuple[CPMTrunk, CPMHead]:
    """The published network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = CPMTrunk(num_trunks)
        return trunk, CPMHead(trunk.out_channels, trunk.strides, fields, 8, num_stages, **settings)


def build_small(num_stages: int = 3, num_trunks: int = 2, **settings) -> CPMHead:
    torch.manual_seed(0)
    head = CPMHead((7,) * num_trunks, (8,) * num_trunks, {'heatmap': 3}, 8, num_stages, **{**SMALL, **settings})
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head.eval()


def random_features(count_parameters: int = 2, size: int = 6) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 7, size, size) for _ in range(count_parameters)]


@pytest.mark.parametrize(('num_stages', 'fields', 'total'), [(6, BODY, 31_219_866), (4, FLIC, 21_323_816)])
def test_the_published_networks_have_the_published_number_of_weights(num_stages, fields, total):
    assert count_parameters(*build_official(num_stages, fields)) == total


def test_the_vgg_network_has_the_published_number_of_weights():
    with torch.device('meta'):
        trunk = CPMVGGTrunk()
        context = (*((7, 128),) * 5, (1, 128))
        head = CPMHead(
            trunk.out_channels,
            trunk.strides,
            BODY,
            8,
            first_layers=((1, 512),),
            image_layers=(),
            context_layers=context,
            heatmaps_first=True,
        )
    assert count_parameters(trunk, head) == 29_852_058


def test_every_stage_has_the_published_number_of_weights():
    trunk, head = build_official()
    assert count_parameters(trunk.trunks[0], head.first, head.predict[0]) == 4_386_095
    assert count_parameters(trunk.trunks[1], head.images[0], head.contexts[0], head.predict[1]) == 7_515_311
    for t in range(1, 5):
        assert count_parameters(head.images[t], head.contexts[t], head.predict[t + 1]) == 4_829_615


@pytest.mark.parametrize(
    ('num_trunks', 'is_common', 'total'),
    [
        (6, False, 31_219_866 + 4 * TRUNK),  # nothing in common: stages 3 to 6 have a trunk each
        (2, False, 31_219_866),  # as released: one trunk for the later stages
        (2, True, 31_219_866 - 4 * FIVE),  # as the paper words it: one 5x5 layer as well
        (1, False, 31_219_866 - TRUNK),  # stage 1 reads that trunk, too
    ],
)
def test_the_number_of_weights_follows_from_what_stages_have_in_common(num_trunks, is_common, total):
    trunk, head = build_official(num_trunks=num_trunks, share_image_layers=is_common)
    assert count_parameters(trunk, head) == total
    names = [*trunk.state_dict(), *head.state_dict()]
    assert len(names) == len([*trunk.parameters(), *head.parameters()])  # nothing is stored twice


def test_a_stage_reads_its_trunk():
    assert build_official(num_trunks=6)[1].feature_indices == [0, 1, 2, 3, 4, 5]
    assert build_official(num_trunks=2)[1].feature_indices == [0, 1, 1, 1, 1, 1]
    assert build_official(num_trunks=1)[1].feature_indices == [0] * 6


def test_only_the_feature_maps_of_the_codecs_stride_are_read():
    head = CPMHead((7, 8, 9), (4, 8, 16), BODY, 8, 2, **SMALL)
    assert head.feature_indices == [1, 1]
    with pytest.raises(MismatchError, match=r'stride of the codec, 2, but .* strides \(4, 8\)'):
        CPMHead((7, 8), (4, 8), BODY, 2, 2, **SMALL)


def test_the_layers_of_stage_1_and_of_the_later_stages_are_those_of_the_paper():
    _, head = build_official()
    shapes = {n: tuple(p.shape[:3]) for n, p in head.named_parameters() if n.endswith('weight')}
    assert shapes['first.0.0.weight'] == (32, 128, 5)
    assert shapes['first.1.0.weight'] == (512, 32, 9)
    assert shapes['first.2.0.weight'] == (512, 512, 1)
    assert shapes['images.4.0.0.weight'] == (32, 128, 5)
    assert [shapes[f'contexts.0.{i}.0.weight'] for i in range(4)] == [
        (128, 48, 11), (128, 128, 11), (128, 128, 11), (128, 128, 1),
    ]  # fmt: skip
    assert shapes['predict.5.weight'] == (15, 128, 1)


def test_dropout_follows_the_two_wide_layers_of_stage_1_and_acts_in_training_only():
    _, head = build_official()
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert all(isinstance(head.first[i][-1], nn.Dropout) for i in (1, 2))
    head, maps = build_small(), random_features()
    assert torch.equal(*(head(maps)[0]['heatmap'] for _ in range(2)))
    head.train()
    assert not torch.equal(*(head(maps)[0]['heatmap'] for _ in range(2)))


def test_weights_start_at_a_hundredth_and_biases_at_zero():
    torch.manual_seed(0)
    head = CPMHead((128,), (8,), BODY, 8, 2)
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
            assert not layer.bias.any()


@pytest.mark.parametrize('heatmaps_first', [False, True])
def test_a_later_stage_concatenates_image_heatmaps_and_center_in_the_declared_order(heatmaps_first):
    head = build_small(num_stages=2, heatmaps_first=heatmaps_first)
    context_inputs = []
    head.contexts[0].register_forward_pre_hook(lambda _, inputs: context_inputs.append(inputs[0]))
    maps, centers = random_features(), torch.tensor([[10.0, 20.0], [30.0, 5.0]])
    stages = head(maps, centers)
    heatmaps, image, center = stages[0]['heatmap'], head.images[0](maps[1]), head.draw_center_map(maps[0], centers)
    parts = [heatmaps, image, center] if heatmaps_first else [image, heatmaps, center]
    assert_close(context_inputs[0], torch.cat(parts, dim=1))


def test_heatmaps_are_linear_outputs():
    head = build_small()
    stages = head(random_features())
    assert all(stage['heatmap'].min() < 0 for stage in stages)
    assert [type(p) for p in head.predict] == [nn.Conv2d] * 3


def test_the_center_changes_the_later_stages_only():
    head, maps = build_small(), random_features()
    one, other = (head(maps, torch.tensor([[x, 20.0]] * 2)) for x in (5.0, 40.0))
    assert torch.equal(one[0]['heatmap'], other[0]['heatmap'])
    assert not torch.equal(one[1]['heatmap'], other[1]['heatmap'])


def center_map_by_hand(x: float, y: float, size: int, cut: bool) -> np.ndarray:
    """A Gaussian of 21 px, averaged over windows of 9 px every 8 px, the last ones over what is left of them."""
    full = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            exponent = ((column - x) ** 2 + (row - y) ** 2) / (2 * 21**2)
            full[row, column] = 0.0 if cut and exponent > 4.6052 else math.exp(-exponent)
    cells = size // 8
    windows = [[full[8 * r : 8 * r + 9, 8 * c : 8 * c + 9] for c in range(cells)] for r in range(cells)]
    assert windows[-1][-1].shape == (8, 8)
    return np.array([[w.mean() for w in row] for row in windows])


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('center', [(79.5, 79.5), (150.0, 20.0), (-12.0, 170.0)])
def test_the_center_map_is_the_average_of_the_gaussian_and_is_cut_in_training_only(center, training):
    head = build_small().train(training)
    pooled = head.draw_center_map(torch.zeros(1, 3, 20, 20), torch.tensor([center]))
    assert pooled.shape == (1, 1, 20, 20)
    np.testing.assert_allclose(pooled[0, 0], center_map_by_hand(*center, 160, training), atol=1e-6)
    assert bool((pooled == 0).any()) == training


def test_without_a_position_the_center_is_the_middle_of_the_input():
    head, like = build_small(), torch.zeros(2, 3, 20, 20)
    assert torch.equal(head.draw_center_map(like, None), head.draw_center_map(like, torch.full((2, 2), 79.5)))


def test_the_center_map_of_368_px_has_46_cells():
    assert build_small().draw_center_map(torch.zeros(1, 3, 46, 46), None).shape == (1, 1, 46, 46)


def test_several_fields_are_channels_in_their_order():
    torch.manual_seed(0)
    head = CPMHead((7,), (8,), {'paf': 4, 'heatmap': 3}, 8, 2, **SMALL).eval()
    stages = head(random_features(1))
    assert [{n: f.shape[1] for n, f in stage.items()} for stage in stages] == [{'paf': 4, 'heatmap': 3}] * 2
    whole = head.predict[0](head.first(random_features(1)[0]))
    assert torch.equal(stages[0]['heatmap'], whole[:, 4:])


def test_a_head_needs_a_stage_and_common_layers_need_one_width():
    with pytest.raises(ConfigError, match='num_stages=0'):
        CPMHead((7,), (8,), BODY, 8, 0)
    with pytest.raises(ConfigError, match='one width'):
        CPMHead((7, 8, 9), (8, 8, 8), BODY, 8, 3, share_image_layers=True, **SMALL)


def test_the_center_map_of_all_instances_is_the_largest_of_theirs_and_padding_has_none():
    head = build_small(center_map='instances', center_sigma_px=7.0).eval()
    like, centers = torch.zeros(1, 3, 20, 20), torch.tensor([[[40.0, 50.0], [120.0, 90.0], [math.nan, math.nan]]])
    both = head.draw_center_map(like, centers)
    first, second = (head.draw_center_map(like, centers[:, n]) for n in (0, 1))
    assert torch.allclose(both, torch.maximum(first, second), atol=1e-4)  # they are far apart
    assert torch.isfinite(both).all()


def test_a_batch_hands_the_centers_of_all_instances_to_a_head_that_reads_them():
    parts = dict(codec=dict(type='CPMHeatmap', input_size=(48, 48)), backbone=SMALL_TRUNK)
    images = torch.zeros(1, 1, 48, 48, 3, dtype=torch.uint8)
    keypoints = torch.tensor([[[10.0, 10.0], [20.0, 20.0]], [[30.0, 30.0], [40.0, 44.0]], [[0.0, 0.0], [0.0, 0.0]]])
    keypoints = keypoints.repeat(1, 7, 1)[None]
    valid = torch.tensor([[True, True, False]])
    batch = Batch.from_instances(images, keypoints, torch.full((1, 3, 14), 2), valid=valid)
    centers = batch.list_instance_centers()
    assert centers[0, :2].tolist() == [[23.5, 23.5], [35, 37]]
    assert centers[0, 2].isnan().all()
    for kind, expected in (('subject', batch.centers), ('instances', centers), ('none', batch.centers)):
        model = TopDown('lsp', head=dict(type='CPMHead', num_stages=2, center_map=kind, **SMALL), **parts).eval()
        torch.testing.assert_close(model.network.select_centers(batch), expected, equal_nan=True)
        assert len(model.predict(batch)) == 1
        assert len(model.losses(batch)) == 2


def test_a_head_without_a_center_map_has_one_channel_less_and_ignores_centers():
    head = build_small(center_map='none').eval()
    channels = [next(stack.parameters()).shape[1] for stack in head.contexts]
    assert channels == [next(stack.parameters()).shape[1] - 1 for stack in build_small().contexts]
    with pytest.raises(ConfigError, match="center_map is one of subject, instances, none; got 'people'"):
        build_small(center_map='people')
