"""The skeletons of data sets: orders, constants and how they meet by name."""

import numpy as np
import pytest

from poseplug.skeleton import get_skeleton

COCO_SIGMAS = [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
               0.089, 0.089]  # fmt: skip
CROWD_SIGMAS = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079]


@pytest.mark.parametrize(('name', 'sigmas'), [('coco', COCO_SIGMAS), ('crowdpose', CROWD_SIGMAS)])
def test_the_constants_are_the_benchmarks(name, sigmas):
    assert list(get_skeleton(name).sigmas) == sigmas


def test_ai_challenger_has_constants_of_its_own():
    aic = get_skeleton('aic')
    assert (aic.joints[0], aic.sigmas[0]) == ('right_shoulder', 0.01388152)
    assert (aic.sigmas[aic.index('left_hip')], aic.sigmas[aic.index('neck')]) == (0.03843971, 0.01236173)


def test_crowdpose_begins_left_and_ends_with_the_neck():
    crowdpose = get_skeleton('crowdpose')
    assert [crowdpose.index(j) for j in ('left_shoulder', 'right_ankle', 'head_top', 'neck')] == [0, 11, 12, 13]


def test_mpii_is_lsp_with_pelvis_and_thorax_between():
    """Places 0 to 5 are LSP's, 6 and 7 are its own, 8 and 9 are LSP's 12 and 13, 10 to 15 are LSP's 6 to 11."""
    mpii, lsp = get_skeleton('mpii'), get_skeleton('lsp')
    assert mpii.mapping(lsp).tolist() == [0, 1, 2, 3, 4, 5, -1, -1, 12, 13, 6, 7, 8, 9, 10, 11]
    assert mpii.joints[6:8] == ('pelvis', 'thorax')


def test_the_groups_of_mpii_leave_out_pelvis_and_thorax():
    mpii = get_skeleton('mpii')
    grouped = [j for group in mpii.groups.values() for j in group]
    assert set(mpii.joints) - set(grouped) == {'pelvis', 'thorax'}


@pytest.mark.parametrize('name', ['crowdpose', 'aic', 'mpii'])
def test_every_joint_of_lsp_is_known_by_the_same_name(name):
    assert (get_skeleton('lsp').mapping(get_skeleton(name)) >= 0).all()


def test_the_union_of_all_has_every_joint_once():
    union = get_skeleton('coco+crowdpose+aic+mpii')
    assert len(union) == 17 + 2 + 2
    assert union.sigmas is None or np.isfinite(union.sigmas).all()
