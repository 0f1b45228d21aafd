"""What is cut off or covered: pixels, and what their keypoints count as afterwards."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import scale_of_matrix, transform_points
from poseplug.core.sample import Sample, SampleKey
from poseplug.core.skeleton import Skeleton
from poseplug.data.collate import collate
from poseplug.data.transforms.cropping import LetterboxImage
from poseplug.data.transforms.occlusion import PasteInstance, RandomCut
from poseplug.data.transforms.warp import MultiScaleCrop, Warp
from poseplug.testing import create_annotated_record

SIZE = (96, 64)
BODY = Skeleton('body', ('top', 'middle', 'end'), limbs=(('top', 'middle'), ('middle', 'end')), sigmas=(0.1,) * 3)
KEYPOINTS = np.array([[[20.0, 10], [40, 30], [70, 50]]])
FILL = (128, 128, 128)


def make_sample(gray: int = 50, seed: int = 0, keypoints: np.ndarray = KEYPOINTS, visible: int = 2) -> Sample:
    """An image of the size of the input, in one gray."""
    record = create_annotated_record(
        Path('gray.jpg'), 'gray', keypoints.astype(np.float32), np.full((1, 3), visible, np.uint8)
    )
    image = np.full((SIZE[1], SIZE[0], 3), gray, np.uint8)
    rng = np.random.Generator(np.random.Philox(seed))
    instances = record.instances
    return Sample(record, BODY, image, rng, SampleKey(0, 0), instances.keypoints, instances.visible)


def warp_sample(sample: Sample, *views: MultiScaleCrop) -> Sample:
    for transform in (LetterboxImage(SIZE, fill_fraction=1.0), *views, Warp(SIZE)):
        sample = transform(sample)
    return sample


def find_cut(sample: Sample) -> tuple[str, int]:
    """The side that a cut filled, and the number of rows or columns."""
    filled = (sample.inputs[0] == FILL).all(axis=-1)
    rows, columns = filled.all(axis=1), filled.all(axis=0)
    sides = dict(top=rows, bottom=rows[::-1], left=columns, right=columns[::-1])
    counts = {side: int(np.argmin(lines)) for side, lines in sides.items() if lines[0]}
    assert len(counts) == 1
    side, count = next(iter(counts.items()))
    assert filled.sum() == count * SIZE[0 if side in ('top', 'bottom') else 1]
    return side, count


# --- cuts -------------------------------------------------------------------------------------------------------------


def test_a_cut_takes_its_part_of_the_subject_from_any_side():
    cut = RandomCut(prob=1.0, cut_range=(0.25, 0.25))
    cuts = {find_cut(cut(warp_sample(make_sample(seed=seed)))) for seed in range(40)}
    # a quarter of x 20 to 70 and y 10 to 50: lines at x 32.5 and 57.5, y 20 and 40
    assert cuts == {('left', 33), ('right', SIZE[0] - 58), ('top', 20), ('bottom', SIZE[1] - 40)}


def test_keypoints_beyond_the_line_leave_the_input_and_the_others_stay():
    cut = RandomCut(prob=1.0, cut_range=(0.25, 0.25))
    samples = [cut(warp_sample(make_sample(seed=seed))) for seed in range(40)]
    right = next(s for s in samples if find_cut(s)[0] == 'right')
    np.testing.assert_allclose(right.keypoints[0], [[20, 10], [40, 30], [70 + SIZE[0], 50]], atol=1e-3)
    top = next(s for s in samples if find_cut(s)[0] == 'top')
    np.testing.assert_allclose(top.keypoints[0], [[20, 10 - SIZE[1]], [40, 30], [70, 50]], atol=1e-3)
    assert (right.visible == 2).all()


def test_a_codec_of_empty_heatmaps_learns_that_they_are_not_there():
    cut = RandomCut(prob=1.0, cut_range=(0.25, 0.25))
    samples = [cut(warp_sample(make_sample(seed=seed))) for seed in range(40)]
    batch = collate([next(s for s in samples if find_cut(s)[0] == 'right')])
    targets = Heatmap(BODY, SIZE, outside='empty').encode(batch.keypoints, batch.visible, batch.valid)
    heatmaps = targets.stage_fields(0)['heatmap'][0]
    assert heatmaps[:2].amax(dim=(1, 2)).min() > 0.8
    assert heatmaps[2].max() == 0


def test_every_view_ends_at_the_same_line_of_the_image():
    scales = MultiScaleCrop(SIZE, scales=(1.0, 0.5))
    samples = [
        RandomCut(prob=1.0, cut_range=(0.25, 0.25))(warp_sample(make_sample(seed=seed), scales)) for seed in range(40)
    ]
    right = next(s for s in samples if find_cut(s)[0] == 'right')
    # half the size about column 47.5: the line at 57.5 comes to 52.5, and the image ends at 71.5
    assert (right.inputs[1, 20, 30:53] == 50).all()
    assert (right.inputs[1, 20, 53:] == FILL).all()


def test_without_a_labeled_keypoint_or_by_chance_nothing_is_cut():
    sample = warp_sample(make_sample(visible=0))
    before = sample.inputs
    assert RandomCut(prob=1.0)(sample).inputs is before
    sample = warp_sample(make_sample())
    before = sample.inputs
    assert RandomCut(prob=0.0)(sample).inputs is before


# --- pasted instances -------------------------------------------------------------------------------------------------


def paste(seed: int = 0, other: Sample | None = None, **settings: object) -> Sample:
    """A gray sample with a light instance of another one pasted."""
    sample = make_sample(seed=seed)
    sample.draw_sample = lambda rng: other or make_sample(200)
    return PasteInstance(prob=1.0, **settings)(warp_sample(sample))


def draw_line_positions(points: np.ndarray) -> np.ndarray:
    """(M, 2) positions along the limbs between keypoints (3, 2)."""
    steps = np.linspace(0, 1, 50)[:, None]
    return np.concatenate([a + steps * (b - a) for a, b in zip(points, points[1:], strict=False)])


def test_at_the_same_size_and_position_the_limbs_lie_over_the_subjects():
    settings = dict(scale_range=(1, 1), distance_range=(0, 0), degrees=0)
    samples = [paste(seed, **settings) for seed in range(40)]
    whole = max(samples, key=lambda s: (s.inputs != 50).sum())
    columns, rows = np.rint(draw_line_positions(KEYPOINTS[0])).astype(int).T
    assert (whole.inputs[0, rows, columns] >= 199).all()
    assert whole.visible.tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(whole.keypoints, make_sample().keypoints)
    # some draws leave limbs out: their pixels and keypoints stay as they are
    first_limb_alone = next(s for s in samples if s.visible.tolist() == [[1, 1, 2]])
    assert (first_limb_alone.inputs[0, 50, 70] == 50).all()


@pytest.mark.parametrize(('scale', 'distance'), [(0.5, 0.0), (1.0, 0.5), (2.0, 1.0)])
def test_the_pasted_instance_has_the_drawn_size_and_distance(scale, distance):
    paste_fixed = PasteInstance(scale_range=(scale, scale), distance_range=(distance, distance))
    other = make_sample(200, keypoints=KEYPOINTS / 2)  # half as large: it is enlarged to the subject's size first
    offsets = []
    for seed in range(20):
        matrix = paste_fixed.draw_matrix(warp_sample(make_sample(seed=seed)), other)
        offsets.append(transform_points(matrix, np.array([22.5, 15])) - (45, 30))  # from center to center
        np.testing.assert_allclose(scale_of_matrix(matrix), 2 * scale)
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 50 * distance, atol=1e-9)
    assert distance == 0 or np.ptp(offsets, axis=0).min() > 50 * distance  # in all directions


def test_what_the_other_image_does_not_show_is_not_pasted():
    beyond = make_sample(200, keypoints=KEYPOINTS + (60, 0))  # its last two keypoints are beyond its border
    samples = [paste(seed, beyond, scale_range=(1, 1), distance_range=(0, 0), degrees=0) for seed in range(20)]
    assert all((s.inputs[0, 50, 60:] == 50).all() for s in samples)
    assert any((s.inputs != 50).any() for s in samples)


def test_instances_without_extent_are_not_pasted():
    single = make_sample(200)
    single.visible = np.array([[2, 0, 0]], np.uint8)
    assert (paste(other=single).inputs == 50).all()
    point = make_sample(200, keypoints=np.full((1, 3, 2), 20.0))
    assert (paste(other=point).inputs == 50).all()


def test_the_arrays_of_the_record_stay_as_they_are():
    sample = make_sample()
    sample.draw_sample = lambda rng: make_sample(200)
    keypoints, visible = sample.record.instances.keypoints.copy(), sample.record.instances.visible.copy()
    warped = warp_sample(sample)
    before, copy = warped.inputs, warped.inputs.copy()
    RandomCut(prob=1.0)(PasteInstance(prob=1.0, distance_range=(0, 0))(warped))
    np.testing.assert_array_equal(sample.record.instances.keypoints, keypoints)
    np.testing.assert_array_equal(sample.record.instances.visible, visible)
    np.testing.assert_array_equal(before, copy)


def test_the_rotation_is_drawn_in_both_directions_up_to_its_limit():
    other, angles = make_sample(200), []
    for seed in range(60):
        matrix = PasteInstance(degrees=60).draw_matrix(warp_sample(make_sample(seed=seed)), other)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert -60 <= min(angles) < -50
    assert 50 < max(angles) <= 60


def test_another_sample_needs_a_data_set():
    sample = warp_sample(make_sample())
    with pytest.raises(ConfigError, match='PasteInstance needs a data set'):
        PasteInstance(prob=1.0)(sample)
    before = sample.inputs
    assert PasteInstance(prob=0.0)(sample).inputs is before


def test_matrices_stay_as_they_are():
    sample = warp_sample(make_sample())
    matrix = sample.image_to_input.copy()
    RandomCut(prob=1.0)(sample)
    np.testing.assert_array_equal(sample.image_to_input, matrix)
    np.testing.assert_allclose(transform_points(matrix, np.array([[10.0, 10]])), [[10, 10]], atol=1e-9)
