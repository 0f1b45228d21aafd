"""Images where a detector found no instance, from the box file to the average precision."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from poseplug.core.poses import Poses
from poseplug.data.collate import collate
from poseplug.data.dataset import PoseDataset
from poseplug.data.sources.coco import CocoSource
from poseplug.data.synthetic import write_coco
from poseplug.engine import dataloaders, launch
from poseplug.engine.eval_loop import EvalLoop
from poseplug.engine.evaluate import evaluate
from poseplug.engine.strategy import SingleProcessStrategy
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.skeletons.coco import COCO

PIPELINE = [dict(type='CropBox'), dict(type='Warp')]


class PerfectModel(torch.nn.Module):
    """A model that predicts the annotated instance nearest to each crop."""

    skeleton = COCO

    def predict(self, batch):
        predictions = []
        for record in batch.records:
            centers = record.ground_truth.instances.boxes.reshape(-1, 2, 2).mean(axis=1)
            center = record.instances.boxes[0].reshape(2, 2).mean(axis=0)
            nearest = np.abs(centers - center).sum(axis=1).argmin()
            keypoints = record.ground_truth.instances.keypoints[nearest][None]
            predictions.append(Poses(keypoints, np.ones(keypoints.shape[:2]), record.instances.box_scores[:1]))
        return predictions

    def predict_stages(self, batch):
        return [self.predict(batch)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('missed') / 'made', num_train=1, num_val=4)


def build_dataset(folder, detected, pipeline=PIPELINE, **settings) -> PoseDataset:
    """The four images with the annotated boxes of those whose index is in `detected`."""
    content = json.loads((folder / 'annotations/person_keypoints_val2017.json').read_text())
    image_ids = [content['images'][index]['id'] for index in detected]
    annotations = [a for a in content['annotations'] if a['image_id'] in image_ids]
    boxes = [dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=0.9) for a in annotations]
    (folder / 'detections.json').write_text(json.dumps(boxes))
    return PoseDataset(CocoSource(folder, 'val', bbox_file='detections.json'), pipeline, 'coco', (32, 48), **settings)


def evaluate_perfect_model(data, metric=OKSAP):
    batches = [collate([data[n]]) for n in range(len(data))]
    return evaluate(PerfectModel(), batches, lambda: [metric(COCO)], undetected_records=data.undetected_records).scores


def test_instances_of_images_without_a_box_are_missed(folder):
    all_images, half = build_dataset(folder, [0, 1, 2, 3]), build_dataset(folder, [0, 2])
    assert (all_images.undetected_records, evaluate_perfect_model(all_images).values['AR']) == ([], 100)
    missed, total = sum(len(r.ground_truth.instances) for r in half.undetected_records), len(all_images)
    assert (len(half.undetected_records), len(half) + missed) == (2, total)
    scores = evaluate_perfect_model(half)
    assert scores.values['AR'] == pytest.approx(100 * (1 - missed / total), abs=0.01)
    assert f'2 of 4 images have no predicted instance: their {missed} annotated instances are missed' in scores.notes


def test_they_are_missed_by_the_test_command_and_during_training_too(folder, monkeypatch):
    build_dataset(folder, [0, 2])  # writes the boxes
    source = dict(type='CocoSource', data_root=str(folder), split='val', bbox_file='detections.json')
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='PoseDataset', sources=[source], pipeline=PIPELINE))
    cfg = Config(dict(skeleton='coco', model=dict(codec=dict(type='Heatmap', input_size=(32, 48))),
                      test_dataloader=loader, test_evaluator=dict(type='OKSAP')))  # fmt: skip
    monkeypatch.setattr(launch, 'build_model', lambda cfg: PerfectModel())
    monkeypatch.setattr(launch, 'load_weights', lambda *_: None)
    evaluation = launch.test(cfg, 'none.pth')
    expected = evaluate_perfect_model(build_dataset(folder, [0, 2]))
    assert evaluation.scores == expected
    training = SimpleNamespace(is_stop_requested=lambda: False, val_loss=False)
    model = PerfectModel()
    strategy = SingleProcessStrategy(model)
    runner = SimpleNamespace(call_hook=lambda *_, **__: None, model=model, strategy=strategy, train_loop=training)
    batches = dataloaders.build_dataloader(cfg, 'test_dataloader', seed=0)
    assert EvalLoop(runner, batches, lambda: [OKSAP(COCO)]).run() == expected.values


def test_a_limit_excludes_the_images_beyond_it(folder):
    data = build_dataset(folder, [1, 3])
    first = sum(r.id == data.records[0].id for r in data.records)
    record_ids = [r.id for r in data.undetected_records]
    assert [r.id for r in build_dataset(folder, [1, 3], limit=first).undetected_records] == record_ids[:1]
    assert [r.id for r in build_dataset(folder, [1, 3], limit=first + 1).undetected_records] == record_ids


def test_whole_images_need_no_detections(folder):
    whole_images = [dict(type='LetterboxImage', fill_fraction=1.0, side='longer'), dict(type='Warp')]
    data = build_dataset(folder, [0], whole_images, data_mode='bottomup')
    assert (len(data), data.undetected_records) == (4, [])


def test_pck_of_all_instances_counts_the_missed_ones_too(folder):
    data = build_dataset(folder, [0])
    values = evaluate_perfect_model(data, partial(PCK, normalizer='box', instances='all')).values
    labeled = np.array(
        [(r.ground_truth.instances.visible > 0).sum(axis=0) for r in (data.records[0], *data.undetected_records)]
    )
    assert values['PCK@0.2'] == pytest.approx(100 * (labeled[0] / labeled.sum(axis=0)).mean(), abs=0.01)
