"""Several images in one input: each where its matrix says, with its instances, drawn anew for every sample."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import transform_points
from poseplug.core.sample import RunPosition, Sample, SampleKey
from poseplug.data.collate import collate
from poseplug.data.mosaic_image import ImageMosaic
from poseplug.data.transforms.augment import RandomFlip
from poseplug.data.transforms.base import find_pipeline_problems
from poseplug.data.transforms.cropping import LetterboxImage
from poseplug.data.transforms.full_image import MaskIgnoredRegions
from poseplug.data.transforms.hsv import RandomHSV
from poseplug.data.transforms.mosaic import MixUp, Mosaic
from poseplug.data.transforms.pipeline_switch import PipelineSwitch
from poseplug.data.transforms.warp import Warp
from poseplug.testing import SMALL_SKELETON, create_annotated_record

SIZE = (96, 64)
GRAY_LEVELS = (40, 90, 140, 190)
KEYPOINTS = np.array([[[10.0, 10], [30, 12], [20, 40]], [[50, 20], [70, 22], [60, 50]]])  # of two instances


def make_sample(seed: int = 0, index: int = 0, epoch: int = 0) -> Sample:
    """An image of 80 x 60 px in one gray, with two instances whose keypoints are black squares of 5 px."""
    image = np.full((60, 80, 3), GRAY_LEVELS[index], np.uint8)
    for x, y in KEYPOINTS.reshape(-1, 2).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 0
    low, high = KEYPOINTS.min(axis=1) - 4, KEYPOINTS.max(axis=1) + 4
    record = create_annotated_record(
        Path(f'{index}.jpg'),
        str(index),
        KEYPOINTS.astype(np.float32),
        np.full((2, 3), 2, np.uint8),
        boxes=np.concatenate([low, high], axis=1),
        areas=np.full(2, 500.0),
        ignored_boxes=np.array([[74.0, 55, 79, 59]]),
    )
    other_indices = iter([1, 2, 3, 1])

    def draw_sample(rng):
        rng.integers(1)
        return make_sample(0, next(other_indices))

    rng = np.random.Generator(np.random.Philox(seed))
    key = SampleKey(epoch, index)
    return Sample(
        record,
        SMALL_SKELETON,
        image,
        rng,
        key,
        record.instances.keypoints,
        record.instances.visible,
        draw_sample=draw_sample,
    )


def transform_sample(*transforms, seed: int = 0, epoch: int = 0) -> Sample:
    """A sample after some transforms and the warp."""
    sample = make_sample(seed, epoch=epoch)
    for transform in (*transforms, Warp(SIZE, fill_color=(114, 114, 114))):
        sample = transform(sample)
    return sample


def fit_longer_side() -> LetterboxImage:
    return LetterboxImage(SIZE, fill_fraction=1.0, side='longer')


def inner_keypoints(sample: Sample) -> np.ndarray:
    """(M, 2) the labeled keypoints in input px that are at least 3 px inside."""
    points = transform_points(sample.image_to_input, sample.keypoints[sample.visible > 0])
    return points[((points > 3) & (points < np.array(SIZE) - 4)).all(axis=1)]


@pytest.mark.parametrize('seed', range(6))
def test_every_labeled_keypoint_of_a_mosaic_is_on_its_black_square(seed):
    sample = transform_sample(Mosaic(SIZE), fit_longer_side(), RandomFlip(SIZE), seed=seed)
    points = inner_keypoints(sample).round().astype(int)
    assert len(points) >= 6
    assert (sample.inputs[0][points[:, 1], points[:, 0]].max(axis=1) < 60).all()


def test_a_mosaic_shows_four_images_around_a_point_with_all_their_instances():
    sample = transform_sample(Mosaic(SIZE, center_range=(1.0, 1.0)), fit_longer_side())
    assert sample.image_size == (192, 128)
    assert len(sample.keypoints) == len(sample.record.instances) == len(sample.record.instances.boxes) == 8
    quadrants = [sample.inputs[0, 8 + 32 * (n // 2), 20 + 48 * (n % 2), 0] for n in range(4)]
    assert sorted(int(level) for level in quadrants) == sorted(GRAY_LEVELS)
    assert (sample.visible > 0).all()
    assert len(sample.record.ignored.boxes) == 4


def test_keypoints_and_boxes_beyond_the_mosaic_are_cut_off():
    sample = transform_sample(Mosaic(SIZE, center_range=(0.5, 0.5)), fit_longer_side())
    corner = np.array(sample.image_size) - 0.5
    assert (sample.visible == 0).any()
    is_inside = ((sample.keypoints >= -0.5) & (sample.keypoints <= corner)).all(axis=-1)
    assert is_inside[sample.visible > 0].all()
    assert (sample.record.instances.boxes >= -0.5).all()
    assert (sample.record.instances.boxes <= np.tile(corner, 2)).all()


def test_areas_and_boxes_of_a_mosaic_have_its_scale():
    """80 x 60 px fit 96 x 64 px by 16/15, and the mosaic fits by a half."""
    sample = transform_sample(Mosaic(SIZE, center_range=(1.0, 1.0)), fit_longer_side())
    batch = collate([sample])
    np.testing.assert_allclose(batch.areas[0], 500 * (8 / 15) ** 2, rtol=1e-5)
    sizes = (batch.boxes[0, :, 2:] - batch.boxes[0, :, :2]).numpy()
    np.testing.assert_allclose(sizes, np.tile([[28 * 8 / 15, 38 * 8 / 15]], (8, 1)), rtol=1e-4)


def test_ignored_regions_of_all_tiles_are_masked():
    sample = transform_sample(Mosaic(SIZE, center_range=(1.0, 1.0)), fit_longer_side(), MaskIgnoredRegions(SIZE))
    centers = sample.record.ignored.boxes.reshape(-1, 2, 2).mean(axis=1)
    cells = transform_points(sample.image_to_input, centers).round().astype(int)
    assert not sample.mask[cells[:, 1], cells[:, 0]].any()
    assert sample.mask.mean() > 0.9


def test_tiles_end_at_the_border_of_the_mosaic_and_every_instance_has_a_box():
    sample = transform_sample(Mosaic(SIZE, center_range=(1.5, 1.5)), fit_longer_side())
    regions = np.array([tile.region for tile in sample.image.tiles])
    point = np.array([1.5 * 96, 1.5 * 64]) - 0.5
    width, height = 80 * 16 / 15, 64  # of an image that fits the input
    x, y = (point[0] - width, point[0], 191.5), (point[1] - height, point[1], 127.5)
    expected = [(x[n % 2], y[n // 2], x[n % 2 + 1], y[n // 2 + 1]) for n in range(4)]
    np.testing.assert_allclose(regions, expected)
    assert sample.record.instances.has_box.dtype == bool
    assert sample.record.instances.has_box.all()


def test_the_other_image_of_a_blend_lies_anywhere_in_the_input_in_its_size():
    free_px, offsets = np.array([96 - 80 * 8 / 15, 64 - 60 * 8 / 15]), []
    for seed in range(60):
        sample = transform_sample(fit_longer_side(), MixUp(SIZE, ratio_range=(0.5, 0.5)), seed=seed)
        (overlay,) = sample.image.overlays
        assert overlay.size == sample.image.size
        low, high = transform_points(sample.image_to_input, overlay.tiles[0].region.reshape(2, 2))
        np.testing.assert_allclose(high - low, [80 * 8 / 15, 60 * 8 / 15])
        offsets.append((low + 0.5) / free_px)
    assert np.min(offsets, axis=0) == pytest.approx([0, 0], abs=0.1)
    assert np.max(offsets, axis=0) == pytest.approx([1, 1], abs=0.1)
    assert abs(np.corrcoef(np.transpose(offsets))[0, 1]) < 0.5


@pytest.mark.parametrize('first', [[], [Mosaic(SIZE)]])
def test_a_blend_shows_both_images_at_half_light_with_the_instances_of_both(first):
    alone = transform_sample(*first, fit_longer_side())
    blend = transform_sample(*first, fit_longer_side(), MixUp(SIZE, ratio_range=(1.6, 1.6)))
    assert len(blend.keypoints) == len(alone.keypoints) + 2
    other_image = np.abs(blend.inputs[0].astype(int) * 2 - alone.inputs[0])
    level = GRAY_LEVELS[1]
    assert np.isin(np.round(np.median(other_image)), np.arange(level - 2, level + 3))


@pytest.mark.parametrize('seed', range(6))
def test_the_keypoints_of_the_blended_image_are_dark_on_it(seed):
    """Also where it is flipped and enlarged."""
    sample = transform_sample(fit_longer_side(), MixUp(SIZE, ratio_range=(1.0, 1.2)), seed=seed)
    (overlay,) = sample.image.overlays
    points = transform_points(sample.image_to_input, sample.keypoints[2:].reshape(-1, 2)).round().astype(int)
    inside = ((points >= 0) & (points < SIZE)).all(axis=1)
    assert inside.sum() >= 3
    pixels = overlay.render_view(sample.image_to_input, SIZE, 1, (114, 114, 114))
    assert (pixels[points[inside, 1], points[inside, 0]].max(axis=1) < 60).all()


def test_left_and_right_are_exchanged_in_a_flipped_blend():
    num_flipped = 0
    for seed in range(8):
        sample = transform_sample(fit_longer_side(), MixUp(SIZE), seed=seed)
        left, right = sample.keypoints[2, 1:]
        is_flipped = np.linalg.det(sample.image.overlays[0].tiles[0].image_to_mosaic) < 0
        num_flipped += is_flipped
        assert (left[1] < right[1]) != is_flipped  # the first of the two is the higher one
    assert 0 < num_flipped < 8


@pytest.mark.parametrize('kind', [Mosaic, MixUp])
def test_equal_seeds_have_equal_results_and_other_seeds_others(kind):
    one, again, other = (transform_sample(LetterboxImage(SIZE), kind(SIZE), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.inputs, again.inputs)
    np.testing.assert_array_equal(one.keypoints, again.keypoints)
    assert (one.inputs != other.inputs).any()


@pytest.mark.parametrize('kind', [Mosaic, MixUp])
def test_with_a_probability_of_0_or_without_a_data_set_nothing_is_combined(kind):
    assert not isinstance(transform_sample(kind(SIZE, prob=0.0)).image, ImageMosaic)
    with pytest.raises(ConfigError, match=f'{kind.__name__} needs a data set'):
        kind(SIZE)(replace(make_sample(), draw_sample=None))


def test_transforms_switch_at_an_epoch():
    switch = PipelineSwitch(SIZE, 3, [dict(type='Mosaic')], later_transforms=[dict(type='LetterboxImage')])
    assert isinstance(transform_sample(switch, epoch=2).image, ImageMosaic)
    assert not isinstance(transform_sample(switch, epoch=3).image, ImageMosaic)
    with pytest.raises(ConfigError, match='switch_epoch is a whole number from 0 on'):
        PipelineSwitch(SIZE, -1, [])
    with pytest.raises(ConfigError, match='switch_epoch is a number from 0 to 1'):
        PipelineSwitch(SIZE, 1.5, [])


@pytest.mark.parametrize(('point', 'position', 'is_later'), [
    (0.9, RunPosition(4, 0.899), False),
    (0.9, RunPosition(4, 0.9), True),
    (0.9, RunPosition(400), False),  # nobody says how long the run is
    (3, RunPosition(2, 0.99), False),
    (3, RunPosition(3, 0.01), True),
])  # fmt: skip
def test_transforms_switch_at_a_fraction_of_the_run_or_at_its_epoch(point, position, is_later):
    """The epoch of the key, 7, is that of a source that is drawn more often than the others."""
    switch = PipelineSwitch(SIZE, point, [dict(type='Mosaic')], later_transforms=[dict(type='LetterboxImage')])
    sample = make_sample()
    sample.key = SampleKey(7, 0, position)
    assert isinstance(switch(sample).image, ImageMosaic) != is_later


@pytest.mark.parametrize(
    ('point', 'num_epochs', 'num_problems'), [(390, 60, 1), (60, 60, 1), (59, 60, 0), (0.9, 60, 0)]
)
def test_a_switch_that_a_run_does_not_reach_is_reported(point, num_epochs, num_problems):
    switch = PipelineSwitch(SIZE, point, [dict(type='RandomShift')])
    outer = PipelineSwitch(SIZE, 1, [switch], later_transforms=[switch])
    problems = find_pipeline_problems([outer, outer], num_epochs)
    assert len(problems) == num_problems
    if problems:
        assert f'at switch_epoch={point}, which is not reached in 60 epochs; give a fraction' in problems[0]


def test_what_a_switch_can_show_is_the_larger_extent_of_both_lists():
    shift, larger_shift = dict(type='RandomShift', shift_factor=0.1), dict(type='RandomShift', shift_factor=0.2)
    rotate = dict(type='RandomScaleRotate', scale_factor=(0.5, 1.0), degrees=0)
    for first, later in (([rotate, shift], [larger_shift]), ([larger_shift], [rotate, shift])):
        extent = PipelineSwitch((100, 50), 3, first, later).expand_half_extent(np.array([1.0, 15.0]), (100, 50))
        assert extent == pytest.approx([2 * (1 + 10), 2 * (15 + 5)])  # the shift comes last, and is undone first


def test_gray_has_no_hue_and_changes_in_value_alone():
    for seed in range(8):
        sample = transform_sample(LetterboxImage(SIZE), seed=seed)
        before = sample.inputs.copy()
        after = RandomHSV(saturation_delta=0.0)(sample).inputs
        assert (after.max(axis=-1) - after.min(axis=-1)).max() == 0
        assert np.abs(after.astype(int) - before).max() <= 30


def test_colors_are_changed_after_the_warp():
    with pytest.raises(ConfigError, match='RandomHSV changes the warped input'):
        RandomHSV()(make_sample())
