"""DiskOffset keeps poseplug's contracts, and its docstring."""

import pytest
import torch
from poseplug_offsets.disk_offset import DiskOffset
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.registry import CODECS
from poseplug.testing import SINGLE_KEYPOINT_SKELETON, CodecContract, ExportContract


class TestVoting(CodecContract, ExportContract):
    def build_part(self, skeleton):
        return DiskOffset(skeleton, (64, 48), stride=4, radius=8)


class TestPeak(CodecContract, ExportContract):
    def build_part(self, skeleton):
        return DiskOffset(skeleton, (96, 64), read='peak')


class TestInputThatTheStrideDoesNotDivide(CodecContract):
    """Flipped cells then lie between the original ones; the offsets correct that, so nothing is lost."""

    def build_part(self, skeleton):
        return DiskOffset(skeleton, (61, 47), stride=4, radius=8)


def create_single_keypoint(x, y, **settings):
    """A codec of one keypoint, a keypoint at x, y and its visibility."""
    codec = DiskOffset(SINGLE_KEYPOINT_SKELETON, (32, 32), **settings)
    return codec, torch.tensor([[[[x, y]]]]), torch.ones(1, 1, 1)


def test_the_installed_package_offers_its_codec_by_name():
    assert CODECS.get('DiskOffset') is DiskOffset


def test_a_cell_is_in_the_disk_up_to_the_radius_and_points_at_the_keypoint_in_radii():
    codec, keypoints, visible = create_single_keypoint(11.5, 3.5, stride=8, radius=8)
    fields = codec.encode(keypoints, visible).stage_fields(0)  # cells stand at 3.5, 11.5, 19.5, 27.5 px
    assert fields['disk'][0, 0].tolist() == [[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    x, y = fields['offset'][0]
    assert x[0].tolist() == [1, 0, -1, 0]
    assert y[:, 1].tolist() == [0, -1, 0, 0]


def test_between_two_instances_a_cell_points_at_the_nearer_one():
    codec = DiskOffset(SINGLE_KEYPOINT_SKELETON, (64, 16), radius=40)
    keypoints = torch.tensor([[[[3.5, 3.5]], [[59.5, 3.5]]]])
    x = codec.encode(keypoints, torch.ones(1, 2, 1)).stage_fields(0)['offset'][0, 0, 0] * 40
    assert x.tolist() == [0, -8, -16, -24, 24, 16, 8, 0]


def test_a_vote_corrects_a_peak_whose_own_offset_is_wrong():
    codec, keypoints, visible = create_single_keypoint(14.0, 17.0, stride=4, radius=10)
    fields = codec.encode(keypoints, visible).stage_fields(0)
    row, column = 4, 3
    fields['disk'][0, 0, row, column] = 1.01
    fields['offset'][0, 0, row, column] += 1.0
    errors = {}
    for read in ('peak', 'vote'):
        codec = DiskOffset(SINGLE_KEYPOINT_SKELETON, (32, 32), stride=4, radius=10, read=read)
        decoded = codec.decode(fields).keypoints[0, 0]
        errors[read] = float((decoded - keypoints[0, 0, 0]).norm())
    assert errors['peak'] == pytest.approx(10, abs=1e-4)
    assert errors['vote'] < 1


def test_where_the_disk_is_empty_the_vote_is_the_peak_alone():
    codec = DiskOffset(SINGLE_KEYPOINT_SKELETON, (32, 32))
    fields = {'disk': torch.full((1, 1, 4, 4), -1.0), 'offset': torch.zeros(1, 2, 4, 4)}
    fields['disk'][0, 0, 2, 1] = -0.5
    poses = codec.decode(fields)
    assert_close(poses.keypoints[0, 0], torch.tensor([11.5, 19.5]))
    assert float(poses.keypoint_scores) == 0


def test_a_disk_that_could_lie_between_the_cells_is_an_error_that_says_what_to_set():
    with pytest.raises(ConfigError, match='radius to at least 6'):
        DiskOffset(SINGLE_KEYPOINT_SKELETON, (32, 32), stride=8, radius=5)
