import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.base import Targets
from poseplug.codecs.cpm import CPMHeatmap
from poseplug.codecs.cpn import CPNHeatmap
from poseplug.codecs.dark import DARKHeatmap
from poseplug.codecs.heatmap import Heatmap
from poseplug.codecs.msra import MSRAHeatmap
from poseplug.codecs.udp import UDPCombined, UDPHeatmap
from poseplug.core.errors import ConfigError
from poseplug.fields.grid import Grid
from poseplug.skeletons.lsp import LSP


def test_cell_g_of_cpm_stands_at_input_pixel_8g_plus_3_and_a_half():
    columns, rows = CPMHeatmap(LSP, (368, 184)).grid.axis_pixels(torch.zeros(1))
    assert columns[:2].tolist() == [3.5, 11.5]
    assert (columns[-1], rows[-1]) == (8 * 45 + 3.5, 8 * 22 + 3.5)


def test_cells_and_pixels_undo_each_other():
    grid = Grid((46, 46), (368, 368), 8, 3.5)
    pixels = torch.tensor([[0.0, 3.5], [100.25, 367.0]])
    assert_close(grid.to_pixels(grid.to_cells(pixels)), pixels)


@pytest.mark.parametrize(
    ('codec', 'shift'),
    [
        (CPMHeatmap(LSP, (368, 368)), 0),  # 8g + 3.5 is symmetric: 367 - 3.5 = 8 * 45 + 3.5
        (Heatmap(LSP, (256, 256)), 1),  # (255 - 0) / 4 = 63.75 is nearest to cell 64, one beyond the last
        (Heatmap(LSP, (256, 256), offset=1.5), 0),
        (MSRAHeatmap(LSP, (192, 256)), 1),
        (DARKHeatmap(LSP, (192, 256)), 1),
        (DARKHeatmap(LSP, (192, 256), aligned=True), 0),
        (UDPHeatmap(LSP, (192, 256)), 0),
        (UDPCombined(LSP, (192, 256)), 0),
        (CPNHeatmap(LSP, (192, 256)), 0),
    ],
)
def test_a_flipped_field_is_shifted_by_the_cells_that_its_grid_requires(codec, shift):
    assert codec.grid.flip_shift == shift


@pytest.mark.parametrize('codec', [CPMHeatmap(LSP, (64, 48)), Heatmap(LSP, (64, 48), offset=1.5)])
def test_flipping_fields_twice_is_the_identity(codec):
    width, height = codec.grid.size
    maps = torch.rand(2, codec.fields['heatmap'], height, width)
    assert torch.equal(codec.flip(codec.flip({'heatmap': maps}))['heatmap'], maps)


@pytest.mark.parametrize(
    'codec',
    [CPMHeatmap(LSP, (64, 48)), CPMHeatmap(LSP, (64, 48), instances='max', min_value=0.0), Heatmap(LSP, (65, 64))],
)
def test_flipped_fields_of_flipped_instances_are_those_of_the_instances(codec):
    keypoints = torch.rand(2, 3, 14, 2, generator=torch.Generator().manual_seed(0)) * 40 + 8
    visible = torch.randint(0, 3, (2, 3, 14), generator=torch.Generator().manual_seed(1))
    flipped = keypoints[:, :, LSP.flip_indices].clone()
    flipped[..., 0] = codec.input_size[0] - 1 - flipped[..., 0]
    targets, others = codec.encode(keypoints, visible), codec.encode(flipped, visible[:, :, LSP.flip_indices])
    for stage, other in zip(targets.stages, others.stages, strict=True):
        missing = codec.grid.flip_shift  # columns that a shifted field lacks on the left
        assert_close(codec.flip(other)['heatmap'][..., missing:], stage['heatmap'][..., missing:], atol=1e-5, rtol=0)


def test_an_aligned_grid_reaches_from_the_first_pixel_to_the_last():
    columns, rows = UDPHeatmap(LSP, (192, 256)).grid.axis_pixels(torch.zeros(1))
    assert (columns[0], rows[0]) == (0, 0)
    assert_close(torch.stack([columns[-1], rows[-1]]), torch.tensor([191.0, 255.0]))
    assert (columns[1].item(), rows[1].item()) == pytest.approx((191 / 47, 255 / 63))


def test_an_aligned_grid_has_two_cells_or_more():
    with pytest.raises(ConfigError, match=r'at least 2 cells per axis; got \(1, 4\)'):
        DARKHeatmap(LSP, (4, 16), aligned=True)


@pytest.mark.parametrize('position', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('part', [CPMHeatmap, CPNHeatmap, DARKHeatmap, Heatmap, MSRAHeatmap, UDPCombined, UDPHeatmap])
def test_a_labeled_keypoint_without_a_finite_position_counts_as_far_outside(part, position):
    codec, visible = part(LSP, (192, 256)), torch.full((1, 1, 14), 2)
    keypoints = torch.full((1, 1, 14, 2), 90.0)
    keypoints[0, 0, 3] = 1e5
    outside = codec.encode(keypoints, visible)
    keypoints[0, 0, 3, 1] = position
    targets = codec.encode(keypoints, visible)
    for t, stage in enumerate(targets.stages):
        for name, maps in stage.items():
            weights = (
                targets.stage_field_weights(t).get(name, torch.ones(1)),
                outside.stage_field_weights(t).get(name, torch.ones(1)),
            )
            assert_close(*weights)
            counts = weights[0] if weights[0].ndim == 4 else torch.ones(1)  # elsewhere an offset means nothing
            assert torch.isfinite(maps).all()
            assert_close(maps * counts, outside.stage_fields(t)[name] * counts)


def test_a_flip_leaves_the_background_in_its_channel():
    assert CPMHeatmap(LSP, (64, 64)).flip_channels['heatmap'] == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14]


def test_the_last_targets_serve_every_later_stage():
    targets = Targets(({'heatmap': torch.zeros(1)}, {'heatmap': torch.ones(1)}))
    assert [targets.stage_fields(t)['heatmap'].item() for t in (0, 1, 5)] == [0, 1, 1]


@pytest.mark.parametrize('size', [(64,), (64, 0), (64.5, 64), (64, 64, 3)])
def test_an_input_size_is_two_whole_numbers(size):
    with pytest.raises(ConfigError, match=r'input_size is \(width, height\)'):
        CPMHeatmap(LSP, size)
