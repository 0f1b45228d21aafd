"""Faults of annotated instances are found with a remedy, and nothing is found in a sound data set."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.config.load import load_config
from poseplug.data.sources.base import SourceReport
from poseplug.data.synthetic import write_coco
from poseplug.inspect.dataset_faults import (
    FAULT_KINDS,
    collect_dataset_findings,
    draw_suspect_instance,
    find_suspect_instances,
    write_doctor_page,
)
from poseplug.inspect.dataset_reading import SourceStatistics, read_all_images, read_datasets
from poseplug.inspect.environment import Finding
from poseplug.skeletons.coco import COCO
from poseplug.testing import create_annotated_record

CONFIG = Path(__file__).parents[2] / 'configs/simple_baseline/simple_baseline_r50_coco_256x192.py'
BODY = {
    'nose': (50, 10), 'left_eye': (52, 8), 'right_eye': (48, 8), 'left_ear': (54, 9), 'right_ear': (46, 9),
    'left_shoulder': (60, 25), 'right_shoulder': (40, 25), 'left_elbow': (65, 40), 'right_elbow': (35, 40),
    'left_wrist': (66, 55), 'right_wrist': (34, 55), 'left_hip': (57, 60), 'right_hip': (43, 60),
    'left_knee': (58, 80), 'right_knee': (42, 80), 'left_ankle': (59, 97), 'right_ankle': (41, 97),
}  # fmt: skip


def build_keypoints(**moved) -> np.ndarray:
    """(17, 2) of a person seen from the front, with some keypoints elsewhere."""
    return np.array([{**BODY, **moved}[keypoint] for keypoint in COCO.keypoints], np.float32)


def exchange_sides(*parts) -> np.ndarray:
    """(17, 2) of the same person with left and right of some parts exchanged."""
    moved = {}
    for part in parts:
        moved |= {f'left_{part}': BODY[f'right_{part}'], f'right_{part}': BODY[f'left_{part}']}
    return build_keypoints(**moved)


@pytest.fixture
def read_image_with(tmp_path):
    """A function from instances (17, 2), and more of the record, to the statistics of one image of 100 x 110 px."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((110, 100, 3), np.uint8))

    def read(*instances, boxes=None, areas=None, annotation_ids=None, flag=2):
        keypoints = np.stack(instances)
        boxes = [[30.0, 5, 70, 100]] * len(instances) if boxes is None else boxes
        areas = [2000.0] * len(instances) if areas is None else areas
        visible = np.full(keypoints.shape[:2], flag, np.uint8)
        extras = dict(boxes=np.array(boxes, dtype=float), areas=np.array(areas, dtype=float))
        record = create_annotated_record(
            tmp_path / 'a.png', 'a.png', keypoints, visible, annotation_ids=annotation_ids, **extras
        )
        report = SourceReport('made', kept=len(instances))
        statistics = SourceStatistics('train: made', report, COCO, [record])
        read_all_images(statistics, 1)
        return statistics

    return read


def test_a_sound_instance_is_not_suspect(read_image_with):
    assert find_suspect_instances(read_image_with(build_keypoints())) == []


FAULTY = {
    'left and right of the torso crossed': dict(instances=[exchange_sides('hip')]),
    'left and right limbs crossed': dict(instances=[exchange_sides('wrist')]),
    'keypoints outside the image': dict(instances=[build_keypoints(left_wrist=(101, 55))]),
    'keypoints outside the box': dict(instances=[build_keypoints(left_wrist=(90, 55))]),
    'labeled keypoint at 0, 0': dict(instances=[build_keypoints(nose=(0, 0))]),
    'all keypoints at one position': dict(instances=[np.full((17, 2), 50, np.float32)]),
    'box outside the image': dict(instances=[build_keypoints()], boxes=[[30, 5, 120, 100]]),
    'area larger than the box': dict(instances=[build_keypoints()], areas=[4000]),
    'area close to zero': dict(instances=[build_keypoints()], areas=[3]),
    'duplicate of another instance': dict(instances=[build_keypoints(), build_keypoints() + np.float32(0.5)]),
}


def test_every_kind_of_fault_has_an_example():
    assert [*FAULTY] == [*FAULT_KINDS]


@pytest.mark.parametrize('kind', FAULTY)
def test_a_faulty_instance_is_found_with_a_remedy(read_image_with, kind):
    example = dict(FAULTY[kind])
    statistics = read_image_with(*example.pop('instances'), **example)
    (suspect,) = [s for s in find_suspect_instances(statistics) if kind in s.fault_counts]
    assert suspect.severity >= FAULT_KINDS[kind][0]
    findings = collect_dataset_findings(statistics, [suspect])
    (finding,) = [f for f in findings if f.message.startswith(f'{kind}: 1 instances')]
    assert finding.remedy == FAULT_KINDS[kind][1]
    assert str(finding).startswith('CHECK ')
    assert 'a.png (instance ' in finding.message


def test_unlabeled_keypoints_are_not_checked(read_image_with):
    assert find_suspect_instances(read_image_with(exchange_sides('hip', 'wrist'), flag=0)) == []


def test_a_person_lying_or_upside_down_is_checked_in_the_same_way(read_image_with):
    rotated = [build_keypoints()[:, ::-1], np.array([100, 105], np.float32) - build_keypoints()]
    for keypoints in rotated:
        assert find_suspect_instances(read_image_with(keypoints, boxes=[[0, 0, 100, 110]])) == []
        wrong = keypoints.copy()
        left, right = COCO.index('left_hip'), COCO.index('right_hip')
        wrong[[left, right]] = wrong[[right, left]]
        (suspect,) = find_suspect_instances(read_image_with(wrong, boxes=[[0, 0, 100, 110]]))
        assert 'left and right of the torso crossed' in suspect.fault_counts


def test_the_most_severe_come_first(read_image_with):
    instances = [build_keypoints(), build_keypoints(left_wrist=(90, 55)) + 3, exchange_sides('hip', 'wrist') - 3]
    assert [suspect.instance_index for suspect in find_suspect_instances(read_image_with(*instances))] == [2, 1]


def test_repeated_annotation_ids_and_images_with_the_same_pixels_are_reported(read_image_with, tmp_path):
    statistics = read_image_with(build_keypoints(), build_keypoints() + 5, annotation_ids=np.array([7, 7]))
    cv2.imwrite(str(tmp_path / 'b.png'), np.zeros((110, 100, 3), np.uint8))
    statistics.records.append(
        create_annotated_record(tmp_path / 'b.png', 'b', build_keypoints()[None], np.full((1, 17), 2, np.uint8))
    )
    read_all_images(statistics, 1)
    text = '\n'.join(map(str, collect_dataset_findings(statistics, [])))
    assert '1 annotation ids occur more than once: 7' in text
    assert '1 images occur more than once: a.png = b.png' in text


def test_keypoints_that_no_instance_has_are_reported(read_image_with):
    statistics = read_image_with(build_keypoints())
    statistics.records[0].instances.visible[:, 0] = 0
    assert any('never labeled: nose' in f.message for f in collect_dataset_findings(statistics, []))


def test_the_page_holds_images_of_the_worst_and_no_external_link(read_image_with, tmp_path):
    statistics = read_image_with(exchange_sides('hip'), build_keypoints(left_wrist=(90, 55)) + 2)
    statistics.records[0] = replace(statistics.records[0], id='<script>')
    suspects = find_suspect_instances(statistics)
    write_doctor_page(tmp_path / 'page.html', [Finding('a fact')], [(statistics, suspects)], 1)
    page = (tmp_path / 'page.html').read_text()
    assert page.count('<img') == 1
    assert '<script>' not in page
    assert '&lt;script&gt;' in page
    assert 'http' not in page


def test_an_instance_without_a_readable_image_is_drawn_on_gray(read_image_with, tmp_path):
    statistics = read_image_with(exchange_sides('hip'))
    (suspect,) = find_suspect_instances(statistics)
    (tmp_path / 'a.png').write_bytes(b'')
    assert draw_suspect_instance(suspect, COCO).ndim == 3


def test_no_instance_of_the_synthetic_set_has_exchanged_sides(tmp_path):
    write_coco(tmp_path / 'coco', 12, 8, seed=0)
    source = dict(type='CocoSource', data_root=str(tmp_path / 'coco'))
    source_splits = {'train': 'train', 'val': 'val', 'test': 'val'}
    options = {f'{s}_dataloader.dataset.sources': [{**source, 'split': split}] for s, split in source_splits.items()}
    for statistics in read_datasets(load_config(CONFIG, options)):
        kinds = {kind for suspect in find_suspect_instances(statistics) for kind in suspect.fault_counts}
        assert not kinds & {
            'left and right of the torso crossed',
            'all keypoints at one position',
            'keypoints outside the image',
        }
