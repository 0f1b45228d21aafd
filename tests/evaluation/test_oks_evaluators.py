"""Two packages behind one call: they agree with each other and with what each of them prints."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.oks_ap import COCO_STATS, OKSAP
from poseplug.evaluation.oks_evaluators import get_oks_evaluator
from poseplug.skeletons.coco import COCO
from poseplug.testing import change_record, create_annotated_record


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


def test_an_evaluator_that_cannot_be_imported_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'xtcocotools.cocoeval', None)
    with pytest.raises(ConfigError, match="build it from source: .* Or use evaluator='faster-coco-eval'"):
        get_oks_evaluator('xtcocotools', 'OKSAP')
