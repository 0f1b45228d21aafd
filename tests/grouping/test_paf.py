"""One call from arrays to instances, and the oracle: COCO's annotated keypoints through fields and parser to its AP."""

import math
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.paf import PAF
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.coco import CocoSource
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.grouping.paf import parse_paf, parse_paf_batch
from poseplug.grouping.paf_rules import PAFRules
from poseplug.registry.skeletons import get_skeleton
from poseplug.testing import change_record

COCO, COCO18 = get_skeleton('coco'), get_skeleton('coco18')


def arm_fields():
    """Right shoulder, elbow and wrist in line on row 3 of 6 x 12 cells, as fields of the released network's layout."""
    heatmap, paf = np.zeros((19, 6, 12), np.float32), np.zeros((38, 6, 12), np.float32)
    for keypoint, x in ((2, 1), (3, 5), (4, 9)):
        heatmap[keypoint, 3, x] = 0.8
    paf[14, 2:5, :7] = 1  # 2-3, x
    paf[16, 2:5, 4:] = 1  # 3-4, x
    return {'heatmap': heatmap, 'paf': paf}


def test_arrays_in_the_released_layout_become_instances_in_one_call():
    """Cell g is at pixel 8g + 3.5. The score is that of 3 peaks of 0.8 and 2 limbs of 1, of 18 and 19."""
    (poses,) = parse_paf(arm_fields(), 'coco18', refine='none')
    assert poses.keypoints[0, 2:5].tolist() == [[11.5, 27.5], [43.5, 27.5], [75.5, 27.5]]
    assert np.flatnonzero(poses.visibility[0]).tolist() == [2, 3, 4]
    assert poses.keypoint_scores[0, 2:5].tolist() == pytest.approx([0.8] * 3)
    assert poses.instance_scores.tolist() == pytest.approx([(3 * 0.8 + 2) / 37])
    assert poses.boxes.tolist() == [[11.5, 27.5, 75.5, 27.5]]


def test_tensors_of_several_images_another_stride_and_another_preset_are_accepted_too():
    fields = {name: torch.stack([torch.zeros_like(m), m]).requires_grad_() for name, m in
              ((name, torch.from_numpy(m)) for name, m in arm_fields().items())}  # fmt: skip
    empty, poses = parse_paf(fields, 'coco18', 'matlab', stride=4, offset=0, refine='none')
    assert (len(empty), len(poses)) == (0, 1)
    assert poses.keypoints[0, 2:5].tolist() == [[4, 12], [20, 12], [36, 12]]


def parse_single_channels(heatmaps, stride=8.0, limbs=(), paf=None, raw_heatmaps=None, **rules):
    """The instances of one image whose keypoints are connected by `limbs` alone."""
    names = 'abcd'[: heatmaps.shape[1]]
    skeleton = Skeleton('some', tuple(names), limbs=limbs)
    paf = torch.zeros(1, 2 * len(limbs), *heatmaps.shape[2:]) if paf is None else paf
    rules = PAFRules(**{'min_keypoints': 1, 'min_mean_score': 0.0, **rules})
    (result,) = parse_paf_batch(heatmaps, paf, skeleton, rules, stride, raw_heatmaps=raw_heatmaps)
    return result


def draw_cells(*cells, num_keypoints=1):
    heatmaps = torch.zeros(1, num_keypoints, 6, 12)
    for keypoint, x, value in cells:
        heatmaps[0, keypoint, 3, x] = value
    return heatmaps


@pytest.mark.parametrize(('stride', 'num_peaks'), [(8.0, 2), (4.0, 1)])
def test_the_smallest_distance_of_two_peaks_is_in_pixels(stride, num_peaks):
    """Three cells are 24 px, or 12."""
    heatmaps = draw_cells((0, 2, 0.9), (0, 5, 0.8))
    result = parse_single_channels(heatmaps, stride, min_peak_distance_px=16.0)
    assert result.counts['peaks'] == num_peaks
    assert len(result.peak_indices) == num_peaks  # without limbs every peak is an instance


@pytest.mark.parametrize(('single_peaks', 'num_instances'), [('none', 1), ('unpaired', 2), ('all', 3)])
def test_peaks_without_a_limb_are_instances_by_rule(single_peaks, num_instances):
    """'c' has no peak to pair with, 'b' lies against the field."""
    heatmaps = draw_cells((0, 1, 0.9), (1, 9, 0.9), (1, 0, 0.8), (2, 5, 0.7), num_keypoints=4)
    paf = torch.zeros(1, 4, 6, 12)
    paf[0, 0] = 1
    result = parse_single_channels(heatmaps, 8.0, (('a', 'b'), ('c', 'd')), paf, single_peaks=single_peaks)
    assert len(result.peak_indices) == num_instances
    assert str(result) == f'{num_instances} instances: 4 peaks, 2 pairs, 1 limbs, {num_instances} instances grouped'


@pytest.mark.parametrize(('stride', 'num_instances'), [(8.0, 1), (2.0, 0)])
def test_a_limb_has_samples_by_its_length_in_pixels(stride, num_instances):
    """13 samples of 32 px, 3 of which fall into the cell of 0, or 6 of 8 px, 2 of them; more than 0.7 must pass."""
    heatmaps, paf = draw_cells((0, 1, 0.9), (1, 5, 0.9), num_keypoints=2), torch.zeros(1, 2, 6, 12)
    paf[0, 0] = 1
    paf[0, 0, :, 3] = 0
    rules = dict(num_samples='length', min_sample_fraction=0.7, single_peaks='none', short_limb_fraction=0.0)
    result = parse_single_channels(heatmaps, stride, (('a', 'b'),), paf, **rules)
    assert len(result.peak_indices) == num_instances


def test_scores_are_those_of_the_raw_heatmaps_also_by_the_fallback_rules():
    heatmaps = draw_cells((0, 1, 0.03), (1, 5, 0.03), num_keypoints=2)
    paf = torch.ones(1, 2, 6, 12)
    for fallback, num_instances in ((None, 0), ('openpose_maximize_positives', 1)):
        result = parse_single_channels(heatmaps, 8.0, (('a', 'b'),), paf, 20 * heatmaps, fallback=fallback)
        assert len(result.peak_indices) == num_instances
    assert result.peaks.scores.tolist() == pytest.approx([0.6, 0.6])


def test_heatmaps_without_background_and_a_skeleton_as_a_dict_are_accepted():
    skeleton = dict(name='arm', keypoints=['s', 'e', 'w'], limbs=[['s', 'e'], ['e', 'w']])
    full = arm_fields()
    arm = {'heatmap': full['heatmap'][2:5], 'paf': full['paf'][14:18]}
    assert len(parse_paf(arm, skeleton)[0]) == 1


@pytest.mark.parametrize('name', ['heatmap', 'paf'])
def test_fields_that_are_absent_or_of_another_size_are_an_error(name):
    fields = arm_fields()
    with pytest.raises(MismatchError, match=f'got .*{name} None'):
        parse_paf({n: m for n, m in fields.items() if n != name}, 'coco18')
    with pytest.raises(MismatchError, match='of one size'):
        parse_paf({**fields, name: fields[name][:, :5]}, 'coco18')


def test_an_unknown_preset_or_refinement_is_an_error():
    with pytest.raises(ConfigError, match="no parser 'openpose_coco'"):
        parse_paf(arm_fields(), 'coco18', 'openpose_coco')
    with pytest.raises(ConfigError, match="refined by one of .*; got 'second_peak'"):
        parse_paf(arm_fields(), 'coco18', refine='second_peak')


def test_fields_of_nan_have_no_instance():
    fields = {name: np.full_like(m, np.nan) for name, m in arm_fields().items()}
    assert len(parse_paf(fields, 'coco18')[0]) == 0
    assert len(parse_paf({**arm_fields(), 'paf': fields['paf']}, 'coco18')[0]) == 0


def test_instances_of_noise_alone_are_finite():
    """Dozens of peaks per keypoint and fields of random vectors."""
    generator = torch.Generator().manual_seed(0)
    fields = {
        'heatmap': torch.randn(19, 46, 46, generator=generator),
        'paf': torch.randn(38, 46, 46, generator=generator),
    }
    for preset in ('openpose', 'matlab', 'complete'):
        (poses,) = parse_paf(fields, 'coco18', preset)
        assert np.isfinite(poses.keypoints).all()
        assert ((poses.instance_scores >= 0) & (poses.instance_scores <= 1)).all()


@pytest.fixture(scope='module')
def coco_records():
    """The annotated images of COCO's validation set that are present."""
    root = Path(os.environ.get('POSEPLUG_DATA', Path(__file__).parents[3] / 'shared/data')) / 'coco'
    if not (root / 'annotations').is_dir():
        pytest.skip(f'no COCO in {root}; name the folder above it by POSEPLUG_DATA')
    return CocoSource(root, split='val', missing_images='drop').load()[0]


def round_trip(record, **settings):
    """An image's annotated instances, encoded at a height of 368 px and decoded, in image pixels as those of 'coco'."""
    height, width = cv2.imread(str(record.path)).shape[:2]
    factor = 368 / height
    keypoints, visible = COCO18.convert_keypoints(COCO, record.instances.keypoints, record.instances.visible)
    codec = PAF(COCO18, (8 * math.ceil(width * factor / 8), 368), **settings)
    input_keypoints = torch.from_numpy((keypoints + 0.5) * factor - 0.5)[None]
    targets = codec.encode(input_keypoints, torch.from_numpy(visible)[None])
    poses = codec.decode(targets.stage_fields(0)).numpy()
    indices = COCO.indices_in(COCO18)
    decoded = (poses.keypoints[:, indices] + 0.5) / factor - 0.5
    return Poses(decoded, poses.keypoint_scores[:, indices], poses.instance_scores)


def count_pieces(visible):
    """The number of parts, connected by limbs, of the labeled keypoints (K,) of 'coco18'."""
    part = np.arange(len(visible))
    for _ in visible:
        for a, b in COCO18.limb_indices:
            if visible[a] and visible[b]:
                part[[a, b]] = part[[a, b]].min()
    return len(set(part[visible > 0]))


def keep_connected_instances(record):
    """The same image, without labels of instances of fewer than 3 keypoints or of keypoints not connected by limbs."""
    _, visible = COCO18.convert_keypoints(COCO, record.instances.keypoints, record.instances.visible)
    is_whole = [count_pieces(v) == 1 and (v > 0).sum() >= 3 for v in visible]
    return change_record(record, visible=np.where(np.array(is_whole)[:, None], record.instances.visible, 0))


def average_precision(records, poses_per_image):
    metric = OKSAP(COCO)
    for record, poses in zip(records, poses_per_image, strict=True):
        metric.update(poses, record)
    return metric.compute().values['AP']


@pytest.mark.parametrize(
    ('settings', 'min_connected_ap', 'min_ap'),
    [
        (dict(parser='complete'), 96.5, 90.0),
        (dict(parser='complete', limb_merge='last'), 96.5, 90.0),
        (dict(parser='matlab'), 96.0, 82.0),
        (dict(parser='matlab', instances='add'), 94.5, 81.0),
    ],
)
def test_annotated_keypoints_of_real_crowds_come_back_through_fields(coco_records, settings, min_connected_ap, min_ap):
    """A fifth of the instances are labeled with gaps that no limb of the 18 keypoints bridges; they limit the AP."""
    poses_per_image = [round_trip(record, **settings) for record in coco_records]
    assert average_precision([keep_connected_instances(r) for r in coco_records], poses_per_image) >= min_connected_ap
    assert average_precision(coco_records, poses_per_image) >= min_ap


def test_three_quarters_of_the_instances_are_labeled_in_one_piece(coco_records):
    counts = Counter(bool(v.any()) for r in coco_records for v in keep_connected_instances(r).instances.visible)
    assert counts[True] > 3 * counts[False]
