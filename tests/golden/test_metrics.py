"""Metrics against the numbers of another implementation (`metrics_*`), its quirks accounted for case by case."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from poseplug.evaluation.auc import AUC
from poseplug.evaluation.epe import EPE
from poseplug.evaluation.nme import NME
from poseplug.evaluation.offsets import joint_rates, nanmean
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.pckh import PCKh
from poseplug.grouping.oks import Crowd, oks_nms, soft_oks_nms
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton
from poseplug.skeletons.coco import COCO

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
    return np.load(golden / 'metrics_inputs.npz')


@pytest.fixture(scope='module')
def values(golden):
    return json.loads((golden / 'metrics_values.json').read_text())


def near(value):
    """Within 1e-6 of its size: the other side adds up in single precision."""
    return pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)


class People:
    """A set of single people of the file."""

    def __init__(self, inputs, name):
        parts = ('pred', 'gt', 'visible', 'bboxes', 'head_size')
        self.predicted, self.true, self.visible, self.boxes, self.heads = (inputs[f'{name}_{part}'] for part in parts)
        count = self.true.shape[1]
        self.skeleton = Skeleton(name, MPII if count == 16 else tuple(f'joint{i}' for i in range(count)))

    def measured(self, kind, shift=0.0, **settings):
        """A metric that was given everybody, the predictions moved by so many px."""
        metric = kind(self.skeleton, **settings)
        for n in range(len(self.true)):
            one = slice(n, n + 1)
            points = self.predicted[one] + np.float32(shift)
            seen, given = self.visible[one].astype(np.uint8), dict(boxes=self.boxes[one], heads=self.heads[one])
            record = Record(Path('a.jpg'), str(n), self.true[one], seen, **given)
            metric.add(Poses(points, np.ones(points.shape[:2]), np.ones(1)), record)
        return metric

    def in_lengths(self, a, b):
        """Distances (M, K) in lengths between two joints, whether these are labelled or not; NaN where none is."""
        lengths = np.linalg.norm(self.true[:, a] - self.true[:, b], axis=-1)[:, None]
        distances = np.linalg.norm(self.predicted - self.true, axis=-1) / lengths
        return np.where(self.visible, distances, np.nan)


def values_of(found, prefix):
    """Golden values of a metric by the beginning of its name (the rest are its settings)."""
    return next(value for name, value in found.items() if name.startswith(prefix))


@pytest.mark.parametrize('name', SETS)
def test_pck_of_the_longer_side_of_the_box_agrees_joint_by_joint(inputs, values, name):
    metric = People(inputs, name).measured(PCK, normaliser='box')
    shares = {float(key[4:]): value for key, value in values[f'functional_{name}'].items() if key.startswith('pck@')}
    assert shares
    for share, wanted in shares.items():
        rates = metric.rates(share)
        assert rates[~np.isnan(rates)] == near(np.array(wanted['acc'])[~np.isnan(rates)])
        assert nanmean(rates) == near(wanted['avg'])
        assert (~np.isnan(rates)).sum() == wanted['cnt']
    assert nanmean(metric.rates(0.2)) == near(values[f'metric_{name}']['PCKAccuracy(thr=0.2,bbox)']['PCK'])


@pytest.mark.parametrize('name', SETS)
def test_auc_agrees_by_the_rule_that_counts_the_beginnings_of_the_steps(inputs, values, name):
    area = People(inputs, name).measured(AUC, normaliser=30, steps=20, rule='left').area()
    assert area == near(values[f'functional_{name}']['auc_norm30_thr20'])
    assert area == near(values_of(values[f'metric_{name}'], 'AUC')['AUC'])


@pytest.mark.parametrize('name', SETS)
def test_epe_agrees_and_is_the_mean_position_error_without_alignment(inputs, values, name):
    mean = People(inputs, name).measured(EPE).mean()
    assert mean == near(values[f'functional_{name}']['epe'])
    assert mean == near(values[f'functional_{name}']['mpjpe_none'])
    assert mean == near(values[f'metric_{name}']['EPE']['EPE'])


@pytest.mark.parametrize('name', SETS)
def test_nme_of_the_longer_side_of_the_box_agrees(inputs, values, name):
    mean = People(inputs, name).measured(NME, normaliser='box').mean()
    assert mean == near(values[f'functional_{name}']['nme_bboxmax'])
    assert mean == near(values[f'metric_{name}']['NME(bbox_size)']['NME'])


def test_nme_of_two_joints_agrees_where_both_are_labelled_or_taken_for_labelled(inputs, values):
    """The other side measures by the two eye corners even where they are not labelled; ours leaves such faces out."""
    faces = People(inputs, 'face68')
    name, wanted = next((k, v['NME']) for k, v in values['metric_face68'].items() if 'keypoint_distance' in k)
    a, b = (int(i) for i in re.findall(r'\d+', name.split('idx')[1]))
    assert np.nanmean(faces.in_lengths(a, b)) == near(wanted)
    labelled = faces.visible[:, [a, b]].all(axis=1)
    ours = faces.measured(NME, normaliser=(f'joint{a}', f'joint{b}'))
    assert ours.mean() == near(np.nanmean(faces.in_lengths(a, b)[labelled]))
    assert labelled.all() or ours.compute().notes[0].startswith(
        f'{(~labelled).sum()} of {len(labelled)} people were left'
    )


def test_pckh_agrees_once_the_predictions_are_moved_by_a_pixel(inputs, values):
    """The other side takes MPII's annotations to count from 1 and adds 1 to predictions; ours count from 0 already."""
    metric = People(inputs, 'mpii16').measured(PCKh, shift=1.0)
    wanted = values_of(values['metric_mpii16'], 'MpiiPCKAccuracy')
    assert 100 * metric.mean(0.5, 'weighted') == near(wanted['PCK'])
    assert 100 * metric.mean(0.1, 'weighted') == near(wanted['PCK@0.1'])
    for part, joints in MPII_PARTS.items():
        assert 100 * metric.rates(0.5)[list(joints)].mean() == near(wanted[f'{part} PCK'])


def test_pck_of_jhmdb_agrees_by_box_and_by_the_distance_of_joints_4_and_5(inputs, values):
    """The other side's torso is the distance of joints 4 and 5 in every data set, labelled or not."""
    people = People(inputs, 'jhmdb15')
    wanted = values_of(values['metric_jhmdb15'], 'JhmdbPCKAccuracy')
    by_torso = joint_rates(people.in_lengths(4, 5), 0.2)
    for kind, rates in (('PCK', people.measured(PCK, normaliser='box').rates(0.2)), ('tPCK', by_torso)):
        assert nanmean(rates) == near(wanted[kind])
        for part, joints in JHMDB_PARTS.items():
            assert rates[list(joints)].mean() == near(wanted[f'{part} {kind}'])


def rates_of_cells(found, true, mask, sizes, share):
    """The share of joints (N, K, 2) whose distance stays below a share of `sizes`, which divide x and y."""
    distances = np.where(mask, np.linalg.norm((found - true) / sizes, axis=-1), np.nan)
    return joint_rates(distances, np.nextafter(share, 0))


def agrees(rates, wanted):
    assert rates[~np.isnan(rates)] == near(np.array(wanted['acc'])[~np.isnan(rates)])
    assert nanmean(rates) == near(wanted['avg'])


def test_pck_of_heatmaps_agrees_once_width_and_height_are_exchanged(inputs, values):
    """The other side divides x by the height and y by the width; a map without a positive value lies at -1, -1."""
    maps = [inputs[name].astype(np.float32) for name in ('hm_output', 'hm_target')]
    found, true = (cells_of(m) for m in maps)
    height, width = maps[0].shape[2:]
    for name, wanted in values['pose_pck_accuracy'].items():
        agrees(rates_of_cells(found, true, inputs['hm_mask'], np.array([height, width]), float(name[3:])), wanted)


def cells_of(maps):
    """(N, K, 2) the cell of the largest value of maps (N, K, H, W), -1 where it is not positive."""
    flat = maps.reshape(*maps.shape[:2], -1)
    y, x = np.unravel_index(flat.argmax(axis=-1), maps.shape[2:])
    return np.where(flat.max(axis=-1)[..., None] > 0, np.stack([x, y], axis=-1), -1).astype(float)


def test_pck_of_simcc_agrees_once_width_and_height_are_exchanged(golden, inputs, values):
    mask = inputs['hm_mask']
    wide, high = (bins_of(golden, first, size, len(mask)) for first, size in ((300, 384), (400, 512)))
    true_wide, true_high = (bins_of(golden, first, size, len(mask)) for first, size in ((500, 384), (600, 512)))
    found, true = np.stack([wide, high], axis=-1), np.stack([true_wide, true_high], axis=-1)
    for name, wanted in values['simcc_pck_accuracy'].items():
        agrees(rates_of_cells(found, true, mask, np.array([512, 384]), float(name[3:])), wanted)


def bins_of(golden, first, size, count):
    """(count, 5) the largest bins of the vectors that the folder's own generator makes from seeds `first`, ..."""
    from runpy import run_path

    peaks = run_path(str(golden / 'weights_from_names.py'))['peaks']
    vectors = np.stack([peaks(first + i, 5, 1, size, 0, 0, np.float32)[:, 0] for i in range(count)])
    return vectors.argmax(axis=-1).astype(float)


@pytest.fixture(scope='module')
def crowd(inputs):
    """Joints, scores, areas and sigmas of all predictions as if of one picture."""
    areas = inputs['coco_bbox_scale'].prod(axis=1)
    return inputs['coco_keypoints'], inputs['coco_bbox_score'], areas, inputs['coco_sigmas']


def test_the_similarity_of_all_pairs_agrees(inputs, crowd):
    keypoints, _, areas, sigmas = crowd
    everybody = np.arange(len(keypoints))
    found = Crowd(keypoints, areas, sigmas).alike(everybody, everybody)
    assert found == pytest.approx(inputs['oks_iou_matrix'], abs=1e-6)


def test_oks_nms_keeps_the_same_people_in_the_same_order(crowd, values):
    for name, wanted in values['oks_nms'].items():
        assert oks_nms(*crowd, float(name[3:])).tolist() == wanted


def test_soft_oks_nms_keeps_the_same_people_in_the_same_order(crowd, values):
    for name, wanted in values['soft_oks_nms'].items():
        threshold, most = re.fullmatch(r'thr([\d.]+),max(\d+)', name).groups()
        assert soft_oks_nms(*crowd, float(threshold), int(most)).tolist() == wanted


def test_oks_nms_over_the_joints_seen_in_both_keeps_the_same_people(inputs, crowd, values):
    kept = oks_nms(*crowd, 0.6, visible=inputs['coco_keypoint_scores'] > 0.2)
    assert kept.tolist() == values['oks_nms_vis_thr0.2']


NAMES = {'AP': 'AP', 'AP .5': 'AP50', 'AP .75': 'AP75', 'AP (M)': 'AP_medium', 'AP (L)': 'AP_large', 'AR': 'AR',
         'AR .5': 'AR50', 'AR .75': 'AR75', 'AR (M)': 'AR_medium', 'AR (L)': 'AR_large'}  # fmt: skip
RESCORE = {'bbox_keypoint': 'joints', 'keypoint': 'none', 'bbox': 'none', 'bbox_rle': 'none'}
NMS = {'oks_nms': 'oks', 'soft_oks_nms': 'soft_oks', 'none': 'none'}


def ranking(mode, boxes, joints):
    """(N,) what the other side ranks people by where it is no product of both."""
    means = joints.mean(axis=1)
    return {'keypoint': means, 'bbox': boxes, 'bbox_rle': boxes + means + joints.max(axis=1)}.get(mode, boxes)


def records_of(golden):
    """The annotated people of each picture by its id; those without joints are regions to be ignored."""
    people = {}
    for a in json.loads((golden / 'coco_annotations.json').read_text())['annotations']:
        people.setdefault(a['image_id'], []).append(a)
    return {image: record_of(image, every) for image, every in people.items()}


def record_of(image, every):
    ignored = [a['num_keypoints'] == 0 or bool(a['iscrowd']) for a in every]
    boxes = np.array([a['bbox'] for a in every], float)
    boxes[:, 2:] += boxes[:, :2]
    kept = [a for a, out in zip(every, ignored, strict=True) if not out]
    joints = np.array([a['keypoints'] for a in kept], float).reshape(len(kept), 17, 3)
    return Record(Path(f'{image}.jpg'), str(image), joints[..., :2], joints[..., 2].astype(np.uint8), 'coco',
                  boxes=boxes[~np.array(ignored)], areas=np.array([a['area'] for a in kept]),
                  numbers=np.array([a['id'] for a in kept]), ignore=boxes[np.array(ignored)])  # fmt: skip


def crop_of(truth, number, scale, score):
    """The record of a detector's box of this size around the annotated person of a number."""
    subject = truth.led_by(int(np.flatnonzero(truth.numbers == number)[0]))
    middle = (subject.boxes[0, :2] + subject.boxes[0, 2:]) / 2
    boxes = np.concatenate([middle - scale / 2, middle + scale / 2])[None]
    return Record(subject.path, subject.id, np.zeros((1, 17, 2)), np.zeros((1, 17), np.uint8), boxes=boxes,
                  box_scores=np.array([score]), numbers=np.array([number]), truth=truth)  # fmt: skip


@pytest.mark.parametrize('mode', list(RESCORE))
@pytest.mark.parametrize('nms', list(NMS))
def test_coco_ap_agrees_for_every_way_of_ranking_and_suppressing(golden, inputs, values, mode, nms):
    """Of several predictions of one annotation the first counts, here as there."""
    given = (
        'coco_img_id',
        'coco_ann_id',
        'coco_keypoints',
        'coco_keypoint_scores',
        'coco_bbox_score',
        'coco_bbox_scale',
    )
    images, numbers, points, joints, boxes, scales = (inputs[name] for name in given)
    ranks = ranking(mode, boxes, joints)
    records = records_of(golden)
    metric = OKSAP(COCO, rescore=RESCORE[mode], nms=NMS[nms], nms_threshold=0.9)
    for n, image in enumerate(images):
        one = slice(n, n + 1)
        record = crop_of(records[image], numbers[n], scales[n].astype(float), boxes[n])
        metric.add(Poses(points[one], joints[one], ranks[one]), record)
    found = metric.figures()
    for name, wanted in values['CocoMetric'][f'score_mode={mode},nms_mode={nms}'].items():
        assert found[NAMES[name]] == near(wanted)
    repeated = len(images) - len(set(zip(images.tolist(), numbers.tolist(), strict=True)))
    assert any(note.startswith(f'{repeated} predicted people are of an annotated') for note in metric.compute().notes)
