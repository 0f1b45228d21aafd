"""What holds nothing has a defined outcome everywhere (goal I7)."""

import json

import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.codecs.heatmap import Heatmap
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.sources.base import Report, Source
from poseplug.datasets.sources.coco import CocoSource
from poseplug.engine.launch import build_loader
from poseplug.errors import AnnotationError, ConfigError
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.grouping.nms import nms
from poseplug.inference.predictor import Predictor
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP

K = len(COCO)


class Empty(Source):
    """A source of nobody, or of people who were all dropped."""

    skeleton = LSP

    def __init__(self, dropped: int):
        self.dropped = dropped

    def load(self):
        return [], Report('file.mat', dropped={'without a labelled joint': self.dropped} if self.dropped else {})


def record(people: int) -> Record:
    points = np.full((people, K, 2), 5, np.float32)
    return Record('a.jpg', '1', points, np.full((people, K), 2, np.uint8), boxes=np.tile([0.0, 0, 9, 9], (people, 1)),
                  areas=np.full(people, 81.0), numbers=np.arange(people))  # fmt: skip


def test_1_a_set_of_nobody_is_an_error_that_says_so():
    with pytest.raises(AnnotationError, match='no person is left to train on or test: file.mat: 0 of 0 people kept'):
        PoseDataset(Empty(0), [], 'lsp')


def test_2_a_set_whose_people_were_all_dropped_says_why():
    with pytest.raises(AnnotationError, match='0 of 7 people kept; dropped: 7 without a labelled joint'):
        PoseDataset(Empty(7), [], 'lsp')


def test_3_an_annotation_file_of_nobody_gives_no_records_and_a_note(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'images': [], 'annotations': []}))
    records, report = CocoSource(tmp_path, annotations='a.json', images='images').load()
    assert (records, report.kept, report.total) == ([], 0, 0)
    assert 'nobody is annotated' in report.notes


def test_4_a_batch_of_nothing_is_refused_where_it_is_asked_for(tiny_config):
    with pytest.raises(ConfigError, match='batch_size >= 1'):
        build_loader(tiny_config(**{'train_dataloader.batch_size': 0}), 'train_dataloader', 0)


def test_5_pictures_of_nobody_make_a_batch_of_nobody_that_is_encoded():
    codec = Heatmap(LSP, (32, 32))
    targets = codec.encode(torch.zeros(2, 0, len(LSP), 2), torch.zeros(2, 0, len(LSP), dtype=torch.uint8)).at(0)
    assert targets['heatmap'].shape == (2, 14, 8, 8)
    assert not targets['heatmap'].any()


def test_6_fields_of_no_picture_decode_to_nobody():
    assert len(Heatmap(LSP, (32, 32)).decode({'heatmap': torch.zeros(0, 14, 8, 8)})) == 0


@pytest.mark.parametrize('metric', [OKSAP(COCO), PCK(LSP)], ids=['AP', 'PCK'])
def test_7_a_metric_of_nothing_has_no_figures(metric):
    assert metric.compute().values == {}


def test_8_without_detections_everybody_is_missed():
    metric = OKSAP(COCO)
    metric.add(Poses.nobody(K), record(2))
    scores = metric.compute()
    assert scores.values['AP'] == 0
    assert any('no predicted person' in note for note in scores.notes)


def test_9_detections_of_nobody_have_no_average_precision_and_it_is_noted():
    metric = OKSAP(COCO)
    metric.add(Poses(np.zeros((1, K, 2)), np.ones((1, K)), np.ones(1)), record(0))
    scores = metric.compute()
    assert scores.values == {}
    assert scores.notes[-1] == 'no AP: nobody is annotated in 1 pictures'


def test_10_no_boxes_and_no_pictures_give_nobody(tiny_config, tmp_path):
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    predictor = Predictor(cfg, tmp_path / 'weights.pth', device='cpu')
    assert predictor([]) == []
    (poses,) = predictor([np.zeros((40, 30, 3), np.uint8)], [[]])
    assert (len(poses), poses.keypoints.shape) == (0, (0, 14, 2))
    assert poses.to_coco(1) == []


def test_11_of_no_boxes_none_stays():
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []
