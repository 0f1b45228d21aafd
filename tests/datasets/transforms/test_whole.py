"""Whole pictures in inputs of their own shape, and about a person."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.datasets.transforms.warp import Warp
from poseplug.datasets.transforms.whole import MaskUnlabelled, PlaceOnPerson, PlaceWhole, RandomShift, WholeScales
from poseplug.errors import ConfigError
from poseplug.geometry import apply, enlargement, middle
from poseplug.sample import Draw, Record, Sample
from poseplug.skeletons.lsp import LSP


def sample(size=(300, 100), boxes=(), **regions) -> Sample:
    """A picture whose blue grows with x and whose green grows with y."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width) * 255 // width, np.arange(height)[:, None] * 255 // height
    boxes = np.array(boxes, float).reshape(-1, 4)
    keypoints = np.zeros((len(boxes), 14, 2), np.float32)
    record = Record(Path('p'), 'p', keypoints, keypoints[..., 0], 'given', boxes, **regions)
    rng = np.random.Generator(np.random.Philox(0))
    return Sample(record, LSP, image, rng, Draw(0, 0), keypoints, keypoints[..., 0])


@pytest.mark.parametrize(
    ('side', 'factor', 'extent'),
    [('height', 1.28, (384, 128)), ('longer', 128 / 300, (128, 64)), ('shorter', 1.28, (384, 128))],
)
def test_a_side_of_the_picture_fills_the_input_and_the_rest_is_rounded_up(side, factor, extent):
    placed = PlaceWhole((128, 128), side)(sample())
    assert enlargement(placed.matrix) == pytest.approx(factor)
    assert placed.extents == [extent]
    np.testing.assert_allclose(apply(placed.matrix, np.array(middle((300, 100)))), middle(extent))


def test_what_fits_exactly_is_not_rounded_up_and_the_longer_side_has_a_limit():
    placed = PlaceWhole((128, 128), 'height', multiple=64)(sample((192, 96)))
    assert placed.extents == [(256, 128)]
    limited = PlaceWhole((128, 128), 'height', largest=256)(sample((1000, 100)))
    assert limited.extents == [(256, 32)]
    assert enlargement(limited.matrix) == pytest.approx(0.256)


@pytest.mark.parametrize(
    'make',
    [
        lambda: PlaceWhole((8, 8), 'width'),
        lambda: PlaceWhole((8, 8), multiple=0),
        lambda: PlaceWhole((8, 8), largest=16),
        lambda: WholeScales((8, 8), ()),
        lambda: WholeScales((8, 8), (1, 0)),
        lambda: PlaceOnPerson((8, 8), height=0),
    ],
)
def test_settings_without_sense_are_an_error_at_construction(make):
    with pytest.raises(ConfigError, match=r'PlaceWhole|WholeScales|PlaceOnPerson'):
        make()


def test_every_view_has_its_own_size_and_shows_the_same_place_in_its_middle():
    views = WholeScales((128, 128), (1.0, 0.5, 2.0))(PlaceWhole((128, 128))(sample()))
    assert views.extents == [(384, 128), (192, 64), (768, 256)]
    for matrix, extent in zip([views.matrix, *views.views], views.extents, strict=True):
        np.testing.assert_allclose(apply(matrix, np.array(middle((300, 100)))), middle(extent))
    inputs = Warp((128, 128), fill=(7, 7, 7))(views).inputs
    assert inputs.shape == (3, 256, 768, 3)
    centers = [inputs[v, h // 2, w // 2, 0] for v, (w, h) in enumerate(views.extents)]
    assert max(centers) - min(centers) <= 2
    assert (inputs[1, 64:] == 7).all()
    assert (inputs[1, :, 192:] == 7).all()


def test_a_person_is_as_high_as_asked_and_in_the_middle_and_nobody_is_left_out():
    boxes = [(100, 20, 140, 80), (0, 0, 20, 90)]
    placed = PlaceOnPerson((368, 368), 0.6)(sample(boxes=boxes))
    low, high = apply(placed.matrix, np.array(boxes[0]).reshape(2, 2))
    assert high[1] - low[1] == pytest.approx(0.6 * 368)
    np.testing.assert_allclose((low + high) / 2, middle((368, 368)))
    assert len(placed.keypoints) == 2


@pytest.mark.parametrize('boxes', [(), [(5, 5, 5, 5)]])
def test_a_picture_of_nobody_is_as_high_as_the_input(boxes):
    placed = PlaceOnPerson((64, 50))(sample(boxes=boxes))
    assert enlargement(placed.matrix) == pytest.approx(0.5)


def test_shifts_fill_their_range_on_both_axes_and_not_more():
    shift = RandomShift((368, 100), 0.1)
    start = sample()
    moves = []
    for _ in range(400):
        start.matrix = np.eye(3)
        moves.append(shift(start).matrix[:2, 2])
    most = np.abs(moves).max(axis=0)
    assert ((0.97 * np.array([36.8, 10]) < most) & (most <= [36.8, 10])).all()
    np.testing.assert_array_equal(shift.sees(np.array([1.0, 1.0]), (100, 50)), [11, 6])


def test_the_mask_lies_on_the_first_view_as_the_picture_does():
    regions = dict(ignore=np.array([(0, 0, 149.5, 99)]))
    masked = MaskUnlabelled((64, 64))(PlaceWhole((64, 64), 'longer')(sample(boxes=(), **regions)))
    assert masked.mask.shape == (32, 64)
    rows = slice(7, 26)
    assert masked.mask[rows, :31].max() == 0
    assert masked.mask[rows, 33:].min() == 1
    assert masked.mask[:4].min() == 1, 'outside the picture everything counts'
