"""Whole images in inputs of their own shape, and centered on an instance."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.crops import round_up_size
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import image_center, scale_of_matrix, transform_points
from poseplug.core.sample import Sample, SampleKey
from poseplug.data.image_warp import reduced_to_full_matrix
from poseplug.data.transforms.full_image import (
    CenterOnInstance,
    FitImage,
    MaskIgnoredRegions,
    MultiScaleImage,
    RandomShift,
)
from poseplug.data.transforms.warp import Warp
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record


def make_sample(size=(300, 100), boxes=(), **fields) -> Sample:
    """An image whose blue grows with x and whose green grows with y."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width) * 255 // width, np.arange(height)[:, None] * 255 // height
    boxes = np.array(boxes, float).reshape(-1, 4)
    keypoints = np.zeros((len(boxes), 14, 2), np.float32)
    record = create_annotated_record(Path('p'), 'p', keypoints, keypoints[..., 0], 'given', boxes, **fields)
    rng = np.random.Generator(np.random.Philox(0))
    return Sample(record, LSP, image, rng, SampleKey(0, 0), keypoints, keypoints[..., 0])


@pytest.mark.parametrize(
    ('side', 'factor', 'view_size'),
    [('height', 1.28, (384, 128)), ('longer', 128 / 300, (128, 64)), ('shorter', 1.28, (384, 128))],
)
def test_a_side_of_the_image_fills_the_input_and_the_rest_is_rounded_up(side, factor, view_size):
    sample = FitImage((128, 128), side)(make_sample())
    assert scale_of_matrix(sample.image_to_input) == pytest.approx(factor)
    assert sample.view_sizes == [view_size]
    center = transform_points(sample.image_to_input, np.array(image_center((300, 100))))
    np.testing.assert_allclose(center, image_center(view_size))


def test_what_fits_exactly_is_not_rounded_up_and_the_longer_side_has_a_limit():
    exact = FitImage((128, 128), 'height', size_divisor=64)(make_sample((192, 96)))
    assert exact.view_sizes == [(256, 128)]
    limited = FitImage((128, 128), 'height', max_side=256)(make_sample((1000, 100)))
    assert limited.view_sizes == [(256, 32)]
    assert scale_of_matrix(limited.image_to_input) == pytest.approx(0.256)


@pytest.mark.parametrize(
    'build',
    [
        lambda: FitImage((8, 8), 'width'),
        lambda: FitImage((8, 8), size_divisor=0),
        lambda: FitImage((8, 8), max_side=16),
        lambda: MultiScaleImage((8, 8), ()),
        lambda: MultiScaleImage((8, 8), (1, 0)),
        lambda: CenterOnInstance((8, 8), height_fraction=0),
    ],
)
def test_settings_without_sense_are_an_error_at_construction(build):
    with pytest.raises(ConfigError, match=r'FitImage|MultiScaleImage|CenterOnInstance'):
        build()


def test_views_have_different_sizes_and_the_same_center():
    views = MultiScaleImage((128, 128), (1.0, 0.5, 2.0))(FitImage((128, 128))(make_sample()))
    assert views.view_sizes == [(384, 128), (192, 64), (768, 256)]
    for matrix, size in zip([views.image_to_input, *views.view_matrices], views.view_sizes, strict=True):
        center = transform_points(matrix, np.array(image_center((300, 100))))
        np.testing.assert_allclose(center, image_center(size))
    inputs = Warp((128, 128), fill_color=(7, 7, 7))(views).inputs
    assert inputs.shape == (3, 256, 768, 3)
    centers = [inputs[v, h // 2, w // 2, 0] for v, (w, h) in enumerate(views.view_sizes)]
    assert max(centers) - min(centers) <= 2
    assert (inputs[1, 64:] == 7).all()
    assert (inputs[1, :, 192:] == 7).all()


def test_an_instance_has_the_configured_height_and_is_centered_and_the_others_stay():
    boxes = [(100, 20, 140, 80), (0, 0, 20, 90)]
    sample = CenterOnInstance((368, 368), 0.6)(make_sample(boxes=boxes))
    low, high = transform_points(sample.image_to_input, np.array(boxes[0]).reshape(2, 2))
    assert high[1] - low[1] == pytest.approx(0.6 * 368)
    np.testing.assert_allclose((low + high) / 2, image_center((368, 368)))
    assert len(sample.keypoints) == 2


@pytest.mark.parametrize('boxes', [(), [(5, 5, 5, 5)]])
def test_an_image_without_instances_is_as_high_as_the_input(boxes):
    sample = CenterOnInstance((64, 50))(make_sample(boxes=boxes))
    assert scale_of_matrix(sample.image_to_input) == pytest.approx(0.5)


def test_shifts_fill_their_range_on_both_axes_and_not_more():
    transform, sample = RandomShift((368, 100), 0.1), make_sample()
    shifts = []
    for _ in range(400):
        sample.image_to_input = np.eye(3)
        shifts.append(transform(sample).image_to_input[:2, 2])
    largest = np.abs(shifts).max(axis=0)
    assert ((0.97 * np.array([36.8, 10]) < largest) & (largest <= [36.8, 10])).all()
    np.testing.assert_array_equal(transform.expand_half_extent(np.array([1.0, 1.0]), (100, 50)), [11, 6])


def test_the_mask_is_aligned_with_the_first_view():
    sample = make_sample(ignored_boxes=np.array([(0, 0, 149.5, 99)]))
    masked = MaskIgnoredRegions((64, 64))(FitImage((64, 64), 'longer')(sample))
    assert masked.mask.shape == (32, 64)
    rows = slice(7, 26)
    assert masked.mask[rows, :31].max() == 0
    assert masked.mask[rows, 33:].min() == 1
    assert masked.mask[:4].min() == 1, 'outside the image everything takes part in the loss'


@pytest.mark.parametrize(('size', 'divisor', 'expected'), [
    ((0.4, 3.0), 1, (1, 3)), ((64.00001, 65.0), 32, (64, 96)), ((31.0, 1.5), 2, (32, 2)),
])  # fmt: skip
def test_sizes_are_rounded_up_to_whole_multiples_but_for_rounding_errors(size, divisor, expected):
    assert round_up_size(np.array(size), divisor) == expected


@pytest.mark.parametrize('reduction', [1, 2, 4, 8])
def test_a_reduced_pixel_stands_in_the_middle_of_its_block(reduction):
    matrix, block = reduced_to_full_matrix(reduction), np.arange(reduction)
    middles = [[block.mean()] * 2, [(block + reduction).mean(), (block + 2 * reduction).mean()]]
    assert transform_points(matrix, np.array([[0.0, 0], [1, 2]])) == pytest.approx(np.array(middles))
