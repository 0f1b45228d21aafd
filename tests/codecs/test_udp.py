import pytest
import torch

from poseplug.codecs.udp import UDPCombined, UDPHeatmap
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.losses.squared import MeanSquaredError

TWO = Skeleton('two', ('left', 'right'), flip_pairs=(('left', 'right'),))


def test_the_middle_of_the_input_lies_between_the_middle_cells():
    codec = UDPHeatmap(TWO, (192, 256))
    maps = codec.encode(torch.tensor([95.5, 127.5]).expand(1, 1, 2, 2), torch.ones(1, 1, 2)).stage_fields(0)['heatmap'][
        0, 0
    ]
    torch.testing.assert_close(maps[31:33, 23:25], torch.full((2, 2), 0.93941306))  # exp(-(0.25 + 0.25) / 8)


def test_inside_the_input_a_heatmap_is_decoded_to_a_fiftieth_of_a_pixel():
    codec = UDPHeatmap(TWO, (192, 256))
    keypoints = torch.rand(32, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([111.0, 175.0]) + 40
    decoded = codec.decode(codec.encode(keypoints, torch.ones(32, 1, 2)).stage_fields(0)).keypoints
    assert (decoded - keypoints[:, 0]).abs().max() < 0.02


def test_an_offset_counts_on_the_disk_alone_and_leads_to_the_keypoint():
    codec = UDPCombined(TWO, (192, 256))
    keypoints = torch.tensor([[[[50.0, 60.0], [120.0, 200.0]]]])
    targets = codec.encode(keypoints, torch.tensor([[[2, 0]]]))
    disk, offset, counts = (
        targets.stage_fields(0)['heatmap'],
        targets.stage_fields(0)['offset'],
        targets.weights['offset'],
    )
    assert torch.equal(counts[0, 0], disk[0, 0])
    assert torch.equal(counts[0, 1], disk[0, 0])
    assert not counts[0, 2:].any()
    assert targets.weights['heatmap'].tolist() == [[1, 0]]
    row, column = disk[0, 0].nonzero()[0].tolist()
    reached = torch.tensor([column, row]) + 3.5 * offset[0, :2, row, column]
    torch.testing.assert_close(codec.grid.to_pixels(reached), keypoints[0, 0, 0])


def test_the_subject_is_drawn_alone_or_each_cell_belongs_to_the_nearest_instance():
    codec = UDPCombined(TWO, (192, 256), instances='nearest')
    alone = [codec.encode(torch.full((1, 1, 2, 2), p), torch.ones(1, 1, 2)).stage_fields(0) for p in (60.0, 120.0)]
    both = codec.encode(torch.tensor([60.0, 120.0])[None, :, None, None].expand(1, 2, 2, 2), torch.ones(1, 2, 2))
    torch.testing.assert_close(both.stage_fields(0)['heatmap'], alone[0]['heatmap'] + alone[1]['heatmap'])
    keypoints = torch.tensor([60.0, 120.0])[None, :, None, None].expand(1, 2, 2, 2)
    subject = UDPCombined(TWO, (192, 256)).encode(keypoints, torch.ones(1, 2, 2)).stage_fields(0)
    torch.testing.assert_close(subject, alone[0])
    for single in alone:
        disk = single['heatmap'].repeat_interleave(2, dim=1)
        torch.testing.assert_close(both.stage_fields(0)['offset'] * disk, single['offset'] * disk)


def test_a_keypoint_without_a_disk_is_an_empty_map_that_counts_by_default():
    keypoints, visible = torch.tensor([-60.0, 90.0]).expand(1, 1, 2, 2), torch.ones(1, 1, 2)
    for outside, counts in (('empty', 1), ('ignore', 0)):
        targets = UDPCombined(TWO, (192, 256), outside=outside).encode(keypoints, visible)
        assert targets.weights['heatmap'].tolist() == [[counts, counts]]
        assert not targets.stage_fields(0)['heatmap'].any()
        assert not targets.weights['offset'].any()


def test_a_flip_exchanges_flip_pairs_and_negates_the_x_of_offsets():
    codec = UDPCombined(TWO, (192, 256))
    offset = torch.zeros(1, 4, 64, 48)
    offset[0, :, 5, 7] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # left x, left y, right x, right y
    flipped = codec.flip({'heatmap': torch.zeros(1, 2, 64, 48), 'offset': offset})['offset']
    assert flipped[0, :, 5, 40].tolist() == [-3, 4, -1, 2]


def test_half_the_squares_of_disks_and_all_of_offsets_are_the_published_loss():
    """Per keypoint half the mean square of the disk, of x and of y, the latter two on the disk alone."""
    codec = UDPCombined(TWO, (192, 256))
    targets = codec.encode(torch.rand(3, 1, 2, 2) * 150 + 20, torch.ones(3, 1, 2))
    generator = torch.Generator().manual_seed(0)
    predicted = {n: torch.rand(m.shape, generator=generator) for n, m in targets.stage_fields(0).items()}
    parts = dict(heatmap=MeanSquaredError(0.5), offset=MeanSquaredError(1.0))
    ours = sum(parts[n](m, targets.stage_fields(0)[n], targets.weights[n]) for n, m in predicted.items())
    disk = targets.stage_fields(0)['heatmap']
    published = 0.5 * (predicted['heatmap'] - disk).square().mean()
    for axis in (0, 1):
        pair = (fields['offset'][:, axis::2] * disk for fields in (predicted, targets.stage_fields(0)))
        published = published + 0.5 * torch.nn.functional.mse_loss(*pair)
    torch.testing.assert_close(ours, published)


def test_a_disk_between_the_cells_is_an_error():
    with pytest.raises(ConfigError, match=r'disk of 0.64 cells.*set radius_factor to at least 0.0156 of 64 cells'):
        UDPCombined(TWO, (192, 256), radius_factor=0.01)


@pytest.mark.parametrize(
    ('settings', 'message'), [({'outside': 'zero'}, 'outside is one of'), ({'blur_kernel_size': 4}, 'odd')]
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        UDPCombined(TWO, (192, 256), **settings)


def test_fields_of_another_size_are_an_error():
    with pytest.raises(MismatchError, match=r'UDPCombined reads maps of \(48, 64\) cells'):
        UDPCombined(TWO, (192, 256)).decode({'heatmap': torch.zeros(1, 2, 48, 64)})
