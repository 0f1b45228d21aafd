"""COCO's figures, by both evaluators and by hand."""

import importlib.util
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.oks_ap import OKSAP, evaluator_of
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP


def has_xtcocotools() -> bool:
    if importlib.util.find_spec('xtcocotools') is None:
        return False
    try:
        import xtcocotools.cocoeval  # noqa: F401
    except ValueError:
        return False
    return True


def people(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 17, 2) joints scattered over bodies of 20 to 260 px."""
    sizes = rng.uniform(20, 260, (count, 1, 1))
    return rng.uniform(50, 400, (count, 1, 2)) + sizes * rng.random((count, 17, 2))


def record(name: str, joints: np.ndarray, visible: np.ndarray) -> Record:
    low, high = joints.min(axis=1), joints.max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    areas = (high - low).prod(axis=1) * 0.6
    return Record(Path(f'{name}.jpg'), name, joints, visible, 'made', boxes=boxes, areas=areas)


def scattered(pictures: int = 25) -> OKSAP:
    """A metric that was given noisy, missing and superfluous people."""
    rng = np.random.default_rng(3)
    metric = OKSAP(COCO)
    for n in range(pictures):
        joints = people(rng, rng.integers(1, 5))
        truth = record(str(n), joints, rng.integers(0, 3, joints.shape[:2]))
        noise = rng.normal(0, rng.uniform(0.5, 12), joints.shape)
        found = np.concatenate([(joints + noise)[rng.random(len(joints)) < 0.9], people(rng, rng.integers(0, 2))])
        metric.add(Poses(found, np.ones(found.shape[:2]), rng.random(len(found))), truth)
    return metric


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


@pytest.mark.skipif(not has_xtcocotools(), reason='xtcocotools is not built for this NumPy; tests/run.sh builds it')
def test_both_evaluators_give_the_same_figures():
    figures = []

    def kept(run, *given):
        figures.append(run(*given))
        return figures[-1]

    for evaluator in ('faster-coco-eval', 'xtcocotools'):
        metric = scattered()
        metric.run = partial(kept, evaluator_of(evaluator))
        metric.compute()
    assert 0.05 < figures[0][0] < 0.95
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


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


def test_a_skeleton_without_sigmas_and_an_unknown_evaluator_are_refused():
    with pytest.raises(ConfigError, match='sigmas'):
        OKSAP(LSP)
    with pytest.raises(ConfigError, match="'faster-coco-eval' or 'xtcocotools'; got 'coco'"):
        OKSAP(COCO, 'coco')
