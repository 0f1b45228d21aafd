from dataclasses import replace

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ConfigError, ImageError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.report.draw import (
    CAPTION_HEIGHT_PX,
    draw_contact_sheet,
    draw_poses,
    limb_width_px,
    to_uint8,
)
from poseplug.report.drawing_style import SIDE_COLORS, DrawingStyle, keypoint_sides, limb_side, rainbow_colors
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP

PAIR = Skeleton('pair', keypoints=('left_hand', 'right_hand'), limbs=(('left_hand', 'right_hand'),),
                flip_pairs=(('right_hand', 'left_hand'),))  # fmt: skip
POINT = Skeleton('point', keypoints=('nose',))


def gray_image(width=500, height=500, value=90):
    return np.full((height, width, 3), value, np.uint8)


def build_poses(points, scores=None, visibility=None):
    points = np.asarray(points, np.float32)[None]
    scores = np.ones(points.shape[:2], np.float32) if scores is None else np.asarray(scores, np.float32)[None]
    return Poses(points, scores, scores.mean(axis=1), visibility=visibility)


def color_mask(image, color):
    return (image == np.array(color)).all(axis=-1)


def test_every_keypoint_of_lsp_has_the_side_of_its_name():
    for keypoint, side in zip(LSP.keypoints, keypoint_sides(LSP), strict=True):
        assert side == (keypoint.split('_')[0] if keypoint not in ('neck', 'head_top') else 'middle')


def test_the_order_within_a_pair_does_not_decide_which_is_left():
    names = ('left_eye', 'right_eye', 'nose')
    assert [keypoint_sides(COCO)[COCO.index(name)] for name in names] == ['left', 'right', 'middle']
    assert keypoint_sides(PAIR) == ['left', 'right']


def test_without_a_hint_in_the_names_the_first_of_a_pair_is_left():
    assert keypoint_sides(Skeleton('ab', keypoints=('b', 'a'), flip_pairs=(('a', 'b'),))) == ['right', 'left']


def test_an_upright_keypoint_is_not_a_right_one():
    skeleton = Skeleton('u', keypoints=('upright', 'l_upright'), flip_pairs=(('upright', 'l_upright'),))
    assert keypoint_sides(skeleton) == ['right', 'left']


def test_a_limb_from_the_middle_has_the_side_of_its_other_end_and_one_across_is_in_the_middle():
    assert limb_side('middle', 'left') == limb_side('left', 'left') == 'left'
    assert limb_side('right', 'left') == 'middle'


def test_sides_are_drawn_in_their_colors_at_the_keypoints():
    image = draw_poses(gray_image(), build_poses([(100, 250), (400, 250)]), PAIR)
    for x, color in ((100, SIDE_COLORS['left']), (400, SIDE_COLORS['right'])):
        assert color_mask(image, color)[250, x]
    assert color_mask(image, SIDE_COLORS['middle'])[250, 250]


def test_a_keypoint_below_the_threshold_is_skipped_with_its_limbs():
    image = draw_poses(gray_image(), build_poses([(100, 250), (400, 250)], scores=[0.9, 0.2]), PAIR, threshold=0.3)
    assert (image[:, 150:] == 90).all()
    assert color_mask(image, SIDE_COLORS['left']).any()


def test_an_unlabeled_keypoint_is_skipped_even_at_threshold_0():
    annotated = Poses.from_annotations(np.array([[[100, 250], [0, 0]]], np.float32), np.array([[2, 0]]))
    image = draw_poses(gray_image(), annotated, PAIR)
    assert (image[:50, :50] == 90).all()
    assert not color_mask(image, SIDE_COLORS['right']).any()


def test_keypoints_that_are_not_finite_or_far_away_are_no_error():
    image = draw_poses(gray_image(), build_poses([(np.nan, 250), (400, 250)]), PAIR)
    assert color_mask(image, SIDE_COLORS['right'])[250, 400]
    draw_poses(gray_image(), build_poses([(-1e12, 250), (1e12, np.inf)]), PAIR)


def test_the_image_itself_is_not_changed():
    image = gray_image()
    draw_poses(image, build_poses([(100, 250), (400, 250)]), PAIR)
    assert (image == 90).all()


@pytest.mark.parametrize(('x', 'y'), [(3.0, 7.0), (2.25, 4.5), (0.0, 9.0)])
def test_in_an_enlarged_image_the_keypoint_lies_where_its_pixel_went(x, y):
    image = draw_poses(gray_image(10, 10), build_poses([(x, y)]), POINT, min_side_px=480)
    assert image.shape == (480, 480, 3)
    rows, columns = np.nonzero(color_mask(image, SIDE_COLORS['middle']))
    assert (columns.min() + columns.max()) / 2 == pytest.approx((x + 0.5) * 48 - 0.5, abs=1)
    assert (rows.min() + rows.max()) / 2 == pytest.approx((y + 0.5) * 48 - 0.5, abs=1)


def test_a_skeleton_of_133_keypoints_without_limbs_draws_133_dots():
    skeleton = Skeleton('whole', keypoints=tuple(f'j{i}' for i in range(133)))
    points = [(20 + 40 * (i % 12), 20 + 40 * (i // 12)) for i in range(133)]
    image = draw_poses(gray_image(), build_poses(points), skeleton)
    count, _ = cv2.connectedComponents(color_mask(image, SIDE_COLORS['middle']).astype(np.uint8))
    assert count - 1 == 133


def test_the_width_of_limbs_is_a_fiftieth_of_the_instance():
    assert limb_width_px(np.array([(0, 0), (100, 400)]), gray_image()) == 8
    assert limb_width_px(np.array([(0, 0), (10, 40)]), gray_image()) == 1


def test_nothing_is_drawn_without_instances():
    none = Poses(np.zeros((0, 2, 2)), np.zeros((0, 2)), np.zeros(0))
    assert (draw_poses(gray_image(), none, PAIR) == 90).all()


def test_poses_of_another_skeleton_are_an_error_with_both_counts():
    with pytest.raises(MismatchError, match=r"2 keypoints but skeleton 'lsp' has 14"):
        draw_poses(gray_image(), build_poses([(1, 1), (2, 2)]), LSP)


def test_any_image_becomes_bgr_bytes():
    assert (to_uint8(np.ones((4, 5), bool)) == 255).all()
    assert (to_uint8(np.full((4, 5, 3), 0.5, np.float16)) == 128).all()
    assert (to_uint8(np.full((4, 5, 1), 300, np.int64)) == 255).all()
    assert to_uint8(np.zeros((4, 5, 4), np.uint8)).shape == (4, 5, 3)
    with pytest.raises(ImageError, match=r'shape \(4, 5, 7\)'):
        to_uint8(np.zeros((4, 5, 7)))


def test_a_sheet_has_as_many_rows_as_the_images_need():
    images = [gray_image(30, 20, 50 * i) for i in range(5)]
    sheet = draw_contact_sheet(images, columns=2, captions=['a'] * 5, cell_size=(30, 20))
    assert sheet.shape == (3 * (20 + CAPTION_HEIGHT_PX + 4) + 4, 2 * 34 + 4, 3)
    for i in range(5):
        row, column = divmod(i, 2)
        assert (sheet[row * (24 + CAPTION_HEIGHT_PX) + 4 + 10, column * 34 + 4 + 15] == 50 * i).all()


def test_images_of_any_shape_keep_their_aspect_ratio_in_a_cell():
    sheet = draw_contact_sheet([gray_image(200, 50, 255), gray_image(10, 40, 255)], columns=2, cell_size=(80, 80))
    white = sheet.min(axis=-1) > 250
    first, second = white[:, 4:84], white[:, 88:168]
    assert (np.ptp(np.nonzero(first), axis=1) + 1).tolist() == [20, 80]
    assert (np.ptp(np.nonzero(second), axis=1) + 1).tolist() == [80, 20]


def test_captions_that_do_not_match_the_images_are_an_error():
    with pytest.raises(ImageError, match='2 images have 1 captions'):
        draw_contact_sheet([gray_image(), gray_image()], captions=['one'])
    with pytest.raises(ImageError, match='at least one image'):
        draw_contact_sheet([])


@pytest.mark.parametrize('coloring', ['keypoints', 'instances'])
def test_a_style_colors_limbs_or_instances(coloring):
    style = DrawingStyle(coloring=coloring)
    image = draw_poses(gray_image(), build_poses([(100, 250), (400, 250)]), PAIR, style=style)
    first, last = rainbow_colors(2)
    colors = (first, last) if coloring == 'keypoints' else (rainbow_colors(7)[0],) * 2
    assert tuple(image[250, 100]) == colors[0]
    assert tuple(image[250, 400]) == colors[1]
    assert tuple(image[250, 250]) == (rainbow_colors(1)[0] if coloring == 'keypoints' else colors[0])


def test_a_style_makes_limbs_thicker_leaves_boxes_out_and_writes_labels():
    poses = replace(build_poses([(100, 250), (400, 250)]), boxes=np.array([[20, 20, 480, 480]]))
    drawn = draw_poses(gray_image(), poses, PAIR)
    bare = draw_poses(gray_image(), poses, PAIR, style=DrawingStyle(draws_boxes=False))
    thick = draw_poses(gray_image(), poses, PAIR, style=DrawingStyle(draws_boxes=False, width_factor=3))
    labeled = draw_poses(gray_image(), poses, PAIR, style=DrawingStyle(draws_boxes=False, labels=('score',)))
    assert (drawn[20] != 90).any()
    assert (bare[20] == 90).all()
    widths = [(image[:, 250] != 90).any(axis=1).sum() for image in (bare, thick)]
    assert widths[1] > 2 * widths[0]
    changed = np.argwhere((labeled != bare).any(axis=2))
    assert len(changed) > 50
    assert changed[:, 0].max() < 250  # above the keypoints


def test_an_impossible_style_is_refused():
    for settings in (dict(coloring='blue'), dict(width_factor=0), dict(labels='id'), dict(labels=('name',))):
        with pytest.raises(ConfigError, match='|'.join(settings)):
            DrawingStyle(**settings)
