import numpy as np
import pytest
import torch

from poseplug.core.crops import fit_image, letterbox_matrix
from poseplug.core.geometry import (
    CROP_RULES,
    bounding_corners,
    conjugate_about,
    crop_matrix,
    fit_matrix,
    flip_matrix,
    image_center,
    rotation_matrix,
    scale_of_matrix,
    scaling_matrix,
    transform_points,
    translation_matrix,
)

POINTS = np.array([[0.0, 0.0], [10.0, 20.0], [-3.5, 7.25]])


def test_a_rotation_by_90_degrees_takes_x_to_y_clockwise_on_the_screen():
    np.testing.assert_allclose(transform_points(rotation_matrix(90), np.array([1.0, 0.0])), [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    ('matrix', 'inverse'),
    [
        (translation_matrix(3, -4), translation_matrix(-3, 4)),
        (scaling_matrix(2.5), scaling_matrix(0.4)),
        (rotation_matrix(33), rotation_matrix(-33)),
        (flip_matrix(101), flip_matrix(101)),
        (
            conjugate_about(rotation_matrix(20) @ scaling_matrix(1.3), (5, 6)),
            conjugate_about(scaling_matrix(1 / 1.3) @ rotation_matrix(-20), (5, 6)),
        ),
    ],
)
def test_every_matrix_is_undone_by_its_inverse(matrix, inverse):
    np.testing.assert_allclose(transform_points(inverse, transform_points(matrix, POINTS)), POINTS, atol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(matrix), inverse, atol=1e-12)


def test_a_flip_exchanges_the_first_and_the_last_pixel():
    np.testing.assert_array_equal(
        transform_points(flip_matrix(368), np.array([[0.0, 5.0], [367.0, 5.0]])), [[367, 5], [0, 5]]
    )


def test_the_center_lies_half_way_between_the_first_and_the_last_pixel():
    assert image_center((368, 5)) == (183.5, 2.0)
    np.testing.assert_array_equal(
        transform_points(flip_matrix(368), np.array(image_center((368, 5)))), image_center((368, 5))
    )


def test_a_rotation_about_a_point_keeps_the_point():
    np.testing.assert_allclose(
        transform_points(conjugate_about(rotation_matrix(70) @ scaling_matrix(3), (12, -8)), np.array([12.0, -8.0])),
        [12, -8],
    )


def test_a_crop_has_its_center_in_the_middle_and_is_scaled_about_it():
    matrix = crop_matrix((50, 40), 2.0, (101, 81))
    np.testing.assert_array_equal(
        transform_points(matrix, np.array([[50.0, 40.0], [53.0, 40.0]])), [[50, 40], [56, 40]]
    )


def test_the_right_matrix_of_a_product_is_applied_first():
    both = transform_points(translation_matrix(1, 0) @ scaling_matrix(2), POINTS)
    np.testing.assert_array_equal(both, POINTS * 2 + [1, 0])


@pytest.mark.parametrize(
    'matrix', [scaling_matrix(1.7), scaling_matrix(1.7) @ rotation_matrix(25), flip_matrix(9) @ scaling_matrix(1.7)]
)
def test_the_scale_of_a_matrix_does_not_depend_on_rotations_and_flips(matrix):
    assert scale_of_matrix(matrix) == pytest.approx(1.7)


def test_the_bounding_corners_are_the_lowest_and_the_highest_of_each_axis():
    low, high = bounding_corners(POINTS)
    assert (low.tolist(), high.tolist()) == ([-3.5, 0.0], [10.0, 20.0])


def test_tensors_are_transformed_with_their_own_type_by_arrays_and_by_tensors():
    matrix = conjugate_about(rotation_matrix(20) @ scaling_matrix(1.3), (5, 6))
    points = torch.from_numpy(POINTS).float()
    transformed = transform_points(matrix, points)
    assert transformed.dtype == torch.float32
    assert torch.equal(transformed, transform_points(torch.from_numpy(matrix), points))
    np.testing.assert_allclose(transformed, transform_points(matrix, POINTS), rtol=1e-5)


MMPOSE_CROPS = [  # input size, center, extent; scale and shift of x and y by get_warp_matrix and by get_udp_warp_matrix
    ((192, 256), (323.95, 325.1), (263.725, 151.825), (0.728031, -139.845649, 0.728031, -108.682880),
     (0.724239, -139.117310, 0.725187, -108.258369)),
    ((192, 256), (31.03, 159.51), (211.625, 34.575), (0.907265, 67.847560, 0.907265, -16.717848),
     (0.902540, 67.494186, 0.903721, -16.652569)),
    ((288, 384), (179.63, 389.93), (450.1125, 424.0625), (0.639840, 29.065533, 0.639840, -57.492795),
     (0.637618, 28.964611, 0.638174, -57.343105)),
    ((256, 256), (226.68, 115.87), (441.325, 43.8), (0.580071, -3.490580, 0.580071, 60.787128),
     (0.577805, -3.476944, 0.577805, 60.549678)),
]  # fmt: skip


@pytest.mark.parametrize(('size', 'center', 'extent', 'plain', 'udp'), MMPOSE_CROPS)
def test_the_crops_of_mmpose_are_those_of_its_own_functions(size, center, extent, plain, udp):
    """Computed by MMPose 1.3.2, whose corners are in single precision: hence 1e-4 px."""
    for rule, numbers in (('released_hrnet', plain), ('released_udp', udp)):
        matrix = fit_matrix(np.array(center), np.array(extent), size, rule)
        expected = np.array([[numbers[0], 0, numbers[1]], [0, numbers[2], numbers[3]], [0, 0, 1]])
        np.testing.assert_allclose(matrix, expected, atol=2e-4)


def test_the_crop_of_hrnet_is_rounded_as_its_code_rounds_it():
    """The matrix that MMPose 1.3.2 computes for a box of two decimals, padded 1.25 times."""
    box = np.array([145.26, 100.67, 437.21, 558.02], np.float32)
    matrix = fit_matrix((box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * 1.25, (192, 256), 'released_hrnet')
    expected = [[4.477970281984e-01, 0, -3.441416094784e01], [0, 4.477970281984e-01, -1.947971279864e01], [0, 0, 1]]
    np.testing.assert_allclose(matrix, expected, atol=1e-10)


def test_the_crop_of_hrnet_lies_half_a_pixel_beside_that_of_pixel_centers():
    center, extent = np.array([50.3, 40.1]), np.array([20.0, 90.0])
    shift = fit_matrix(center, extent, (48, 64), 'released_hrnet') - fit_matrix(center, extent, (48, 64))
    np.testing.assert_allclose(shift, [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], atol=2e-6)  # float32, as its code


def test_the_crop_of_darkpose_goes_from_the_first_to_the_last_pixel_of_the_box_too():
    """A box of 72 x 96 px fills 48 x 64 px: 71 steps between its pixels become 47."""
    matrix = fit_matrix(np.array([100.0, 100.0]), np.array([72.0, 30.0]), (48, 64), 'released_dark')
    np.testing.assert_allclose(transform_points(matrix, np.array([[64.5, 100.0], [135.5, 100.0]]))[:, 0], [0, 47])
    assert matrix[1, 1] == pytest.approx(47 / 71)


@pytest.mark.parametrize('rule', CROP_RULES)
def test_a_box_without_extent_is_enlarged_to_one_pixel_at_most(rule):
    matrix = fit_matrix(np.array([5.0, 5.0]), np.zeros(2), (48, 64), rule)
    assert np.isfinite(matrix).all()
    assert scale_of_matrix(matrix) <= 64


@pytest.mark.parametrize(
    ('image_size', 'input_size', 'scale', 'offset'),
    [  # what BottomupResize of MMPose 1.3.2 hands to OpenCV
        ((640, 480), (640, 640), 1.0, (0.0, 80.0)),
        ((333, 501), (640, 640), 1.2774451097804391, (107.3053892215569, 0.0)),
        ((200, 100), (416, 416), 2.08, (0.0, 104.0)),
        ((1001, 777), (640, 640), 0.6393606393606394, (0.0, 71.6083916083916)),
        ((97, 640), (416, 416), 0.65, (176.475, 0.0)),
    ],
)
def test_whole_images_meet_the_input_as_in_the_released_code(image_size, input_size, scale, offset):
    matrix = letterbox_matrix(image_size, input_size, crop_rule='released_hrnet')
    np.testing.assert_allclose(matrix[:2], [[scale, 0, offset[0]], [0, scale, offset[1]]], atol=1e-4)
    # by every other rule, pixel centers coincide: (1 - scale) / 2 px beside it
    moved = letterbox_matrix(image_size, input_size)[:2, 2] - matrix[:2, 2]
    np.testing.assert_allclose(moved, (scale - 1) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ('image_size', 'view_size', 'scale', 'offset'),
    [  # what BottomupResize(resize_mode='expand') of MMPose 1.3.2 hands to OpenCV
        ((640, 480), (704, 512), 1.0666666666666667, (10.666666666666666, 0.0)),
        ((333, 501), (512, 800), 1.5375375375375375, (0.0, 14.846846846846947)),
        ((1001, 777), (672, 512), 0.6589446589446589, (6.198198198198198, 0.0)),
        ((112, 343), (512, 1600), 4.571428571428571, (0.0, 15.999999999999943)),  # 1568 px, but for a rounding error
    ],
)
def test_images_fill_an_input_of_their_own_shape_as_in_the_released_code(image_size, view_size, scale, offset):
    matrix, size = fit_image(image_size, (512, 512), 'shorter', crop_rule='released_hrnet')
    assert size == view_size
    np.testing.assert_allclose(matrix[:2], [[scale, 0, offset[0]], [0, scale, offset[1]]], atol=1e-4)
    own_matrix, own_size = fit_image(image_size, (512, 512), 'shorter')
    if own_size == view_size:
        np.testing.assert_allclose(own_matrix[:2, 2] - matrix[:2, 2], (scale - 1) / 2, atol=1e-4)
    else:
        assert own_size == (512, 1568)


@pytest.mark.parametrize(
    ('side', 'max_side', 'view_size'), [('longer', None, (512, 384)), ('shorter', 600, (608, 480))]
)
def test_the_released_rule_keeps_the_side_and_its_limit(side, max_side, view_size):
    matrix, size = fit_image((640, 480), (512, 512), side, 32, max_side, 'released_hrnet')
    assert size == view_size
    assert matrix[0, 0] == pytest.approx((max_side or 512) / 640)
    np.testing.assert_allclose(matrix @ (320, 240, 1), (view_size[0] / 2, view_size[1] / 2, 1), atol=1e-4)


def test_the_height_alone_can_decide_how_a_whole_image_meets_the_input():
    matrix = letterbox_matrix((400, 100), (200, 50), 0.5, 'height', 'released_hrnet')
    np.testing.assert_allclose(matrix @ (200, 50, 1), (100, 25, 1), atol=1e-5)
    assert matrix[0, 0] == pytest.approx(0.25)
