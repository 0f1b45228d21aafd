"""Metrics against the numbers of another implementation (`metrics_*`), whose deviations are reproduced one by one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.auc import AUC
from poseplug.evaluation.distance_collector import nanmean, pck_per_keypoint
from poseplug.evaluation.epe import EPE
from poseplug.evaluation.nme import NME
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.pckh import PCKh
from poseplug.grouping.oks import OKSCandidates, oks_nms, soft_oks_nms
from poseplug.skeletons.coco import COCO
from poseplug.testing import create_annotated_record
from tests.golden.conftest import need_golden_file

SETS = ('mpii16', 'jhmdb15', 'face68')
MPII = (
    *('right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle', 'pelvis', 'thorax'),
    *('upper_neck', 'head_top', 'right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow'),
    'left_wrist',
)
MPII_PARTS = {'Head': (9,), 'Shoulder': (12, 13), 'Elbow': (11, 14), 'Wrist': (10, 15), 'Hip': (2, 3), 'Knee': (1, 4),
              'Ankle': (0, 5)}  # fmt: skip
JHMDB_PARTS = {
    'Head': (2,),
    'Sho': (3, 4),
    'Elb': (7, 8),
    'Wri': (11, 12),
    'Hip': (5, 6),
    'Knee': (9, 10),
    'Ank': (13, 14),
}


@pytest.fixture(scope='module')
def inputs(golden):
    return np.load(need_golden_file(golden, 'metrics_inputs.npz'))


@pytest.fixture(scope='module')
def values(golden):
    return json.loads(need_golden_file(golden, 'metrics_values.json').read_text())


def near(value):
    """Within 1e-6 of its size, since the reference sums in single precision."""
    return pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)


class Dataset:
    """A data set of the file with one instance per record."""

    def __init__(self, inputs, name):
        parts = ('pred', 'gt', 'visible', 'bboxes', 'head_size')
        self.predicted, self.annotated, self.visible, self.boxes, self.head_sizes = (
            inputs[f'{name}_{part}'] for part in parts
        )
        count = self.annotated.shape[1]
        self.skeleton = Skeleton(name, MPII if count == 16 else tuple(f'keypoint{i}' for i in range(count)))

    def fill_metric(self, metric_type, shift_px=0.0, **settings):
        """A metric with all instances added, the predictions shifted."""
        metric = metric_type(self.skeleton, **settings)
        for n in range(len(self.annotated)):
            index = slice(n, n + 1)
            points = self.predicted[index] + np.float32(shift_px)
            sizes = dict(boxes=self.boxes[index], head_sizes=self.head_sizes[index])
            visible = self.visible[index].astype(np.uint8)
            record = create_annotated_record(Path('a.jpg'), str(n), self.annotated[index], visible, **sizes)
            metric.update(Poses(points, np.ones(points.shape[:2]), np.ones(1)), record)
        return metric

    def normalize_by_pair(self, a, b):
        """Distances (M, K) divided by that of two keypoints, labeled or not; NaN where a keypoint is not labeled."""
        lengths = np.linalg.norm(self.annotated[:, a] - self.annotated[:, b], axis=-1)[:, None]
        distances = np.linalg.norm(self.predicted - self.annotated, axis=-1) / lengths
        return np.where(self.visible, distances, np.nan)


def find_values(values, prefix):
    """Golden values of a metric by the beginning of its name (the rest are its settings)."""
    return next(value for name, value in values.items() if name.startswith(prefix))


@pytest.mark.parametrize('name', SETS)
def test_pck_by_the_longer_side_of_the_box_agrees_for_every_keypoint(inputs, values, name):
    metric = Dataset(inputs, name).fill_metric(PCK, normalizer='box')
    expected_by_threshold = {
        float(key[4:]): value for key, value in values[f'functional_{name}'].items() if key.startswith('pck@')
    }
    assert expected_by_threshold
    for threshold, expected in expected_by_threshold.items():
        fractions = metric.compute_per_keypoint(threshold)
        assert_same_fractions(fractions, expected)
        assert (~np.isnan(fractions)).sum() == expected['cnt']
    assert nanmean(metric.compute_per_keypoint(0.2)) == near(
        values[f'metric_{name}']['PCKAccuracy(thr=0.2,bbox)']['PCK']
    )


@pytest.mark.parametrize('name', SETS)
def test_auc_agrees_by_the_rule_of_the_left_ends_of_the_steps(inputs, values, name):
    area = Dataset(inputs, name).fill_metric(AUC, normalizer=30, num_steps=20, rule='left').compute_area()
    assert area == near(values[f'functional_{name}']['auc_norm30_thr20'])
    assert area == near(find_values(values[f'metric_{name}'], 'AUC')['AUC'])


@pytest.mark.parametrize('name', SETS)
def test_epe_agrees_and_is_the_mean_position_error_without_alignment(inputs, values, name):
    mean = Dataset(inputs, name).fill_metric(EPE).compute_mean()
    assert mean == near(values[f'functional_{name}']['epe'])
    assert mean == near(values[f'functional_{name}']['mpjpe_none'])
    assert mean == near(values[f'metric_{name}']['EPE']['EPE'])


@pytest.mark.parametrize('name', SETS)
def test_nme_by_the_longer_side_of_the_box_agrees(inputs, values, name):
    mean = Dataset(inputs, name).fill_metric(NME, normalizer='box').compute_mean()
    assert mean == near(values[f'functional_{name}']['nme_bboxmax'])
    assert mean == near(values[f'metric_{name}']['NME(bbox_size)']['NME'])


def test_nme_by_two_keypoints_agrees_where_both_are_labeled_or_treated_so(inputs, values):
    """The reference measures by the two eye corners even where they are not labeled; ours excludes such faces."""
    faces = Dataset(inputs, 'face68')
    name, expected = next((k, v['NME']) for k, v in values['metric_face68'].items() if 'keypoint_distance' in k)
    a, b = (int(i) for i in re.findall(r'\d+', name.split('idx')[1]))
    assert np.nanmean(faces.normalize_by_pair(a, b)) == near(expected)
    labeled = faces.visible[:, [a, b]].all(axis=1)
    metric = faces.fill_metric(NME, normalizer=(f'keypoint{a}', f'keypoint{b}'))
    assert metric.compute_mean() == near(np.nanmean(faces.normalize_by_pair(a, b)[labeled]))
    note = f'{(~labeled).sum()} of {len(labeled)} instances are excluded'
    assert labeled.all() or metric.compute().notes[0].startswith(note)


def test_pckh_agrees_once_the_predictions_are_shifted_by_a_pixel(inputs, values):
    """The reference expects MPII annotations that count from 1 and adds 1 to predictions; ours count from 0 already."""
    metric = Dataset(inputs, 'mpii16').fill_metric(PCKh, shift_px=1.0)
    expected = find_values(values['metric_mpii16'], 'MpiiPCKAccuracy')
    assert 100 * metric.compute_mean(0.5, 'weighted') == near(expected['PCK'])
    assert 100 * metric.compute_mean(0.1, 'weighted') == near(expected['PCK@0.1'])
    for part, indices in MPII_PARTS.items():
        assert 100 * metric.compute_per_keypoint(0.5)[list(indices)].mean() == near(expected[f'{part} PCK'])


def test_pck_of_jhmdb_agrees_by_box_and_by_the_distance_of_keypoints_4_and_5(inputs, values):
    """The reference's torso is the distance of keypoints 4 and 5 in every data set, labeled or not."""
    dataset = Dataset(inputs, 'jhmdb15')
    expected = find_values(values['metric_jhmdb15'], 'JhmdbPCKAccuracy')
    by_torso = pck_per_keypoint(dataset.normalize_by_pair(4, 5), 0.2)
    by_box = dataset.fill_metric(PCK, normalizer='box').compute_per_keypoint(0.2)
    for name, fractions in (('PCK', by_box), ('tPCK', by_torso)):
        assert nanmean(fractions) == near(expected[name])
        for part, indices in JHMDB_PARTS.items():
            assert fractions[list(indices)].mean() == near(expected[f'{part} {name}'])


def pck_of_cells(predicted, target, mask, size, threshold):
    """The fractions of keypoints (N, K, 2) whose distance is below a threshold, x and y divided by `size`."""
    distances = np.where(mask, np.linalg.norm((predicted - target) / size, axis=-1), np.nan)
    return pck_per_keypoint(distances, np.nextafter(threshold, 0))


def assert_same_fractions(fractions, expected):
    measured = ~np.isnan(fractions)
    assert fractions[measured] == near(np.array(expected['acc'])[measured])
    assert nanmean(fractions) == near(expected['avg'])


def test_pck_of_heatmaps_agrees_once_width_and_height_are_exchanged(inputs, values):
    """It divides x by the height and y by the width; a map without a positive value has its peak at -1, -1."""
    heatmaps = [inputs[name].astype(np.float32) for name in ('hm_output', 'hm_target')]
    predicted, target = (find_peak_cells(maps) for maps in heatmaps)
    height, width = heatmaps[0].shape[2:]
    for name, expected in values['pose_pck_accuracy'].items():
        size, threshold = np.array([height, width]), float(name[3:])
        assert_same_fractions(pck_of_cells(predicted, target, inputs['hm_mask'], size, threshold), expected)


def find_peak_cells(maps):
    """(N, K, 2) the cell of the largest value of maps (N, K, H, W), -1 where it is not positive."""
    flat = maps.reshape(*maps.shape[:2], -1)
    y, x = np.unravel_index(flat.argmax(axis=-1), maps.shape[2:])
    return np.where(flat.max(axis=-1)[..., None] > 0, np.stack([x, y], axis=-1), -1).astype(float)


def test_pck_of_simcc_agrees_once_width_and_height_are_exchanged(golden, inputs, values):
    mask = inputs['hm_mask']
    predicted = np.stack([find_peak_bins(golden, *axis, len(mask)) for axis in ((300, 384), (400, 512))], axis=-1)
    target = np.stack([find_peak_bins(golden, *axis, len(mask)) for axis in ((500, 384), (600, 512))], axis=-1)
    for name, expected in values['simcc_pck_accuracy'].items():
        size, threshold = np.array([512, 384]), float(name[3:])
        assert_same_fractions(pck_of_cells(predicted, target, mask, size, threshold), expected)


def find_peak_bins(golden, first_seed, size, count):
    """(count, 5) the largest bins of the vectors that the folder's own generator draws from ascending seeds."""
    from runpy import run_path

    peaks = run_path(str(golden / 'weights_from_names.py'))['peaks']
    vectors = np.stack([peaks(first_seed + i, 5, 1, size, 0, 0, np.float32)[:, 0] for i in range(count)])
    return vectors.argmax(axis=-1).astype(float)


@pytest.fixture(scope='module')
def crowd(inputs):
    """Keypoints, scores, areas and sigmas of all predictions as if of one image."""
    areas = inputs['coco_bbox_scale'].prod(axis=1)
    return inputs['coco_keypoints'], inputs['coco_bbox_score'], areas, inputs['coco_sigmas']


def test_the_oks_of_all_pairs_agrees(inputs, crowd):
    keypoints, _, areas, sigmas = crowd
    indices = np.arange(len(keypoints))
    similarity = OKSCandidates(keypoints, areas, sigmas).pairwise_oks(indices, indices)
    assert similarity == pytest.approx(inputs['oks_iou_matrix'], abs=1e-6)


def test_oks_nms_keeps_the_same_instances_in_the_same_order(crowd, values):
    for name, expected in values['oks_nms'].items():
        assert oks_nms(*crowd, float(name[3:])).tolist() == expected


def test_soft_oks_nms_keeps_the_same_instances_in_the_same_order(crowd, values):
    for name, expected in values['soft_oks_nms'].items():
        threshold, max_instances = re.fullmatch(r'thr([\d.]+),max(\d+)', name).groups()
        assert soft_oks_nms(*crowd, float(threshold), int(max_instances)).tolist() == expected


def test_oks_nms_over_the_keypoints_visible_in_both_keeps_the_same_instances(inputs, crowd, values):
    indices = oks_nms(*crowd, 0.6, visible=inputs['coco_keypoint_scores'] > 0.2)
    assert indices.tolist() == values['oks_nms_vis_thr0.2']


STAT_NAMES = {'AP': 'AP', 'AP .5': 'AP50', 'AP .75': 'AP75', 'AP (M)': 'AP_medium', 'AP (L)': 'AP_large', 'AR': 'AR',
         'AR .5': 'AR50', 'AR .75': 'AR75', 'AR (M)': 'AR_medium', 'AR (L)': 'AR_large'}  # fmt: skip
SCORE_MODES = {
    'bbox_keypoint': 'bbox_keypoint',
    'keypoint': 'instance',
    'bbox': 'instance',
    'bbox_rle': 'instance',
}
NMS_MODES = ('oks_nms', 'soft_oks_nms', 'none')


def compute_instance_scores(mode, box_scores, keypoint_scores):
    """(N,) the scores of the reference in the modes that are not the product of both."""
    means = keypoint_scores.mean(axis=1)
    scores = {'keypoint': means, 'bbox_rle': box_scores + means + keypoint_scores.max(axis=1)}
    return scores.get(mode, box_scores)


def load_records(golden):
    """The annotations of each image by its id; instances without keypoints are ignored regions."""
    annotations = {}
    for a in json.loads((golden / 'coco_annotations.json').read_text())['annotations']:
        annotations.setdefault(a['image_id'], []).append(a)
    return {image_id: build_record(image_id, rows) for image_id, rows in annotations.items()}


def build_record(image_id, annotations):
    ignored = np.array([a['num_keypoints'] == 0 or bool(a['iscrowd']) for a in annotations])
    boxes = np.array([a['bbox'] for a in annotations], float)
    boxes[:, 2:] += boxes[:, :2]
    instances = [a for a, is_ignored in zip(annotations, ignored, strict=True) if not is_ignored]
    keypoints = np.array([a['keypoints'] for a in instances], float).reshape(len(instances), 17, 3)
    areas, annotation_ids = (np.array([a[key] for a in instances]) for key in ('area', 'id'))
    path, points, visible = Path(f'{image_id}.jpg'), keypoints[..., :2], keypoints[..., 2].astype(np.uint8)
    fields = dict(areas=areas, annotation_ids=annotation_ids, boxes=boxes[~ignored], ignored_boxes=boxes[ignored])
    return create_annotated_record(path, str(image_id), points, visible, 'coco', **fields)


def build_crop(record, annotation_id, size, score):
    """The record of a detector's box of this size around an annotated instance."""
    subject = record.put_first(int(np.flatnonzero(record.instances.annotation_ids == annotation_id)[0]))
    center = (subject.instances.boxes[0, :2] + subject.instances.boxes[0, 2:]) / 2
    boxes = np.concatenate([center - size / 2, center + size / 2])[None]
    keypoints, visible = np.zeros((1, 17, 2)), np.zeros((1, 17), np.uint8)
    detection = dict(boxes=boxes, box_scores=np.array([score]), annotation_ids=np.array([annotation_id]))
    return create_annotated_record(subject.path, subject.id, keypoints, visible, **detection, ground_truth=record)


@pytest.mark.parametrize('score_mode', SCORE_MODES)
@pytest.mark.parametrize('nms_mode', NMS_MODES)
def test_coco_ap_agrees_for_all_modes_of_scores_and_suppression(golden, inputs, values, score_mode, nms_mode):
    """Of several predictions of one annotation the first counts, here as there."""
    keys = (
        'coco_img_id',
        'coco_ann_id',
        'coco_keypoints',
        'coco_keypoint_scores',
        'coco_bbox_score',
        'coco_bbox_scale',
    )
    image_ids, annotation_ids, keypoints, keypoint_scores, box_scores, box_sizes = (inputs[key] for key in keys)
    instance_scores = compute_instance_scores(score_mode, box_scores, keypoint_scores)
    records = load_records(golden)
    metric = OKSAP(COCO, score_mode=SCORE_MODES[score_mode], nms_mode=nms_mode, nms_threshold=0.9)
    for n, image_id in enumerate(image_ids):
        index = slice(n, n + 1)
        crop = build_crop(records[image_id], annotation_ids[n], box_sizes[n].astype(float), box_scores[n])
        metric.update(Poses(keypoints[index], keypoint_scores[index], instance_scores[index]), crop)
    stats = metric.compute_stats()
    for name, expected in values['CocoMetric'][f'score_mode={score_mode},nms_mode={nms_mode}'].items():
        assert stats[STAT_NAMES[name]] == near(expected)
    num_repeated = len(image_ids) - len(set(zip(image_ids.tolist(), annotation_ids.tolist(), strict=True)))
    note = f'{num_repeated} predicted instances of an annotated instance'
    assert any(text.startswith(note) for text in metric.compute().notes)
