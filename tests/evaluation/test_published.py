"""Predictions of published methods give the figures that they are known to give.

The folder that POSEPLUG_PUBLISHED names (../shared/data/published by default) has an `expected.json`: a list of entries
with the prediction file, the file of the truth, metric, normalizer, the expected figures and how many of their decimals
are published. Another folder of the same layout is measured in the same way.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.coco_wholebody import CocoWholeBodySource
from poseplug.data.sources.flic import FLICSource
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.pckh import PCKh
from poseplug.evaluation.whole_body_ap import WholeBodyAP
from poseplug.skeletons.coco_wholebody import COCO_WHOLEBODY, WHOLEBODY_PARTS
from poseplug.skeletons.flic import FLIC
from poseplug.skeletons.lsp import LSP, LSP_OBSERVER
from poseplug.skeletons.mpii import MPII

ROOT = Path(__file__).parents[2]
PUBLISHED = Path(os.environ.get('POSEPLUG_PUBLISHED', ROOT.parent / 'shared/data/published'))
DATA = Path(os.environ.get('POSEPLUG_DATA', ROOT.parent / 'shared/data'))
# The eleven labeled columns of FLIC's files; the skeleton has no eyes and calls the nose head.
FLIC_COLUMNS = [0, 1, 2, 3, 4, 5, 6, 7, 10]


def list_entries() -> list[dict]:
    file = PUBLISHED / 'expected.json'
    return json.loads(file.read_text()) if file.is_file() else []


def read_variables(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a MATLAB file; those of version 7.3, which are HDF5, have their axes in reverse."""
    try:
        return {name: value for name, value in loadmat(file).items() if not name.startswith('__')}
    except NotImplementedError:
        h5py = pytest.importorskip('h5py', reason=f'{file.name} is MATLAB 7.3, which needs h5py')
        with h5py.File(file) as content:
            return {name: np.array(value).T for name, value in content.items() if not name.startswith('#')}


def read_predictions(file: Path, num_columns: int, counts: Sequence[int]) -> np.ndarray:
    """The predicted positions (N, K, 2) of a file, whatever the order of its axes; N is one of `counts`."""
    for name, values in read_variables(file).items():
        for count in counts:
            if 'pred' in name and sorted(values.shape) == sorted((2, num_columns, count)):
                axes = [values.shape.index(size) for size in (count, num_columns, 2)]
                return values.transpose(axes).astype(float)
    raise AssertionError(f'{file} has no predictions of {num_columns} keypoints of {counts} people')


def read_threshold(entry: dict) -> float:
    """The threshold of a metric such as PCK@0.2."""
    return float(entry['metric'].rpartition('@')[2])


def measure(metric, annotated: np.ndarray, visible: np.ndarray, predicted: np.ndarray, **arrays: np.ndarray):
    """The metric's scores over N people, each with annotated and predicted keypoints (N, K, 2)."""
    for n in range(len(annotated)):
        fields = {name: values[n : n + 1] for name, values in arrays.items()}
        instances = Instances.from_annotations(annotated[n : n + 1], visible[n : n + 1], **fields)
        scores = np.ones((1, annotated.shape[1]))
        metric.update(Poses(predicted[n : n + 1], scores, np.ones(1)), Record(Path(f'{n}.jpg'), f'{n}', instances))
    return metric.compute().values


def measure_lsp(entry: dict, truth: Path) -> dict[str, float]:
    """The last images of LSP: those that a method predicts."""
    joints = read_variables(truth)['joints']
    assert entry['normaliser'] == 'torso'
    skeleton = LSP if entry.get('centric', 'person') == 'person' else LSP_OBSERVER
    predicted = read_predictions(PUBLISHED / entry['file'], 14, range(joints.shape[2], 0, -1))
    annotated = joints[:2].T[-len(predicted) :]
    metric = PCK(skeleton, thresholds=(read_threshold(entry),))
    return measure(metric, annotated, np.full(annotated.shape[:2], 2), predicted)


def measure_flic_boxes(entry: dict, truth: Path) -> dict[str, float]:
    """FLIC with the diagonal of the torso box as size; the last column of the truth is the box's width and height."""
    joints = read_variables(truth)['joints'].T
    annotated, box_sizes = joints[:, FLIC_COLUMNS], joints[:, 11]
    predicted = read_predictions(PUBLISHED / entry['file'], 11, [len(joints)])[:, FLIC_COLUMNS]
    boxes = np.concatenate([np.zeros_like(box_sizes), box_sizes], axis=1)
    metric = PCK(FLIC, thresholds=(read_threshold(entry),), normalizer='box_diagonal')
    return measure(metric, annotated, np.full(annotated.shape[:2], 2), predicted, boxes=boxes)


def measure_flic_torsos(entry: dict, folder: Path) -> dict[str, float]:
    """FLIC's test records as the source reads them, with the annotated torso as size."""
    file = DATA / 'flic/flic-joints-oc.mat'
    if not file.is_file():
        pytest.skip(f'no {file}; name the folder above it by POSEPLUG_DATA')
    annotated = read_flic_keypoints(file, folder)
    predicted = read_predictions(PUBLISHED / entry['file'], len(FLIC), [len(annotated)])
    if 'count from 1' in entry.get('note', ''):
        predicted = predicted - 1
    return measure(
        PCK(FLIC, thresholds=(read_threshold(entry),)), annotated, np.full(annotated.shape[:2], 2), predicted
    )


def read_flic_keypoints(file: Path, folder: Path) -> np.ndarray:
    """The keypoints (N, 9, 2) of FLIC's test people, in the order of the file."""
    from poseplug.files.matlab import read_matlab_structs

    image = cv2.imencode('.png', np.zeros((480, 720), np.uint8))[1].tobytes()
    structs = read_matlab_structs(file, 'flic_anno')
    for fields in structs:
        (folder / fields['filepath']).write_bytes(image)
    source = FLICSource(folder, 'test', ann_file=file, array_name='flic_anno', image_folder=folder)
    # A record holds all people of an image, in the order of the file.
    people = {record.id: iter(record.instances.keypoints) for record in source.load()[0]}
    return np.array([next(people[fields['filepath']]) for fields in structs if fields['istest'].item()], float)


def measure_mpii(entry: dict, truth: Path) -> dict[str, float]:
    """MPII's validation people, with the mean of the keypoints' percentages where the entry says so."""
    arrays = read_variables(truth)
    annotated = arrays['pos_gt_src'].transpose(2, 0, 1).astype(float)
    visible = np.where(arrays['jnt_missing'].T > 0, 0, 2)
    rectangles = arrays['headboxes_src'].astype(float)
    head_sizes = 0.6 * np.linalg.norm(rectangles[1] - rectangles[0], axis=0)  # MPII's rule: the rectangle's diagonal
    predicted = read_predictions(PUBLISHED / entry['file'], 16, [len(annotated)])
    average = 'unweighted' if entry.get('average') == 'plain' else 'weighted'
    metric = PCKh(MPII, thresholds=(read_threshold(entry),), average=average)
    return measure(metric, annotated, visible, predicted, head_sizes=head_sizes)


def measure_entry(entry: dict, folder: Path) -> dict[str, float]:
    """The scores of an entry; what its truth holds says which data set it is."""
    if 'examples struct' in entry['truth']:
        return measure_flic_torsos(entry, folder)
    truth = PUBLISHED / entry['truth']
    arrays = read_variables(truth)
    if 'pos_gt_src' in arrays:
        return measure_mpii(entry, truth)
    return measure_lsp(entry, truth) if arrays['joints'].shape[1] == 14 else measure_flic_boxes(entry, truth)


@pytest.mark.skipif(not list_entries(), reason=f'no expected.json in {PUBLISHED}; name its folder: POSEPLUG_PUBLISHED')
@pytest.mark.parametrize('entry', list_entries(), ids=lambda entry: entry['file'])
def test_a_published_method_has_its_known_figures(entry, tmp_path):
    values = measure_entry(entry, tmp_path)
    metric = entry['metric']
    names = {name: metric if name in ('total', 'mean') else f'{metric}/{name}' for name in entry['expected']}
    found = {name: round(values[key], entry['decimals']) for name, key in names.items()}
    # A half of the last published decimal is allowed, and what two decimals of ours leave out.
    tolerance = 0.5 * 10 ** -entry['decimals'] + 0.005
    exact = {name: values[key] for name, key in names.items()}
    assert exact == pytest.approx(entry['expected'], abs=tolerance), found


# --- whole body -------------------------------------------------------------------------------------------------------

WHOLE_BODY = PUBLISHED / 'coco_wholebody'
PART_KEYS = dict(
    body='keypoints', foot='foot_kpts', face='face_kpts', left_hand='lefthand_kpts', right_hand='righthand_kpts'
)
IOU_TYPES = dict(
    body='keypoints_body', foot='keypoints_foot', face='keypoints_face', left_hand='keypoints_lefthand',
    right_hand='keypoints_righthand', all='keypoints_wholebody',
)  # fmt: skip


def compute_expected_tables(file: Path, results: list[dict]) -> dict[str, tuple[float, float]]:
    """AP and AR of every part as xtcocotools prints them for a file."""
    import contextlib
    import copy
    import io
    import warnings

    try:
        from xtcocotools.coco import COCO
        from xtcocotools.cocoeval import COCOeval
    except (ImportError, ValueError):
        pytest.skip('xtcocotools is not built for this NumPy; tests/run.sh builds it')
    sigmas = np.array(COCO_WHOLEBODY.sigmas)
    stats = {}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that there is no score per part
        for part, iou_type in IOU_TYPES.items():
            names = COCO_WHOLEBODY.keypoints if part == 'all' else WHOLEBODY_PARTS[part]
            indices = [COCO_WHOLEBODY.index(name) for name in names]
            ground_truth = COCO(str(file))
            predictions = ground_truth.loadRes(copy.deepcopy(results))
            coco_eval = COCOeval(ground_truth, predictions, iou_type, sigmas[indices], use_area=True)
            coco_eval.evaluate()
            coco_eval.accumulate()
            coco_eval.summarize()
            stats[part] = (float(coco_eval.stats[0]), float(coco_eval.stats[5]))
    return stats


def compute_whole_body_stats(file: Path, results: list[dict], folder: Path, evaluator: str) -> dict[str, float]:
    """AP and AR of every part by our source and metric."""
    for image in json.loads(file.read_text())['images']:
        cv2.imwrite(str(folder / image['file_name']), np.zeros((image['height'], image['width']), np.uint8))
    source = CocoWholeBodySource(folder, 'val', ann_file=file, image_folder=folder, keep_empty=True)
    metric = WholeBodyAP(source.skeleton, evaluator)
    for record in source.load()[0]:
        people = [result for result in results if result['image_id'] == int(record.id)]
        rows = [np.concatenate([person[key] for key in PART_KEYS.values()]) for person in people]
        points = np.array(rows, float).reshape(len(people), 133, 3)
        scores = np.array([person['score'] for person in people], float)
        metric.update(Poses(points[..., :2], points[..., 2], scores), record)
    return metric.compute_stats()


@pytest.mark.skipif(not WHOLE_BODY.is_dir(), reason=f'no {WHOLE_BODY}; name the folder above it: POSEPLUG_PUBLISHED')
@pytest.mark.parametrize('evaluator', ['faster-coco-eval', 'xtcocotools'])
def test_published_whole_body_predictions_have_the_ap_of_every_part(evaluator, tmp_path):
    (truth,) = WHOLE_BODY.glob('*_val.json')
    (predictions,) = WHOLE_BODY.glob('*_preds.json')
    results = json.loads(predictions.read_text())
    expected = compute_expected_tables(truth, results)
    stats = compute_whole_body_stats(truth, results, tmp_path, evaluator)
    assert expected['all'][0] > 0
    for part, (ap, ar) in expected.items():
        suffix = '' if part == 'all' else f'/{part}'
        assert (stats[f'AP{suffix}'], stats[f'AR{suffix}']) == pytest.approx((ap, ar), abs=1e-9), part
    assert stats['AP/hand'] == pytest.approx((stats['AP/left_hand'] + stats['AP/right_hand']) / 2)


# --- other folders ----------------------------------------------------------------------------------------------------


def test_another_order_of_axes_and_another_name_is_read_alike(tmp_path):
    """So that another folder of the layout works, whatever a method's file looks like."""
    from scipy.io import savemat

    points = np.arange(2 * 14 * 50, dtype=float).reshape(50, 14, 2)
    for name, axes in (('pred', (2, 1, 0)), ('prediction_all', (1, 2, 0)), ('preds', (0, 1, 2))):
        savemat(tmp_path / 'file.mat', {name: points.transpose(axes)})
        assert np.array_equal(read_predictions(tmp_path / 'file.mat', 14, [50]), points)


def test_the_flip_pairs_of_the_face_meet_in_its_middle():
    """Every point is exchanged with one other or with none; nose bridge, chin and middles of the lips stay."""
    indices = COCO_WHOLEBODY.flip_indices
    assert np.array_equal(indices[indices], np.arange(133))
    middle = [int(n) for n in np.flatnonzero(indices == np.arange(133))]
    assert [COCO_WHOLEBODY.keypoints[n] for n in middle] == [
        'nose', *(f'face_{n}' for n in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)),
    ]  # fmt: skip
    assert isinstance(COCO_WHOLEBODY, Skeleton)
