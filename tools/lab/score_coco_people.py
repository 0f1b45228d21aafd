"""Score a model of 14 keypoints on people of COCO's validation part, in their annotated boxes.

python tools/lab/score_coco_people.py COCO_FOLDER [CONFIG [WEIGHTS]]
Prints the mean OKS over the common keypoints of all people with six or more labeled keypoints, and the fraction within
0.2 of the torso (left shoulder to right hip) where that is labeled. The default is the installed model. Training on
the validation part would make the figures worthless.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from poseplug import Predictor
from poseplug.core.sample import Record
from poseplug.data.sources.coco import CocoSource
from poseplug.grouping.oks import oks
from poseplug.registry.skeletons import get_skeleton

MIN_LABELED = 6
MAX_TORSO_FRACTION = 0.2
COCO = get_skeleton('coco')


def score_people(predictor: Predictor, records: list[Record]) -> Iterator[tuple[float, np.ndarray]]:
    """The OKS of each person, and which of its labeled keypoints are close; none without a labeled torso."""
    keypoints = predictor.skeleton.keypoints
    common = [name for name in COCO.keypoints if name in keypoints]
    own, annotated = ([names.index(name) for name in common] for names in (keypoints, COCO.keypoints))
    sigmas = np.asarray(COCO.sigmas)[annotated]
    torso_ends = [common.index(name) for name in ('left_shoulder', 'right_hip')]
    results = predictor([r.path for r in records], [r.instances.boxes for r in records], box_format='xyxy')
    for record, result in zip(records, results, strict=True):
        instances = record.instances
        visible = instances.visible[:, annotated] > 0
        truth = instances.keypoints[:, annotated]
        for i in np.flatnonzero((instances.visible > 0).sum(1) >= MIN_LABELED):
            predicted = result.keypoints[i : i + 1, own]
            similarity = oks(
                predicted, truth[i : i + 1], instances.areas[i : i + 1], sigmas, other_visible=visible[i : i + 1]
            )
            has_torso = visible[i, torso_ends].all()
            torso = np.linalg.norm(truth[i, torso_ends[0]] - truth[i, torso_ends[1]])
            distances = np.linalg.norm(predicted[0] - truth[i], axis=-1)[visible[i] & has_torso]
            yield float(similarity[0, 0]), distances <= MAX_TORSO_FRACTION * torso


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help="folder of COCO, with 'annotations' and 'val2017'")
    parser.add_argument('model', nargs='*', help='config and weights; by default the installed model')
    args = parser.parse_args()
    records, _ = CocoSource(args.folder, split='val').load()
    people = list(score_people(Predictor(*args.model, device='cpu'), [r for r in records if len(r.instances)]))
    mean_oks = np.mean([similarity for similarity, _ in people])
    close = np.concatenate([is_close for _, is_close in people])
    print(f'{len(people)} people: mean OKS {mean_oks:.3f}, PCK@0.2 {100 * close.mean():.1f} of {len(close)} keypoints')


if __name__ == '__main__':
    main()
