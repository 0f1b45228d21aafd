import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.backbones.cpm import CPMTrunk, CPMVGGTrunk
from poseplug.models.heads.cpm import CPMHead

BODY, FLIC = {'heatmap': 15}, {'heatmap': 10}
TRUNK, FIVE = 2_685_696, 5 * 5 * 128 * 32 + 32  # weights of one trunk, and of a stage's own 5x5 layer
SMALL = dict(first=((3, 6, 0.5), (1, 5)), image=((3, 4),), context=((3, 8), (1, 8)))


def count(*modules: nn.Module) -> int:
    """Weights, each counted once however many modules share it."""
    return sum({id(p): p.numel() for m in modules for p in m.parameters()}.values())


def official(stages: int = 6, fields: dict[str, int] = BODY, trunks: int = 2, **settings) -> tuple[CPMTrunk, CPMHead]:
    """The published network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = CPMTrunk(trunks)
        return trunk, CPMHead(trunk.out_channels, trunk.strides, fields, 8, stages, **settings)


def small(stages: int = 3, trunks: int = 2, **settings) -> CPMHead:
    torch.manual_seed(0)
    head = CPMHead((7,) * trunks, (8,) * trunks, {'heatmap': 3}, 8, stages, **{**SMALL, **settings})
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return head.eval()


def features(trunks: int = 2, size: int = 6) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 7, size, size) for _ in range(trunks)]


@pytest.mark.parametrize(('stages', 'fields', 'total'), [(6, BODY, 31_219_866), (4, FLIC, 21_323_816)])
def test_the_published_networks_have_the_published_number_of_weights(stages, fields, total):
    assert count(*official(stages, fields)) == total


def test_the_vgg_network_has_the_published_number_of_weights():
    with torch.device('meta'):
        trunk = CPMVGGTrunk()
        context = (*((7, 128),) * 5, (1, 128))
        head = CPMHead(
            trunk.out_channels, trunk.strides, BODY, 8, first=((1, 512),), image=(), context=context, beliefs_first=True
        )
    assert count(trunk, head) == 29_852_058


def test_every_stage_has_the_published_number_of_weights():
    trunk, head = official()
    assert count(trunk.trunks[0], head.first, head.predict[0]) == 4_386_095
    assert count(trunk.trunks[1], head.images[0], head.contexts[0], head.predict[1]) == 7_515_311
    for t in range(1, 5):
        assert count(head.images[t], head.contexts[t], head.predict[t + 1]) == 4_829_615


@pytest.mark.parametrize(
    ('trunks', 'share_image', 'total'),
    [
        (6, False, 31_219_866 + 4 * TRUNK),  # nothing shared: stages 3 to 6 bring a trunk each
        (2, False, 31_219_866),  # as released: one trunk for the later stages
        (2, True, 31_219_866 - 4 * FIVE),  # as the paper words it: one 5x5 layer as well
        (1, False, 31_219_866 - TRUNK),  # stage 1 reads that trunk, too
    ],
)
def test_the_level_of_sharing_decides_the_number_of_weights(trunks, share_image, total):
    trunk, head = official(trunks=trunks, share_image=share_image)
    assert count(trunk, head) == total
    names = [*trunk.state_dict(), *head.state_dict()]
    assert len(names) == len([*trunk.parameters(), *head.parameters()])  # nothing is stored twice


def test_a_stage_reads_the_trunk_that_is_meant_for_it():
    assert official(trunks=6)[1].places == [0, 1, 2, 3, 4, 5]
    assert official(trunks=2)[1].places == [0, 1, 1, 1, 1, 1]
    assert official(trunks=1)[1].places == [0] * 6


def test_only_the_feature_maps_of_the_codecs_stride_are_read():
    head = CPMHead((7, 8, 9), (4, 8, 16), BODY, 8, 2, **SMALL)
    assert head.places == [1, 1]
    with pytest.raises(MismatchError, match=r'stride of the codec, 2, but .* strides \(4, 8\)'):
        CPMHead((7, 8), (4, 8), BODY, 2, 2, **SMALL)


def test_the_layers_of_stage_1_and_of_the_later_stages_are_those_of_the_paper():
    _, head = official()
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
    _, head = official()
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert all(isinstance(head.first[i][-1], nn.Dropout) for i in (1, 2))
    ours, maps = small(), features()
    assert torch.equal(*(ours(maps)[0]['heatmap'] for _ in range(2)))
    ours.train()
    assert not torch.equal(*(ours(maps)[0]['heatmap'] for _ in range(2)))


def test_weights_start_at_a_hundredth_and_biases_at_zero():
    torch.manual_seed(0)
    head = CPMHead((128,), (8,), BODY, 8, 2)
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
            assert not layer.bias.any()


@pytest.mark.parametrize('beliefs_first', [False, True])
def test_a_later_stage_joins_image_beliefs_and_centre_in_the_declared_order(beliefs_first):
    head = small(stages=2, beliefs_first=beliefs_first)
    joined = []
    head.contexts[0].register_forward_pre_hook(lambda _, inputs: joined.append(inputs[0]))
    maps, centers = features(), torch.tensor([[10.0, 20.0], [30.0, 5.0]])
    stages = head(maps, centers)
    beliefs, seen, where = stages[0]['heatmap'], head.images[0](maps[1]), head.center_map(maps[0], centers)
    assert_close(joined[0], torch.cat([beliefs, seen, where] if beliefs_first else [seen, beliefs, where], dim=1))


def test_beliefs_are_linear_outputs():
    head = small()
    stages = head(features())
    assert all(stage['heatmap'].min() < 0 for stage in stages)
    assert [type(p) for p in head.predict] == [nn.Conv2d] * 3


def test_the_centre_enters_the_later_stages_only():
    head, maps = small(), features()
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
@pytest.mark.parametrize('place', [(79.5, 79.5), (150.0, 20.0), (-12.0, 170.0)])
def test_the_centre_map_is_the_average_of_the_gaussian_and_is_cut_in_training_only(place, training):
    head = small().train(training)
    pooled = head.center_map(torch.zeros(1, 3, 20, 20), torch.tensor([place]))
    assert pooled.shape == (1, 1, 20, 20)
    np.testing.assert_allclose(pooled[0, 0], center_map_by_hand(*place, 160, training), atol=1e-6)
    assert bool((pooled == 0).any()) == training


def test_without_a_position_the_centre_is_the_middle_of_the_input():
    head, like = small(), torch.zeros(2, 3, 20, 20)
    assert torch.equal(head.center_map(like, None), head.center_map(like, torch.full((2, 2), 79.5)))


def test_the_centre_map_of_368_px_has_46_cells():
    assert small().center_map(torch.zeros(1, 3, 46, 46), None).shape == (1, 1, 46, 46)


def test_several_fields_are_the_channels_in_their_order():
    torch.manual_seed(0)
    head = CPMHead((7,), (8,), {'paf': 4, 'heatmap': 3}, 8, 2, **SMALL).eval()
    stages = head(features(1))
    assert [{n: f.shape[1] for n, f in stage.items()} for stage in stages] == [{'paf': 4, 'heatmap': 3}] * 2
    whole = head.predict[0](head.first(features(1)[0]))
    assert torch.equal(stages[0]['heatmap'], whole[:, 4:])


def test_a_head_needs_a_stage_and_shares_layers_of_one_width():
    with pytest.raises(ConfigError, match='stages=0'):
        CPMHead((7,), (8,), BODY, 8, 0)
    with pytest.raises(ConfigError, match='one width'):
        CPMHead((7, 8, 9), (8, 8, 8), BODY, 8, 3, share_image=True, **SMALL)
