"""Joints and pixels move together, mirrors exchange names, and every number comes from the sample's own generator."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.datasets.images import Picture
from poseplug.errors import AnnotationError, ConfigError
from poseplug.geometry import apply, rotation, scaling, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Draw, Record, Sample, collate
from poseplug.skeletons.lsp import LSP

SIZE = (96, 64)  # width, height of the input


def sample(points, size=(80, 120), seed=0, **known) -> Sample:
    """A black picture of `size` (width, height) with one person whose first joints are `points`."""
    keypoints = np.zeros((1, 14, 2), np.float32)
    visible = np.zeros((1, 14), np.uint8)
    keypoints[0, : len(points)], visible[0, : len(points)] = np.reshape(points, (-1, 2)), 2
    record = Record(Path('made.jpg'), 'made', keypoints, visible, 'lsp', **known)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    return Sample(record, LSP, image, np.random.default_rng(seed), Draw(0, 0), keypoints.copy(), visible.copy())


def build(kind, **settings):
    return TRANSFORMS.build(dict(type=kind, **settings), input_size=SIZE)


def run(made, *steps):
    for step in steps:
        made = step(made)
    return made


def dotted(made, k=0):
    """The sample with a bright round spot drawn at joint k of its picture."""
    x, y = made.keypoints[0, k]
    columns, rows = np.meshgrid(np.arange(made.size[0]), np.arange(made.size[1]))
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    made.image = np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)
    return made


def brightest(view) -> np.ndarray:
    """(2,) centre of mass of the light in one view."""
    light = view[..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


PLACINGS = [
    dict(type='PlacePicture', fill=0.8, side='height'),
    dict(type='PlacePicture', fill=0.9, side='longer'),
    dict(type='PlaceByScale', reference=2.0),
    dict(type='PlaceBox'),
]


@pytest.mark.parametrize('placing', PLACINGS, ids=lambda p: p['type'])
@pytest.mark.parametrize('seed', range(4))
def test_a_spot_at_a_joint_is_found_at_the_transformed_joint(placing, seed):
    made = dotted(sample([(38.0, 61.5), (20, 40), (60, 80)], seed=seed, scales=np.ones(1, np.float32)))
    steps = [
        TRANSFORMS.build(placing, input_size=SIZE),
        build('RandomScaleRotate', scale=(0.8, 1.2), degrees=40, shift=0.02),
        build('RandomFlip', p=1.0 if seed % 2 else 0.0),
        build('Warp', fill=(0, 0, 0)),
    ]
    moved = run(made, *steps)
    joint = LSP.mirror[0] if seed % 2 else 0
    where = collate([moved]).keypoints[0, 0, joint].numpy()
    assert np.abs(brightest(moved.inputs[0]) - where).max() < 0.25


def test_every_view_has_its_own_matrix():
    made = dotted(sample([(45.0, 52.0)]))
    views = run(made, build('PlacePicture'), build('Scales', scales=(1.0, 0.7, 1.2)), build('Warp', fill=(0, 0, 0)))
    assert views.inputs.shape == (3, 64, 96, 3)
    for view, matrix in zip(views.inputs, [views.matrix, *views.views], strict=True):
        assert np.abs(brightest(view) - apply(matrix, np.array([45.0, 52.0]))).max() < 0.25


def test_a_mirror_exchanges_names_and_visibility_and_keeps_everybody_in_place():
    made = sample([(10, 20), (30, 40)])
    made.visible[0, 0] = 1
    flipped = run(made, build('RandomFlip', p=1.0))
    left_ankle, left_knee = LSP.index('left_ankle'), LSP.index('left_knee')
    assert apply(flipped.matrix, flipped.keypoints[0, left_ankle]).tolist() == [95 - 10, 20]
    assert apply(flipped.matrix, flipped.keypoints[0, left_knee]).tolist() == [95 - 30, 40]
    assert flipped.visible[0, [0, 1, left_ankle, left_knee]].tolist() == [0, 0, 1, 2]


def test_two_mirrors_are_none():
    made = sample([(10, 20), (30, 40)])
    twice = run(sample([(10, 20), (30, 40)]), build('RandomFlip', p=1.0), build('RandomFlip', p=1.0))
    assert np.array_equal(twice.matrix, np.eye(3))
    assert np.array_equal(twice.keypoints, made.keypoints)


def test_positive_degrees_turn_clockwise_on_the_screen_and_the_scale_enlarges():
    """With a generator that draws the upper ends, a point right of the middle goes below it, 1.5 times as far."""

    class Highest:
        def uniform(self, low, high):
            return high

        def standard_normal(self, count):
            return np.zeros(count)

    made = sample([])
    made.rng = Highest()
    turned = run(made, build('RandomScaleRotate', scale=(0.5, 1.5), degrees=90))
    assert apply(turned.matrix, np.array([47.5 + 10, 31.5])) == pytest.approx([47.5, 31.5 + 15])
    assert apply(turned.matrix, np.array([47.5, 31.5])) == pytest.approx([47.5, 31.5])


def test_draws_fill_their_ranges_evenly():
    turn, flip = build('RandomScaleRotate', scale=(0.7, 1.3), degrees=40), build('RandomFlip')
    made = [run(sample([], seed=s), turn, flip) for s in range(300)]
    scales = np.array([np.sqrt(abs(np.linalg.det(m.matrix[:2, :2]))) for m in made])
    flips = np.mean([np.linalg.det(m.matrix[:2, :2]) < 0 for m in made])
    assert 0.7 <= scales.min() < 0.72
    assert 1.28 < scales.max() <= 1.3
    assert abs(scales.mean() - 1.0) < 0.04  # 4 standard errors
    assert 0.4 < flips < 0.6


def test_at_the_reference_a_head_of_35_px_becomes_41_at_an_input_of_368():
    """CPM's rule (Wei et al. 2016, released code): a person of scale 1 is enlarged by 41/35."""
    made = sample([(100.0, 60.0), (100.0, 95.0)], size=(200, 200), scales=np.ones(1, np.float32))
    for width, length in ((368, 41.0), (184, 20.5)):
        step = TRANSFORMS.build(dict(type='PlaceByScale'), input_size=(width, width))
        head = apply(step(made).matrix, made.keypoints[0, :2])
        assert np.linalg.norm(head[1] - head[0]) == pytest.approx(length, abs=1e-4)


def test_the_whole_picture_stands_in_the_middle_and_fills_its_share():
    corners = np.array([[-0.5, -0.5], [79.5, 119.5]])  # of a picture of 80 x 120 px
    tall = apply(run(sample([]), build('PlacePicture', fill=0.8, side='height')).matrix, corners)
    assert np.ptp(tall, axis=0) == pytest.approx([80 * 0.8 * 64 / 120, 0.8 * 64])
    assert tall.mean(axis=0) == pytest.approx([47.5, 31.5])
    wide = apply(run(sample([], size=(160, 40)), build('PlacePicture', fill=1.0, side='longer')).matrix,
                 np.array([[-0.5, -0.5], [159.5, 39.5]]))  # fmt: skip
    assert np.ptp(wide, axis=0) == pytest.approx([96, 24])


def test_a_box_fills_the_input_less_its_padding():
    made = sample([(50, 50)], boxes=np.array([[20.0, 30.0, 60.0, 110.0]]))
    placed = apply(run(made, build('PlaceBox', padding=1.25)).matrix, np.array([[20.0, 30.0], [60.0, 110.0]]))
    assert np.ptp(placed, axis=0) == pytest.approx([40 * 0.64, 80 * 0.64])  # 64 / (80 * 1.25) = 0.64
    assert placed.mean(axis=0) == pytest.approx([47.5, 31.5])


def test_without_a_box_the_labelled_joints_hull_serves():
    made = sample([(20.0, 30.0), (60.0, 110.0)])
    made.keypoints[0, 5] = (-900, -900)  # not labelled
    placed = apply(run(made, build('PlaceBox', padding=1.0, hull=1.25)).matrix, np.array([[20.0, 30.0], [60.0, 110.0]]))
    assert np.ptp(placed, axis=0)[1] == pytest.approx(64 / 1.25)


def test_each_source_has_its_own_placing():
    rules = dict(lsp=dict(type='PlacePicture', fill=1.0), lspet=dict(type='PlaceByScale'))
    step = build('PlaceBySource', rules=rules)
    assert np.array_equal(run(sample([]), step).matrix, run(sample([]), build('PlacePicture', fill=1.0)).matrix)
    other = sample([])
    object.__setattr__(other.record, 'source', 'mpii')
    with pytest.raises(ConfigError, match="no rule for source 'mpii'; it has lsp, lspet"):
        step(other)


def test_a_subject_stands_where_its_record_says():
    made = sample([], scales=np.ones(1), centers=np.array([[12.0, 34.0]]))
    assert apply(run(made, build('PlaceByScale')).matrix, np.array([12.0, 34.0])) == pytest.approx([47.5, 31.5])
    assert collate([run(made, build('Warp'))]).centers[0].numpy() == pytest.approx([47.5, 31.5])


def test_colours_change_and_geometry_does_not():
    made = sample([(10, 20)])
    made.image = np.random.default_rng(1).integers(0, 255, made.image.shape, dtype=np.uint8)
    warped = run(made, build('PlacePicture'), build('Warp'))
    before, matrix = warped.inputs.copy(), warped.matrix.copy()
    after = run(warped, build('RandomColor', contrast=0.9, brightness=0.5, channels=0.5)).inputs
    assert after.dtype == np.uint8
    assert after.shape == before.shape
    assert not np.array_equal(after, before)
    assert np.array_equal(warped.matrix, matrix)
    for c in range(3):  # one table a channel: equal pixels stay equal, brighter ones are never darker
        order = np.argsort(before[..., c], axis=None)
        assert (np.diff(after[..., c].ravel()[order].astype(int)) >= 0).all()


def test_no_colour_change_is_none():
    made = sample([])
    made.image = np.random.default_rng(1).integers(0, 255, made.image.shape, dtype=np.uint8)
    warped = run(made, build('PlacePicture'), build('Warp'))
    before = warped.inputs.copy()
    assert np.array_equal(run(warped, build('RandomColor', contrast=0, brightness=0, channels=0)).inputs, before)


def test_what_lies_outside_the_picture_gets_the_fill():
    made = run(sample([], size=(8, 8)), build('PlacePicture', fill=0.5), build('Warp', fill=(1, 2, 3)))
    assert made.inputs[0, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize('kind', ['RandomScaleRotate', 'RandomFlip', 'RandomColor'])
def test_global_random_states_are_left_alone(kind):
    made = run(sample([]), build('PlacePicture'), build('Warp'))
    np.random.seed(5)  # noqa: NPY002
    run(made, build(kind))
    after = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert after == np.random.random()  # noqa: NPY002


@pytest.mark.parametrize(('kind', 'settings', 'error', 'told'), [
    ('PlaceByScale', {}, AnnotationError, 'made.jpg of lsp has no person scale; PlaceByScale needs one'),
    ('PlaceBox', {}, AnnotationError, 'made.jpg: the person has neither a box nor a labelled joint'),
    ('RandomColor', {}, ConfigError, 'put it after Warp in the pipeline'),
])  # fmt: skip
def test_a_sample_that_a_transform_cannot_serve_is_an_error(kind, settings, error, told):
    with pytest.raises(error, match=told):
        run(sample([]), build(kind, **settings))


@pytest.mark.parametrize(('kind', 'settings', 'told'), [
    ('PlacePicture', dict(side='wide'), "side is 'height' or 'longer'; got 'wide'"),
    ('RandomBlur', dict(by='gauss'), "by is one of mean, median; got 'gauss'"),
    ('RandomBlur', dict(sides=(3, 4)), r'sides are odd numbers of pixels from 3; got \(3, 4\)'),
    ('Warp', dict(interpolation='lanczos'), "interpolation is one of linear, cubic, area; got 'lanczos'"),
])  # fmt: skip
def test_a_setting_that_does_not_exist_is_an_error(kind, settings, told):
    with pytest.raises(ConfigError, match=told):
        build(kind, **settings)


def test_the_warp_is_bicubic_where_asked():
    made = dotted(sample([(40, 60)]))
    matrix = run(sample([]), build('PlacePicture')).matrix
    cubic = run(made, build('PlacePicture'), build('Warp', interpolation='cubic')).inputs[0]
    wanted = cv2.warpAffine(made.image, matrix[:2], SIZE, flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128))
    assert np.array_equal(cubic, wanted)


def draws_of(made_by, count=3000):
    """(count, 3, 3) the matrices that a transform multiplies to that of a sample in place."""
    start = build('PlacePicture')(sample([(10, 10)])).matrix
    matrices = []
    for seed in range(count):
        made = sample([(10, 10)], seed=seed)
        made.matrix = start
        matrices.append(made_by(made).matrix @ np.linalg.inv(start))
    return np.array(matrices)


def test_a_normal_scale_and_turn_have_the_published_spread():
    matrices = draws_of(build('NormalScaleRotate', scale=0.35, degrees=45, turned=0.6))
    growth = 1 / np.sqrt(np.linalg.det(matrices[:, :2, :2]))
    degrees = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert growth.min() == pytest.approx(0.65)
    assert growth.max() == pytest.approx(1.35)
    assert np.mean(np.isclose(growth, 1.35)) == pytest.approx(0.159, abs=0.03)  # a normal draw above 1 is cut there
    assert np.abs(degrees).max() == pytest.approx(90, abs=1e-6)
    assert np.mean(degrees != 0) == pytest.approx(0.6, abs=0.04)
    assert np.std(degrees[degrees != 0]) == pytest.approx(0.96 * 45, rel=0.05)  # cut at two deviations


def test_growth_by_octaves_is_symmetric_in_the_logarithm():
    matrices = draws_of(build('NormalScaleRotate', scale=0.25, degrees=0, octaves=True))
    octaves = np.log2(np.linalg.det(matrices[:, :2, :2])) / 2
    assert np.abs(octaves).max() == pytest.approx(0.5)
    assert np.mean(octaves) == pytest.approx(0, abs=0.02)


WHOLE = [(20 + 2 * i, 10 + 8 * i) for i in range(14)]


@pytest.mark.parametrize(('p', 'joints'), [(0.0, 14), (1.0, 8)])
def test_half_a_body_is_placed_only_by_chance_and_of_more_than_eight_joints(p, joints):
    made = build('PlacePicture')(sample(WHOLE[:joints]))
    before = made.matrix.copy()
    np.testing.assert_array_equal(build('RandomHalfBody', p=p)(made).matrix, before)


def test_the_half_that_is_placed_fills_the_input_about_its_joints_mean():
    lower = LSP.lower_body
    found = set()
    for seed in range(40):
        made = build('RandomHalfBody', p=1.0)(sample(WHOLE, seed=seed))
        for name, half in (('upper', ~lower), ('lower', lower)):
            points = apply(made.matrix, made.keypoints[0][half])
            if np.allclose(points.mean(axis=0), [47.5, 31.5], atol=1e-4):
                found.add(name)
                assert (np.ptp(points, axis=0) / SIZE).max() == pytest.approx(1 / 1.5)
    assert found == {'upper', 'lower'}


def test_the_lower_body_is_hips_knees_and_ankles():
    joints = {j for j, low in zip(LSP.joints, LSP.lower_body, strict=True) if low}
    assert joints == {f'{side}_{part}' for side in ('left', 'right') for part in ('hip', 'knee', 'ankle')}


def test_an_aligned_box_goes_from_the_first_pixel_to_the_last():
    box = np.array([[10.0, 20.0, 58.0, 84.0]])
    made = build('PlaceBox', padding=1.0, aligned=True)(sample([(10, 10)], boxes=box))
    top, bottom = apply(made.matrix, np.array([[34.0, 20.0], [34.0, 84.0]]))
    np.testing.assert_allclose([top[1], bottom[1]], [0, SIZE[1] - 1])


def test_erasing_covers_rectangles_of_the_named_size_and_nothing_else():
    made = run(sample([(10, 10)]), build('PlacePicture'), build('Warp', fill=(7, 7, 7)))
    made.inputs[:] = 50
    before = made.inputs
    build('RandomErase', p=1.0, size=(0.25, 0.25), fill=(1, 2, 3))(made)
    covered = (made.inputs != 50).any(axis=(0, 3))
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    assert (len(columns), len(rows)) == (SIZE[0] // 4, SIZE[1] // 4)
    assert covered.sum() == len(columns) * len(rows)
    assert (made.inputs[0][covered] == (1, 2, 3)).all()
    assert (before == 50).all()


@pytest.mark.parametrize(('by', 'summed'), [('mean', np.mean), ('median', np.median)])
def test_a_blurred_pixel_is_the_mean_or_the_median_of_the_square_around_it(by, summed):
    made = run(sample([(10, 10)]), build('PlacePicture'), build('Warp'))
    before = made.inputs = np.random.default_rng(0).integers(0, 256, made.inputs.shape, dtype=np.uint8)
    kept = before.copy()
    after = build('RandomBlur', p=1.0, by=by, sides=(5,))(made).inputs
    wanted = summed(before[0, 8:13, 18:23].reshape(25, 3), axis=0)
    np.testing.assert_allclose(after[0, 10, 20], wanted, atol=0.5)
    assert np.array_equal(before, kept)
    assert build('RandomBlur', p=0.0)(made).inputs is after


@pytest.mark.parametrize('kind', ['RandomErase', 'RandomColor', 'RandomBlur'])
def test_what_recolours_the_input_must_stand_after_the_warp(kind):
    with pytest.raises(ConfigError, match=f'{kind} .*put it after Warp'):
        build(kind)(sample([(10, 10)]))


def photo(path, size=(640, 480)):
    """A smooth picture written as JPEG."""
    x, y = np.meshgrid(np.linspace(0, 200, size[0]), np.linspace(0, 200, size[1]))
    cv2.imwrite(str(path), np.stack([x, y, 255 - x], axis=-1).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


@pytest.mark.parametrize(('fill', 'reduction'), [(0.4, 8), (0.7, 4), (1.7, 2), (2.5, 1)])
def test_a_reduced_picture_is_warped_to_the_same_place(tmp_path, fill, reduction):
    made = sample([(10, 10)])
    made.image = Picture(photo(tmp_path / 'photo.jpg', (384, 256)))
    build('PlacePicture', fill=fill)(made)
    whole = build('Warp')(made).inputs.astype(int)
    made.image = Picture(tmp_path / 'photo.jpg')
    reduced = build('Warp', reduced=True)(made).inputs.astype(int)
    assert set(made.image.decoded) == {reduction}
    seen = (whole != 128).any(-1)
    inner = cv2.erode(seen[0].astype(np.uint8), np.ones((5, 5))) > 0
    assert np.abs(whole - reduced)[0][inner].mean() < 1.5


@pytest.mark.parametrize('interpolation', ['linear', 'cubic', 'area'])
def test_a_crop_of_the_rows_that_it_needs_is_the_crop_of_the_whole_picture(tmp_path, interpolation):
    warp, path = build('Warp', interpolation=interpolation), photo(tmp_path / 'photo.jpg', (384, 512))
    whole, saved = Picture(path).pixels(), 0
    for degrees in range(-80, 81, 20):
        made = sample([(10, 10)])
        made.image = Picture(path)
        made.matrix = rotation(degrees) @ scaling(0.5) @ translation(-150, -40 + degrees)
        partly = warp(made).inputs
        saved += not made.image.decoded
        made.image = whole
        assert np.array_equal(warp(made).inputs, partly)
    assert saved >= 5


def test_other_files_than_jpeg_are_decoded_whole(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((200, 300, 3), np.uint8))
    made = sample([(10, 10)])
    made.image = Picture(tmp_path / 'a.png')
    assert made.size == (300, 200)
    run(made, build('PlacePicture', fill=0.1), build('Warp', reduced=True))
    assert set(made.image.decoded) == {1}


def test_a_position_moves_down_by_so_many_pixels_times_the_scale():
    known = dict(centers=np.array([[30.0, 40.0]]), scales=np.array([0.5]))
    made = build('PlaceByScale', reference=2.0, down=15)(sample([(10, 10)], **known))
    np.testing.assert_allclose(apply(made.matrix, np.array([30.0, 47.5])), (np.array(SIZE) - 1) / 2)
