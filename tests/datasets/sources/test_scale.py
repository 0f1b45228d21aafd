"""The scale of a person from limb lengths: hand-worked, and in the face of missing joints."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.datasets.sources.scale import limb_scales
from poseplug.sample import Record
from poseplug.skeletons.lsp import LSP

NECK, HEAD = LSP.index('neck'), LSP.index('head_top')


def people(*keypoints, hidden=()):
    """Records of one person each, all joints labelled but those of `hidden`: (person, joint)."""
    visible = np.full((len(keypoints), 14), 2, np.uint8)
    for person, joint in hidden:
        visible[person, LSP.index(joint)] = 0
    pairs = zip(keypoints, visible, strict=True)
    return [Record(Path('a.jpg'), 'a', np.asarray(k, np.float32)[None], v[None]) for k, v in pairs]


def body(size=1.0):
    """A person whose neck and head top are 35 px apart, times `size`; no joint farther than 100 px from another."""
    points = np.random.default_rng(4).uniform(0, 70, (14, 2))
    points[HEAD], points[NECK] = (30, 0), (30, 35)
    return points * size


def scales(records):
    return [float(r.scales[0]) for r in limb_scales(records, LSP)]


def test_a_head_of_35_px_is_scale_1_and_scale_grows_with_size():
    assert scales(people(body(), body(0.5), body(2.0))) == pytest.approx([1.0, 0.5, 2.0], rel=1e-5)


def test_a_person_without_a_head_has_the_scale_of_the_other_limbs():
    assert scales(people(body(), body(0.5), body(0.5), hidden=[(1, 'head_top')])) == pytest.approx([1.0, 0.5, 0.5])


def test_three_quarters_of_the_limbs_may_be_shortened():
    """Of 13 limbs the 0.75 quantile is the tenth: three limbs seen at full length suffice."""
    short = body()
    legs = [LSP.index(f'{side}_{joint}') for side in ('left', 'right') for joint in ('knee', 'ankle')]
    short[legs] = short[LSP.index('left_hip')]
    whole = [body() for _ in range(4)]
    assert scales(people(*whole, short))[-1] == pytest.approx(1.0, abs=0.05)


def test_a_person_too_long_for_the_input_is_enlarged_less():
    """Joints 1,000 px apart at 41/35 over the scale fill 304 px."""
    long = body()
    long[LSP.index('left_wrist')] = (1000, 0)
    long[LSP.index('right_wrist')] = (0, 0)
    assert scales(people(*[body()] * 5, long))[-1] == pytest.approx(41 / 35 * 1000 / 304, rel=1e-5)


def test_whoever_has_a_single_joint_gets_the_usual_scale():
    others = [(3, joint) for joint in LSP.joints if joint != 'neck']
    found = scales(people(body(0.5), body(), body(2.0), body(), hidden=others))
    assert found == pytest.approx([0.5, 1.0, 2.0, 1.0], rel=1e-5)


def test_nobody_has_no_scale():
    assert limb_scales([], LSP) == []
