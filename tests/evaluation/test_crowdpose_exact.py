"""The nine numbers of CrowdPose equal those of xtcocotools run directly on the annotation file."""

import contextlib
import io
import json
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.poses import Poses
from poseplug.data.sources.crowdpose import CrowdPoseSource
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.skeletons.crowdpose import CROWDPOSE

DATA = Path(os.environ.get('POSEPLUG_DATA', Path(__file__).parents[3] / 'shared/data'))
STATS = ('AP', 'AP50', 'AP75', 'AR', 'AR50', 'AR75', 'AP_easy', 'AP_medium', 'AP_hard')
KEYPOINTS = [*CROWDPOSE.keypoints[:12], 'head', 'neck']


def compute_expected_stats(file: Path, results: list[dict]) -> dict[str, float]:
    """The nine numbers that xtcocotools prints for a file; it rounds the last three to four decimals."""
    try:
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError):
        pytest.skip('xtcocotools is not built for this NumPy; tests/run.sh builds it')
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)  # it leaves the file open
        ground_truth = COCO(str(file))
        predictions = ground_truth.loadRes([dict(result) for result in results])
        sigmas = np.array(CROWDPOSE.sigmas)
        coco_eval = COCOeval(ground_truth, predictions, 'keypoints_crowd', sigmas, use_area=False)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return dict(zip(STATS, map(float, coco_eval.stats), strict=True))


def write_blank_images(content: dict, folder: Path) -> None:
    """Black images of the sizes that a file states; each size is encoded once."""
    folder.mkdir(exist_ok=True)
    encoded = {}
    for image in content['images']:
        size = (image['height'], image['width'])
        if size not in encoded:
            encoded[size] = cv2.imencode('.png', np.zeros(size, np.uint8))[1].tobytes()
        (folder / image['file_name']).write_bytes(encoded[size])


def compute_stats(file: Path, results: list[dict], folder: Path, evaluator: str = 'faster-coco-eval'):
    """The nine numbers of our source and metric, and the notes of both."""
    write_blank_images(json.loads(file.read_text()), folder)
    source = CrowdPoseSource(data_root=folder, ann_file=file, image_folder=folder, keep_empty=True)
    metric = CrowdPoseAP(source.skeleton, evaluator)
    by_image: dict[int, list[dict]] = {}
    for result in results:
        by_image.setdefault(result['image_id'], []).append(result)
    records, report = source.load()
    for record in records:
        detections = by_image.get(int(record.id), [])
        rows = np.array([d['keypoints'] for d in detections], float).reshape(len(detections), 14, 3)
        scores = np.array([d['score'] for d in detections], float)
        metric.update(Poses(rows[..., :2], rows[..., 2], scores), record)
    return metric.compute_stats(), report.notes, metric.compute().notes


def generate_results(content: dict, seed: int) -> list[dict]:
    """The predictions of a poor model: noisy, some missing or duplicate, some on crowds, some out of nothing."""
    rng = np.random.default_rng(seed)
    results = []
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        rows = np.array(annotation['keypoints'], float).reshape(-1, 3)
        anywhere = np.array([x, y]) + rng.random((len(rows), 2)) * [width, height]
        points = np.where(rows[:, 2:] > 0, rows[:, :2], anywhere)
        for _ in range(rng.choice([0, 1, 2], p=[0.1, 0.8, 0.1])):
            sigma_px = rng.choice([0.01, 0.04, 0.12, 0.4]) * np.sqrt(width * height + 1)
            noisy = points + rng.normal(0, sigma_px, points.shape)
            values = np.concatenate([noisy, rng.uniform(0.1, 1, (len(rows), 1))], axis=1)
            score = float(rng.uniform(0.1, 1))  # no two are equal: the order of ties differs between packages
            results.append(
                dict(image_id=annotation['image_id'], category_id=1, keypoints=values.ravel().tolist(), score=score)
            )
    return results


def test_the_numbers_of_the_public_example_are_those_that_its_program_prints(tmp_path):
    """Ten people in a few images, with crowd indices; CrowdPose's own program and xtcocotools agree on the numbers."""
    folder = Path(os.environ.get('POSEPLUG_CASES', DATA.parent / 'cases')) / '21-crowdpose-figures'
    if not folder.is_dir():
        pytest.skip(f'no {folder}; name the folder above it by POSEPLUG_CASES')
    file, results = folder / 'example_val.json', json.loads((folder / 'example_predictions.json').read_text())
    stats, notes, _ = compute_stats(file, results, tmp_path / 'images')
    expected = (0.7877, 0.9881, 0.7314, 0.8222, 1.0, 0.7778, 1.0, 0.9802, 0.4116)
    assert stats == pytest.approx(dict(zip(STATS, expected, strict=True)), abs=5.1e-5)
    assert stats == pytest.approx(compute_expected_stats(file, results), abs=5.1e-5)
    assert notes == []


@pytest.fixture
def official_file() -> Path:
    file = DATA / 'crowdpose/annotations/crowdpose_val.json'
    if not file.is_file():
        pytest.skip(f'no {file}; name the folder above it by POSEPLUG_DATA')
    return file


def test_the_numbers_of_the_official_validation_file_equal_those_of_xtcocotools(official_file, tmp_path):
    results = generate_results(json.loads(official_file.read_text()), seed=0)
    expected = compute_expected_stats(official_file, results)
    stats, source_notes, _ = compute_stats(official_file, results, tmp_path / 'images')
    assert 0.1 < expected['AP'] < 0.9
    assert [stats[name] for name in STATS[:6]] == pytest.approx([expected[name] for name in STATS[:6]], abs=1e-12)
    assert [stats[name] for name in STATS[6:]] == pytest.approx([expected[name] for name in STATS[6:]], abs=5.1e-5)
    assert not any('contradict' in note for note in source_notes)


def make_content(rng: np.random.Generator, num_images: int = 40) -> dict:
    """People of all kinds: stated numbers of other rules, crowds with and without keypoints, boxes beyond the image."""
    images, annotations = [], []
    for n in range(1, num_images + 1):
        index = float(rng.choice([0.05, 0.5, 0.9]))
        images.append(dict(id=n, file_name=f'{n}.png', width=200, height=150, crowdIndex=index))
        for _ in range(rng.integers(1, 5)):
            corner, size = rng.uniform(-20, 120, 2), rng.uniform(30, 120, 2)
            points = np.clip(corner + rng.random((14, 2)) * size, 0, 140)
            flags = rng.integers(0, 3, 14)
            flags[: int(rng.choice([0, 12, 14], p=[0.7, 0.15, 0.15]))] = 0  # those of head and neck alone, or of none
            kind = rng.random()
            counted = int((flags[:12] > 0).sum())
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=n,
                    category_id=1,
                    iscrowd=int(kind < 0.1),
                    num_keypoints=int(rng.choice([0, 3])) if kind > 0.85 and flags.any() else counted,
                    keypoints=np.concatenate([points, flags[:, None]], axis=1).ravel().tolist(),
                    bbox=[*corner.tolist(), *size.tolist()],
                )
            )
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='person', keypoints=KEYPOINTS)])


@pytest.mark.parametrize('evaluator', ['faster-coco-eval', 'xtcocotools'])
@pytest.mark.parametrize('seed', range(3))
def test_the_numbers_of_odd_files_equal_those_of_xtcocotools(evaluator, seed, tmp_path):
    """Stated numbers decide who counts, even where they contradict the labels; areas are of boxes that are not cut."""
    content = make_content(np.random.default_rng(seed))
    file = tmp_path / 'odd.json'
    file.write_text(json.dumps(content))
    results = generate_results(content, seed)
    expected = compute_expected_stats(file, results)
    stats, _, _ = compute_stats(file, results, tmp_path / 'images', evaluator)
    assert 0.1 < expected['AP'] < 0.9
    assert stats == pytest.approx(expected, abs=5.1e-5)


def test_the_known_numbers_of_a_person_of_occluded_keypoints_alone(tmp_path):
    """Worked by hand: two people of flag 1 count, one with head and neck alone does not, a crowd is ignored."""

    def annotate(n, flags, x, iscrowd=0):
        points = [v for k, flag in enumerate(flags) for v in (x + 3 * k, 20 + 5 * k, flag)]
        counted = sum(flag > 0 for flag in flags[:12])
        box = [x, 20, 40, 70]
        return dict(id=n, image_id=1, category_id=1, iscrowd=iscrowd, num_keypoints=counted, keypoints=points, bbox=box)

    annotations = [
        annotate(1, [1] * 14, 10),
        annotate(2, [0] * 6 + [1] * 6 + [0] * 2, 60),
        annotate(3, [0] * 12 + [2] * 2, 110),
        annotate(4, [1] * 14, 160, iscrowd=1),
    ]
    images = [dict(id=1, file_name='1.png', width=300, height=100, crowdIndex=0.5)]
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person', keypoints=KEYPOINTS)])
    file = tmp_path / 'by_hand.json'
    file.write_text(json.dumps(content))
    hits = [dict(image_id=1, keypoints=annotations[i]['keypoints'], score=0.9 - i / 10) for i in (3, 2, 0)]
    stats, _, notes = compute_stats(file, hits, tmp_path / 'images')
    assert stats['AR'] == 0.5  # the second person is missed; predictions of the third and of the crowd do not count
    assert stats['AP50'] == pytest.approx(51 / 101)
    assert '1 annotated instances without a labeled keypoint that counts are ignored' in notes
