from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from poseplug.errors import ConfigError, PluginError
from poseplug.registry import SKELETONS
from poseplug.skeleton import Skeleton, get_skeleton, register_skeleton
from poseplug.testing import SMALL

EVERY = [get_skeleton(name) for name in SKELETONS.names()]


@pytest.mark.parametrize('skeleton', EVERY, ids=lambda s: s.name)
def test_a_mirror_is_its_own_inverse_and_exchanges_left_and_right(skeleton):
    joints = np.array(skeleton.joints)
    np.testing.assert_array_equal(skeleton.mirror[skeleton.mirror], np.arange(len(skeleton)))
    exchanged = [j.replace('left', '?').replace('right', 'left').replace('?', 'right') for j in joints]
    assert joints[skeleton.mirror].tolist() == exchanged


@pytest.mark.parametrize('skeleton', EVERY, ids=lambda s: s.name)
def test_limbs_have_a_mirror_image(skeleton):
    limbs = {frozenset(pair) for pair in skeleton.limb_indices.tolist()}
    assert limbs == {frozenset(skeleton.mirror[list(pair)].tolist()) for pair in limbs}


@pytest.mark.parametrize('skeleton', EVERY, ids=lambda s: s.name)
def test_it_is_known_by_its_own_name_and_survives_copying(skeleton):
    assert get_skeleton(skeleton.name) is skeleton
    assert copy.deepcopy(skeleton) == pickle.loads(pickle.dumps(skeleton)) == skeleton


def test_lsp_counts_from_the_right_ankle_and_measures_from_right_hip_to_left_shoulder():
    lsp = get_skeleton('lsp')
    assert [lsp.index(j) for j in ('right_ankle', 'left_ankle', 'neck', 'head_top')] == [0, 5, 12, 13]
    assert [lsp.index(j) for j in lsp.torso] == [2, 9]
    assert [(a, b) for a, b in enumerate(lsp.mirror) if a < b] == [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)]


def test_flic_has_the_nine_joints_that_cpm_uses():
    flic = get_skeleton('flic')
    assert [(a, b) for a, b in enumerate(flic.mirror) if a < b] == [(0, 3), (1, 4), (2, 5), (6, 7)]
    assert flic.joints[8] == 'head'


def test_joints_are_found_in_another_skeleton_by_name():
    other = Skeleton('other', ('left_hand', 'tail', 'nose'))
    assert SMALL.mapping(other).tolist() == [2, 0, -1]


def test_a_dict_of_fields_is_a_skeleton_with_its_lists_as_tuples():
    spec = dict(name='pair', joints=['a', 'b'], limbs=[['a', 'b']], groups=dict(both=['a', 'b']))
    assert get_skeleton(spec) == Skeleton('pair', ('a', 'b'), (('a', 'b'),), groups={'both': ('a', 'b')})
    assert get_skeleton(spec).groups == {'both': ('a', 'b')}


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        (dict(name='x', joints=[]), 'needs joints of distinct names'),
        (dict(name='x', joints=['a', 'a']), 'needs joints of distinct names'),
        (dict(name='x', joints=['hand'], limbs=[('hand', 'hnad')]), "has no joint 'hnad'; closest: 'hand'"),
        (dict(name='x', joints=['a', 'b', 'c'], swaps=[('a', 'b'), ('b', 'c')]), 'stands in two left-right pairs'),
        (dict(name='x', joints=['a', 'b'], sigmas=[0.1]), '2 joints but 1 sigmas'),
        (dict(name='x', joint=['a']), "a skeleton has no argument 'joint'; closest: 'joints'"),
        (17, 'a skeleton is a name, a dict of its fields or a Skeleton; got int'),
        ('lps', "skeleton 'lps' is not registered; closest: 'lsp'"),
    ],
)
def test_what_is_no_skeleton_is_told(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_skeleton(spec)


def test_another_skeleton_of_a_taken_name_is_an_error_that_names_both_modules():
    with pytest.raises(PluginError, match=r'already registered by poseplug\.skeletons\.lsp\.lsp; .*test_skeleton\.lsp'):
        register_skeleton(Skeleton('lsp', ('nose',)))
    assert len(get_skeleton('lsp')) == 14


def test_a_union_has_every_joint_once_and_maps_back_to_its_parts_by_name():
    both = get_skeleton('lsp+coco')
    assert len(both) == 14 + 17 - 12
    assert len(set(both.joints)) == len(both)
    for part in ('lsp', 'coco'):
        skeleton = get_skeleton(part)
        assert both.mapping(skeleton).max() == len(skeleton) - 1
        places = skeleton.mapping(both)
        assert [both.joints[i] for i in places] == list(skeleton.joints)
        np.testing.assert_array_equal(both.mirror[places], places[skeleton.mirror])
    assert both.torso == ('right_hip', 'left_shoulder')
    assert both.sigmas is None  # nobody knows that of LSP's head top


def test_a_union_with_itself_has_no_more_joints_and_left_must_mean_the_same():
    assert get_skeleton('lsp+lsp').joints == get_skeleton('lsp').joints
    with pytest.raises(ConfigError, match=r"'lsp' is person-centric, 'flic' is observer-centric: left and right"):
        get_skeleton('lsp+flic')
