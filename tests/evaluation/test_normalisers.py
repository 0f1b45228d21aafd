"""Every size by hand, and what is refused when the metric is built."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.normalisers import Size
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'), torso=('left_eye', 'chin'), head=('right_eye', 'chin'))
POINTS = np.array([[[0, 0], [3, 4], [3, 0]]], np.float32)


def record(visible=(2, 2, 2), **fields):
    return Record(Path('a.jpg'), 'a', POINTS, np.array([visible]), **fields)


@pytest.mark.parametrize(('rule', 'wanted'), [
    ('torso', 3.0),
    ('head_joints', 4.0),
    (('left_eye', 'right_eye'), 5.0),
    (['right_eye', 'left_eye'], 5.0),
    ('head', 7.5),
    ('box', 12.0),
    ('box_diagonal', 13.0),
    ('box_area', np.sqrt(60.0)),
    (30, 30.0),
])  # fmt: skip
def test_a_size_is_what_its_name_says(rule, wanted):
    given = record(boxes=np.array([[1, 2, 6, 14]]), heads=np.array([7.5]))
    assert Size.of(FACE, rule, 'NME')(given, FACE) == pytest.approx(np.array([wanted]))


def test_joints_that_are_not_labelled_and_values_that_a_data_set_lacks_are_no_size():
    assert Size.of(FACE, 'torso', 'PCK')(record(visible=(2, 2, 0)), FACE) == 0
    assert Size.of(FACE, 'torso', 'PCK')(record(visible=(2, 0, 1)), FACE) == 3
    assert Size.of(FACE, 'head', 'PCK')(record(), FACE) == 0
    assert Size.of(FACE, 'box', 'PCK')(record(), FACE) == 0


def test_a_size_says_what_it_is_and_why_somebody_may_lack_it():
    assert str(Size.of(FACE, ('left_eye', 'chin'), 'NME')) == 'the distance from left_eye to chin'
    assert str(Size.of(FACE, 'box_diagonal', 'NME')) == 'the diagonal of the box'
    assert str(Size.of(FACE, 30, 'NME')) == '30 px'
    assert Size.of(FACE, 'head', 'NME').lacking == 'the data set gives them no head size to measure by'
    assert 'no box to measure by' in Size.of(FACE, 'box', 'NME').lacking


@pytest.mark.parametrize(('rule', 'message'), [
    ('torso', r"'bare' names no torso, which PCK divides by; give it torso=\(a, b\)"),
    ('head_joints', r"'bare' names no head, which PCK divides by; give it head=\(a, b\)"),
    ('bbox', "PCK: normaliser is one of 'torso', 'head_joints', 'head', 'box', .*; got 'bbox'"),
    (('a', 'nose'), "'bare' has no joint 'nose'"),
    (('a',), 'a name, two joints or a number of px'),
    (None, 'a name, two joints or a number of px; got None'),
    (0, 'in px is above 0; got 0'),
    (float('nan'), 'in px is above 0; got nan'),
])  # fmt: skip
def test_what_the_skeleton_cannot_serve_is_refused(rule, message):
    with pytest.raises(ConfigError, match=message):
        Size.of(Skeleton('bare', ('a', 'b')), rule, 'PCK')
