import numpy as np
import pytest
import torch

from poseplug.codecs.base import Codec
from poseplug.codecs.cpm import CPMHeatmap
from poseplug.errors import ConfigError
from poseplug.geometry import about, apply, middle, place, rotation, scaling
from poseplug.models.estimators.fusion import fuse_fields, fuse_views, onto_picture
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


def test_fields_of_several_scales_average_to_those_of_the_first_on_its_cells():
    """A plane has the same values at the same places in every view; bicubic sampling keeps it to a pixel's rise."""
    sizes = [(160, 96), (80, 48), (320, 192)]
    codecs = [CPMHeatmap(LSP, size) for size in sizes]
    matrices = [place(middle(sizes[0]), size[0] / 160, size) for size in sizes]
    views = []
    for codec, matrix in zip(codecs, matrices, strict=True):
        columns, rows = codec.grid.axes(torch.zeros(1))
        base = np.linalg.inv(matrix)
        x, y = base[0, 0] * columns + base[0, 2], base[1, 1] * rows + base[1, 2]
        views.append({'heatmap': (0.01 * x[None, :] - 0.02 * y[:, None])[None, None].float()})
    fused = fuse_fields(codecs, views, torch.from_numpy(np.stack(matrices))[None])['heatmap']
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    torch.testing.assert_close(fused[inner], views[0]['heatmap'][inner], atol=0.01, rtol=0)


def test_a_cell_that_only_some_views_see_is_the_mean_of_those():
    codec = CPMHeatmap(LSP, (64, 64))
    matrices = np.stack([np.eye(3), about(scaling(2.0), (0, 0))])[None]  # the second sees up to pixel 31.75
    views = [{'heatmap': torch.zeros(1, 1, 8, 8)}, {'heatmap': torch.ones(1, 1, 8, 8)}]
    fused = fuse_fields([codec, codec], views, torch.from_numpy(matrices))['heatmap'][0, 0]
    torch.testing.assert_close(fused[:4, :4], torch.full((4, 4), 0.5))
    assert fused[4:].abs().max() == fused[:, 4:].abs().max() == 0


def test_views_that_are_turned_average_to_the_fields_of_the_first():
    codec = CPMHeatmap(LSP, (64, 64))
    turned = about(rotation(90), middle((64, 64)))
    first = {'heatmap': torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
    second = {'heatmap': first['heatmap'].rot90(-1, (2, 3))}
    fused = fuse_fields([codec, codec], [first, second], torch.from_numpy(np.stack([np.eye(3), turned]))[None])
    torch.testing.assert_close(fused['heatmap'], first['heatmap'], atol=1e-5, rtol=0)
