"""Our figures are those of COCO's evaluators run directly on the annotation file, crowds and all."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.datasets.sources.coco import CocoSource
from poseplug.evaluation.oks_ap import FIGURES, OKSAP
from poseplug.poses import Poses
from poseplug.skeletons.coco import COCO

SIGMAS = np.array(COCO.sigmas)


def faster(file: Path, results: list[dict]) -> list[float]:
    """The ten figures that faster-coco-eval prints for a file."""
    from faster_coco_eval import COCO as Annotations
    from faster_coco_eval import COCOeval_faster

    truth = Annotations(str(file))
    found = COCOeval_faster(truth, truth.loadRes(results), 'keypoints', kpt_oks_sigmas=SIGMAS, print_function=str)
    found.run()
    return found.stats.tolist()


def xtcocotools(file: Path, results: list[dict]) -> list[float]:
    """The ten figures that xtcocotools prints for a file."""
    try:
        from xtcocotools.coco import COCO as Annotations
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError):
        pytest.skip('xtcocotools is not built for this NumPy; tests/run.sh builds it')
    truth = Annotations(str(file))
    found = COCOeval(truth, truth.loadRes(results), 'keypoints', SIGMAS, use_area=True)
    found.evaluate()
    found.accumulate()
    found.summarize()
    return found.stats.tolist()


JUDGES = {'faster-coco-eval': faster, 'xtcocotools': xtcocotools}


def printed(judge: str, file: Path, results: list[dict]) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        return dict(zip(FIGURES, JUDGES[judge](file, results), strict=True))


def corners(box: list[float]) -> np.ndarray:
    return np.array([box[:2], [box[0] + box[2], box[1] + box[3]]])


def guesses(rng: np.random.Generator, people: list[dict]) -> list[dict]:
    """What a poor model finds: noisy people, some missed or found twice, and several wherever nobody can be right.

    A third of the pictures are left without anybody.
    """
    found = []
    for a in people:
        joints = np.reshape(a['keypoints'], (17, 3))
        labelled = joints[:, 2] > 0
        low, high = corners(a['bbox'])
        if a['image_id'] % 3 == 0:
            continue
        if labelled.any():
            copies = rng.choice(3, p=[0.15, 0.7, 0.15])
            spread = rng.uniform(0.2, 3) * SIGMAS[:, None] * np.sqrt(a['area'])
            places = [np.where(labelled[:, None], joints[:, :2], (low + high) / 2) for _ in range(copies)]
            found += [(a, p + rng.normal(0, 1, (17, 2)) * spread) for p in places]
        else:
            found += [(a, rng.uniform(low, high, (17, 2))) for _ in range(rng.integers(0, 5))]
        found += [(a, rng.uniform(low, high + 100, (17, 2)))] * int(rng.random() < 0.2)
    return [
        dict(image_id=a['image_id'], number=a['id'], box=a['bbox'], joints=joints, score=float(score))
        for (a, joints), score in zip(found, rng.permutation(np.linspace(0.02, 1, len(found))), strict=True)
    ]


def results_of(found: list[dict]) -> list[dict]:
    """In COCO's layout; the third number of a joint is no part of OKS."""
    return [
        dict(image_id=f['image_id'], category_id=1, score=f['score'],
             keypoints=np.pad(f['joints'], ((0, 0), (0, 1)), constant_values=1).ravel().tolist())
        for f in found
    ]  # fmt: skip


def pose(found: dict) -> Poses:
    return Poses(found['joints'][None], np.ones((1, 17)), np.array([found['score']]))


@pytest.fixture(params=['val', 'train'])
def half(request, real_data):
    """A half of the real subset: its name, its file and the people in it. 'train' has 5 crowds, 'val' one."""
    file = real_data / f'coco/annotations/person_keypoints_{request.param}2017.json'
    return request.param, file, json.loads(file.read_text())['annotations']


@pytest.mark.parametrize('judge', JUDGES)
@pytest.mark.parametrize('seed', range(3))
def test_with_a_detectors_boxes_the_figures_are_those_of_the_file(half, real_data, tmp_path, judge, seed):
    name, file, people = half
    found = guesses(np.random.default_rng(seed), people)
    boxes = [dict(image_id=f['image_id'], category_id=1, bbox=f['box'], score=f['score']) for f in found]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes))
    source = CocoSource(real_data / 'coco', name, boxes=tmp_path / 'boxes.json')
    metric = OKSAP(COCO, evaluator=judge)
    left = {f['score']: f for f in found}
    for record in source.load()[0]:
        if not len(record.keypoints):
            metric.add(Poses.nobody(17), record)
        for n in range(len(record.keypoints)):
            subject = record.led_by(n)
            metric.add(pose(left.pop(float(subject.box_scores[0]))), subject)
    assert not left
    wanted = printed(judge, file, results_of(found))
    assert 0.05 < wanted['AP'] < wanted['AR'] < 0.95
    assert metric.figures() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize('judge', JUDGES)
def test_with_annotated_boxes_the_figures_are_those_of_the_file(half, real_data, judge):
    name, file, people = half
    found = {f['number']: f for f in guesses(np.random.default_rng(7), people)}
    metric, taken = OKSAP(COCO, evaluator=judge), []
    for record in CocoSource(real_data / 'coco', name).load()[0]:
        for n in range(len(record.keypoints)):
            subject = record.led_by(n)
            guess = found.get(int(subject.numbers[0]))
            if guess is None:
                metric.add(Poses.nobody(17), subject)
            else:
                metric.add(pose(guess), subject)
                taken.append(guess)
    wanted = printed(judge, file, results_of(taken))
    assert 0.05 < wanted['AP'] < 0.95
    assert metric.figures() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize('judge', JUDGES)
def test_a_crowd_takes_everybody_and_a_person_without_joints_takes_one(half, real_data, judge):
    """Wrong people over a crowd cost nothing, over a person without joints all but one do: as in the file itself."""
    name, file, people = half
    rng = np.random.default_rng(1)
    metric, found = OKSAP(COCO, evaluator=judge), []
    for a in people:
        joints = np.reshape(a['keypoints'], (17, 3))[:, :2]
        wrong = [] if a['num_keypoints'] else [rng.uniform(*corners(a['bbox']), (17, 2)) for _ in range(3)]
        found += [dict(image_id=a['image_id'], joints=p, score=float(rng.random())) for p in wrong or [joints]]
    for record in CocoSource(real_data / 'coco', name, empty=True).load()[0]:
        here = [f for f in found if str(f['image_id']) == record.id]
        joints, scores = np.array([f['joints'] for f in here]), np.array([f['score'] for f in here])
        metric.add(Poses(joints, np.ones(joints.shape[:2]), scores), record)
    wanted = printed(judge, file, results_of(found))
    assert metric.figures() == pytest.approx(wanted, abs=1e-6)
    assert wanted['AP'] < 1
