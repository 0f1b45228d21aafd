import numpy as np
import pytest
import torch

from poseplug.codecs.base import Codec
from poseplug.codecs.cpm import CPMHeatmap
from poseplug.errors import ConfigError
from poseplug.geometry import about, apply, middle, place, rotation, scaling
from poseplug.models.estimators.fusion import fuse_views, onto_picture
from poseplug.sample import Batch
from poseplug.skeletons.lsp import LSP

CODEC = CPMHeatmap(LSP, (160, 160), refine='taylor')
PICTURE = (90, 120)
SCALES = (1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3)
FIRST = place(middle(PICTURE), 0.8 * 160 / 120, (160, 160))  # the test placing of CPM: 0.8 of the input's height


def joints() -> np.ndarray:
    """14 whole pixels of the picture, away from its border."""
    return np.random.default_rng(0).integers(15, 75, (14, 2)).astype(np.float32)


def batch(matrices: list[np.ndarray]) -> Batch:
    zero = torch.zeros(1)
    return Batch(zero, zero, zero, zero, zero, torch.from_numpy(np.stack(matrices))[None], [PICTURE], [None], [])


def seen(matrix: np.ndarray) -> dict[str, torch.Tensor]:
    """The fields that a perfect network gives of one view."""
    points = torch.from_numpy(apply(matrix, joints()).astype(np.float32))[None, None]
    return CODEC.encode(points, torch.full((1, 1, 14), 2)).at(1)


def test_seven_scales_fuse_to_the_pixels_where_the_joints_are():
    matrices = [about(scaling(s), middle((160, 160))) @ FIRST for s in SCALES]
    (poses,) = fuse_views(CODEC, [seen(m) for m in matrices], batch(matrices))
    assert np.abs(poses.keypoints[0] - joints()).max() <= 1
    assert (poses.keypoints == poses.keypoints.round()).all()
    assert poses.images is None


def test_views_that_are_turned_fuse_to_the_same_pixels():
    matrices = [about(rotation(a), middle((160, 160))) @ FIRST for a in (0, 20, -35)]
    (poses,) = fuse_views(CODEC, [seen(m) for m in matrices], batch(matrices))
    assert np.abs(poses.keypoints[0] - joints()).max() <= 1


def test_a_single_view_is_decoded_as_without_fusion_within_a_pixel():
    (fused,) = fuse_views(CODEC, [seen(FIRST)], batch([FIRST]))
    plain = CODEC.decode(seen(FIRST)).numpy().moved(np.linalg.inv(FIRST))
    assert np.abs(fused.keypoints - plain.keypoints).max() <= 1


def test_the_centre_of_a_cell_gives_its_value_to_the_pixel_it_stands_on():
    maps = torch.rand(15, 20, 20, generator=torch.Generator().manual_seed(0))
    shifted = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]])  # picture pixel 8g + 3 stands on input 8g + 3.5
    whole = onto_picture(CODEC, maps, torch.from_numpy(shifted), (159, 159))
    torch.testing.assert_close(whole[:, 3::8, 3::8], maps, atol=1e-5, rtol=0)


def test_what_a_view_never_saw_is_0_for_joints_and_1_for_the_background():
    maps = torch.full((15, 20, 20), 0.25)
    enlarged = about(scaling(2.0), (0, 0))  # the input ends at picture pixel 79.5
    whole = onto_picture(CODEC, maps, torch.from_numpy(enlarged), (100, 90))
    torch.testing.assert_close(whole[:, :80, :80], torch.full((15, 80, 80), 0.25))
    for unseen in (whole[:, 80:, :], whole[:, :, 80:]):
        assert (unseen[:14] == 0).all()
        assert (unseen[14] == 1).all()


def test_a_joint_that_only_one_view_saw_is_taken_from_that_view():
    near, far = about(scaling(3.0), (0, 0)), FIRST  # the first sees up to pixel 53 only
    (poses,) = fuse_views(CODEC, [seen(near), seen(far)], batch([near, far]))
    outside = (joints() > 55).any(axis=1)
    assert outside.any()
    assert np.abs(poses.keypoints[0][outside] - joints()[outside]).max() <= 1


def test_a_codec_without_maps_cannot_be_fused():
    class Coordinates(Codec):
        shapes = None
        encode = decode = flip = None

    with pytest.raises(ConfigError, match=r'Coordinates has no maps to fuse.*scales=\[1.0\]'):
        fuse_views(Coordinates(LSP, (160, 160)), [], batch([FIRST]))
