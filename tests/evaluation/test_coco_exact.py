"""The numbers equal those of COCO's evaluators run directly on the annotation file, crowds included."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.poses import Poses
from poseplug.data.sources.coco import CocoSource
from poseplug.evaluation.oks_ap import COCO_STATS, OKSAP
from poseplug.skeletons.coco import COCO

SIGMAS = np.array(COCO.sigmas)


def summarize_with_faster_coco(file: Path, results: list[dict]) -> list[float]:
    """The ten numbers that faster-coco-eval prints for a file."""
    from faster_coco_eval import COCO as CocoAnnotations
    from faster_coco_eval import COCOeval_faster

    ground_truth = CocoAnnotations(str(file))
    predictions = ground_truth.loadRes(results)
    coco_eval = COCOeval_faster(ground_truth, predictions, 'keypoints', kpt_oks_sigmas=SIGMAS, print_function=str)
    coco_eval.run()
    return coco_eval.stats.tolist()


def summarize_with_xtcocotools(file: Path, results: list[dict]) -> list[float]:
    """The ten numbers that xtcocotools prints for a file."""
    try:
        from xtcocotools.coco import COCO as CocoAnnotations
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError):
        pytest.skip('xtcocotools is not built for this NumPy; tests/run.sh builds it')
    ground_truth = CocoAnnotations(str(file))
    coco_eval = COCOeval(ground_truth, ground_truth.loadRes(results), 'keypoints', SIGMAS, use_area=True)
    coco_eval.evaluate()
    coco_eval.accumulate()
    coco_eval.summarize()
    return coco_eval.stats.tolist()


EVALUATORS = {'faster-coco-eval': summarize_with_faster_coco, 'xtcocotools': summarize_with_xtcocotools}


def compute_expected_stats(evaluator: str, file: Path, results: list[dict]) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        return dict(zip(COCO_STATS, EVALUATORS[evaluator](file, results), strict=True))


def box_corners(box: list[float]) -> np.ndarray:
    return np.array([box[:2], [box[0] + box[2], box[1] + box[3]]])


def make_detections(rng: np.random.Generator, annotations: list[dict]) -> list[dict]:
    """The detections of a poor model: noisy, some missing or duplicate, and several in every ignored region.

    A third of the images have no detections.
    """
    detections = []
    for a in annotations:
        keypoints = np.reshape(a['keypoints'], (17, 3))
        labeled = keypoints[:, 2] > 0
        low, high = box_corners(a['bbox'])
        if a['image_id'] % 3 == 0:
            continue
        if labeled.any():
            num_copies = rng.choice(3, p=[0.15, 0.7, 0.15])
            sigma_px = rng.uniform(0.2, 3) * SIGMAS[:, None] * np.sqrt(a['area'])
            copies = [np.where(labeled[:, None], keypoints[:, :2], (low + high) / 2) for _ in range(num_copies)]
            detections += [(a, copy + rng.normal(0, 1, (17, 2)) * sigma_px) for copy in copies]
        else:
            detections += [(a, rng.uniform(low, high, (17, 2))) for _ in range(rng.integers(0, 5))]
        detections += [(a, rng.uniform(low, high + 100, (17, 2)))] * int(rng.random() < 0.2)
    scores = rng.permutation(np.linspace(0.02, 1, len(detections)))
    return [
        dict(image_id=a['image_id'], annotation_id=a['id'], box=a['bbox'], keypoints=keypoints, score=float(score))
        for (a, keypoints), score in zip(detections, scores, strict=True)
    ]


def to_coco_results(detections: list[dict]) -> list[dict]:
    """Detections in COCO's layout; OKS does not use the third number of a keypoint."""
    return [
        dict(image_id=d['image_id'], category_id=1, score=d['score'],
             keypoints=np.pad(d['keypoints'], ((0, 0), (0, 1)), constant_values=1).ravel().tolist())
        for d in detections
    ]  # fmt: skip


def make_poses(detection: dict) -> Poses:
    return Poses(detection['keypoints'][None], np.ones((1, 17)), np.array([detection['score']]))


@pytest.fixture(params=['val', 'train'])
def split(request, real_data):
    """A split of the real subset: its name, its file and its annotations. 'train' has 5 crowds, 'val' one."""
    file = real_data / f'coco/annotations/person_keypoints_{request.param}2017.json'
    return request.param, file, json.loads(file.read_text())['annotations']


@pytest.mark.parametrize('evaluator', EVALUATORS)
@pytest.mark.parametrize('seed', range(3))
def test_with_a_detectors_boxes_the_numbers_are_those_of_the_file(split, real_data, tmp_path, evaluator, seed):
    name, file, annotations = split
    detections = make_detections(np.random.default_rng(seed), annotations)
    boxes = [dict(image_id=d['image_id'], category_id=1, bbox=d['box'], score=d['score']) for d in detections]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    source = CocoSource(real_data / 'coco', name, bbox_file=tmp_path / 'boxes.json')
    metric = OKSAP(COCO, evaluator=evaluator)
    remaining = {d['score']: d for d in detections}
    for record in source.load()[0]:
        if not len(record.instances):
            metric.update(Poses.empty(17), record)
        for n in range(len(record.instances)):
            subject = record.put_first(n)
            metric.update(make_poses(remaining.pop(float(subject.instances.box_scores[0]))), subject)
    assert not remaining
    expected = compute_expected_stats(evaluator, file, to_coco_results(detections))
    assert 0.05 < expected['AP'] < expected['AR'] < 0.95
    assert metric.compute_stats() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('evaluator', EVALUATORS)
def test_with_annotated_boxes_the_numbers_are_those_of_the_file(split, real_data, evaluator):
    name, file, annotations = split
    detections = {d['annotation_id']: d for d in make_detections(np.random.default_rng(7), annotations)}
    metric, added = OKSAP(COCO, evaluator=evaluator), []
    for record in CocoSource(real_data / 'coco', name).load()[0]:
        for n in range(len(record.instances)):
            subject = record.put_first(n)
            detection = detections.get(int(subject.instances.annotation_ids[0]))
            if detection is None:
                metric.update(Poses.empty(17), subject)
            else:
                metric.update(make_poses(detection), subject)
                added.append(detection)
    expected = compute_expected_stats(evaluator, file, to_coco_results(added))
    assert 0.05 < expected['AP'] < 0.95
    assert metric.compute_stats() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('evaluator', EVALUATORS)
def test_a_crowd_matches_any_number_and_an_instance_without_keypoints_one(split, real_data, evaluator):
    """Wrong detections in a crowd are ignored, over an instance without keypoints all but one count: as by the file."""
    name, file, annotations = split
    rng = np.random.default_rng(1)
    metric, detections = OKSAP(COCO, evaluator=evaluator), []
    for a in annotations:
        keypoints = np.reshape(a['keypoints'], (17, 3))[:, :2]
        wrong = [] if a['num_keypoints'] else [rng.uniform(*box_corners(a['bbox']), (17, 2)) for _ in range(3)]
        for points in wrong or [keypoints]:
            detections.append(dict(image_id=a['image_id'], keypoints=points, score=float(rng.random())))
    for record in CocoSource(real_data / 'coco', name, keep_empty=True).load()[0]:
        image_detections = [d for d in detections if str(d['image_id']) == record.id]
        keypoints = np.array([d['keypoints'] for d in image_detections])
        scores = np.array([d['score'] for d in image_detections])
        metric.update(Poses(keypoints, np.ones(keypoints.shape[:2]), scores), record)
    expected = compute_expected_stats(evaluator, file, to_coco_results(detections))
    assert metric.compute_stats() == pytest.approx(expected, abs=1e-6)
    assert expected['AP'] < 1
