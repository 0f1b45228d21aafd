"""CrowdPose's numbers worked by hand: which image is easy, what an area is, which instances are ignored."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.crowdpose import CROWDPOSE
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record

KEYPOINTS = np.random.default_rng(0).uniform(0, 100, (1, 17, 2))
BOX = np.array([[0, 0, 100, 100.0]])


def make_record(name, index, visible=2, **fields) -> Record:
    return create_annotated_record(
        Path(name), name, KEYPOINTS, np.full((1, 17), visible), 'made', boxes=BOX, crowd_index=index, **fields
    )


def make_poses(error=0.0) -> Poses:
    return Poses(KEYPOINTS + error, np.ones((1, 17)), np.ones(1))


def evaluate(*pairs, **settings):
    metric = CrowdPoseAP(COCO, **settings)
    for predictions, record in pairs:
        metric.update(predictions, record)
    return metric.compute()


def has_note(scores, *words) -> bool:
    return any(all(word in note for word in words) for note in scores.notes)


def test_images_are_easy_below_0_2_and_hard_from_0_8():
    """The misses are at 0.2 and 0.8, the first of medium and hard; 0.1999 is easy and 0.7999 is medium."""
    indices = {0.0: 0, 0.1999: 0, 0.2: 1000, 0.7999: 0, 0.8: 1000, 1.0: 1000}
    scores = evaluate(*((make_poses(error), make_record(f'{index}', index)) for index, error in indices.items()))
    assert (scores.values['AP_easy'], scores.values['AP_hard']) == (100, 0)
    assert 0 < scores.values['AP_medium'] < 100
    assert scores.values['AR'] == 50
    assert has_note(scores, 'AP_hard 0: no predicted instance is close enough')
    assert has_note(scores, 'crowd index below 0.2 is easy, from 0.8 on hard')


def test_the_bounds_of_medium_and_hard_are_a_setting():
    pairs = ((make_poses(), make_record('a', 0.15)), (make_poses(1000), make_record('b', 0.3)))
    assert evaluate(*pairs).values['AP_easy'] == 100
    assert 'AP_easy' not in evaluate(*pairs, crowd_index_bounds=(0.1, 0.8)).values
    with pytest.raises(ConfigError, match='crowd_index_bounds is two numbers from 0 to 1'):
        evaluate(crowd_index_bounds=(0.8, 0.1))


def test_the_area_is_that_of_the_box_and_not_the_annotated_one():
    """Each keypoint off by sigma times the root of 0.53 x 100 x 100 px²: OKS exp(-1/8) by the box, 0 else."""
    offset = np.sqrt(0.53 * 1e4) * np.array(COCO.sigmas)[None, :, None] * [1.0, 0.0]
    record = make_record('a', 0.5, areas=np.array([100.0]))
    assert evaluate((make_poses(offset), record)).values['AP'] == pytest.approx(80)  # OKS 0.88, as in COCO's own test
    other = OKSAP(COCO)
    other.update(make_poses(offset), record)
    assert other.compute().values['AP'] == 0


def test_occluded_keypoints_count_and_those_of_head_and_neck_alone_do_not():
    """The number that a file states decides where there is one."""
    flags = np.zeros((1, 17), int)
    flags[0, :2] = 2
    metric = CrowdPoseAP(COCO, uncounted_keypoints=('nose', 'left_eye'))
    for name, visible, error, stated in (('a', 1, 1000, None), ('b', flags, 1000, None), ('c', flags, 0, [2])):
        record = make_record(name, 0.5, visible, stated_counts=stated and np.array(stated))
        metric.update(make_poses(error), record)
    scores = metric.compute()
    assert has_note(scores, '1 annotated instances without a labeled keypoint that counts are ignored')
    assert scores.values['AR'] == 50  # a is missed, b is ignored, c is found


def test_images_without_a_crowd_index_count_in_the_total_alone_and_are_noted():
    scores = evaluate((make_poses(), make_record('a', np.nan)), (make_poses(), make_record('b', 0.5)))
    assert scores.values['AP'] == scores.values['AP_medium'] == 100
    assert has_note(scores, '1 of 2 images have no crowd index')
    assert has_note(scores, 'AP_easy, AP_hard not reported: no instance is annotated in such images')


def test_without_annotations_there_are_no_values_and_without_sigmas_an_error():
    assert evaluate().values == {}
    assert has_note(evaluate(), 'no AP: no instance is annotated in 0 images')
    with pytest.raises(ConfigError, match="'lsp' has no sigmas"):
        CrowdPoseAP(LSP)


@pytest.mark.parametrize(('names', 'message'), [
    ('neck', r"uncounted_keypoints is a list of names.*got 'neck'"),
    (('head', 'neck'), "'head'"),
    (None, 'list of names'),
])  # fmt: skip
def test_an_uncounted_keypoint_that_is_none_is_refused(names, message):
    with pytest.raises(ConfigError, match=message):
        CrowdPoseAP(CROWDPOSE, uncounted_keypoints=names)
    CrowdPoseAP(COCO)  # the default suits skeletons without head and neck
