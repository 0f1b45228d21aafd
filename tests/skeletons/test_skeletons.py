"""The skeletons of data sets: orders, constants and how they meet by name."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import get_skeleton

COCO_SIGMAS = [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
               0.089, 0.089]  # fmt: skip
CROWDPOSE_SIGMAS = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079]


@pytest.mark.parametrize(('name', 'sigmas'), [('coco', COCO_SIGMAS), ('crowdpose', CROWDPOSE_SIGMAS)])
def test_the_sigmas_are_those_of_the_benchmark(name, sigmas):
    assert list(get_skeleton(name).sigmas) == sigmas


def test_ai_challenger_has_sigmas_of_its_own():
    aic = get_skeleton('aic')
    assert (aic.keypoints[0], aic.sigmas[0]) == ('right_shoulder', 0.01388152)
    assert (aic.sigmas[aic.index('left_hip')], aic.sigmas[aic.index('neck')]) == (0.03843971, 0.01236173)


def test_crowdpose_begins_left_and_ends_with_the_neck():
    crowdpose = get_skeleton('crowdpose')
    assert [crowdpose.index(j) for j in ('left_shoulder', 'right_ankle', 'head_top', 'neck')] == [0, 11, 12, 13]


def test_mpii_is_lsp_with_pelvis_and_thorax_between():
    """Indices 0 to 5 are LSP's, 6 and 7 are its own, 8 and 9 are LSP's 12 and 13, 10 to 15 are LSP's 6 to 11."""
    mpii, lsp = get_skeleton('mpii'), get_skeleton('lsp')
    assert mpii.indices_in(lsp).tolist() == [0, 1, 2, 3, 4, 5, -1, -1, 12, 13, 6, 7, 8, 9, 10, 11]
    assert mpii.keypoints[6:8] == ('pelvis', 'thorax')


def test_no_group_of_mpii_contains_pelvis_or_thorax():
    mpii = get_skeleton('mpii')
    grouped = [keypoint for group in mpii.groups.values() for keypoint in group]
    assert set(mpii.keypoints) - set(grouped) == {'pelvis', 'thorax'}


@pytest.mark.parametrize('name', ['crowdpose', 'aic', 'mpii'])
def test_every_keypoint_of_lsp_has_the_same_name_elsewhere(name):
    assert (get_skeleton('lsp').indices_in(get_skeleton(name)) >= 0).all()


def test_merging_all_has_every_keypoint_once():
    merged = get_skeleton('coco+crowdpose+aic+mpii')
    assert len(merged) == 17 + 2 + 2
    assert merged.sigmas is None or np.isfinite(merged.sigmas).all()


def parse_pairs(text):
    """'1-2 1-5' to [(1, 2), (1, 5)]."""
    return [tuple(map(int, pair.split('-'))) for pair in text.split()]


GROUPING_ORDERS = {
    'coco18': '1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17 2-16 5-17',
    'body25': '1-8 1-2 1-5 2-3 3-4 5-6 6-7 8-9 9-10 10-11 8-12 12-13 13-14 1-0 0-15 15-17 0-16 16-18 2-17 5-18 14-19 '
    '19-20 14-21 11-22 22-23 11-24',
    'mpii15': '0-1 1-2 2-3 3-4 1-5 5-6 6-7 1-14 14-8 8-9 9-10 14-11 11-12 12-13',
}
FIRST_CHANNELS = {
    'coco18': [12, 20, 14, 16, 22, 24, 0, 2, 4, 6, 8, 10, 28, 30, 34, 32, 36, 18, 26],
    'body25': [0, 14, 22, 16, 18, 24, 26, 6, 2, 4, 8, 10, 12, 30, 32, 36, 34, 38, 20, 28, 40, 42, 44, 46, 48, 50],
    'mpii15': list(range(0, 28, 2)),
}


@pytest.mark.parametrize('name', GROUPING_ORDERS)
def test_limbs_are_grouped_in_the_released_order_from_the_released_channels(name):
    steps = get_skeleton(name).limb_steps
    assert [(step.start, step.end) for step in steps] == parse_pairs(GROUPING_ORDERS[name])
    assert [2 * step.limb for step in steps] == FIRST_CHANNELS[name]


def test_the_fields_of_coco18_are_trained_in_the_released_order():
    order = '1-8 8-9 9-10 1-11 11-12 12-13 1-2 2-3 3-4 2-16 1-5 5-6 6-7 5-17 1-0 0-14 0-15 14-16 15-17'
    assert [tuple(limb) for limb in get_skeleton('coco18').limb_indices.tolist()] == parse_pairs(order)


@pytest.mark.parametrize(('name', 'redundant'), [('coco18', [17, 18]), ('body25', [18, 19]), ('mpii15', [])])
def test_shoulders_to_ears_are_redundant(name, redundant):
    assert [i for i, step in enumerate(get_skeleton(name).limb_steps) if step.redundant] == redundant


def test_the_keypoints_of_coco18_are_cocos_in_the_released_order():
    """The neck, index 1, is none of them."""
    indices = get_skeleton('coco18').indices_in(get_skeleton('coco')).tolist()
    assert indices == [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]


def test_a_neck_is_the_mean_of_two_labeled_shoulders_and_as_visible_as_the_less_visible():
    coco, coco18 = get_skeleton('coco'), get_skeleton('coco18')
    keypoints, visible = np.zeros((3, 17, 2), np.float32), np.full((3, 17), 2)
    keypoints[:, 5], keypoints[:, 6] = (10, 20), (30, 40)
    visible[1, 5], visible[2, 6] = 1, 0
    points, visibilities = coco18.convert_keypoints(coco, keypoints, visible)
    assert visibilities[:, 1].tolist() == [2, 1, 0]
    assert points[:, 1].tolist() == [[20, 30], [20, 30], [0, 0]]
    assert points[0, 2].tolist() == [30, 40]


def test_a_skeleton_knows_which_keypoints_a_data_set_defines():
    body25 = get_skeleton('body25')
    is_defined = body25.defined_keypoints(get_skeleton('coco'))
    undefined = np.array(body25.keypoints)[~is_defined].tolist()
    assert undefined == [f'{side}_{part}' for side in ('left', 'right') for part in ('big_toe', 'small_toe', 'heel')]
    assert get_skeleton('mpii15').defined_keypoints(get_skeleton('mpii')).all()


@pytest.mark.parametrize('name', ['lsp', 'mpii', 'coco', 'crowdpose', 'aic', 'flic'])
def test_without_a_grouping_order_the_limbs_grow_a_tree(name):
    """Every limb once; each but the redundant ones leads from a keypoint that was reached to a new one."""
    skeleton = get_skeleton(name)
    assert sorted(step.limb for step in skeleton.limb_steps) == list(range(len(skeleton.limbs)))
    reached = set()
    for step in skeleton.limb_steps:
        assert {step.start, step.end} == set(skeleton.limb_indices[step.limb].tolist())
        assert step.redundant == ({step.start, step.end} <= reached)
        assert step.end not in reached or step.redundant
        reached |= {step.start, step.end}


def test_lsp_is_a_tree_from_the_neck():
    lsp = get_skeleton('lsp')
    assert len(lsp.limb_steps) == 13
    assert lsp.keypoints[lsp.limb_steps[0].start] == 'neck'
    assert not any(step.redundant for step in lsp.limb_steps)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(grouping_order=(('a', 'b'), ('a', 'c'))), r"grouping_order contains \('a', 'c'\), which is not a limb"),
        (dict(grouping_order=(('a', 'b'),)), 'grouping_order must contain each of the 2 limbs once'),
        (dict(grouping_order=(('a', 'b'), ('b', 'a'))), 'grouping_order must contain each of the 2 limbs once'),
        (dict(redundant_limbs=(('a', 'c'),)), r"redundant_limbs contains \('a', 'c'\), which is not a limb"),
        (dict(derived_keypoints={'d': ('a', 'b')}), "no keypoint 'd'"),
    ],
)
def test_an_order_that_does_not_fit_the_limbs_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        Skeleton('bent', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c')), **settings)
