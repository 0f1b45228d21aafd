"""Which instances a whole image may be centered on, and what batches of whole images contain."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.data.collate import collate
from poseplug.data.dataset import PoseDataset
from poseplug.data.main_instances import select_center_instances
from poseplug.data.sources.base import Source, SourceReport
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record


def make_record(boxes, path=Path('p.png'), num_keypoints=14, num_labeled=14, **fields) -> Record:
    """A record whose keypoints are all at the centers of the boxes."""
    boxes = np.array(boxes, float).reshape(-1, 4)
    keypoints = np.tile(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], (1, num_keypoints, 1)).astype(np.float32)
    visible = np.full((len(boxes), num_keypoints), 2, np.uint8)
    visible[:, num_labeled:] = 0
    return create_annotated_record(path, path.name, keypoints, visible, 'given', boxes, **fields)


def test_an_instance_with_four_keypoints_or_less_than_32_px_squared_is_no_center():
    assert select_center_instances(make_record([(0, 0, 100, 100)], num_labeled=5)) == [0]
    assert select_center_instances(make_record([(0, 0, 100, 100)], num_labeled=4)) == []
    assert select_center_instances(make_record([(0, 0, 100, 100)], areas=np.array([1023.0]))) == []
    assert select_center_instances(make_record([(0, 0, 100, 100)], areas=np.array([1024.0]))) == [0]
    assert select_center_instances(make_record([])) == []


def test_an_instance_within_a_third_of_one_selected_before_is_no_center():
    others = [(29, 0, 129, 100), (31, 0, 131, 100), (200, 0, 300, 100)]
    assert select_center_instances(make_record([(0, 0, 100, 100), *others])) == [0, 2, 3]
    assert select_center_instances(make_record([others[1], (0, 0, 100, 100)])) == [0, 1]


class GivenRecords(Source):
    """Returns the records that it was created with."""

    def __init__(self, records, skeleton=LSP):
        self.records, self.skeleton = records, skeleton

    def load(self):
        return self.records, SourceReport('given', kept=len(self.records))


@pytest.fixture
def write_image(tmp_path):
    """A function that writes a gray image of a width and height, and returns its path."""

    def write(width, height):
        path = tmp_path / f'{width}.png'
        cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
        return path

    return write


PIPELINE = [dict(type='FitImage'), dict(type='MaskIgnoredRegions'), dict(type='Warp')]


def test_a_centered_sample_contains_all_instances_and_images_without_a_center_are_counted(write_image):
    path, other_path = write_image(300, 100), write_image(301, 100)
    boxes = [(0, 0, 90, 90), (5, 0, 90, 95), (150, 0, 240, 90)]
    records = [make_record(boxes, path), make_record([(0, 0, 5, 5)], other_path)]
    dataset = PoseDataset(GivenRecords(records), PIPELINE, 'lsp', data_mode='bottomup_centered')
    assert [len(r.instances) for r in dataset.records] == [3, 3]
    assert [r.instances.boxes[0, 0] for r in dataset.records] == [0, 150]
    assert '1 images without an instance to be centered on' in dataset.reports[0].notes
    with pytest.raises(AnnotationError, match='no instances are left'):
        PoseDataset(GivenRecords(records[1:]), PIPELINE, 'lsp', data_mode='bottomup_centered')


def test_images_of_several_sizes_become_one_batch_padded_on_the_right_and_at_the_bottom(write_image):
    records = [make_record([(0, 0, 9, 9)], write_image(64, 32)), make_record([], write_image(32, 64))]
    dataset = PoseDataset(GivenRecords(records), PIPELINE, 'lsp', input_size=(64, 64), data_mode='bottomup')
    batch = collate([dataset[0], dataset[1]])
    assert batch.images.shape == (2, 1, 64, 128, 3)
    assert batch.view_sizes == [(128, 64)]
    assert (batch.images[0, :, 1:-1, 1:-1] == 90).all()
    assert (batch.images[1, :, 1:-1, 1:31] == 90).all()
    assert (batch.images[1, :, :, 32:] == 128).all()
    assert batch.masks.shape == (2, 64, 128)
    assert batch.valid.tolist() == [[True], [False]]


def test_a_batch_without_masks_and_padding_are_in_the_loss(write_image):
    ignored_boxes = np.array([(0, 0, 16, 16)], float)
    records = [make_record([], write_image(64, 64), ignored_boxes=ignored_boxes), make_record([], write_image(32, 64))]
    dataset = PoseDataset(GivenRecords(records), PIPELINE, 'lsp', input_size=(64, 64), data_mode='bottomup')
    samples = [dataset[0], dataset[1]]
    masks = collate(samples).masks
    assert masks[0, :16, :16].sum() == 0
    assert masks[0, 18:].all()
    assert masks[1].all()
    for s in samples:
        s.mask = np.ones((0, 0), np.uint8)
    assert collate(samples).masks.all()
    assert collate(samples).masks.shape == masks.shape


def test_a_derived_keypoint_is_labeled_and_what_a_data_set_lacks_is_not_annotated(write_image):
    """The neck of part affinity fields, from COCO's shoulders."""
    coco_records = [make_record([(0, 0, 40, 40)], write_image(64, 64), num_keypoints=17, num_labeled=17)]
    lsp_records = [make_record([(0, 0, 40, 40)], write_image(64, 64))]
    coco = PoseDataset(GivenRecords(coco_records, COCO), PIPELINE, 'coco18', data_mode='bottomup')
    lsp = PoseDataset(GivenRecords(lsp_records), PIPELINE, 'coco18', data_mode='bottomup')
    assert coco.records[0].instances.visible.all()
    assert coco.records[0].annotated_keypoints.all()
    batch = collate([lsp[0], coco[0]])
    eyes = [lsp.skeleton.index(f'{side}_eye') for side in ('left', 'right')]
    assert not batch.annotated_keypoints[0, eyes].any()
    assert batch.annotated_keypoints[0, lsp.skeleton.index('left_knee')]
    assert batch.annotated_keypoints[1].all()
    assert torch.equal(batch.visible[0, 0] > 0, batch.annotated_keypoints[0])
