from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

from poseplug.core.errors import ConfigError, PluginError
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import infer_flip_pairs
from poseplug.registry import SKELETONS
from poseplug.registry.skeletons import get_skeleton, register_skeleton
from poseplug.testing import SMALL_SKELETON

ALL_SKELETONS = [get_skeleton(name) for name in SKELETONS.list_names()]
SIDES = {'left': 'right', 'right': 'left', 'l': 'r', 'r': 'l', 'L': 'R', 'R': 'L'}
SIDE = re.compile('left|right|(?<![a-zA-Z])[lrLR](?![a-zA-Z])')


@pytest.mark.parametrize('skeleton', ALL_SKELETONS, ids=lambda s: s.name)
def test_flipping_is_its_own_inverse_and_exchanges_left_and_right(skeleton):
    names = np.array(skeleton.keypoints)
    np.testing.assert_array_equal(skeleton.flip_indices[skeleton.flip_indices], np.arange(len(skeleton)))
    exchanged = np.array([SIDE.sub(lambda match: SIDES[match[0]], name) for name in names])
    # A number says nothing of the side: keypoints such as 'face_0' may be exchanged, but only with each other.
    are_numbered = np.array([SIDE.search(name) is None and name[-1].isdigit() for name in names])
    flipped = names[skeleton.flip_indices]
    assert flipped[~are_numbered].tolist() == exchanged[~are_numbered].tolist()
    assert set(flipped[are_numbered]) == set(names[are_numbered])


@pytest.mark.parametrize('skeleton', ALL_SKELETONS, ids=lambda s: s.name)
def test_a_flipped_limb_is_a_limb(skeleton):
    limbs = {frozenset(pair) for pair in skeleton.limb_indices.tolist()}
    assert limbs == {frozenset(skeleton.flip_indices[list(pair)].tolist()) for pair in limbs}


@pytest.mark.parametrize('skeleton', ALL_SKELETONS, ids=lambda s: s.name)
def test_it_is_registered_by_its_own_name_and_survives_copying(skeleton):
    assert get_skeleton(skeleton.name) is skeleton
    assert copy.deepcopy(skeleton) == pickle.loads(pickle.dumps(skeleton)) == skeleton


def test_lsp_counts_from_the_right_ankle_and_measures_from_right_hip_to_left_shoulder():
    lsp = get_skeleton('lsp')
    assert [lsp.index(k) for k in ('right_ankle', 'left_ankle', 'neck', 'head_top')] == [0, 5, 12, 13]
    assert [lsp.index(k) for k in lsp.torso] == [2, 9]
    assert [(a, b) for a, b in enumerate(lsp.flip_indices) if a < b] == [
        (0, 5),
        (1, 4),
        (2, 3),
        (6, 11),
        (7, 10),
        (8, 9),
    ]


def test_flic_has_the_nine_keypoints_that_cpm_uses():
    flic = get_skeleton('flic')
    assert [(a, b) for a, b in enumerate(flic.flip_indices) if a < b] == [(0, 3), (1, 4), (2, 5), (6, 7)]
    assert flic.keypoints[8] == 'head'


def test_keypoints_are_found_in_another_skeleton_by_name():
    other = Skeleton('other', ('left_hand', 'tail', 'nose'))
    assert SMALL_SKELETON.indices_in(other).tolist() == [2, 0, -1]


def test_a_dict_of_fields_is_a_skeleton_with_its_lists_as_tuples():
    spec = dict(name='pair', keypoints=['a', 'b'], limbs=[['a', 'b']], groups=dict(both=['a', 'b']))
    assert get_skeleton(spec) == Skeleton('pair', ('a', 'b'), (('a', 'b'),), groups={'both': ('a', 'b')})
    assert get_skeleton(spec).groups == {'both': ('a', 'b')}


THREE = dict(name='x', keypoints=['a', 'b', 'c'])


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        (dict(name='x', keypoints=[]), 'needs keypoints with distinct names'),
        (dict(name='x', keypoints=['a', 'a']), 'needs keypoints with distinct names'),
        (dict(name='x', keypoints=['hand'], limbs=[('hand', 'hnad')]), "has no keypoint 'hnad'; closest: 'hand'"),
        (
            dict(name='x', keypoints=['a', 'b', 'c'], flip_pairs=[('a', 'b'), ('b', 'c')]),
            'flip_pairs contain a keypoint more than once',
        ),
        (dict(name='x', keypoints=['a', 'b'], sigmas=[0.1]), '2 keypoints but 1 sigmas'),
        (dict(name='x', keypoints=3), 'needs keypoints with distinct names, a list as in .*; got 3'),
        (dict(name='x', keypoints='abc'), "got 'abc'"),
        (dict(name='x', keypoints=['a', 1]), 'distinct names'),
        (dict(name='x', keypoints=['Left Eye', 'left_eye']), "'Left Eye' and 'left_eye' are the same"),
        (dict(THREE, flip_pairs=[(0, 1)]), "flip_pairs has names .*, not indices; got 0; write 'a' if"),
        (
            dict(THREE, flip_pairs=[('a', 'b', 'c')]),
            r"flip_pairs has pairs of two keypoint names; got \('a', 'b', 'c'\)",
        ),
        (dict(THREE, flip_pairs=[('a', 'a')]), "flip_pairs has a pair of 'a' with itself"),
        (dict(THREE, flip_pairs=5), 'flip_pairs is a list of pairs'),
        (dict(THREE, limbs=[('a', 'a')]), "limbs has a pair of 'a' with itself"),
        (dict(THREE, limbs=['ab']), "limbs has pairs of two keypoint names; got 'ab'"),
        (dict(THREE, torso=('a',)), 'torso is a pair of two keypoint names'),
        (dict(THREE, torso='a'), 'torso is a pair of two keypoint names'),
        (dict(THREE, head=('a', 'a')), "head has a pair of 'a' with itself"),
        (dict(THREE, centric='viewer'), "centric is 'person' or 'observer'; got 'viewer'"),
        (dict(THREE, groups=dict(arm='a')), 'groups is a dict with lists of keypoint names'),
        *(
            (dict(THREE, sigmas=[0.1, 0.1, sigma]), f'sigmas are .*; got {sigma!r} for keypoint 2')
            for sigma in (0, -0.1, float('nan'), float('inf'), '0.1', None, True, 25)
        ),
        (dict(THREE, sigmas=0.1), 'sigmas is a list of one positive number per keypoint; got 0.1'),
        (dict(name='x', keypoint=['a']), "a skeleton has no argument 'keypoint'; closest: 'keypoints'"),
        (17, 'a skeleton is a name, a dict of its fields or a Skeleton; got int'),
        ('lps', "skeleton 'lps' is not registered; closest: 'lsp'"),
    ],
)
def test_an_invalid_skeleton_is_an_error_that_names_the_mistake(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_skeleton(spec)


def test_another_skeleton_of_a_taken_name_is_an_error_that_names_both_modules():
    with pytest.raises(PluginError, match=r'already registered by poseplug\.skeletons\.lsp\.lsp; .*test_skeleton\.lsp'):
        register_skeleton(Skeleton('lsp', ('nose',)), __name__)
    assert len(get_skeleton('lsp')) == 14


def test_merged_skeletons_have_every_keypoint_once_and_map_back_by_name():
    merged = get_skeleton('lsp+coco')
    assert len(merged) == 14 + 17 - 12
    assert len(set(merged.keypoints)) == len(merged)
    for name in ('lsp', 'coco'):
        skeleton = get_skeleton(name)
        assert merged.indices_in(skeleton).max() == len(skeleton) - 1
        indices = skeleton.indices_in(merged)
        assert [merged.keypoints[i] for i in indices] == list(skeleton.keypoints)
        np.testing.assert_array_equal(merged.flip_indices[indices], indices[skeleton.flip_indices])
    assert merged.torso == ('right_hip', 'left_shoulder')
    assert merged.sigmas is None  # LSP has no sigma of its head top


def test_a_skeleton_merged_with_itself_has_no_more_keypoints_and_left_must_mean_the_same():
    assert get_skeleton('lsp+lsp').keypoints == get_skeleton('lsp').keypoints
    with pytest.raises(ConfigError, match=r"'lsp' is person-centric, 'flic' is observer-centric: left and right"):
        get_skeleton('lsp+flic')


@pytest.mark.parametrize('names', [
    ('left_eye', 'right_eye', 'nose'), ('Left Eye', 'Right Eye', 'Nose'), ('eye-L', 'eye-R', 'nose'),
    ('leftEye', 'rightEye', 'nose'), ('lefteye', 'righteye', 'nose'), ('L_Eye', 'R_Eye', 'Nose'),
    ('eye.left', 'eye.right', 'n'),
])  # fmt: skip
def test_flip_pairs_follow_from_left_and_right_in_the_names_and_are_reported(names, caplog):
    with caplog.at_level('INFO', logger='poseplug'):
        skeleton = Skeleton('face', names)
    assert skeleton.flip_pairs == (names[:2],)
    assert skeleton.flip_indices.tolist() == [1, 0, 2]
    assert (
        f"skeleton 'face' has no flip_pairs; taken from the names of its keypoints: {names[0]} - {names[1]}"
        in caplog.text
    )


@pytest.mark.parametrize(('names', 'pairs'), [
    (['RHip', 'LHip', 'LBigToe', 'RBigToe', 'MidHip'], [('LHip', 'RHip'), ('LBigToe', 'RBigToe')]),  # as OpenPose
    (['lhip', 'rhip', 'rib', 'leg', 'lip'], [('lhip', 'rhip')]),
    (['lf_paw', 'rf_paw', 'lh_paw', 'rh_paw'], [('lf_paw', 'rf_paw'), ('lh_paw', 'rh_paw')]),
    (['eye (L)', 'eye (R)'], [('eye (L)', 'eye (R)')]),
    (['lefteye', 'righteye', 'earLeft', 'earRight'], [('lefteye', 'righteye'), ('earLeft', 'earRight')]),
    (['left_ear', 'right_ear', 'lear', 'rear'], [('left_ear', 'right_ear'), ('lear', 'rear')]),
    (['eyel', 'eyer'], [('eyel', 'eyer')]),
])  # fmt: skip
def test_flip_pairs_follow_from_sides_at_the_begin_or_end_of_a_word(names, pairs):
    assert list(infer_flip_pairs(names)) == pairs


def test_a_keypoint_of_one_side_alone_is_reported_since_a_flipped_image_has_no_name_for_it(caplog):
    skeleton = Skeleton('arm', ('left_wrist', 'left_elbow', 'right_elbow'))
    assert skeleton.flip_pairs == (('left_elbow', 'right_elbow'),)
    (record,) = [record for record in caplog.records if record.levelname == 'WARNING']
    assert "skeleton 'arm': left_wrist have no counterpart on the other side" in record.getMessage()


def test_names_without_sides_imply_no_flip_pairs():
    assert Skeleton('tail', ('tail_left_1', 'tail_right_2', 'bright', 'cleft')).flip_pairs == ()


@pytest.mark.parametrize('name', SKELETONS.list_names())
def test_the_names_of_a_registered_skeleton_imply_no_other_flip_pairs(name):
    """Numbered keypoints imply none; where names have sides, the pairs are those that were written down."""
    skeleton = get_skeleton(name)
    implied = {frozenset(pair) for pair in infer_flip_pairs(skeleton.keypoints)}
    assert implied <= {frozenset(pair) for pair in skeleton.flip_pairs}


def test_flip_pairs_that_lack_a_left_and_a_right_are_reported(caplog):
    names = ('left_eye', 'right_eye', 'left_ear', 'right_ear')
    Skeleton('head', names, flip_pairs=(('left_eye', 'right_eye'),))
    (record,) = caplog.records
    assert record.levelname == 'WARNING'
    assert 'flip_pairs lack left_ear - right_ear' in record.getMessage()


def test_skeletons_of_lists_arrays_and_tuples_are_equal():
    lists = Skeleton('pair', ['a', 'b'], limbs=[['a', 'b']], torso=['a', 'b'], sigmas=np.array([0.1, 0.2]))
    assert lists == Skeleton('pair', ('a', 'b'), limbs=(('a', 'b'),), torso=('a', 'b'), sigmas=(0.1, 0.2))
    assert hash(lists.keypoints)


def test_two_limbs_between_the_same_keypoints_are_an_error():
    with pytest.raises(ConfigError, match="limbs connect 'a' and 'b' more than once"):
        Skeleton('pair', ('a', 'b'), limbs=(('a', 'b'), ('b', 'a')))
