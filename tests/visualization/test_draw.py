import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.errors import ImageError, MismatchError
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.visualization.draw import (
    CAPTION,
    SHIFT,
    SIDES,
    contact_sheet,
    draw_poses,
    int_point,
    joint_sides,
    limb_side,
    thickness,
    to_uint8,
)

PAIR = Skeleton('pair', joints=('left_hand', 'right_hand'), limbs=(('left_hand', 'right_hand'),),
                swaps=(('right_hand', 'left_hand'),))  # fmt: skip
POINT = Skeleton('point', joints=('nose',))


def grey(width=500, height=500, value=90):
    return np.full((height, width, 3), value, np.uint8)


def poses(points, scores=None, visibility=None):
    points = np.asarray(points, np.float32)[None]
    scores = np.ones(points.shape[:2], np.float32) if scores is None else np.asarray(scores, np.float32)[None]
    return Poses(points, scores, scores.mean(axis=1), visibility=visibility)


def colored(image, color):
    return (image == np.array(color)).all(axis=-1)


def test_every_joint_of_lsp_has_the_side_of_its_name():
    for joint, side in zip(LSP.joints, joint_sides(LSP), strict=True):
        assert side == (joint.split('_')[0] if joint not in ('neck', 'head_top') else 'middle')


def test_the_order_within_a_pair_does_not_decide_which_is_left():
    assert [joint_sides(COCO)[COCO.index(j)] for j in ('left_eye', 'right_eye', 'nose')] == ['left', 'right', 'middle']
    assert joint_sides(PAIR) == ['left', 'right']


def test_without_a_hint_in_the_names_the_first_of_a_pair_is_left():
    assert joint_sides(Skeleton('ab', joints=('b', 'a'), swaps=(('a', 'b'),))) == ['right', 'left']


def test_an_upright_joint_is_not_a_right_one():
    skeleton = Skeleton('u', joints=('upright', 'l_upright'), swaps=(('upright', 'l_upright'),))
    assert joint_sides(skeleton) == ['right', 'left']


def test_a_limb_from_the_middle_takes_the_side_of_its_other_end_and_one_across_has_none():
    assert limb_side('middle', 'left') == limb_side('left', 'left') == 'left'
    assert limb_side('right', 'left') == 'middle'


def test_sides_are_drawn_in_their_colours_where_the_joints_are():
    image = draw_poses(grey(), poses([(100, 250), (400, 250)]), PAIR)
    for x, color in ((100, SIDES['left']), (400, SIDES['right'])):
        assert colored(image, color)[250, x]
    assert colored(image, SIDES['middle'])[250, 250]


def test_a_joint_under_the_threshold_is_left_out_with_its_limbs():
    image = draw_poses(grey(), poses([(100, 250), (400, 250)], scores=[0.9, 0.2]), PAIR, threshold=0.3)
    assert (image[:, 150:] == 90).all()
    assert colored(image, SIDES['left']).any()


def test_an_unlabelled_joint_is_left_out_even_at_threshold_0():
    truth = Poses.of_record(np.array([[[100, 250], [0, 0]]], np.float32), np.array([[2, 0]]))
    image = draw_poses(grey(), truth, PAIR)
    assert (image[:50, :50] == 90).all()
    assert not colored(image, SIDES['right']).any()


def test_joints_that_are_not_finite_or_far_away_stop_nothing():
    image = draw_poses(grey(), poses([(np.nan, 250), (400, 250)]), PAIR)
    assert colored(image, SIDES['right'])[250, 400]
    draw_poses(grey(), poses([(-1e12, 250), (1e12, np.inf)]), PAIR)


def test_the_picture_that_is_given_stays_as_it_is():
    image = grey()
    draw_poses(image, poses([(100, 250), (400, 250)]), PAIR)
    assert (image == 90).all()


@pytest.mark.parametrize(('x', 'y'), [(3.0, 7.0), (2.25, 4.5), (0.0, 9.0)])
def test_in_an_enlarged_picture_the_joint_lies_where_its_pixel_went(x, y):
    image = draw_poses(grey(10, 10), poses([(x, y)]), POINT, least=480)
    assert image.shape == (480, 480, 3)
    rows, columns = np.nonzero(colored(image, SIDES['middle']))
    assert (columns.min() + columns.max()) / 2 == pytest.approx((x + 0.5) * 48 - 0.5, abs=1)
    assert (rows.min() + rows.max()) / 2 == pytest.approx((y + 0.5) * 48 - 0.5, abs=1)


def test_a_skeleton_of_133_joints_without_limbs_draws_133_dots():
    skeleton = Skeleton('whole', joints=tuple(f'j{i}' for i in range(133)))
    points = [(20 + 40 * (i % 12), 20 + 40 * (i // 12)) for i in range(133)]
    image = draw_poses(grey(), poses(points), skeleton)
    count, _ = cv2.connectedComponents(colored(image, SIDES['middle']).astype(np.uint8))
    assert count - 1 == 133


def test_limbs_are_a_fiftieth_of_the_person_thick():
    assert thickness(np.array([(0, 0), (100, 400)]), grey()) == 8
    assert thickness(np.array([(0, 0), (10, 40)]), grey()) == 1


def test_nobody_is_drawn_for_no_people():
    nobody = Poses(np.zeros((0, 2, 2)), np.zeros((0, 2)), np.zeros(0))
    assert (draw_poses(grey(), nobody, PAIR) == 90).all()


def test_poses_of_another_skeleton_are_an_error_with_both_counts():
    with pytest.raises(MismatchError, match=r"2 joints but skeleton 'lsp' has 14"):
        draw_poses(grey(), poses([(1, 1), (2, 2)]), LSP)


@given(st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_a_point_is_kept_to_half_a_sixteenth_of_a_pixel(x, y):
    point = int_point(np.array([x, y], np.float64))
    assert all(type(v) is int for v in point)
    assert np.abs(np.array(point) / (1 << SHIFT) - (x, y)).max() <= 1 / 32


def test_any_picture_becomes_bgr_bytes():
    assert (to_uint8(np.ones((4, 5), bool)) == 255).all()
    assert (to_uint8(np.full((4, 5, 3), 0.5, np.float16)) == 128).all()
    assert (to_uint8(np.full((4, 5, 1), 300, np.int64)) == 255).all()
    assert to_uint8(np.zeros((4, 5, 4), np.uint8)).shape == (4, 5, 3)
    with pytest.raises(ImageError, match=r'shape \(4, 5, 7\)'):
        to_uint8(np.zeros((4, 5, 7)))


def test_a_sheet_has_as_many_rows_as_the_pictures_need():
    images = [grey(30, 20, 50 * i) for i in range(5)]
    sheet = contact_sheet(images, columns=2, captions=['a'] * 5, cell=(30, 20))
    assert sheet.shape == (3 * (20 + CAPTION + 4) + 4, 2 * 34 + 4, 3)
    for i in range(5):
        row, column = divmod(i, 2)
        assert (sheet[row * (24 + CAPTION) + 4 + 10, column * 34 + 4 + 15] == 50 * i).all()


def test_pictures_of_any_shape_keep_their_aspect_ratio_in_a_cell():
    sheet = contact_sheet([grey(200, 50, 255), grey(10, 40, 255)], columns=2, cell=(80, 80))
    white = sheet.min(axis=-1) > 250
    first, second = white[:, 4:84], white[:, 88:168]
    assert (np.ptp(np.nonzero(first), axis=1) + 1).tolist() == [20, 80]
    assert (np.ptp(np.nonzero(second), axis=1) + 1).tolist() == [80, 20]


def test_captions_that_do_not_match_the_pictures_are_an_error():
    with pytest.raises(ImageError, match='2 pictures have 1 captions'):
        contact_sheet([grey(), grey()], captions=['one'])
    with pytest.raises(ImageError, match='at least one picture'):
        contact_sheet([])
