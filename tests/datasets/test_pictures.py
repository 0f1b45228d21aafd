"""Who may stand in the middle of a whole picture, and what batches of whole pictures hold."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.pictures import central
from poseplug.datasets.sources.base import Report, Source
from poseplug.errors import AnnotationError
from poseplug.sample import Record, collate
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP


def record(boxes, path=Path('p.png'), joints=14, labelled=14, **settings) -> Record:
    boxes = np.array(boxes, float).reshape(-1, 4)
    keypoints = np.tile(((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None], (1, joints, 1)).astype(np.float32)
    visible = np.full((len(boxes), joints), 2, np.uint8)
    visible[:, labelled:] = 0
    return Record(path, path.name, keypoints, visible, 'given', boxes, **settings)


def test_somebody_with_four_joints_or_less_than_32_px_squared_is_no_centre():
    assert central(record([(0, 0, 100, 100)], labelled=5)) == [0]
    assert central(record([(0, 0, 100, 100)], labelled=4)) == []
    assert central(record([(0, 0, 100, 100)], areas=np.array([1023.0]))) == []
    assert central(record([(0, 0, 100, 100)], areas=np.array([1024.0]))) == [0]
    assert central(record([])) == []


def test_whoever_stands_within_a_third_of_somebody_chosen_before_is_no_centre():
    others = [(29, 0, 129, 100), (31, 0, 131, 100), (200, 0, 300, 100)]
    assert central(record([(0, 0, 100, 100), *others])) == [0, 2, 3]
    assert central(record([others[1], (0, 0, 100, 100)])) == [0, 1]


class Given(Source):
    def __init__(self, records, skeleton=LSP):
        self.records, self.skeleton = records, skeleton

    def load(self):
        return self.records, Report('given', kept=len(self.records))


@pytest.fixture
def picture(tmp_path):
    def write(width, height):
        path = tmp_path / f'{width}.png'
        cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
        return path

    return write


PIPELINE = [dict(type='PlaceWhole'), dict(type='MaskUnlabelled'), dict(type='Warp')]


def test_a_sample_a_centre_holds_everybody_and_pictures_without_one_are_counted(picture):
    path = picture(300, 100)
    records = [record([(0, 0, 90, 90), (5, 0, 90, 95), (150, 0, 240, 90)], path), record([(0, 0, 5, 5)], path)]
    data = PoseDataset(Given(records), PIPELINE, 'lsp', per='center')
    assert [len(r.keypoints) for r in data.records] == [3, 3]
    assert [r.boxes[0, 0] for r in data.records] == [0, 150]
    assert '1 pictures without a person to be centred on' in data.reports[0].notes
    with pytest.raises(AnnotationError, match='no person is left'):
        PoseDataset(Given(records[1:]), PIPELINE, 'lsp', per='center')


def test_pictures_of_several_sizes_become_one_batch_that_is_filled_up_at_the_right_and_below(picture):
    records = [record([(0, 0, 9, 9)], picture(64, 32)), record([], picture(32, 64))]
    data = PoseDataset(Given(records), PIPELINE, 'lsp', input_size=(64, 64), per='image')
    batch = collate([data[0], data[1]])
    assert batch.images.shape == (2, 1, 64, 128, 3)
    assert batch.extents == [(128, 64)]
    assert (batch.images[0, :, 1:-1, 1:-1] == 90).all()
    assert (batch.images[1, :, 1:-1, 1:31] == 90).all()
    assert (batch.images[1, :, :, 32:] == 128).all()
    assert batch.masks.shape == (2, 64, 128)
    assert batch.people.tolist() == [[True], [False]]


def test_a_batch_without_masks_has_none_and_what_fills_up_a_masked_one_counts(picture):
    regions = dict(ignore=np.array([(0, 0, 16, 16)], float))
    records = [record([], picture(64, 64), **regions), record([], picture(32, 64))]
    data = PoseDataset(Given(records), PIPELINE, 'lsp', input_size=(64, 64), per='image')
    samples = [data[0], data[1]]
    masks = collate(samples).masks
    assert masks[0, :16, :16].sum() == 0
    assert masks[0, 18:].all()
    assert masks[1].all()
    for s in samples:
        s.mask = None
    assert collate(samples).masks is None


def test_a_joint_that_follows_from_others_is_there_and_what_a_set_lacks_is_not_defined(picture):
    """The neck of part affinity fields, from COCO's shoulders."""
    data = PoseDataset(
        Given([record([(0, 0, 40, 40)], picture(64, 64), joints=17, labelled=17)], COCO),
        PIPELINE,
        'coco18',
        per='image',
    )
    assert data.records[0].visible.all()
    assert data.records[0].defined is None
    lsp = PoseDataset(Given([record([(0, 0, 40, 40)], picture(64, 64))]), PIPELINE, 'coco18', per='image')
    batch = collate([lsp[0], data[0]])
    eyes = [lsp.skeleton.index(f'{side}_eye') for side in ('left', 'right')]
    assert not batch.defined[0, eyes].any()
    assert batch.defined[0, lsp.skeleton.index('left_knee')]
    assert batch.defined[1].all()
    assert torch.equal(batch.visible[0, 0] > 0, batch.defined[0])
