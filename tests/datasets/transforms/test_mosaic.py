"""Several pictures in one input: every one where its matrix says, with its people, drawn anew for every sample."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.datasets.canvas import Canvas
from poseplug.datasets.transforms.augment import RandomFlip
from poseplug.datasets.transforms.hsv import RandomHSV
from poseplug.datasets.transforms.mosaic import MixUp, Mosaic
from poseplug.datasets.transforms.placing import PlacePicture
from poseplug.datasets.transforms.until import Until
from poseplug.datasets.transforms.warp import Warp
from poseplug.datasets.transforms.whole import MaskUnlabelled
from poseplug.errors import ConfigError
from poseplug.geometry import apply
from poseplug.sample import Draw, Record, Sample, collate
from poseplug.testing import SMALL

SIZE = (96, 64)
COLOURS = (40, 90, 140, 190)
PEOPLE = np.array([[[10.0, 10], [30, 12], [20, 40]], [[50, 20], [70, 22], [60, 50]]])


def sample(seed: int = 0, number: int = 0, epoch: int = 0) -> Sample:
    """A picture of 80 x 60 px in one grey, with two people whose joints are black squares of 5 px."""
    image = np.full((60, 80, 3), COLOURS[number], np.uint8)
    for x, y in PEOPLE.reshape(-1, 2).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 0
    low, high = PEOPLE.min(axis=1) - 4, PEOPLE.max(axis=1) + 4
    record = Record(
        path=Path(f'{number}.jpg'), id=str(number), keypoints=PEOPLE.astype(np.float32),
        visible=np.full((2, 3), 2, np.uint8), boxes=np.concatenate([low, high], axis=1), areas=np.full(2, 500.0),
        ignore=np.array([[74.0, 55, 79, 59]]),
    )  # fmt: skip
    others = iter([1, 2, 3, 1])
    return Sample(
        record, SMALL, image, np.random.Generator(np.random.Philox(seed)), Draw(epoch, number), record.keypoints,
        record.visible, another=lambda rng: sample(0, next(others) + 0 * int(rng.integers(1))),
    )  # fmt: skip


def made(*transforms, seed: int = 0, epoch: int = 0) -> Sample:
    whole = sample(seed, epoch=epoch)
    for transform in (*transforms, Warp(SIZE, fill=(114, 114, 114))):
        whole = transform(whole)
    return whole


def joints_in(made: Sample) -> np.ndarray:
    """(M, 2) the labelled joints in input px that lie 3 px and more inside."""
    points = apply(made.matrix, made.keypoints[made.visible > 0])
    return points[((points > 3) & (points < np.array(SIZE) - 4)).all(axis=1)]


@pytest.mark.parametrize('seed', range(6))
def test_every_labelled_joint_of_a_mosaic_lies_on_its_black_square(seed):
    whole = made(Mosaic(SIZE), PlacePicture(SIZE, fill=1.0, side='longer'), RandomFlip(SIZE), seed=seed)
    points = joints_in(whole).round().astype(int)
    assert len(points) >= 6
    assert (whole.inputs[0][points[:, 1], points[:, 0]].max(axis=1) < 60).all()


def test_a_mosaic_shows_four_pictures_around_a_point_and_their_people_count():
    whole = made(Mosaic(SIZE, center=(1.0, 1.0)), PlacePicture(SIZE, fill=1.0, side='longer'))
    assert whole.size == (192, 128)
    assert len(whole.keypoints) == len(whole.record.keypoints) == len(whole.record.boxes) == 8
    quarters = [whole.inputs[0, 8 + 32 * (n // 2), 20 + 48 * (n % 2), 0] for n in range(4)]
    assert sorted(int(q) for q in quarters) == sorted(COLOURS)
    assert (whole.visible > 0).all()
    assert len(whole.record.ignore) == 4


def test_joints_and_boxes_beyond_the_canvas_are_cut_off():
    whole = made(Mosaic(SIZE, center=(0.5, 0.5)), PlacePicture(SIZE, fill=1.0, side='longer'))
    corner = np.array(whole.size) - 0.5
    assert (whole.visible == 0).any()
    assert ((whole.keypoints >= -0.5) & (whole.keypoints <= corner)).all(axis=-1)[whole.visible > 0].all()
    assert (whole.record.boxes >= -0.5).all()
    assert (whole.record.boxes <= np.tile(corner, 2)).all()


def test_areas_and_boxes_of_a_mosaic_have_its_scale():
    """80 x 60 px fit 96 x 64 px by 16/15, and the canvas fits by a half."""
    whole = made(Mosaic(SIZE, center=(1.0, 1.0)), PlacePicture(SIZE, fill=1.0, side='longer'))
    batch = collate([whole])
    np.testing.assert_allclose(batch.areas[0], 500 * (8 / 15) ** 2, rtol=1e-5)
    sizes = (batch.boxes[0, :, 2:] - batch.boxes[0, :, :2]).numpy()
    np.testing.assert_allclose(sizes, np.tile([[28 * 8 / 15, 38 * 8 / 15]], (8, 1)), rtol=1e-4)


def test_ignored_regions_of_all_tiles_are_masked():
    whole = made(Mosaic(SIZE, center=(1.0, 1.0)), PlacePicture(SIZE, fill=1.0, side='longer'), MaskUnlabelled(SIZE))
    regions = apply(whole.matrix, whole.record.ignore.reshape(-1, 2, 2).mean(axis=1)).round().astype(int)
    assert not whole.mask[regions[:, 1], regions[:, 0]].any()
    assert whole.mask.mean() > 0.9


@pytest.mark.parametrize('first', [[], [Mosaic(SIZE)]])
def test_a_mixture_shows_both_pictures_at_half_light_and_counts_the_people_of_both(first):
    alone = made(*first, PlacePicture(SIZE, fill=1.0, side='longer'))
    whole = made(*first, PlacePicture(SIZE, fill=1.0, side='longer'), MixUp(SIZE, scale=(1.6, 1.6)))
    assert len(whole.keypoints) == len(alone.keypoints) + 2
    covered = np.abs(whole.inputs[0].astype(int) * 2 - alone.inputs[0])
    other = COLOURS[1]
    assert np.isin(np.round(np.median(covered)), np.arange(other - 2, other + 3))


@pytest.mark.parametrize('seed', range(6))
def test_the_joints_of_what_shines_through_are_dark_on_it(seed):
    """Also mirrored and enlarged: against the same mixture with white squares they are darker by half of all."""
    whole = made(PlacePicture(SIZE, fill=1.0, side='longer'), MixUp(SIZE, scale=(1.0, 1.2)), seed=seed)
    (layer,) = whole.image.over
    points = apply(whole.matrix, whole.keypoints[2:].reshape(-1, 2)).round().astype(int)
    inside = ((points >= 0) & (points < SIZE)).all(axis=1)
    assert inside.sum() >= 3
    drawn = layer.drawn(whole.matrix, SIZE, 1, (114, 114, 114))
    assert (drawn[points[inside, 1], points[inside, 0]].max(axis=1) < 60).all()


def test_left_and_right_change_places_in_a_mirrored_mixture():
    mirrored = 0
    for seed in range(8):
        whole = made(PlacePicture(SIZE, fill=1.0, side='longer'), MixUp(SIZE), seed=seed)
        left, right = whole.keypoints[2, 1:]
        turned = np.linalg.det(whole.image.over[0].tiles[0].matrix) < 0
        mirrored += turned
        assert (left[1] < right[1]) != turned  # the first of the hands is the higher one
    assert 0 < mirrored < 8


@pytest.mark.parametrize('kind', [Mosaic, MixUp])
def test_the_same_generator_makes_the_same_and_another_one_something_else(kind):
    one, again, other = (made(PlacePicture(SIZE), kind(SIZE), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.inputs, again.inputs)
    np.testing.assert_array_equal(one.keypoints, again.keypoints)
    assert (one.inputs != other.inputs).any()


@pytest.mark.parametrize('kind', [Mosaic, MixUp])
def test_without_a_chance_or_without_a_data_set_nothing_is_combined(kind):
    assert not isinstance(made(kind(SIZE, p=0.0)).image, Canvas)
    with pytest.raises(ConfigError, match=f'{kind.__name__} needs a data set'):
        kind(SIZE)(replace(sample(), another=None))


def test_until_an_epoch_it_is_these_and_then_those():
    until = Until(SIZE, 3, [dict(type='Mosaic')], then=[dict(type='PlacePicture')])
    assert isinstance(made(until, epoch=2).image, Canvas)
    assert not isinstance(made(until, epoch=3).image, Canvas)
    with pytest.raises(ConfigError, match='epoch is 0 or later'):
        Until(SIZE, -1, [])


def test_grey_has_no_hue_and_changes_in_value_alone():
    for seed in range(8):
        whole = made(PlacePicture(SIZE), seed=seed)
        before = whole.inputs.copy()
        after = RandomHSV(saturation=0.0)(whole).inputs
        assert (after.max(axis=-1) - after.min(axis=-1)).max() == 0
        assert np.abs(after.astype(int) - before).max() <= 30


def test_colours_are_changed_after_the_warp():
    with pytest.raises(ConfigError, match='RandomHSV changes the warped input'):
        RandomHSV()(sample())
