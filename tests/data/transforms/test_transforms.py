"""Keypoints and pixels move together, flips exchange names, and all randomness comes from the sample's generator."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.geometry import rotation_matrix, scaling_matrix, transform_points, translation_matrix
from poseplug.core.sample import Sample, SampleKey
from poseplug.data.collate import collate
from poseplug.data.transforms.base import build_pipeline, check_crop
from poseplug.files.images import LazyImage
from poseplug.registry import TRANSFORMS
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record

SIZE = (96, 64)  # width, height of the input


def make_sample(points, size=(80, 120), seed=0, **fields) -> Sample:
    """A black image of `size` (width, height) with one instance whose first keypoints are `points`."""
    keypoints = np.zeros((1, 14, 2), np.float32)
    visible = np.zeros((1, 14), np.uint8)
    keypoints[0, : len(points)], visible[0, : len(points)] = np.reshape(points, (-1, 2)), 2
    record = create_annotated_record(Path('black.jpg'), 'black', keypoints, visible, 'lsp', **fields)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    return Sample(record, LSP, image, np.random.default_rng(seed), SampleKey(0, 0), keypoints.copy(), visible.copy())


def build(kind, **settings):
    return TRANSFORMS.build(dict(type=kind, **settings), input_size=SIZE)


def apply_transforms(sample, *transforms):
    for transform in transforms:
        sample = transform(sample)
    return sample


def draw_spot(sample, k=0):
    """The sample with a bright round spot drawn at keypoint k of its image."""
    x, y = sample.keypoints[0, k]
    columns, rows = np.meshgrid(np.arange(sample.image_size[0]), np.arange(sample.image_size[1]))
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    sample.image = np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)
    return sample


def find_spot(view) -> np.ndarray:
    """(2,) center of mass of the light in one view."""
    light = view[..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


CROP_TRANSFORMS = [
    dict(type='LetterboxImage', fill_fraction=0.8, side='height'),
    dict(type='LetterboxImage', fill_fraction=0.9, side='longer'),
    dict(type='CropByScale', magnification_at_368=2.0),
    dict(type='CropBox'),
]


@pytest.mark.parametrize('crop_transform', CROP_TRANSFORMS, ids=lambda cfg: cfg['type'])
@pytest.mark.parametrize('seed', range(4))
def test_a_spot_at_a_keypoint_appears_at_the_transformed_keypoint(crop_transform, seed):
    sample = draw_spot(make_sample([(38.0, 61.5), (20, 40), (60, 80)], seed=seed, scales=np.ones(1, np.float32)))
    transforms = [
        TRANSFORMS.build(crop_transform, input_size=SIZE),
        build('RandomScaleRotate', scale_factor=(0.8, 1.2), degrees=40, shift_factor=0.02),
        build('RandomFlip', prob=1.0 if seed % 2 else 0.0),
        build('Warp', fill_color=(0, 0, 0)),
    ]
    transformed = apply_transforms(sample, *transforms)
    k = LSP.flip_indices[0] if seed % 2 else 0
    position = collate([transformed]).keypoints[0, 0, k].numpy()
    assert np.abs(find_spot(transformed.inputs[0]) - position).max() < 0.25


def test_views_have_different_matrices():
    sample = draw_spot(make_sample([(45.0, 52.0)]))
    scales = build('MultiScaleCrop', scales=(1.0, 0.7, 1.2))
    views = apply_transforms(sample, build('LetterboxImage'), scales, build('Warp', fill_color=(0, 0, 0)))
    assert views.inputs.shape == (3, 64, 96, 3)
    for view, matrix in zip(views.inputs, [views.image_to_input, *views.view_matrices], strict=True):
        assert np.abs(find_spot(view) - transform_points(matrix, np.array([45.0, 52.0]))).max() < 0.25


def test_a_flip_exchanges_names_and_visibility_and_keeps_positions_on_the_image():
    sample = make_sample([(10, 20), (30, 40)])
    sample.visible[0, 0] = 1
    flipped = apply_transforms(sample, build('RandomFlip', prob=1.0))
    left_ankle, left_knee = LSP.index('left_ankle'), LSP.index('left_knee')
    assert transform_points(flipped.image_to_input, flipped.keypoints[0, left_ankle]).tolist() == [95 - 10, 20]
    assert transform_points(flipped.image_to_input, flipped.keypoints[0, left_knee]).tolist() == [95 - 30, 40]
    assert flipped.visible[0, [0, 1, left_ankle, left_knee]].tolist() == [0, 0, 1, 2]


def test_two_flips_change_nothing():
    sample = make_sample([(10, 20), (30, 40)])
    twice = apply_transforms(
        make_sample([(10, 20), (30, 40)]), build('RandomFlip', prob=1.0), build('RandomFlip', prob=1.0)
    )
    assert np.array_equal(twice.image_to_input, np.eye(3))
    assert np.array_equal(twice.keypoints, sample.keypoints)


def test_positive_degrees_rotate_clockwise_on_the_screen_and_a_scale_over_1_enlarges():
    """With a generator that draws the upper ends, a point right of the center goes below it, 1.5 times as far."""

    class HighestDraws:
        def uniform(self, low, high):
            return high

        def standard_normal(self, count):
            return np.zeros(count)

    sample = make_sample([])
    sample.rng = HighestDraws()
    rotated = apply_transforms(sample, build('RandomScaleRotate', scale_factor=(0.5, 1.5), degrees=90))
    assert transform_points(rotated.image_to_input, np.array([47.5 + 10, 31.5])) == pytest.approx([47.5, 31.5 + 15])
    assert transform_points(rotated.image_to_input, np.array([47.5, 31.5])) == pytest.approx([47.5, 31.5])


class GivenDraws:
    """A generator that draws what it is given, in turn."""

    def __init__(self, **draws):
        self.draws = {kind: iter(values) for kind, values in draws.items()}

    def standard_normal(self, size=None):
        return np.array(next(self.draws['normal']))

    def random(self, size=None):
        return np.array(next(self.draws['random']))

    def uniform(self, low, high, size=None):
        return low + (high - low) * np.array(next(self.draws['uniform']))


@pytest.mark.parametrize(('log2_scale', 'scale_draw', 'growth'), [
    (False, -3.0, 0.65), (False, 0.5, 1.175), (False, 1.5, 1.35), (True, 1.5, 2 ** (0.35 * 1.5)), (True, -3.0, 2**-0.7),
])  # fmt: skip
def test_a_crop_grows_turns_and_moves_by_its_clipped_draws(log2_scale, scale_draw, growth):
    settings = dict(scale_factor=0.35, degrees=40, rotate_prob=0.6, shift_factor=0.1, shift_prob=0.3)
    transform, sample = build('NormalScaleRotate', log2_scale=log2_scale, **settings), make_sample([])
    sample.rng = GivenDraws(normal=[[scale_draw, 1.0, -3.0], 0.75], random=[[0.59, 0.29]])
    matrix = transform(sample).image_to_input
    middle, right = transform_points(matrix, np.array([[47.5, 31.5], [57.5, 31.5]]))
    assert middle == pytest.approx([47.5 + 0.1 * 96, 31.5 - 0.2 * 64])
    angle = np.radians(0.75 * 40)
    assert right - middle == pytest.approx(10 / growth * np.array([np.cos(angle), np.sin(angle)]))
    sample.image_to_input, sample.rng = np.eye(3), GivenDraws(normal=[[0.0, 1.0, 1.0], 1.0], random=[[0.61, 0.31]])
    assert transform(sample).image_to_input == pytest.approx(np.eye(3))


def test_what_a_rotation_can_show_reaches_as_far_as_a_rotated_corner():
    extent, size = np.array([48.0, 32.0]), SIZE
    shifted, diagonal = np.array([48 + 3 * 0.1 * 96, 32 + 3 * 0.1 * 64]), np.hypot(48, 32)
    turned = build('RandomScaleRotate', scale_factor=(0.5, 2.0), degrees=10, shift_factor=0.1)
    cos, sin = np.cos(np.radians(10)), np.sin(np.radians(10))
    assert turned.expand_half_extent(extent, size) == pytest.approx(2 * (cos * shifted + sin * shifted[::-1]))
    assert build('RandomScaleRotate', scale_factor=(1.0, 2.0), degrees=120).expand_half_extent(
        extent, size
    ) == pytest.approx([diagonal, diagonal])


def test_what_a_normal_scale_and_rotation_can_show_has_their_clipped_limits():
    extent = np.array([48.0, 32.0])
    shifted = np.array([48 + 2 * 0.1 * 96, 32 + 2 * 0.1 * 64])
    for settings, expected in (
        (dict(scale_factor=0.25, rotate_prob=0.0, shift_factor=0.1), 1.25 * shifted),
        (dict(scale_factor=0.25, rotate_prob=0.0, log2_scale=True), np.sqrt(2) * extent),
        (dict(scale_factor=0.0, degrees=45.0), [np.hypot(48, 32)] * 2),
        (dict(scale_factor=0.0, degrees=5.0), np.cos(np.pi / 18) * extent + np.sin(np.pi / 18) * extent[::-1]),
    ):
        assert build('NormalScaleRotate', **settings).expand_half_extent(extent, SIZE) == pytest.approx(expected)


def test_draws_fill_their_ranges_evenly():
    rotate, flip = build('RandomScaleRotate', scale_factor=(0.7, 1.3), degrees=40), build('RandomFlip')
    samples = [apply_transforms(make_sample([], seed=seed), rotate, flip) for seed in range(300)]
    determinants = np.array([np.linalg.det(sample.image_to_input[:2, :2]) for sample in samples])
    scales, flips = np.sqrt(np.abs(determinants)), np.mean(determinants < 0)
    assert 0.7 <= scales.min() < 0.72
    assert 1.28 < scales.max() <= 1.3
    assert abs(scales.mean() - 1.0) < 0.04  # 4 standard errors
    assert 0.4 < flips < 0.6


def test_a_head_of_35_px_becomes_41_px_in_an_input_of_368():
    """CPM's rule (Wei et al. 2016, released code): a person of scale 1 is enlarged by 41/35."""
    sample = make_sample([(100.0, 60.0), (100.0, 95.0)], size=(200, 200), scales=np.ones(1, np.float32))
    for width, length in ((368, 41.0), (184, 20.5)):
        step = TRANSFORMS.build(dict(type='CropByScale'), input_size=(width, width))
        head = transform_points(step(sample).image_to_input, sample.keypoints[0, :2])
        assert np.linalg.norm(head[1] - head[0]) == pytest.approx(length, abs=1e-4)


def test_the_whole_image_is_centered_and_fills_its_fraction_of_the_input():
    corners = np.array([[-0.5, -0.5], [79.5, 119.5]])  # of an image of 80 x 120 px
    by_height = build('LetterboxImage', fill_fraction=0.8, side='height')
    tall = transform_points(by_height(make_sample([])).image_to_input, corners)
    assert np.ptp(tall, axis=0) == pytest.approx([80 * 0.8 * 64 / 120, 0.8 * 64])
    assert tall.mean(axis=0) == pytest.approx([47.5, 31.5])
    corners = np.array([[-0.5, -0.5], [159.5, 39.5]])
    by_longer_side = build('LetterboxImage', fill_fraction=1.0, side='longer')
    wide = transform_points(by_longer_side(make_sample([], size=(160, 40))).image_to_input, corners)
    assert np.ptp(wide, axis=0) == pytest.approx([96, 24])


def test_a_box_fills_the_input_less_its_padding():
    sample = make_sample([(50, 50)], boxes=np.array([[20.0, 30.0, 60.0, 110.0]]))
    matrix = build('CropBox', padding=1.25)(sample).image_to_input
    corners = transform_points(matrix, np.array([[20.0, 30.0], [60.0, 110.0]]))
    assert np.ptp(corners, axis=0) == pytest.approx([40 * 0.64, 80 * 0.64])  # 64 / (80 * 1.25) = 0.64
    assert corners.mean(axis=0) == pytest.approx([47.5, 31.5])


def test_without_a_box_the_box_around_the_labeled_keypoints_is_cropped():
    sample = make_sample([(20.0, 30.0), (60.0, 110.0)])
    sample.keypoints[0, 5] = (-900, -900)  # not labeled
    matrix = build('CropBox', padding=1.0, keypoint_padding=1.25)(sample).image_to_input
    corners = transform_points(matrix, np.array([[20.0, 30.0], [60.0, 110.0]]))
    assert np.ptp(corners, axis=0)[1] == pytest.approx(64 / 1.25)


def test_sources_have_different_transforms():
    by_source = dict(lsp=dict(type='LetterboxImage', fill_fraction=1.0), lspet=dict(type='CropByScale'))
    transform = build('TransformBySource', transforms=by_source)
    expected = build('LetterboxImage', fill_fraction=1.0)(make_sample([])).image_to_input
    assert np.array_equal(transform(make_sample([])).image_to_input, expected)
    other = make_sample([])
    object.__setattr__(other.record, 'source', 'mpii')
    with pytest.raises(ConfigError, match="no transform for source 'mpii', only for lsp, lspet"):
        transform(other)


def test_a_subject_is_where_its_record_says():
    sample = make_sample([], scales=np.ones(1), centers=np.array([[12.0, 34.0]]))
    matrix = build('CropByScale')(sample).image_to_input
    assert transform_points(matrix, np.array([12.0, 34.0])) == pytest.approx([47.5, 31.5])
    assert collate([build('Warp')(sample)]).centers[0].numpy() == pytest.approx([47.5, 31.5])


def test_colors_change_and_geometry_does_not():
    sample = make_sample([(10, 20)])
    sample.image = np.random.default_rng(1).integers(0, 255, sample.image.shape, dtype=np.uint8)
    warped = apply_transforms(sample, build('LetterboxImage'), build('Warp'))
    before, matrix = warped.inputs.copy(), warped.image_to_input.copy()
    after = apply_transforms(warped, build('RandomColor', contrast=0.9, brightness=0.5, channel_gain=0.5)).inputs
    assert after.dtype == np.uint8
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    assert np.array_equal(warped.image_to_input, matrix)
    for c in range(3):  # one table per channel: equal pixels stay equal, brighter ones are never darker
        order = np.argsort(before[..., c], axis=None)
        assert (np.diff(after[..., c].ravel()[order].astype(int)) >= 0).all()


def test_colors_are_changed_about_mid_gray_by_their_draws():
    """Contrast by 1 + 0.5, the channels by 0.8, 1 and 1.2 of that, brightness by a twentieth of 256."""
    sample = apply_transforms(make_sample([]), build('LetterboxImage'), build('Warp'))
    values = np.array([0, 100, 128, 160, 255], np.uint8)
    sample.inputs = np.repeat(values[None, None, :, None], 3, axis=3)
    sample.rng = GivenDraws(uniform=[1.0, [0.0, 0.5, 1.0], 1.0])
    changed = build('RandomColor', contrast=0.5, brightness=0.05, channel_gain=0.2)(sample).inputs[0, 0]
    expected = (values.astype(float)[:, None] - 128) * 1.5 * np.array([0.8, 1.0, 1.2]) + 128 + 12.8
    np.testing.assert_array_equal(changed, np.floor(np.clip(expected, 0, 255)))


@pytest.mark.parametrize(('settings', 'draw', 'before', 'after'), [
    (dict(hue_delta=60), 1.0, (0, 0, 200), (0, 200, 0)),  # red, a third of the circle on: green
    (dict(hue_delta=60), 0.0, (0, 0, 200), (200, 0, 0)),  # backwards: blue
    (dict(saturation_delta=51), 0.0, (0, 0, 255), (51, 51, 255)),  # from 255 to 204: the others are a fifth
    (dict(value_delta=30), 1.0, (100, 100, 100), (130, 130, 130)),
    (dict(value_delta=30), 0.0, (20, 20, 20), (0, 0, 0)),
])  # fmt: skip
def test_hue_saturation_and_value_are_shifted_by_their_draws(settings, draw, before, after):
    transform = build('RandomHSV', **{'hue_delta': 0, 'saturation_delta': 0, 'value_delta': 0, **settings})
    sample = apply_transforms(make_sample([]), build('LetterboxImage'), build('Warp'))
    sample.inputs[:] = before
    shape, sample.rng = sample.inputs.shape, GivenDraws(uniform=[[draw] * 3], random=[[0.49] * 3])
    assert transform(sample).inputs.shape == shape
    assert np.abs(sample.inputs - np.array(after)).max() <= 1  # OpenCV rounds
    changed = sample.inputs.copy()
    sample.rng = GivenDraws(uniform=[[draw] * 3], random=[[0.5] * 3])
    assert np.abs(transform(sample).inputs.astype(int) - changed).max() <= 1  # no second change


def test_a_color_change_of_zero_changes_nothing():
    sample = make_sample([])
    sample.image = np.random.default_rng(1).integers(0, 255, sample.image.shape, dtype=np.uint8)
    warped = apply_transforms(sample, build('LetterboxImage'), build('Warp'))
    before = warped.inputs.copy()
    unchanged = build('RandomColor', contrast=0, brightness=0, channel_gain=0)(warped).inputs
    assert np.array_equal(unchanged, before)


def test_what_lies_outside_the_image_gets_the_fill_color():
    sample = apply_transforms(
        make_sample([], size=(8, 8)), build('LetterboxImage', fill_fraction=0.5), build('Warp', fill_color=(1, 2, 3))
    )
    assert sample.inputs[0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize('kind', ['RandomScaleRotate', 'RandomFlip', 'RandomColor'])
def test_global_random_states_are_left_alone(kind):
    sample = apply_transforms(make_sample([]), build('LetterboxImage'), build('Warp'))
    np.random.seed(5)  # noqa: NPY002
    apply_transforms(sample, build(kind))
    after = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002


@pytest.mark.parametrize(('kind', 'settings', 'error', 'message'), [
    ('CropByScale', {}, AnnotationError, 'black.jpg of lsp has no person scale; CropByScale needs one'),
    ('CropBox', {}, AnnotationError, 'black.jpg: the instance has neither a box nor a labeled keypoint'),
    ('RandomColor', {}, ConfigError, 'put it after Warp in the pipeline'),
])  # fmt: skip
def test_a_sample_that_a_transform_cannot_serve_is_an_error(kind, settings, error, message):
    with pytest.raises(error, match=message):
        apply_transforms(make_sample([]), build(kind, **settings))


@pytest.mark.parametrize(('kind', 'settings', 'message'), [
    ('LetterboxImage', dict(side='wide'), "side is 'height' or 'longer'; got 'wide'"),
    ('RandomBlur', dict(method='gauss'), "method is one of mean, median; got 'gauss'"),
    ('RandomBlur', dict(kernel_sizes=(3, 4)), r'kernel_sizes is a list of odd numbers from 3 on; got \(3, 4\)'),
    ('Warp', dict(interpolation='lanczos'), "interpolation is one of linear, cubic, area; got 'lanczos'"),
])  # fmt: skip
def test_a_setting_that_does_not_exist_is_an_error(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        build(kind, **settings)


FLIP, SHIFT, MIX = dict(type='RandomFlip', prob=1.0), dict(type='RandomShift'), dict(type='MixUp')
CROP, WARP, COLOR = dict(type='CropBox'), dict(type='Warp'), dict(type='RandomColor')
LETTERBOX, MASK = dict(type='LetterboxImage'), dict(type='MaskIgnoredRegions')
VIEWS, HALF = dict(type='MultiScaleCrop', scales=(1.0, 0.5)), dict(type='RandomHalfBody')
SWITCH = dict(type='PipelineSwitch', switch_epoch=1, first_transforms=[SHIFT, MIX])
BY_SOURCE = dict(type='TransformBySource', transforms=dict(lsp=LETTERBOX, mpii=CROP))


@pytest.mark.parametrize(('steps', 'second', 'first'), [
    ([CROP, WARP, FLIP], 'RandomFlip', 'Warp'),
    ([CROP, WARP, dict(type='RandomScaleRotate')], 'RandomScaleRotate', 'Warp'),
    ([CROP, WARP, HALF], 'RandomHalfBody', 'Warp'),
    ([WARP, CROP], 'CropBox', 'Warp'),
    ([FLIP, CROP, WARP], 'CropBox', 'RandomFlip'),  # the crop would discard the flip of the pixels
    ([CROP, FLIP, HALF, WARP], 'RandomHalfBody', 'RandomFlip'),
    ([CROP, COLOR, WARP], 'Warp', 'RandomColor'),
    ([CROP, VIEWS, SHIFT, WARP], 'RandomShift', 'MultiScaleCrop'),  # it would move the first view alone
    ([CROP, MASK, SHIFT, WARP], 'RandomShift', 'MaskIgnoredRegions'),
    ([CROP, WARP, MASK, SHIFT], 'RandomShift', 'Warp'),
    ([LETTERBOX, dict(type='Mosaic'), WARP], 'Mosaic', 'LetterboxImage'),
    ([MIX, LETTERBOX, WARP], 'LetterboxImage', 'MixUp'),
    ([LETTERBOX, WARP, SWITCH], 'RandomShift', 'Warp'),
    ([SWITCH, LETTERBOX, WARP], 'LetterboxImage', 'RandomShift'),
    ([FLIP, BY_SOURCE, WARP], 'LetterboxImage', 'RandomFlip'),
])  # fmt: skip
def test_a_pipeline_in_another_order_is_an_error_that_names_both(steps, second, first):
    with pytest.raises(
        ConfigError, match=rf'pipeline: {second} \(.*\) stands after {first} \(.*\); put it before {first}'
    ):
        build_pipeline(steps, input_size=SIZE)


@pytest.mark.parametrize(('steps', 'names'), [
    ([CROP, LETTERBOX, WARP], 'CropBox and LetterboxImage'),
    ([BY_SOURCE, CROP, WARP], 'LetterboxImage and CropBox'),
    ([CROP, WARP, COLOR, WARP], 'Warp and Warp'),
])  # fmt: skip
def test_a_second_crop_or_warp_is_an_error(steps, names):
    with pytest.raises(ConfigError, match=f'each of {names} .* leave one of them out|Warp .* stands after RandomColor'):
        build_pipeline(steps, input_size=SIZE)


@pytest.mark.parametrize('steps', [
    [CROP, HALF, FLIP, SHIFT, WARP, COLOR],
    [LETTERBOX, SHIFT, FLIP, MASK, WARP],
    [LETTERBOX, SHIFT, FLIP, WARP, MASK],
    [LETTERBOX, SWITCH, WARP, COLOR, dict(type='RandomErase')],
    [BY_SOURCE, FLIP, VIEWS, WARP],
    [WARP],
], ids=str)  # fmt: skip
def test_a_pipeline_in_order_is_built(steps):
    assert len(build_pipeline(steps, input_size=SIZE)) == len(steps)


@pytest.mark.parametrize('steps', [[WARP], [FLIP, WARP], [dict(type='Mosaic'), WARP, COLOR], [SWITCH, WARP]], ids=str)
def test_a_warp_without_a_crop_is_an_error_and_not_the_corner_of_the_image(steps):
    with pytest.raises(ConfigError, match='Warp stands without a transform that crops the image, such as CropBox'):
        check_crop(build_pipeline(steps, input_size=SIZE))
    check_crop(build_pipeline([*steps, lambda sample: sample], input_size=SIZE))  # which may be the crop


def test_a_transform_of_another_package_stands_anywhere():
    steps = [CROP, WARP, lambda sample: sample]
    assert build_pipeline(steps, input_size=SIZE)[-1] is steps[-1]


def test_the_warp_is_bicubic_where_asked():
    sample = draw_spot(make_sample([(40, 60)]))
    matrix = build('LetterboxImage')(make_sample([])).image_to_input
    cubic = apply_transforms(sample, build('LetterboxImage'), build('Warp', interpolation='cubic')).inputs[0]
    expected = cv2.warpAffine(sample.image, matrix[:2], SIZE, flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128))
    assert np.array_equal(cubic, expected)


def draw_matrices(transform, count=1500):
    """(count, 3, 3) the matrices by which a transform multiplies that of a sample."""
    start = build('LetterboxImage')(make_sample([(10, 10)])).image_to_input
    matrices = []
    for seed in range(count):
        sample = make_sample([(10, 10)], seed=seed)
        sample.image_to_input = start
        matrices.append(transform(sample).image_to_input @ np.linalg.inv(start))
    return np.array(matrices)


def test_a_normal_scale_and_rotation_have_the_published_deviations():
    matrices = draw_matrices(build('NormalScaleRotate', scale_factor=0.35, degrees=45, rotate_prob=0.6))
    growth = 1 / np.sqrt(np.linalg.det(matrices[:, :2, :2]))
    degrees = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert growth.min() == pytest.approx(0.65)
    assert growth.max() == pytest.approx(1.35)
    assert np.mean(np.isclose(growth, 1.35)) == pytest.approx(0.159, abs=0.03)  # a normal draw above 1 is clipped
    assert np.abs(degrees).max() == pytest.approx(90, abs=1e-6)
    assert np.mean(degrees != 0) == pytest.approx(0.6, abs=0.04)
    assert np.std(degrees[degrees != 0]) == pytest.approx(0.96 * 45, rel=0.05)  # clipped at two deviations


def test_growth_by_powers_of_2_is_symmetric_in_the_logarithm():
    matrices = draw_matrices(build('NormalScaleRotate', scale_factor=0.25, degrees=0, log2_scale=True))
    exponents = np.log2(np.linalg.det(matrices[:, :2, :2])) / 2
    assert np.abs(exponents).max() == pytest.approx(0.5)
    assert np.mean(exponents) == pytest.approx(0, abs=0.02)


ALL_KEYPOINTS = [(20 + 2 * i, 10 + 8 * i) for i in range(14)]


@pytest.mark.parametrize(('prob', 'num_labeled'), [(0.0, 14), (1.0, 8)])
def test_half_a_body_is_cropped_only_by_chance_and_of_more_than_eight_keypoints(prob, num_labeled):
    sample = build('LetterboxImage')(make_sample(ALL_KEYPOINTS[:num_labeled]))
    before = sample.image_to_input.copy()
    np.testing.assert_array_equal(build('RandomHalfBody', prob=prob)(sample).image_to_input, before)


def test_the_cropped_half_fills_the_input_about_the_mean_of_its_keypoints():
    lower = LSP.lower_body
    cropped_halves = set()
    for seed in range(40):
        sample = build('RandomHalfBody', prob=1.0)(make_sample(ALL_KEYPOINTS, seed=seed))
        for name, half in (('upper', ~lower), ('lower', lower)):
            points = transform_points(sample.image_to_input, sample.keypoints[0][half])
            if np.allclose(points.mean(axis=0), [47.5, 31.5], atol=1e-4):
                cropped_halves.add(name)
                assert (np.ptp(points, axis=0) / SIZE).max() == pytest.approx(1 / 1.5)
    assert cropped_halves == {'upper', 'lower'}


class FixedDraws:
    """A generator whose uniform draws are 0, and whose normal draws are one number."""

    def __init__(self, normal: float):
        self.normal = normal

    def random(self) -> float:
        return 0.0

    def standard_normal(self) -> float:
        return self.normal


def crop_half_body(labeled, normal) -> str:
    """The half that is cropped of a body with these labeled keypoints: the one whose mean is the input's center."""
    sample = make_sample(ALL_KEYPOINTS)
    sample.visible[0], sample.rng = 2 * labeled, FixedDraws(normal)
    cropped = build('RandomHalfBody', prob=1.0, num_keypoints_half_body=4)(sample)
    means = {
        name: transform_points(cropped.image_to_input, cropped.keypoints[0][labeled & half].mean(axis=0))
        for name, half in (('upper', ~LSP.lower_body), ('lower', LSP.lower_body))
    }
    return min(means, key=lambda name: np.abs(means[name] - [47.5, 31.5]).max())


@pytest.mark.parametrize(('normal', 'half'), [(-3.0, 'upper'), (0.49, 'upper'), (0.5, 'lower'), (3.0, 'lower')])
def test_the_upper_body_is_cropped_for_a_normal_draw_below_a_half(normal, half):
    """Which is so in 69 % of cases: HRNet's recipe prefers the upper body."""
    assert crop_half_body(np.ones(14, bool), normal) == half


def test_without_a_chance_the_smallest_draw_crops_no_half():
    sample = make_sample(ALL_KEYPOINTS)
    sample.rng = FixedDraws(0.0)
    cropped = build('RandomHalfBody', prob=0.0, num_keypoints_half_body=4)(sample)
    np.testing.assert_array_equal(cropped.image_to_input, np.eye(3))


@pytest.mark.parametrize(('num_upper', 'half'), [(3, 'upper'), (2, 'lower'), (1, 'lower')])
def test_a_half_of_fewer_than_three_keypoints_gives_way_to_the_other(num_upper, half):
    labeled = LSP.lower_body.copy()
    labeled[np.flatnonzero(~LSP.lower_body)[:num_upper]] = True
    assert crop_half_body(labeled, normal=0.0) == half


def test_the_lower_body_is_hips_knees_and_ankles():
    names = {name for name, is_lower in zip(LSP.keypoints, LSP.lower_body, strict=True) if is_lower}
    assert names == {f'{side}_{part}' for side in ('left', 'right') for part in ('hip', 'knee', 'ankle')}


def test_on_an_aligned_grid_a_box_goes_from_the_first_pixel_to_the_last():
    box = np.array([[10.0, 20.0, 58.0, 84.0]])
    sample = build('CropBox', padding=1.0, crop_rule='corners')(make_sample([(10, 10)], boxes=box))
    top, bottom = transform_points(sample.image_to_input, np.array([[34.0, 20.0], [34.0, 84.0]]))
    np.testing.assert_allclose([top[1], bottom[1]], [0, SIZE[1] - 1])


def test_erasing_covers_rectangles_of_the_named_size_and_nothing_else():
    sample = apply_transforms(make_sample([(10, 10)]), build('LetterboxImage'), build('Warp', fill_color=(7, 7, 7)))
    sample.inputs[:] = 50
    before = sample.inputs
    build('RandomErase', prob=1.0, hole_size_range=(0.25, 0.25), fill=(1, 2, 3))(sample)
    covered = (sample.inputs != 50).any(axis=(0, 3))
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert (len(columns), len(rows)) == (SIZE[0] // 4, SIZE[1] // 4)
    assert covered.sum() == len(columns) * len(rows)
    assert (sample.inputs[0][covered] == (1, 2, 3)).all()
    assert (before == 50).all()


def test_erased_rectangles_lie_anywhere_and_noise_has_all_values():
    corners, sample = [], apply_transforms(make_sample([]), build('LetterboxImage'), build('Warp'))
    erase = build('RandomErase', prob=1.0, hole_size_range=(0.5, 0.5), fill=(255, 255, 255))
    for seed in range(300):
        sample.inputs, sample.rng = np.zeros((1, 6, 8, 3), np.uint8), np.random.default_rng(seed)
        corners.append(np.argwhere(erase(sample).inputs[0, ..., 0])[0].tolist())
    assert {tuple(corner) for corner in corners} == {(y, x) for y in range(4) for x in range(5)}
    sample.inputs = np.zeros((1, 64, 96, 3), np.uint8)
    noise = build('RandomErase', prob=1.0, hole_size_range=(1.0, 1.0), fill='noise')(sample).inputs
    assert np.unique(noise).tolist() == list(range(256))


def test_a_word_that_is_no_fill_is_an_error():
    with pytest.raises(ConfigError, match="fill is a color .* or 'noise'; got 'black'"):
        build('RandomErase', fill='black')


@pytest.mark.parametrize(('method', 'average'), [('mean', np.mean), ('median', np.median)])
def test_a_blurred_pixel_is_the_mean_or_the_median_of_the_square_around_it(method, average):
    sample = apply_transforms(make_sample([(10, 10)]), build('LetterboxImage'), build('Warp'))
    before = sample.inputs = np.random.default_rng(0).integers(0, 256, sample.inputs.shape, dtype=np.uint8)
    copy = before.copy()
    after = build('RandomBlur', prob=1.0, method=method, kernel_sizes=(5,))(sample).inputs
    expected = average(before[0, 8:13, 18:23].reshape(25, 3), axis=0)
    np.testing.assert_allclose(after[0, 10, 20], expected, atol=0.5)
    assert np.array_equal(before, copy)
    assert build('RandomBlur', prob=0.0)(sample).inputs is after


def test_a_downscaled_input_is_that_of_a_smaller_image_enlarged_again():
    sample = apply_transforms(make_sample([(10, 10)]), build('LetterboxImage'), build('Warp'))
    before = sample.inputs = np.random.default_rng(0).integers(0, 256, sample.inputs.shape, dtype=np.uint8)
    copy = before.copy()
    after = build('RandomDownscale', prob=1.0, factor_range=(0.5, 0.5))(sample).inputs
    means = before[0].reshape(SIZE[1] // 2, 2, SIZE[0] // 2, 2, 3).mean(axis=(1, 3))
    # pixel 3 of the enlarged input lies at 1.25 of the reduced one, pixel 4 at 1.75
    rows = 0.75 * means[1] + 0.25 * means[2]
    np.testing.assert_allclose(after[0, 3, 3], 0.75 * rows[1] + 0.25 * rows[2], atol=1)
    assert np.array_equal(before, copy)
    assert build('RandomDownscale', prob=0.0)(sample).inputs is after


@pytest.mark.parametrize(
    'kind', ['RandomErase', 'RandomColor', 'RandomBlur', 'RandomDownscale', 'RandomCut', 'PasteInstance']
)
def test_transforms_of_the_input_must_stand_after_the_warp(kind):
    with pytest.raises(ConfigError, match=f'{kind} .*put it after Warp'):
        build(kind)(make_sample([(10, 10)]))


def write_photo(path, size=(640, 480)):
    """Write a smooth image as JPEG, and return its path."""
    x, y = np.meshgrid(np.linspace(0, 200, size[0]), np.linspace(0, 200, size[1]))
    cv2.imwrite(str(path), np.stack([x, y, 255 - x], axis=-1).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


@pytest.mark.parametrize(('fill_fraction', 'reduction'), [(0.4, 8), (0.7, 4), (1.7, 2), (2.5, 1)])
def test_a_reduced_image_is_warped_to_the_same_position(tmp_path, fill_fraction, reduction):
    sample = make_sample([(10, 10)])
    sample.image = LazyImage(write_photo(tmp_path / 'photo.jpg', (384, 256)))
    build('LetterboxImage', fill_fraction=fill_fraction)(sample)
    full = build('Warp')(sample).inputs.astype(int)
    sample.image = LazyImage(tmp_path / 'photo.jpg')
    reduced = build('Warp', reduced_decoding=True)(sample).inputs.astype(int)
    assert set(sample.image.pixels_by_reduction) == {reduction}
    is_image = (full != 128).any(-1)
    inner = cv2.erode(is_image[0].astype(np.uint8), np.ones((5, 5))) > 0
    assert np.abs(full - reduced)[0][inner].mean() < 1.5


@pytest.mark.parametrize('interpolation', ['linear', 'cubic', 'area'])
def test_a_crop_of_the_rows_that_it_needs_is_the_crop_of_the_whole_image(tmp_path, interpolation):
    warp, path = build('Warp', interpolation=interpolation), write_photo(tmp_path / 'photo.jpg', (384, 512))
    whole, num_partly_decoded = LazyImage(path).get_pixels(), 0
    for degrees in range(-80, 81, 20):
        sample = make_sample([(10, 10)])
        sample.image = LazyImage(path)
        shift = translation_matrix(-150, -40 + degrees)
        sample.image_to_input = rotation_matrix(degrees) @ scaling_matrix(0.5) @ shift
        inputs = warp(sample).inputs
        num_partly_decoded += not sample.image.pixels_by_reduction
        sample.image = whole
        assert np.array_equal(warp(sample).inputs, inputs)
    assert num_partly_decoded >= 5


def test_other_files_than_jpeg_are_decoded_completely(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((200, 300, 3), np.uint8))
    sample = make_sample([(10, 10)])
    sample.image = LazyImage(tmp_path / 'a.png')
    assert sample.image_size == (300, 200)
    apply_transforms(sample, build('LetterboxImage', fill_fraction=0.1), build('Warp', reduced_decoding=True))
    assert set(sample.image.pixels_by_reduction) == {1}


def test_a_position_moves_down_by_a_number_of_pixels_times_the_scale():
    fields = dict(centers=np.array([[30.0, 40.0]]), scales=np.array([0.5]))
    transform = build('CropByScale', magnification_at_368=2.0, center_offset_y=15)
    matrix = transform(make_sample([(10, 10)], **fields)).image_to_input
    np.testing.assert_allclose(transform_points(matrix, np.array([30.0, 47.5])), (np.array(SIZE) - 1) / 2)


RELEASED_CROPS = [
    ('pixels', 15.5, 128),
    ('corners', 15.5, 128),
    ('released_hrnet', 16.0, 0),
    ('released_dark', 15.5, 0),
]


@pytest.mark.parametrize(('crop_rule', 'center_x', 'fill'), RELEASED_CROPS)
@pytest.mark.parametrize('crop', [dict(type='CropBox'), dict(type='CropByScale')])
def test_a_crop_follows_the_rule_of_the_codec_and_released_codes_pad_with_black(crop_rule, center_x, fill, crop):
    provided = dict(input_size=(32, 48), crop_rule=crop_rule)
    boxes, scales = np.array([[10.0, 20.0, 58.0, 84.0]]), np.array([0.3])
    sample = make_sample([(34, 52)], boxes=boxes, scales=scales, centers=np.array([[34.0, 52.0]]))
    sample = TRANSFORMS.build(crop, **provided)(sample)
    assert transform_points(sample.image_to_input, np.array([34.0, 52.0]))[0] == pytest.approx(center_x)
    sample.image_to_input = translation_matrix(1000, 0) @ sample.image_to_input
    assert (TRANSFORMS.build(dict(type='Warp'), **provided)(sample).inputs == fill).all()


@pytest.mark.parametrize(('crop_rule', 'center_x'), [('pixels', 15.5), ('released_hrnet', 16.0)])
def test_half_a_body_is_cropped_by_the_rule_of_the_codec(crop_rule, center_x):
    transform = TRANSFORMS.build(dict(type='RandomHalfBody', prob=1.0), input_size=(32, 48), crop_rule=crop_rule)
    sample = make_sample(ALL_KEYPOINTS)
    sample.rng = FixedDraws(0.0)
    middle = sample.keypoints[0][~LSP.lower_body].mean(axis=0)
    assert transform_points(transform(sample).image_to_input, middle)[0] == pytest.approx(center_x)


def test_nested_transforms_receive_the_rule_of_the_crop():
    provided = dict(input_size=(32, 48), crop_rule='released_udp')
    by_source = TRANSFORMS.build(dict(type='TransformBySource', transforms=dict(lsp=dict(type='CropBox'))), **provided)
    switch = dict(type='PipelineSwitch', switch_epoch=1, first_transforms=[dict(type='CropBox')])
    assert by_source.transforms['lsp'].crop_rule == 'released_udp'
    assert TRANSFORMS.build(switch, **provided).first_transforms[0].crop_rule == 'released_udp'


def test_a_crop_rule_without_a_meaning_is_an_error():
    with pytest.raises(ConfigError, match='crop_rule is one of pixels, corners, released_hrnet'):
        TRANSFORMS.build(dict(type='CropBox', crop_rule='udp'), input_size=(32, 48))


def test_a_crop_of_full_height_is_centered_along_x_alone():
    sample = make_sample([], scales=np.ones(1), centers=np.array([[12.0, 34.0]]))  # an image 80 px wide, 120 px high
    matrix = build('CropFullHeight')(sample).image_to_input
    assert matrix[:2, :2] == pytest.approx(64 / 120 * np.eye(2))
    assert transform_points(matrix, np.array([12.0, 59.5])) == pytest.approx([47.5, 31.5])
