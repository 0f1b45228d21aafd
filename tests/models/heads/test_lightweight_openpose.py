import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mobilenet_v1 import MobileNetV1
from poseplug.models.heads.lightweight_openpose import LightweightOpenPoseHead, Reduction, RefinementBlock

COCO18 = {'paf': 38, 'heatmap': 19}


def build_published(num_stages: int = 2) -> tuple[MobileNetV1, LightweightOpenPoseHead]:
    """The network, without memory for its numbers."""
    with torch.device('meta'):
        trunk = MobileNetV1(out_strides=(8,), num_dilated=6)
        return trunk, LightweightOpenPoseHead(trunk.out_channels, trunk.strides, COCO18, num_stages=num_stages)


def build_small(**settings) -> LightweightOpenPoseHead:
    torch.manual_seed(0)
    defaults = dict(channels=6, hidden_channels=(8, 5), num_blocks=2)
    return LightweightOpenPoseHead((7,), (8,), {'paf': 4, 'heatmap': 3}, **{**defaults, **settings}).eval()


def test_it_has_the_published_4_1_million_weights_and_multiplies_9_billion_times_at_368_px():
    trunk, head = build_published()
    assert sum(p.numel() for m in (trunk, head) for p in m.parameters()) == 4_091_186
    with FlopCounterMode(display=False) as counter:
        head(trunk(torch.zeros(1, 3, 368, 368, device='meta')))
    assert counter.get_total_flops() / 2 == pytest.approx(9e9, abs=0.5e9)


def test_a_refinement_block_has_a_receptive_field_of_7x7_cells():
    block = RefinementBlock(3, 4).eval()
    for parameter in block.parameters():
        nn.init.constant_(parameter, 0.1)
    maps = torch.ones(1, 3, 11, 11, requires_grad=True)
    block(maps)[0, :, 5, 5].sum().backward()
    used = maps.grad[0].abs().sum(dim=0) > 0
    rows, columns = used.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 8, 2, 8)


def test_the_depthwise_layers_of_the_reduction_have_a_shortcut():
    reduction = Reduction(7, 6).eval()
    maps = torch.rand(1, 7, 5, 5)
    nn.init.zeros_(reduction.conv[-1][0].weight)
    assert_close(reduction(maps), reduction.leave(reduction.enter(maps)))  # ELU(0) is 0
    assert [m.groups for m in reduction.conv.modules() if isinstance(m, nn.Conv2d)] == [6, 1] * 3


def test_the_fields_of_a_stage_have_all_but_two_layers_in_common():
    _, head = build_published()
    for step, hidden in zip(head.steps, (512, 128), strict=True):
        shapes = {n: [tuple(p.shape) for p in branch.parameters() if p.ndim > 1] for n, branch in step[-1].items()}
        assert shapes == {name: [(hidden, 128, 1, 1), (k, hidden, 1, 1)] for name, k in COCO18.items()}


def test_a_refinement_reads_the_fields_before_it_and_the_reduced_image():
    head, stage_inputs = build_small(num_stages=3), []
    head.steps[2].register_forward_pre_hook(lambda _, inputs: stage_inputs.append(inputs[0]))
    maps = [torch.rand(2, 7, 6, 5)]
    stages = head(maps)
    assert_close(stage_inputs[0], torch.cat([stages[1]['paf'], stages[1]['heatmap'], head.reduce(maps[0])], dim=1))
    assert len(stages) == head.num_stages == 3


@pytest.mark.parametrize('settings', [dict(num_stages=0), dict(num_blocks=0)])
def test_a_head_without_stages_or_blocks_is_an_error(settings):
    with pytest.raises(ConfigError, match='at least one stage and block'):
        build_small(**settings)
