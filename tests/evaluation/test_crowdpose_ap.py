"""CrowdPose's figures by hand: which picture is easy, what an area is, who is ignored."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP

JOINTS = np.random.default_rng(0).uniform(0, 100, (1, 17, 2))
BOX = np.array([[0, 0, 100, 100.0]])


def picture(name, index, visible=2, **fields) -> Record:
    return Record(Path(name), name, JOINTS, np.full((1, 17), visible), 'made', boxes=BOX, crowd_index=index, **fields)


def guess(error=0.0) -> Poses:
    return Poses(JOINTS + error, np.ones((1, 17)), np.ones(1))


def measured(*pairs, **settings):
    metric = CrowdPoseAP(COCO, **settings)
    for predicted, true in pairs:
        metric.add(predicted, true)
    return metric.compute()


def said(scores, *words) -> bool:
    return any(all(word in note for word in words) for note in scores.notes)


def test_pictures_are_easy_below_two_tenths_and_hard_from_eight_tenths():
    """The misses lie at 0.2 and 0.8, the first of their kinds; 0.1999 is easy and 0.7999 is medium."""
    indices = {0.0: 0, 0.1999: 0, 0.2: 1000, 0.7999: 0, 0.8: 1000, 1.0: 1000}
    scores = measured(*((guess(error), picture(f'{index}', index)) for index, error in indices.items()))
    assert (scores.values['AP_easy'], scores.values['AP_hard']) == (100, 0)
    assert 0 < scores.values['AP_medium'] < 100
    assert scores.values['AR'] == 50
    assert said(scores, 'AP_hard 0: no predicted person comes near')
    assert said(scores, 'crowd index below 0.2 is easy, from 0.8 on hard')


def test_splits_are_a_setting():
    pairs = ((guess(), picture('a', 0.15)), (guess(1000), picture('b', 0.3)))
    assert measured(*pairs).values['AP_easy'] == 100
    assert 'AP_easy' not in measured(*pairs, splits=(0.1, 0.8)).values
    with pytest.raises(ConfigError, match='two rising crowd indices'):
        measured(splits=(0.8, 0.1))


def test_the_area_is_that_of_the_box_whatever_the_annotation_says():
    """Each joint off by sigma times the root of 0.53 x 100 x 100 px²: OKS exp(-1/8) by the box, 0 else."""
    step = np.sqrt(0.53 * 1e4) * np.array(COCO.sigmas)[None, :, None] * [1.0, 0.0]
    truth = picture('a', 0.5, areas=np.array([100.0]))
    assert measured((guess(step), truth)).values['AP'] == pytest.approx(80)  # OKS 0.88, as in COCO's own test
    other = OKSAP(COCO)
    other.add(guess(step), truth)
    assert other.compute().values['AP'] == 0


def test_people_without_a_visible_joint_are_ignored_even_with_occluded_ones():
    scores = measured((guess(1000), picture('a', 0.5, visible=1)), (guess(), picture('b', 0.5)))
    assert said(scores, '1 annotated people without a visible joint are ignored')
    assert scores.values['AR'] == 100


def test_pictures_without_a_crowd_index_count_in_all_alone_and_that_is_said():
    scores = measured((guess(), picture('a', None)), (guess(), picture('b', 0.5)))
    assert scores.values['AP'] == scores.values['AP_medium'] == 100
    assert said(scores, '1 of 2 pictures have no crowd index')
    assert said(scores, 'AP_easy, AP_hard not reported: nobody is annotated in such pictures')


def test_nobody_annotated_is_no_figure_and_no_sigmas_are_an_error():
    assert measured().values == {}
    assert said(measured(), 'no AP: nobody is annotated in 0 pictures')
    with pytest.raises(ConfigError, match="'lsp' has no sigmas"):
        CrowdPoseAP(LSP)
