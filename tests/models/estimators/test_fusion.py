import numpy as np
import pytest
import torch

from poseplug.codecs.base import Codec
from poseplug.codecs.cpm import CPMHeatmap
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import (
    conjugate_about,
    crop_matrix,
    image_center,
    rotation_matrix,
    scaling_matrix,
    transform_points,
)
from poseplug.core.poses import Poses
from poseplug.models.estimators.fusion import fuse_crops, fuse_whole_images, resample_to_image
from poseplug.skeletons.lsp import LSP

CODEC = CPMHeatmap(LSP, (160, 160), refine='taylor')
IMAGE_SIZE = (90, 120)
SCALES = (1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3)
FIRST_MATRIX = crop_matrix(
    image_center(IMAGE_SIZE), 0.8 * 160 / 120, (160, 160)
)  # CPM's crop at test time: the image takes 0.8 of the input's height


def image_keypoints() -> np.ndarray:
    """14 whole pixels of the image, away from its border."""
    return np.random.default_rng(0).integers(15, 75, (14, 2)).astype(np.float32)


def create_batch(matrices: list[np.ndarray]) -> Batch:
    images = torch.zeros(1, len(matrices), 1, 1, 3, dtype=torch.uint8)
    image_to_input = torch.from_numpy(np.stack(matrices))[None]
    no_keypoints = torch.zeros(1, 0, 14, 2)
    values = dict(image_to_input=image_to_input, image_sizes=[IMAGE_SIZE], records=[None])
    return Batch.from_instances(images, no_keypoints, no_keypoints[..., 0], **values)


def fuse_and_decode(view_fields: list[dict[str, torch.Tensor]], batch: Batch) -> list[Poses]:
    """The poses of every image, in image pixels."""
    return [codec.decode({'heatmap': heatmaps}).numpy() for codec, heatmaps in fuse_crops(CODEC, view_fields, batch)]


def encode_view(matrix: np.ndarray) -> dict[str, torch.Tensor]:
    """The fields that a perfect network predicts for one view."""
    points = torch.from_numpy(transform_points(matrix, image_keypoints()).astype(np.float32))[None, None]
    return CODEC.encode(points, torch.full((1, 1, 14), 2)).stage_fields(1)


def test_seven_scales_fuse_to_the_pixels_of_the_keypoints():
    matrices = [conjugate_about(scaling_matrix(s), image_center((160, 160))) @ FIRST_MATRIX for s in SCALES]
    (poses,) = fuse_and_decode([encode_view(m) for m in matrices], create_batch(matrices))
    assert np.abs(poses.keypoints[0] - image_keypoints()).max() <= 1
    assert (poses.keypoints == poses.keypoints.round()).all()
    assert poses.image_indices.tolist() == [0]


def test_rotated_views_fuse_to_the_same_pixels():
    matrices = [conjugate_about(rotation_matrix(a), image_center((160, 160))) @ FIRST_MATRIX for a in (0, 20, -35)]
    (poses,) = fuse_and_decode([encode_view(m) for m in matrices], create_batch(matrices))
    assert np.abs(poses.keypoints[0] - image_keypoints()).max() <= 1


def test_a_single_view_is_decoded_as_without_fusion_within_a_pixel():
    (fused,) = fuse_and_decode([encode_view(FIRST_MATRIX)], create_batch([FIRST_MATRIX]))
    unfused = CODEC.decode(encode_view(FIRST_MATRIX)).numpy().transform(np.linalg.inv(FIRST_MATRIX))
    assert np.abs(fused.keypoints - unfused.keypoints).max() <= 1


def test_a_pixel_at_the_center_of_a_cell_gets_its_value():
    heatmaps = torch.rand(15, 20, 20, generator=torch.Generator().manual_seed(0))
    shifted = np.array(
        [[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]]
    )  # image pixel 8g + 3 lies at input position 8g + 3.5
    resampled = resample_to_image(CODEC, heatmaps, torch.from_numpy(shifted), (159, 159))
    torch.testing.assert_close(resampled[:, 3::8, 3::8], heatmaps, atol=1e-5, rtol=0)


def test_pixels_outside_a_view_are_0_for_keypoints_and_1_for_the_background():
    heatmaps = torch.full((15, 20, 20), 0.25)
    enlarged = conjugate_about(scaling_matrix(2.0), (0, 0))  # the input ends at image pixel 79.5
    resampled = resample_to_image(CODEC, heatmaps, torch.from_numpy(enlarged), (100, 90))
    torch.testing.assert_close(resampled[:, :80, :80], torch.full((15, 80, 80), 0.25))
    for outside_view in (resampled[:, 80:, :], resampled[:, :, 80:]):
        assert (outside_view[:14] == 0).all()
        assert (outside_view[14] == 1).all()


def test_a_keypoint_inside_one_view_alone_is_taken_from_that_view():
    near, far = conjugate_about(scaling_matrix(3.0), (0, 0)), FIRST_MATRIX  # the first ends at pixel 53
    (poses,) = fuse_and_decode([encode_view(near), encode_view(far)], create_batch([near, far]))
    outside = (image_keypoints() > 55).any(axis=1)
    assert outside.any()
    assert np.abs(poses.keypoints[0][outside] - image_keypoints()[outside]).max() <= 1


def test_a_codec_without_heatmaps_cannot_be_fused():
    class Coordinates(Codec):
        shapes = None
        encode = decode = flip = None

    with pytest.raises(ConfigError, match=r'Coordinates has no maps to fuse.*scales=\[1.0\]'):
        list(fuse_crops(Coordinates(LSP, (160, 160)), [], create_batch([FIRST_MATRIX])))


def test_fields_of_several_scales_average_to_those_of_the_first_on_its_cells():
    """A plane has the same values at the same positions in every view; bicubic sampling keeps it to a pixel's rise."""
    sizes = [(160, 96), (80, 48), (320, 192)]
    codecs = [CPMHeatmap(LSP, size) for size in sizes]
    matrices = [crop_matrix(image_center(sizes[0]), size[0] / 160, size) for size in sizes]
    views = []
    for codec, matrix in zip(codecs, matrices, strict=True):
        columns, rows = codec.grid.axis_pixels(torch.zeros(1))
        input_to_image = np.linalg.inv(matrix)
        x, y = input_to_image[0, 0] * columns + input_to_image[0, 2], input_to_image[1, 1] * rows + input_to_image[1, 2]
        views.append({'heatmap': (0.01 * x[None, :] - 0.02 * y[:, None])[None, None].float()})
    fused = fuse_whole_images(codecs, views, create_batch(matrices))['heatmap']
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    torch.testing.assert_close(fused[inner], views[0]['heatmap'][inner], atol=0.01, rtol=0)


def test_a_cell_inside_some_views_alone_is_the_mean_of_those():
    codec = CPMHeatmap(LSP, (64, 64))
    matrices = [np.eye(3), conjugate_about(scaling_matrix(2.0), (0, 0))]  # the second ends at pixel 31.75
    views = [{'heatmap': torch.zeros(1, 1, 8, 8)}, {'heatmap': torch.ones(1, 1, 8, 8)}]
    fused = fuse_whole_images([codec, codec], views, create_batch(matrices))['heatmap'][0, 0]
    torch.testing.assert_close(fused[:4, :4], torch.full((4, 4), 0.5))
    assert fused[4:].abs().max() == fused[:, 4:].abs().max() == 0


def test_rotated_views_average_to_the_fields_of_the_first():
    codec = CPMHeatmap(LSP, (64, 64))
    rotated = conjugate_about(rotation_matrix(90), image_center((64, 64)))
    first = {'heatmap': torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
    second = {'heatmap': first['heatmap'].rot90(-1, (2, 3))}
    fused = fuse_whole_images([codec, codec], [first, second], create_batch([np.eye(3), rotated]))
    torch.testing.assert_close(fused['heatmap'], first['heatmap'], atol=1e-5, rtol=0)
