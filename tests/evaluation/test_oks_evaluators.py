"""Two packages behind one call: they agree with each other and with what each of them prints."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.oks_ap import COCO_STATS, OKSAP
from poseplug.evaluation.oks_evaluators import get_oks_evaluator
from poseplug.evaluation.whole_body_ap import WholeBodyAP
from poseplug.skeletons.coco import COCO
from poseplug.testing import change_record, create_annotated_record

FACE = Skeleton(
    'face', ('left_eye', 'right_eye', 'mouth'), sigmas=(0.025, 0.025, 0.05),
    groups=dict(eyes=('left_eye', 'right_eye'), mouth=('mouth',)),
)  # fmt: skip
FACE_POINTS = np.array([[[100.0, 100.0], [140.0, 100.0], [120.0, 150.0]]])


def has_xtcocotools() -> bool:
    if importlib.util.find_spec('xtcocotools') is None:
        return False
    try:
        import xtcocotools.cocoeval  # noqa: F401
    except ValueError:
        return False
    return True


needs_xtcocotools = pytest.mark.skipif(
    not has_xtcocotools(), reason='xtcocotools is not built for this NumPy; tests/run.sh builds it'
)


def random_keypoints(rng, count):
    """(count, 17, 2) keypoints scattered over bodies of 20 to 260 px."""
    sizes = rng.uniform(20, 260, (count, 1, 1))
    return rng.uniform(50, 400, (count, 1, 2)) + sizes * rng.random((count, 17, 2))


def make_record(rng, name, keypoints):
    """Annotated instances: some keypoints occluded or unlabeled, some instances without any, an ignored region."""
    low, high = keypoints.min(axis=1), keypoints.max(axis=1)
    visible = rng.integers(0, 3, keypoints.shape[:2])
    visible[rng.random(len(keypoints)) < 0.1] = 0
    visible[rng.random(len(keypoints)) < 0.1] %= 2
    corner = rng.uniform(0, 400, 2)
    region = np.concatenate([corner, corner + 60])[None]
    boxes, areas = np.concatenate([low, high], axis=1), (high - low).prod(axis=1) * 0.6
    crowd_index = float(rng.choice([0.05, 0.15, 0.5, 0.9]))
    return create_annotated_record(Path(f'{name}.jpg'), name, keypoints, visible, 'made', boxes=boxes, areas=areas,
                  ignored_boxes=region, crowd_index=crowd_index)  # fmt: skip


def fill_metric(metric, seed=3, num_images=25):
    """The metric with noisy, missing, duplicate and superfluous instances, and images without any on either side."""
    rng = np.random.default_rng(seed)
    for n in range(num_images):
        keypoints = random_keypoints(rng, rng.integers(0, 5))
        noisy = keypoints + rng.normal(0, rng.uniform(0.5, 12), keypoints.shape)
        predicted = np.concatenate(
            [noisy[rng.random(len(noisy)) < 0.9], keypoints[:1] + 2, random_keypoints(rng, rng.integers(0, 22) // 7)]
        )
        scores = rng.random(len(predicted)).round(1)
        metric.update(Poses(predicted, np.zeros(predicted.shape[:2]), scores), make_record(rng, str(n), keypoints))
    return metric


@needs_xtcocotools
@pytest.mark.parametrize('metric_type', [OKSAP, CrowdPoseAP])
@pytest.mark.parametrize('seed', range(4))
def test_both_evaluators_compute_the_same_numbers(metric_type, seed):
    """For crowds xtcocotools takes the area from the box by itself; faster-coco-eval receives it."""
    one, other = (
        fill_metric(metric_type(COCO, evaluator=name), seed).compute_stats()
        for name in ('faster-coco-eval', 'xtcocotools')
    )
    assert 0.05 < one['AP'] < 0.95
    assert one == pytest.approx(other, abs=1e-6)


@needs_xtcocotools
@pytest.mark.parametrize('metric_type', [OKSAP, CrowdPoseAP])
def test_both_evaluators_agree_without_any_prediction(metric_type):
    no_instances = Poses(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))
    stats = []
    for name in ('faster-coco-eval', 'xtcocotools'):
        metric = metric_type(COCO, evaluator=name)
        rng = np.random.default_rng(0)
        record = make_record(rng, 'a', random_keypoints(rng, 3))
        metric.update(no_instances, change_record(record, visible=np.full((3, 17), 2), crowd_index=0.5))
        stats.append(metric.compute_stats())
    assert stats[0] == stats[1]
    assert stats[0]['AP'] == 0


def summarize_with_faster_coco(collector, annotations, iou_type):
    """The numbers of faster-coco-eval's own summary, of annotations or of a file of them."""
    from faster_coco_eval import COCO as CocoAnnotations
    from faster_coco_eval import COCOeval_faster

    ground_truth = CocoAnnotations(annotations)
    predictions = ground_truth.loadRes(collector.to_coco_results())
    coco_eval = COCOeval_faster(
        ground_truth, predictions, iou_type, kpt_oks_sigmas=collector.sigmas, print_function=str
    )
    coco_eval.run()
    return coco_eval.stats.tolist()


def test_the_numbers_are_those_that_the_package_prints():
    metric = fill_metric(OKSAP(COCO))
    assert list(metric.compute_stats()) == list(COCO_STATS)
    expected = summarize_with_faster_coco(metric.collector, metric.collector.to_coco_dataset(), 'keypoints')
    assert list(metric.compute_stats().values()) == pytest.approx(expected, abs=1e-12)


def test_the_numbers_of_crowdpose_are_those_that_the_package_prints(tmp_path):
    """It rounds the three crowd levels to four decimals."""
    metric = fill_metric(CrowdPoseAP(COCO))
    dataset = metric.collector.to_coco_dataset()
    for image, record_id in zip(dataset['images'], metric.collector.image_ids, strict=True):
        image['crowdIndex'] = metric.collector.records[record_id].crowd_index
    file = tmp_path / 'crowd.json'
    file.write_text(json.dumps(dataset))
    expected = summarize_with_faster_coco(metric.collector, str(file), 'keypoints_crowd')
    assert list(metric.compute_stats().values()) == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize('metric_type', [OKSAP, CrowdPoseAP, WholeBodyAP])
def test_an_evaluator_without_a_meaning_is_refused_by_the_metric(metric_type):
    name = metric_type.__name__
    with pytest.raises(
        ConfigError, match=f"^{name}: evaluator is one of 'faster-coco-eval', 'xtcocotools'; got 'coco'"
    ):
        metric_type(FACE, evaluator='coco')


def test_scores_of_keypoints_are_ones_unless_they_are_asked_for():
    metric = OKSAP(FACE)
    record = create_annotated_record(Path('a.jpg'), 'a', FACE_POINTS, np.full((1, 3), 2), areas=np.array([1e4]))
    metric.update(Poses(FACE_POINTS, np.array([[0.25, 0.5, 0.0]]), np.ones(1)), record)
    for asked, scores in ((False, [1, 1, 1]), (True, [0.25, 0.5, 0])):
        assert metric.collector.to_coco_results(keypoint_scores=asked)[0]['keypoints'][2::3] == scores
    stats = metric.compute_stats()
    assert (stats['AP'], stats['AP_medium'], stats['AP_large']) == (1, -1, 1)  # -1: no instance of medium size


def test_an_unlabeled_part_is_ignored_and_a_wrong_one_is_missed():
    values = []
    for flags in ([2, 2, 0], [2, 2, 1]):
        metric = WholeBodyAP(FACE)
        for name, visible in (('a', [2, 2, 2]), ('b', flags)):
            record = create_annotated_record(Path(name), name, FACE_POINTS, np.array([visible]), areas=np.array([1e4]))
            wrong = [[0, 0], [0, 0], [0, 99.0 * (name == 'b')]]
            metric.update(Poses(FACE_POINTS + wrong, np.ones((1, 3)), np.ones(1)), record)
        values.append(metric.compute().values)
    assert [value['AP/eyes'] for value in values] == [100, 100]
    assert [value['AR/mouth'] for value in values] == [100, 50]


def test_the_area_of_an_ignored_crowd_is_that_of_its_box():
    metric = CrowdPoseAP(FACE)
    region = np.array([[0.0, 0, 60, 50]])
    record = create_annotated_record(
        Path('a.jpg'), 'a', FACE_POINTS, np.full((1, 3), 2), ignored_boxes=region, boxes=np.array([[0, 0, 200.0, 100]])
    )
    metric.update(Poses(FACE_POINTS, np.ones((1, 3)), np.ones(1)), record)
    areas = [annotation['area'] for annotation in metric.collector.to_coco_dataset()['annotations']]
    assert areas == pytest.approx([0.53 * 200 * 100, 0.53 * 60 * 50])


def test_an_evaluator_that_cannot_be_imported_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'xtcocotools.cocoeval', None)
    with pytest.raises(ConfigError, match="build it from source: .* Or use evaluator='faster-coco-eval'"):
        get_oks_evaluator('xtcocotools', 'OKSAP')
