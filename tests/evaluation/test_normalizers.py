"""Every size worked by hand, and what is refused when the metric is built."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.normalizers import SizeNormalizer
from poseplug.testing import create_annotated_record

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'), torso=('left_eye', 'chin'), head=('right_eye', 'chin'))
POINTS = np.array([[[0, 0], [3, 4], [3, 0]]], np.float32)


def make_record(visible=(2, 2, 2), **fields):
    return create_annotated_record(Path('a.jpg'), 'a', POINTS, np.array([visible]), **fields)


@pytest.mark.parametrize(('rule', 'expected'), [
    ('torso', 3.0),
    ('head_keypoints', 4.0),
    (('left_eye', 'right_eye'), 5.0),
    (['right_eye', 'left_eye'], 5.0),
    ('head', 7.5),
    ('box', 12.0),
    ('box_diagonal', 13.0),
    ('box_area', np.sqrt(60.0)),
    (30, 30.0),
])  # fmt: skip
def test_a_size_is_what_its_rule_says(rule, expected):
    record = make_record(boxes=np.array([[1, 2, 6, 14]]), head_sizes=np.array([7.5]))
    assert SizeNormalizer.from_rule(FACE, rule, 'NME')(record, FACE) == pytest.approx(np.array([expected]))


def test_without_labels_or_values_of_the_data_set_there_is_no_size():
    assert SizeNormalizer.from_rule(FACE, 'torso', 'PCK')(make_record(visible=(2, 2, 0)), FACE) == 0
    assert SizeNormalizer.from_rule(FACE, 'torso', 'PCK')(make_record(visible=(2, 0, 1)), FACE) == 3
    assert SizeNormalizer.from_rule(FACE, 'head', 'PCK')(make_record(), FACE) == 0
    assert SizeNormalizer.from_rule(FACE, 'box', 'PCK')(make_record(), FACE) == 0


def test_a_size_describes_itself_and_why_an_instance_may_lack_it():
    assert str(SizeNormalizer.from_rule(FACE, ('left_eye', 'chin'), 'NME')) == 'the distance from left_eye to chin'
    assert str(SizeNormalizer.from_rule(FACE, 'box_diagonal', 'NME')) == 'the diagonal of the box'
    assert str(SizeNormalizer.from_rule(FACE, 30, 'NME')) == '30 px'
    assert (
        SizeNormalizer.from_rule(FACE, 'head', 'NME').missing_reason
        == 'the data set has no head size of them to normalize by'
    )
    assert 'no box of them to normalize by' in SizeNormalizer.from_rule(FACE, 'box', 'NME').missing_reason


@pytest.mark.parametrize(('rule', 'message'), [
    ('torso', r"'bare' names no torso, which PCK divides by; set its torso=\(a, b\)"),
    ('head_keypoints', r"'bare' names no head, which PCK divides by; set its head=\(a, b\)"),
    ('bbox', "PCK: normalizer is one of 'torso', 'head_keypoints', 'head', 'box', .*; got 'bbox'"),
    (('a', 'nose'), "'bare' has no keypoint 'nose'"),
    (('a',), 'a name, two keypoints or a number of px'),
    (None, 'a name, two keypoints or a number of px; got None'),
    (0, 'in px is above 0; got 0'),
    (float('nan'), 'in px is above 0; got nan'),
])  # fmt: skip
def test_what_the_skeleton_cannot_serve_is_refused(rule, message):
    with pytest.raises(ConfigError, match=message):
        SizeNormalizer.from_rule(Skeleton('bare', ('a', 'b')), rule, 'PCK')


def test_an_instance_without_labels_leaves_the_others_their_size():
    flags = np.array([[2, 2, 0], [2, 0, 1]])
    record = create_annotated_record(Path('a.jpg'), 'a', np.repeat(POINTS, 2, axis=0), flags)
    assert SizeNormalizer.from_rule(FACE, 'torso', 'PCK')(record, FACE).tolist() == [0, 3]
