"""COCO's figures by hand, and what is said of what they leave out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError, MismatchError
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP


def people(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 17, 2) joints scattered over bodies of 20 to 260 px."""
    sizes = rng.uniform(20, 260, (count, 1, 1))
    return rng.uniform(50, 400, (count, 1, 2)) + sizes * rng.random((count, 17, 2))


def record(name: str, joints: np.ndarray, visible: np.ndarray) -> Record:
    low, high = joints.min(axis=1), joints.max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    areas = (high - low).prod(axis=1) * 0.6
    return Record(Path(f'{name}.jpg'), name, joints, visible, 'made', boxes=boxes, areas=areas)


def test_perfect_predictions_score_100():
    joints = people(np.random.default_rng(0), 6)
    metric = OKSAP(COCO)
    metric.add(Poses(joints, np.ones((6, 17)), np.ones(6)), record('a', joints, np.full((6, 17), 2)))
    scores = metric.compute().values
    assert scores['AP'] == scores['AR'] == 100


def test_a_person_off_by_the_oks_constant_has_the_oks_of_exp_minus_an_eighth():
    """OKS = exp(-d² / (2 area (2 sigma)²)): at d = sqrt(area) sigma it is exp(-1/8) = 0.88, correct up to 0.85."""
    joints = people(np.random.default_rng(1), 1)
    truth = record('a', joints, np.full((1, 17), 2))
    assert truth.areas is not None
    step = np.sqrt(truth.areas[0]) * np.array(COCO.sigmas)[None, :, None] * [1.0, 0.0]
    metric = OKSAP(COCO)
    metric.add(Poses(joints + step, np.ones((1, 17)), np.ones(1)), truth)
    assert metric.compute().values['AP'] == pytest.approx(80.0)  # 8 of the 10 thresholds 0.50, 0.55, ..., 0.95


def test_pictures_added_once_a_person_count_their_people_once():
    joints = people(np.random.default_rng(5), 3)
    truth = record('a', joints, np.full((3, 17), 2))
    metric = OKSAP(COCO)
    for n in range(3):
        metric.add(Poses(joints[n : n + 1], np.ones((1, 17)), np.ones(1)), truth.led_by(n))
    assert metric.compute().values['AP'] == 100


def test_a_size_that_nobody_has_is_left_out_and_said():
    joints = people(np.random.default_rng(0), 1) * 0.01
    truth = replace(record('a', joints, np.full((1, 17), 2)), areas=np.array([9000.0]))
    metric = OKSAP(COCO)
    metric.add(Poses(joints, np.ones((1, 17)), np.ones(1)), truth)
    scores = metric.compute()
    assert 'AP_large' not in scores.values
    assert any('AP_large' in note for note in scores.notes)


def test_an_area_that_is_missing_is_estimated_and_said():
    joints = people(np.random.default_rng(0), 1)
    metric = OKSAP(COCO)
    metric.add(
        Poses(joints, np.ones((1, 17)), np.ones(1)), replace(record('a', joints, np.full((1, 17), 2)), areas=None)
    )
    assert any('0.53' in note for note in metric.compute().notes)


def found(joints, scores=None, **fields) -> Poses:
    return Poses(
        joints, np.ones(joints.shape[:2]), np.ones(len(joints)) if scores is None else np.asarray(scores), **fields
    )


NOBODY = Poses(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))


def measured(*pairs, **settings):
    metric = OKSAP(COCO, **settings)
    for predicted, true in pairs:
        metric.add(predicted, true)
    return metric.compute()


def seen(joints):
    return np.full(joints.shape[:2], 2)


def said(scores, *words) -> bool:
    return any(all(word in note for word in words) for note in scores.notes)


def test_a_wrong_person_ranked_above_the_right_one_halves_precision():
    joints = people(np.random.default_rng(2), 1)
    both = found(np.concatenate([joints + 500, joints]), [0.9, 0.8])
    assert measured((both, record('a', joints, seen(joints)))).values['AP'] == 50


def test_a_copy_costs_precision_until_it_is_suppressed_which_is_said():
    """Ranked right, copy, right: the copy is a false one. Soft suppression only reorders within the best twenty."""
    joints = people(np.random.default_rng(2), 1)
    copies = (found(np.concatenate([joints, joints]), [0.9, 0.8]), record('a', joints, seen(joints)))
    last = (found(joints + 50, [0.1]), record('b', joints + 50, seen(joints)))
    assert measured(copies, last).values['AP'] == measured(copies, last, nms='soft_oks').values['AP'] < 90
    clean = measured(copies, last, nms='oks', nms_threshold=0.9)
    assert clean.values['AP'] == 100
    assert said(clean, '1 of 3 predicted people are suppressed by oks 0.9')


def test_soft_suppression_keeps_twenty_of_a_picture():
    joints = people(np.random.default_rng(2), 23)
    scores = measured((found(joints), record('a', joints, seen(joints))), nms='soft_oks')
    assert said(scores, '3 of 23 predicted people are suppressed by soft_oks 0.9')


def test_more_than_twenty_people_of_a_picture_do_not_count_and_that_is_said():
    joints = people(np.random.default_rng(2), 23)
    scores = measured((found(joints), record('a', joints, seen(joints))))
    assert scores.values['AR'] == pytest.approx(100 * 20 / 23, abs=0.01)
    assert said(scores, '3 predicted people beyond the best 20')


def test_rescoring_multiplies_the_boxs_score_by_the_mean_of_the_certain_joints():
    """A box of 0.9 with joints of 0.5 is worth 0.45; one of 0.6 with joints of 0.8, and 0.1 left out, 0.48."""
    joints = people(np.random.default_rng(2), 1)
    truth = record('a', joints, seen(joints))
    wrong, right = np.full((1, 17), 0.5), np.full((1, 17), 0.8)
    right[0, ::2] = 0.1
    ranked = []
    for rescore in ('none', 'joints'):
        metric = OKSAP(COCO, rescore=rescore)
        metric.add(Poses(joints + 500, wrong, np.array([0.9])), crop(truth, 0.9))
        metric.add(Poses(joints, right, np.array([0.6])), crop(truth, 0.6))
        ranked.append(metric.compute().values['AP'])
        scores = sorted(r['score'] for r in metric.people.results())
    assert ranked == [50, 100]
    assert scores == pytest.approx([0.45, 0.48])


def crop(truth: Record, score: float) -> Record:
    """The record of a box that a detector found."""
    return Record(truth.path, truth.id, np.zeros((1, 17, 2)), np.zeros((1, 17), int), boxes=truth.boxes[:1],
                  box_scores=np.array([score]), truth=truth)  # fmt: skip


def test_a_person_without_any_certain_joint_is_worth_nothing_and_annotated_boxes_are_worth_1():
    joints = people(np.random.default_rng(2), 1)
    metric = OKSAP(COCO, rescore='joints')
    metric.add(Poses(joints, np.full((1, 17), 0.2), np.ones(1)), record('a', joints, seen(joints)))
    metric.add(Poses(joints, np.full((1, 17), 0.4), np.ones(1)), record('b', joints, seen(joints)))
    assert [r['score'] for r in metric.people.results()] == pytest.approx([0, 0.4])


def test_suppression_goes_by_the_detectors_box_the_predicted_one_or_the_joints():
    joints = people(np.random.default_rng(2), 1)
    truth = record('a', joints, seen(joints))
    low, high = joints.min(axis=1), joints.max(axis=1)
    hull = float((high - low).prod())
    metric = OKSAP(COCO)
    metric.add(found(joints), truth)
    metric.add(found(joints), replace(crop(truth, 0.5), boxes=np.array([[0, 0, 10, 20.0]])))
    metric.add(found(joints, boxes=np.array([[0, 0, 3, 4.0]])), crop(truth, 0.5))
    assert sorted(metric.people.kept('a').areas) == pytest.approx([12, 200, hull])


def test_ignored_regions_and_people_without_joints_count_neither_way_and_are_said():
    joints = people(np.random.default_rng(4), 3)
    flags = seen(joints)
    flags[1] = 0
    truth = replace(record('a', joints, flags), ignore=np.array([[1000, 1000, 1400, 1400.0]]))
    away = joints[:2] - joints[:2].min(axis=1, keepdims=True) + 1050
    predicted = found(np.concatenate([joints, away]), [0.5, 0.6, 0.7, 0.9, 0.8])
    scores = measured((predicted, truth))
    assert scores.values['AP'] == 100
    assert said(scores, '1 annotated people without a labelled joint are ignored')
    assert said(scores, '1 ignored regions')


def test_pictures_without_predictions_cost_recall_and_are_said():
    joints = people(np.random.default_rng(4), 2)
    truths = [record(name, joints, seen(joints)) for name in 'ab']
    scores = measured((found(joints), truths[0]), (NOBODY, truths[1]))
    assert scores.values['AR'] == 50
    assert said(scores, '1 of 2 pictures have nobody predicted: their 2 people are missed')


def test_nobody_predicted_at_all_is_0_and_says_why():
    joints = people(np.random.default_rng(4), 2)
    scores = measured((NOBODY, record('a', joints, seen(joints))))
    assert set(scores.values.values()) == {0}
    assert said(scores, '1 of 1 pictures have nobody predicted')
    assert said(scores, 'AP, AP50, AP75', ' 0: no predicted person comes near enough')


def test_nobody_annotated_is_no_figure_and_says_why():
    joints = people(np.random.default_rng(4), 1)
    scores = measured((found(joints), record('a', joints, 0 * seen(joints))))
    assert scores.values == {}
    assert said(scores, 'no AP: nobody is annotated in 1 pictures')


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_dropped_and_counted(bad):
    joints = people(np.random.default_rng(4), 3)
    spoiled = joints.copy()
    spoiled[1, 3, 0] = bad
    scores = measured((found(spoiled, [1, 1, bad]), record('a', joints, seen(joints))))
    assert scores.values['AR'] == pytest.approx(33.33)
    assert said(scores, '2 predicted people hold a position or a score that is not a finite number: dropped')


def test_an_annotated_person_predicted_twice_counts_once():
    joints = people(np.random.default_rng(4), 2)
    truth = replace(record('a', joints, seen(joints)), numbers=np.array([7, 9]))
    pairs = [(found(joints[n : n + 1]), truth.led_by(n)) for n in (0, 1, 0)]
    scores = measured(*pairs)
    assert scores.values['AP'] == 100
    assert said(scores, '1 predicted people are of an annotated person who was predicted before')


@pytest.mark.parametrize('seed', range(5))
def test_neither_the_order_of_pictures_nor_that_of_people_matters_even_with_equal_scores(seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for name in 'abcdef':
        joints = people(rng, 3)
        truth = record(name, joints, seen(joints))
        noisy = joints + rng.normal(0, 8, joints.shape)
        pairs += [(found(noisy[n : n + 1], [0.5]), truth.led_by(n)) for n in range(3)]
    orders = [range(18), rng.permutation(18), rng.permutation(18)]
    figures = [measured(*(pairs[n] for n in order), nms='oks', nms_threshold=0.3).values for order in orders]
    assert figures[0] == figures[1] == figures[2]


def test_settings_that_fit_nothing_are_refused():
    with pytest.raises(ConfigError, match='sigmas'):
        OKSAP(LSP)
    with pytest.raises(ConfigError, match="OKSAP: evaluator is one of 'faster-coco-eval', 'xtcocotools'; got 'coco'"):
        OKSAP(COCO, 'coco')
    with pytest.raises(ConfigError, match="rescore is one of 'none', 'joints'; got 'box'"):
        OKSAP(COCO, rescore='box')
    with pytest.raises(ConfigError, match="nms is one of 'none', 'oks', 'soft_oks'; got True"):
        OKSAP(COCO, nms=True)
    with pytest.raises(ConfigError, match='nms_threshold is an OKS, above 0 and up to 1; got 0'):
        OKSAP(COCO, nms_threshold=0)


def test_people_of_another_skeleton_and_several_people_for_one_box_are_refused():
    joints = people(np.random.default_rng(4), 2)
    truth = record('im3', joints, seen(joints))
    with pytest.raises(MismatchError, match='im3: people are predicted with 14 joints, .* the 17 of skeleton'):
        OKSAP(COCO).add(found(joints[:, :14]), truth)
    three = replace(crop(truth, 0.5), boxes=np.zeros((3, 4)), box_scores=np.ones(3))
    three = replace(three, keypoints=np.zeros((3, 17, 2)), visible=np.zeros((3, 17), int))
    with pytest.raises(MismatchError, match='im3: 2 people are predicted for 3 boxes'):
        OKSAP(COCO, rescore='joints').add(found(joints), three)
