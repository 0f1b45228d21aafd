"""The scale of a person from limb lengths: worked by hand, and with unlabeled keypoints."""

import numpy as np
import pytest

from poseplug.core.instances import Instances
from poseplug.data.sources.limb_scale import estimate_limb_scales
from poseplug.skeletons.lsp import LSP

NECK, HEAD = LSP.index('neck'), LSP.index('head_top')


def make_instances(*keypoints, unlabeled=()):
    """People with all keypoints labeled except `unlabeled`: (person, keypoint)."""
    visible = np.full((len(keypoints), 14), 2, np.uint8)
    for person, name in unlabeled:
        visible[person, LSP.index(name)] = 0
    return Instances.from_annotations(np.asarray(keypoints, np.float32).reshape(-1, 14, 2), visible)


def make_body(size=1.0):
    """A person whose neck and head top are 35 px apart, times `size`; no two keypoints are 100 px apart."""
    points = np.random.default_rng(4).uniform(0, 70, (14, 2))
    points[HEAD], points[NECK] = (30, 0), (30, 35)
    return points * size


def compute_scales(instances):
    return estimate_limb_scales(instances, LSP).tolist()


def test_a_head_of_35_px_is_scale_1_and_scale_grows_with_size():
    instances = make_instances(make_body(), make_body(0.5), make_body(2.0))
    assert compute_scales(instances) == pytest.approx([1.0, 0.5, 2.0], rel=1e-5)


def test_a_person_without_a_head_has_the_scale_of_the_other_limbs():
    instances = make_instances(make_body(), make_body(0.5), make_body(0.5), unlabeled=[(1, 'head_top')])
    assert compute_scales(instances) == pytest.approx([1.0, 0.5, 0.5])


def test_three_quarters_of_the_limbs_may_be_foreshortened():
    """Of 13 limbs the 0.75 quantile is the tenth: three limbs of full length suffice."""
    short = make_body()
    legs = [LSP.index(f'{side}_{name}') for side in ('left', 'right') for name in ('knee', 'ankle')]
    short[legs] = short[LSP.index('left_hip')]
    others = [make_body() for _ in range(4)]
    assert compute_scales(make_instances(*others, short))[-1] == pytest.approx(1.0, abs=0.05)


def test_a_person_too_long_for_the_input_is_enlarged_less():
    """Keypoints 1,000 px apart at 41/35 over the scale cover 304 px."""
    long = make_body()
    long[LSP.index('left_wrist')] = (1000, 0)
    long[LSP.index('right_wrist')] = (0, 0)
    instances = make_instances(*[make_body()] * 5, long)
    assert compute_scales(instances)[-1] == pytest.approx(41 / 35 * 1000 / 304, rel=1e-5)


def test_a_person_with_a_single_keypoint_gets_the_median_scale():
    unlabeled = [(3, name) for name in LSP.keypoints if name != 'neck']
    instances = make_instances(make_body(0.5), make_body(), make_body(2.0), make_body(), unlabeled=unlabeled)
    assert compute_scales(instances) == pytest.approx([0.5, 1.0, 2.0, 1.0], rel=1e-5)


def test_nobody_has_no_scales():
    assert compute_scales(make_instances()) == []
