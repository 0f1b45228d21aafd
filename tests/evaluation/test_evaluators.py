"""Two packages behind one call: they agree with each other and with what each prints itself."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.evaluators import evaluator_of
from poseplug.evaluation.oks_ap import FIGURES, OKSAP
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO


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


def people(rng, count):
    """(count, 17, 2) joints scattered over bodies of 20 to 260 px."""
    sizes = rng.uniform(20, 260, (count, 1, 1))
    return rng.uniform(50, 400, (count, 1, 2)) + sizes * rng.random((count, 17, 2))


def record(rng, name, joints):
    """Annotated people: some joints occluded or unlabelled, some people without any, a region to be ignored."""
    low, high = joints.min(axis=1), joints.max(axis=1)
    visible = rng.integers(0, 3, joints.shape[:2])
    visible[rng.random(len(joints)) < 0.1] = 0
    visible[rng.random(len(joints)) < 0.1] %= 2
    corner = rng.uniform(0, 400, 2)
    return Record(Path(f'{name}.jpg'), name, joints, visible, 'made', boxes=np.concatenate([low, high], axis=1),
                  areas=(high - low).prod(axis=1) * 0.6, ignore=np.concatenate([corner, corner + 60])[None],
                  crowd_index=float(rng.choice([0.05, 0.15, 0.5, 0.9])))  # fmt: skip


def scattered(metric, seed=3, pictures=25):
    """The metric, given noisy, missing, copied and superfluous people, and pictures with nobody on either side."""
    rng = np.random.default_rng(seed)
    for n in range(pictures):
        joints = people(rng, rng.integers(0, 5))
        noisy = joints + rng.normal(0, rng.uniform(0.5, 12), joints.shape)
        found = np.concatenate(
            [noisy[rng.random(len(noisy)) < 0.9], joints[:1] + 2, people(rng, rng.integers(0, 22) // 7)]
        )
        scores = rng.random(len(found)).round(1)
        metric.add(Poses(found, np.zeros(found.shape[:2]), scores), record(rng, str(n), joints))
    return metric


@needs_xtcocotools
@pytest.mark.parametrize('kind', [OKSAP, CrowdPoseAP])
@pytest.mark.parametrize('seed', range(4))
def test_both_evaluators_give_the_same_figures(kind, seed):
    """For crowds xtcocotools takes the area from the box by itself; faster-coco-eval is told it."""
    one, other = (scattered(kind(COCO, evaluator=name), seed).figures() for name in ('faster-coco-eval', 'xtcocotools'))
    assert 0.05 < one['AP'] < 0.95
    assert one == pytest.approx(other, abs=1e-6)


@needs_xtcocotools
@pytest.mark.parametrize('kind', [OKSAP, CrowdPoseAP])
def test_both_evaluators_take_nobody_predicted_alike(kind):
    nobody = Poses(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))
    figures = []
    for name in ('faster-coco-eval', 'xtcocotools'):
        metric = kind(COCO, evaluator=name)
        rng = np.random.default_rng(0)
        metric.add(nobody, replace(record(rng, 'a', people(rng, 3)), visible=np.full((3, 17), 2), crowd_index=0.5))
        figures.append(metric.figures())
    assert figures[0] == figures[1]
    assert figures[0]['AP'] == 0


def printed_by_faster(people, truth, kind):
    """The figures of faster-coco-eval's own summary, of annotations or of a file of them."""
    from faster_coco_eval import COCO as Annotations
    from faster_coco_eval import COCOeval_faster

    ground = Annotations(truth)
    results = ground.loadRes(people.results())
    found = COCOeval_faster(ground, results, kind, kpt_oks_sigmas=people.sigmas, print_function=str)
    found.run()
    return found.stats.tolist()


def test_the_figures_are_those_that_the_package_prints():
    metric = scattered(OKSAP(COCO))
    assert list(metric.figures()) == list(FIGURES)
    printed = printed_by_faster(metric.people, metric.people.truth(), 'keypoints')
    assert list(metric.figures().values()) == pytest.approx(printed, abs=1e-12)


def test_the_figures_of_a_crowd_are_those_that_the_package_prints(tmp_path):
    """It rounds the kinds to four decimals."""
    metric = scattered(CrowdPoseAP(COCO))
    truth = metric.people.truth()
    for image, name in zip(truth['images'], metric.people.numbers, strict=True):
        image['crowdIndex'] = metric.people.records[name].crowd_index
    file = tmp_path / 'crowd.json'
    file.write_text(json.dumps(truth))
    printed = printed_by_faster(metric.people, str(file), 'keypoints_crowd')
    assert list(metric.figures().values()) == pytest.approx(printed, abs=5.1e-5)


def test_an_evaluator_that_cannot_be_imported_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'xtcocotools.cocoeval', None)
    with pytest.raises(ConfigError, match="build it from source: .* Or use evaluator='faster-coco-eval'"):
        evaluator_of('xtcocotools', 'OKSAP')
