"""Skeletons that are JSON files: their counts, and what left and right in their names say about flips."""

import json
from pathlib import Path

import numpy as np
import pytest

import poseplug.skeletons
from poseplug.registry import SKELETONS
from poseplug.registry.skeletons import get_skeleton

FOLDER = Path(poseplug.skeletons.__file__).parent / 'data'
NAMES = sorted(file.stem for file in FOLDER.glob('*.json'))
# As the data sets' papers count them: keypoints, and pairs that a flip exchanges.
COUNTS = {
    'aflw19': (19, 8),
    'animalpose': (20, 8),
    'ap10k': (17, 7),
    'coco_wholebody_face': (68, 29),
    'coco_wholebody_hand': (21, 0),
    'deepfashion2': (294, 131),
    'face68': (68, 29),
    'face98': (98, 44),
    'face106': (106, 48),
    'halpe26': (26, 11),
    'halpe136': (136, 61),
    'hand21': (21, 0),
    'humanart21': (21, 10),
    'macaque': (17, 8),
    'posetrack18': (17, 7),
}


@pytest.mark.parametrize('name', NAMES)
def test_a_file_is_a_registered_skeleton(name):
    skeleton = get_skeleton(name)
    assert skeleton.name == name
    assert name in SKELETONS.list_names()
    assert len(skeleton) == COUNTS.get(name, (len(skeleton), 0))[0]
    assert len(skeleton.flip_pairs) == COUNTS.get(name, (0, len(skeleton.flip_pairs)))[1]
    np.testing.assert_array_equal(skeleton.flip_indices[skeleton.flip_indices], np.arange(len(skeleton)))
    assert skeleton.sigmas is None or min(skeleton.sigmas) > 0
    assert json.loads((FOLDER / f'{name}.json').read_text())['source']


@pytest.mark.parametrize('name', NAMES)
def test_keypoints_of_the_left_are_paired_with_those_of_the_right(name):
    skeleton = get_skeleton(name)
    paired = {frozenset(pair) for pair in skeleton.flip_pairs}
    for keypoint in skeleton.keypoints:
        other = keypoint.replace('left_', 'right_') if keypoint.startswith('left_') else keypoint
        if other != keypoint and other in skeleton.keypoints:
            assert frozenset((keypoint, other)) in paired


def test_every_file_is_counted_by_name():
    assert set(COUNTS) <= set(NAMES)


def test_limbs_lead_from_one_side_to_the_same_side():
    for name in ('ap10k', 'macaque', 'halpe26', 'posetrack18', 'humanart21'):
        skeleton = get_skeleton(name)
        flipped = dict(skeleton.flip_pairs) | {right: left for left, right in skeleton.flip_pairs}
        limbs = {frozenset(limb) for limb in skeleton.limbs}
        for limb in skeleton.limbs:
            assert frozenset(flipped.get(keypoint, keypoint) for keypoint in limb) in limbs
