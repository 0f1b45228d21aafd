"""Empty input has a defined outcome everywhere (goal I7)."""

import json

import numpy as np
import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.config.build import build_model
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.data.dataset import PoseDataset
from poseplug.data.sources.base import Source, SourceReport
from poseplug.data.sources.coco import CocoSource
from poseplug.engine.dataloaders import build_dataloader
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.grouping.nms import nms
from poseplug.predict.predictor import Predictor
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record

NUM_KEYPOINTS = len(COCO)


class EmptySource(Source):
    """A source without instances, or whose instances were all dropped."""

    skeleton = LSP

    def __init__(self, num_dropped: int):
        self.dropped = {'without a labeled keypoint': num_dropped} if num_dropped else {}

    def load(self):
        return [], SourceReport('file.mat', dropped=self.dropped)


def make_record(count: int) -> Record:
    keypoints = np.full((count, NUM_KEYPOINTS, 2), 5, np.float32)
    visible = np.full((count, NUM_KEYPOINTS), 2, np.uint8)
    boxes = np.tile([0.0, 0, 9, 9], (count, 1))
    return create_annotated_record('a.jpg', '1', keypoints, visible, boxes=boxes, areas=np.full(count, 81.0),
                  annotation_ids=np.arange(count))  # fmt: skip


def test_1_a_data_set_without_instances_is_an_error_that_says_so():
    with pytest.raises(
        AnnotationError, match='no instances are left to train on or test: file.mat: 0 of 0 instances kept'
    ):
        PoseDataset(EmptySource(0), [], 'lsp')


def test_2_a_data_set_whose_instances_were_all_dropped_says_why():
    with pytest.raises(AnnotationError, match='0 of 7 instances kept; dropped: 7 without a labeled keypoint'):
        PoseDataset(EmptySource(7), [], 'lsp')


def test_3_an_annotation_file_without_instances_has_no_records_and_a_note(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'images': [], 'annotations': []}))
    records, report = CocoSource(tmp_path, ann_file='a.json', image_folder='images').load()
    assert (records, report.kept, report.total) == ([], 0, 0)
    assert 'no instances are annotated' in report.notes


def test_4_an_empty_batch_size_is_refused(tiny_config):
    with pytest.raises(ConfigError, match='batch_size >= 1'):
        build_dataloader(tiny_config(**{'train_dataloader.batch_size': 0}), 'train_dataloader', 0)


def test_5_images_without_instances_are_encoded():
    codec = Heatmap(LSP, (32, 32))
    keypoints, visible = torch.zeros(2, 0, len(LSP), 2), torch.zeros(2, 0, len(LSP), dtype=torch.uint8)
    heatmaps = codec.encode(keypoints, visible).stage_fields(0)['heatmap']
    assert heatmaps.shape == (2, 14, 8, 8)
    assert not heatmaps.any()


def test_6_fields_of_no_image_decode_to_no_instances():
    assert len(Heatmap(LSP, (32, 32)).decode({'heatmap': torch.zeros(0, 14, 8, 8)})) == 0


@pytest.mark.parametrize('metric', [OKSAP(COCO), PCK(LSP)], ids=['AP', 'PCK'])
def test_7_an_empty_metric_has_no_values(metric):
    assert metric.compute().values == {}


def test_8_without_detections_all_instances_are_missed():
    metric = OKSAP(COCO)
    metric.update(Poses.empty(NUM_KEYPOINTS), make_record(2))
    scores = metric.compute()
    assert scores.values['AP'] == 0
    assert any('no predicted instance' in note for note in scores.notes)


def test_9_detections_without_annotations_have_no_average_precision_and_it_is_noted():
    metric = OKSAP(COCO)
    predictions = Poses(np.zeros((1, NUM_KEYPOINTS, 2)), np.ones((1, NUM_KEYPOINTS)), np.ones(1))
    metric.update(predictions, make_record(0))
    scores = metric.compute()
    assert scores.values == {}
    assert scores.notes[-1] == 'no AP: no instance is annotated in 1 images'


def test_10_without_boxes_or_images_there_are_no_predictions(tiny_config, tmp_path):
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    predictor = Predictor(cfg, tmp_path / 'weights.pth', device='cpu')
    assert predictor([]) == []
    (poses,) = predictor([np.zeros((40, 30, 3), np.uint8)], [[]])
    assert (len(poses), poses.keypoints.shape) == (0, (0, 14, 2))
    assert poses.to_coco(1) == []


def test_11_no_boxes_are_suppressed_to_no_boxes():
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []
