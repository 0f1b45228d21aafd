import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.cpm import CPMVGGTrunk
from poseplug.models.heads.openpose import OpenPoseHead

COCO18, MPII15 = {'paf': 38, 'heatmap': 19}, {'paf': 28, 'heatmap': 16}


def count_parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def build_published(fields: dict[str, int], num_stages: int = 6) -> tuple[CPMVGGTrunk, OpenPoseHead]:
    """The network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = CPMVGGTrunk(extra_channels=(256, 128))
        return trunk, OpenPoseHead(trunk.out_channels, trunk.strides, fields, num_stages=num_stages)


def build_small(num_stages: int = 3, **settings) -> OpenPoseHead:
    torch.manual_seed(0)
    layers = dict(first_layers=((3, 6),), later_layers=((3, 8), (1, 5)))
    return OpenPoseHead((7,), (8,), {'paf': 4, 'heatmap': 3}, num_stages=num_stages, **{**layers, **settings}).eval()


def random_features() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(2, 7, 6, 5)]


@pytest.mark.parametrize(
    ('fields', 'num_stages', 'weights'), [(COCO18, 6, 52_311_446), (MPII15, 6, 51_481_032), (MPII15, 4, 34_240_880)]
)
def test_the_published_networks_have_the_published_number_of_weights(fields, num_stages, weights):
    assert count_parameters(*build_published(fields, num_stages)) == weights


def test_at_368_px_the_coco_network_multiplies_135_9_billion_times():
    trunk, head = build_published(COCO18)
    with FlopCounterMode(display=False) as counter:
        head(trunk(torch.zeros(1, 3, 368, 368, device='meta')))
    assert counter.get_total_flops() / 2 == pytest.approx(135.9e9, abs=0.05e9)


def test_the_layers_of_stage_1_and_of_the_later_stages_are_those_of_the_paper():
    _, head = build_published(COCO18)
    shapes = {n: tuple(p.shape[:3]) for n, p in head.named_parameters() if n.endswith('weight')}
    first = [(128, 128, 3)] * 3 + [(512, 128, 1), (38, 512, 1)]
    later = [(128, 185, 7)] + [(128, 128, 7)] * 4 + [(128, 128, 1), (38, 128, 1)]
    assert [s for n, s in shapes.items() if n.startswith('steps.0.paf')] == first
    assert [s for n, s in shapes.items() if n.startswith('steps.5.paf')] == later
    assert shapes['steps.5.heatmap.6.weight'] == (19, 128, 1)


def test_a_later_stage_reads_the_fields_in_the_codecs_order_then_the_image():
    head, stage_inputs = build_small(), []
    head.steps[1].register_forward_pre_hook(lambda _, inputs: stage_inputs.append(inputs[0]))
    maps = random_features()
    stages = head(maps)
    assert_close(stage_inputs[0], torch.cat([stages[0]['paf'], stages[0]['heatmap'], maps[0]], dim=1))


def test_a_branch_changes_the_other_fields_from_the_next_stage_on():
    head, maps = build_small(), random_features()
    before = head(maps)
    nn.init.constant_(head.steps[0]['paf'][-1].bias, 1.0)
    after = head(maps)
    same = [{n: torch.equal(a[n], b[n]) for n in a} for a, b in zip(before, after, strict=True)]
    assert same == [{'paf': False, 'heatmap': True}] + [{'paf': False, 'heatmap': False}] * 2


def test_fields_are_linear_outputs():
    for stage in build_small()(random_features()):
        assert all(maps.min() < 0 for maps in stage.values())


def test_weights_start_at_a_hundredth_and_biases_at_zero():
    torch.manual_seed(0)
    for layer in OpenPoseHead((128,), (8,), COCO18, num_stages=2).modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
            assert not layer.bias.any()


def test_a_head_without_stages_is_an_error():
    with pytest.raises(ConfigError, match='at least one stage; got num_stages=0'):
        build_small(num_stages=0)
