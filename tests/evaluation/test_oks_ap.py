"""COCO's numbers worked by hand, and the notes on what they exclude."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.testing import change_record, create_annotated_record


def random_keypoints(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 17, 2) keypoints scattered over bodies of 20 to 260 px."""
    sizes = rng.uniform(20, 260, (count, 1, 1))
    return rng.uniform(50, 400, (count, 1, 2)) + sizes * rng.random((count, 17, 2))


def make_record(name: str, keypoints: np.ndarray, visible: np.ndarray) -> Record:
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    areas = (high - low).prod(axis=1) * 0.6
    return create_annotated_record(Path(f'{name}.jpg'), name, keypoints, visible, 'made', boxes=boxes, areas=areas)


def test_perfect_predictions_score_100():
    keypoints = random_keypoints(np.random.default_rng(0), 6)
    metric = OKSAP(COCO)
    metric.update(Poses(keypoints, np.ones((6, 17)), np.ones(6)), make_record('a', keypoints, np.full((6, 17), 2)))
    scores = metric.compute().values
    assert scores['AP'] == scores['AR'] == 100


def test_an_instance_off_by_the_oks_constant_has_the_oks_of_exp_minus_an_eighth():
    """OKS = exp(-d² / (2 area (2 sigma)²)): at d = sqrt(area) sigma it is exp(-1/8) = 0.88, correct up to 0.85."""
    keypoints = random_keypoints(np.random.default_rng(1), 1)
    record = make_record('a', keypoints, np.full((1, 17), 2))
    assert record.instances.has_area.all()
    step = np.sqrt(record.instances.areas[0]) * np.array(COCO.sigmas)[None, :, None] * [1.0, 0.0]
    metric = OKSAP(COCO)
    metric.update(Poses(keypoints + step, np.ones((1, 17)), np.ones(1)), record)
    assert metric.compute().values['AP'] == pytest.approx(80.0)  # 8 of the 10 thresholds 0.50, 0.55, ..., 0.95


def test_images_added_once_per_instance_count_their_annotations_once():
    keypoints = random_keypoints(np.random.default_rng(5), 3)
    record = make_record('a', keypoints, np.full((3, 17), 2))
    metric = OKSAP(COCO)
    for n in range(3):
        metric.update(Poses(keypoints[n : n + 1], np.ones((1, 17)), np.ones(1)), record.put_first(n))
    assert metric.compute().values['AP'] == 100


def test_a_size_without_instances_is_not_reported_but_noted():
    keypoints = random_keypoints(np.random.default_rng(0), 1) * 0.01
    record = change_record(make_record('a', keypoints, np.full((1, 17), 2)), areas=np.array([9000.0]))
    metric = OKSAP(COCO)
    metric.update(Poses(keypoints, np.ones((1, 17)), np.ones(1)), record)
    scores = metric.compute()
    assert 'AP_large' not in scores.values
    assert any('AP_large' in note for note in scores.notes)


def test_a_missing_area_is_estimated_and_noted():
    keypoints = random_keypoints(np.random.default_rng(0), 1)
    metric = OKSAP(COCO)
    metric.update(
        Poses(keypoints, np.ones((1, 17)), np.ones(1)),
        change_record(make_record('a', keypoints, np.full((1, 17), 2)), areas=None),
    )
    assert any('0.53' in note for note in metric.compute().notes)


def make_poses(keypoints, scores=None, **fields) -> Poses:
    return Poses(
        keypoints,
        np.ones(keypoints.shape[:2]),
        np.ones(len(keypoints)) if scores is None else np.asarray(scores),
        **fields,
    )


NO_INSTANCES = Poses(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))


def evaluate(*pairs, **settings):
    metric = OKSAP(COCO, **settings)
    for predictions, record in pairs:
        metric.update(predictions, record)
    return metric.compute()


def mark_all_visible(keypoints):
    return np.full(keypoints.shape[:2], 2)


def has_note(scores, *words) -> bool:
    return any(all(word in note for word in words) for note in scores.notes)


def test_a_wrong_instance_ranked_above_the_correct_one_halves_precision():
    keypoints = random_keypoints(np.random.default_rng(2), 1)
    both = make_poses(np.concatenate([keypoints + 500, keypoints]), [0.9, 0.8])
    assert evaluate((both, make_record('a', keypoints, mark_all_visible(keypoints)))).values['AP'] == 50


def test_a_duplicate_lowers_precision_until_it_is_suppressed_which_is_noted():
    """Ranked correct, duplicate, correct: the duplicate is wrong. Soft suppression keeps all of up to twenty."""
    keypoints = random_keypoints(np.random.default_rng(2), 1)
    duplicates = (
        make_poses(np.concatenate([keypoints, keypoints]), [0.9, 0.8]),
        make_record('a', keypoints, mark_all_visible(keypoints)),
    )
    last = (make_poses(keypoints + 50, [0.1]), make_record('b', keypoints + 50, mark_all_visible(keypoints)))
    assert (
        evaluate(duplicates, last).values['AP'] == evaluate(duplicates, last, nms_mode='soft_oks_nms').values['AP'] < 90
    )
    clean = evaluate(duplicates, last, nms_mode='oks_nms', nms_threshold=0.9)
    assert clean.values['AP'] == 100
    assert has_note(clean, '1 of 3 predicted instances are suppressed by oks_nms at threshold 0.9')


def test_soft_suppression_keeps_twenty_of_an_image():
    keypoints = random_keypoints(np.random.default_rng(2), 23)
    scores = evaluate(
        (make_poses(keypoints), make_record('a', keypoints, mark_all_visible(keypoints))), nms_mode='soft_oks_nms'
    )
    assert has_note(scores, '3 of 23 predicted instances are suppressed by soft_oks_nms at threshold 0.9')


def test_instances_beyond_twenty_of_an_image_do_not_count_and_are_noted():
    keypoints = random_keypoints(np.random.default_rng(2), 23)
    scores = evaluate((make_poses(keypoints), make_record('a', keypoints, mark_all_visible(keypoints))))
    assert scores.values['AR'] == pytest.approx(100 * 20 / 23, abs=0.01)
    assert has_note(scores, '3 predicted instances beyond the 20 highest-scoring')


def test_rescoring_multiplies_the_box_score_by_the_mean_of_confident_keypoint_scores():
    """A box of 0.9 with keypoints of 0.5 scores 0.45; one of 0.6 with keypoints of 0.8, those of 0.1 ignored, 0.48."""
    keypoints = random_keypoints(np.random.default_rng(2), 1)
    record = make_record('a', keypoints, mark_all_visible(keypoints))
    wrong, correct = np.full((1, 17), 0.5), np.full((1, 17), 0.8)
    correct[0, ::2] = 0.1
    aps = []
    for score_mode in ('instance', 'bbox_keypoint'):
        metric = OKSAP(COCO, score_mode=score_mode)
        metric.update(Poses(keypoints + 500, wrong, np.array([0.9])), make_crop(record, 0.9))
        metric.update(Poses(keypoints, correct, np.array([0.6])), make_crop(record, 0.6))
        aps.append(metric.compute().values['AP'])
        scores = sorted(r['score'] for r in metric.collector.to_coco_results())
    assert aps == [50, 100]
    assert scores == pytest.approx([0.45, 0.48])


def make_crop(record: Record, score: float) -> Record:
    """The record of a detector's box."""
    return create_annotated_record(record.path, record.id, np.zeros((1, 17, 2)), np.zeros((1, 17), int), 
                  boxes=record.instances.boxes[:1], box_scores=np.array([score]), ground_truth=record)  # fmt: skip


def test_an_instance_without_a_confident_keypoint_scores_0_and_annotated_boxes_score_1():
    keypoints = random_keypoints(np.random.default_rng(2), 1)
    metric = OKSAP(COCO, score_mode='bbox_keypoint')
    metric.update(
        Poses(keypoints, np.full((1, 17), 0.2), np.ones(1)), make_record('a', keypoints, mark_all_visible(keypoints))
    )
    metric.update(
        Poses(keypoints, np.full((1, 17), 0.4), np.ones(1)), make_record('b', keypoints, mark_all_visible(keypoints))
    )
    assert [r['score'] for r in metric.collector.to_coco_results()] == pytest.approx([0, 0.4])


def test_suppression_uses_the_detectors_box_the_predicted_one_or_the_keypoints():
    keypoints = random_keypoints(np.random.default_rng(2), 1)
    record = make_record('a', keypoints, mark_all_visible(keypoints))
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    extent_area = float((high - low).prod())
    metric = OKSAP(COCO)
    metric.update(make_poses(keypoints), record)
    metric.update(make_poses(keypoints), change_record(make_crop(record, 0.5), boxes=np.array([[0, 0, 10, 20.0]])))
    metric.update(make_poses(keypoints, boxes=np.array([[0, 0, 3, 4.0]])), make_crop(record, 0.5))
    assert sorted(metric.collector.select_predictions(record.key).areas) == pytest.approx([12, 200, extent_area])


def test_ignored_regions_and_instances_without_keypoints_do_not_count_and_are_noted():
    keypoints = random_keypoints(np.random.default_rng(4), 3)
    visible = mark_all_visible(keypoints)
    visible[1] = 0
    record = change_record(make_record('a', keypoints, visible), ignored_boxes=np.array([[1000, 1000, 1400, 1400.0]]))
    away = keypoints[:2] - keypoints[:2].min(axis=1, keepdims=True) + 1050
    predictions = make_poses(np.concatenate([keypoints, away]), [0.5, 0.6, 0.7, 0.9, 0.8])
    scores = evaluate((predictions, record))
    assert scores.values['AP'] == 100
    assert has_note(scores, '1 annotated instances without a labeled keypoint are ignored')
    assert has_note(scores, '1 ignored regions')


def test_images_without_predictions_lower_recall_and_are_noted():
    keypoints = random_keypoints(np.random.default_rng(4), 2)
    records = [make_record(name, keypoints, mark_all_visible(keypoints)) for name in 'ab']
    scores = evaluate((make_poses(keypoints), records[0]), (NO_INSTANCES, records[1]))
    assert scores.values['AR'] == 50
    assert has_note(scores, '1 of 2 images have no predicted instance: their 2 annotated instances are missed')


def test_without_any_prediction_scores_are_0_and_notes_say_why():
    keypoints = random_keypoints(np.random.default_rng(4), 2)
    scores = evaluate((NO_INSTANCES, make_record('a', keypoints, mark_all_visible(keypoints))))
    assert set(scores.values.values()) == {0}
    assert has_note(scores, '1 of 1 images have no predicted instance')
    assert has_note(scores, 'AP, AP50, AP75', ' 0: no predicted instance is close enough')


def test_without_annotations_there_are_no_values_and_notes_say_why():
    keypoints = random_keypoints(np.random.default_rng(4), 1)
    scores = evaluate((make_poses(keypoints), make_record('a', keypoints, 0 * mark_all_visible(keypoints))))
    assert scores.values == {}
    assert has_note(scores, 'no AP: no instance is annotated in 1 images')


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_dropped_and_counted(bad):
    keypoints = random_keypoints(np.random.default_rng(4), 3)
    damaged = keypoints.copy()
    damaged[1, 3, 0] = bad
    scores = evaluate((make_poses(damaged, [1, 1, bad]), make_record('a', keypoints, mark_all_visible(keypoints))))
    assert scores.values['AR'] == pytest.approx(33.33)
    assert has_note(
        scores, '2 predicted instances with a coordinate or a score that is not a finite number are dropped'
    )


def test_an_annotated_instance_predicted_twice_counts_once():
    keypoints = random_keypoints(np.random.default_rng(4), 2)
    record = change_record(make_record('a', keypoints, mark_all_visible(keypoints)), annotation_ids=np.array([7, 9]))
    pairs = [(make_poses(keypoints[n : n + 1]), record.put_first(n)) for n in (0, 1, 0)]
    scores = evaluate(*pairs)
    assert scores.values['AP'] == 100
    assert has_note(scores, '1 predicted instances of an annotated instance that was predicted before are dropped')


@pytest.mark.parametrize('seed', range(5))
def test_neither_the_order_of_images_nor_that_of_instances_matters_even_with_equal_scores(seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for name in 'abcdef':
        keypoints = random_keypoints(rng, 3)
        record = make_record(name, keypoints, mark_all_visible(keypoints))
        noisy = keypoints + rng.normal(0, 8, keypoints.shape)
        pairs += [(make_poses(noisy[n : n + 1], [0.5]), record.put_first(n)) for n in range(3)]
    orders = [range(18), rng.permutation(18), rng.permutation(18)]
    values = [evaluate(*(pairs[n] for n in order), nms_mode='oks_nms', nms_threshold=0.3).values for order in orders]
    assert values[0] == values[1] == values[2]


def test_invalid_settings_are_refused():
    with pytest.raises(ConfigError, match='sigmas'):
        OKSAP(LSP)
    with pytest.raises(ConfigError, match="OKSAP: evaluator is one of 'faster-coco-eval', 'xtcocotools'; got 'coco'"):
        OKSAP(COCO, 'coco')
    with pytest.raises(ConfigError, match="score_mode is one of 'instance', 'bbox_keypoint'; got 'box'"):
        OKSAP(COCO, score_mode='box')
    with pytest.raises(ConfigError, match="nms_mode is one of 'none', 'oks_nms', 'soft_oks_nms'; got True"):
        OKSAP(COCO, nms_mode=True)
    with pytest.raises(ConfigError, match='nms_threshold is a number above 0 and up to 1; got 0'):
        OKSAP(COCO, nms_threshold=0)


def test_instances_of_another_skeleton_and_several_instances_per_box_are_refused():
    keypoints = random_keypoints(np.random.default_rng(4), 2)
    record = make_record('im3', keypoints, mark_all_visible(keypoints))
    with pytest.raises(MismatchError, match='im3: instances are predicted with 14 keypoints, .* the 17 of skeleton'):
        OKSAP(COCO).update(make_poses(keypoints[:, :14]), record)
    three = change_record(make_crop(record, 0.5), boxes=np.zeros((3, 4)), box_scores=np.ones(3),
                          keypoints=np.zeros((3, 17, 2)), visible=np.zeros((3, 17), int))  # fmt: skip
    with pytest.raises(MismatchError, match='im3: 2 instances are predicted for 3 boxes'):
        OKSAP(COCO, score_mode='bbox_keypoint').update(make_poses(keypoints), three)
