"""Pictures where a detector found nobody, from the box file to the average precision."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.sources.coco import CocoSource
from poseplug.datasets.synthetic import write_coco
from poseplug.engine import launch
from poseplug.engine.evaluate import evaluate
from poseplug.engine.loops import EvalLoop
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.poses import Poses
from poseplug.sample import collate
from poseplug.skeletons.coco import COCO

PIPELINE = [dict(type='PlaceBox'), dict(type='Warp')]


class Knowing(torch.nn.Module):
    """A model that finds everybody whose picture it is shown, by looking at the truth."""

    skeleton = COCO

    def predict(self, batch, every_stage=False):
        found = []
        for record in batch.records:
            middles = record.truth.boxes.reshape(-1, 2, 2).mean(axis=1)
            person = np.abs(middles - record.boxes[0].reshape(2, 2).mean(axis=0)).sum(axis=1).argmin()
            joints = record.truth.keypoints[person][None]
            found.append(Poses(joints, np.ones(joints.shape[:2]), record.box_scores[:1]))
        return [found]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('missed') / 'made', train=1, val=4)


def dataset(folder, found, **settings) -> PoseDataset:
    """The four pictures with the annotated boxes of those whose place is in `found`."""
    content = json.loads((folder / 'annotations/person_keypoints_val2017.json').read_text())
    chosen = [content['images'][place]['id'] for place in found]
    boxes = [a for a in content['annotations'] if a['image_id'] in chosen]
    boxes = [dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=0.9) for a in boxes]
    (folder / 'found.json').write_text(json.dumps(boxes))
    return PoseDataset(CocoSource(folder, 'val', boxes='found.json'), PIPELINE, 'coco', (32, 48), **settings)


def measured(data, metric=OKSAP):
    batches = [collate([data[n]]) for n in range(len(data))]
    return evaluate(Knowing(), batches, lambda: [metric(COCO)], unseen=data.unseen).scores


def test_people_of_pictures_without_a_box_are_missed(folder):
    every, half = dataset(folder, [0, 1, 2, 3]), dataset(folder, [0, 2])
    assert (every.unseen, measured(every).values['AR']) == ([], 100)
    missed, total = sum(len(r.truth.keypoints) for r in half.unseen), len(every)
    assert (len(half.unseen), len(half) + missed) == (2, total)
    scores = measured(half)
    assert scores.values['AR'] == pytest.approx(100 * (1 - missed / total), abs=0.01)
    assert f'2 of 4 pictures have nobody predicted: their {missed} people are missed' in scores.notes


def test_they_are_missed_by_the_test_command_and_in_training_too(folder, monkeypatch):
    dataset(folder, [0, 2])  # writes the boxes
    source = dict(type='CocoSource', root=str(folder), half='val', boxes='found.json')
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='PoseDataset', sources=[source], pipeline=PIPELINE))
    cfg = Config(dict(skeleton='coco', model=dict(codec=dict(input_size=(32, 48))), test_dataloader=loader,
                      test_evaluator=dict(type='OKSAP')))  # fmt: skip
    monkeypatch.setattr(launch, 'build_model', lambda cfg: Knowing())
    monkeypatch.setattr(launch, 'load_weights', lambda *_: None)
    found = launch.test(cfg, 'none.pth')
    wanted = measured(dataset(folder, [0, 2]))
    assert found.scores == wanted
    training = SimpleNamespace(stopped=lambda: False)
    runner = SimpleNamespace(call_hook=lambda *_, **__: None, model=Knowing(), train_loop=training)
    batches = launch.build_loader(cfg, 'test_dataloader', seed=0)
    assert EvalLoop(runner, batches, lambda: [OKSAP(COCO)]).run() == wanted.values


def test_a_limit_leaves_out_the_pictures_beyond_it(folder):
    data = dataset(folder, [1, 3])
    first = sum(r.id == data.records[0].id for r in data.records)
    names = [r.id for r in data.unseen]
    assert [r.id for r in dataset(folder, [1, 3], limit=first).unseen] == names[:1]
    assert [r.id for r in dataset(folder, [1, 3], limit=first + 1).unseen] == names


def test_whole_pictures_are_all_seen(folder):
    data = dataset(folder, [0], per='image')
    assert (len(data), data.unseen) == (4, [])


def test_pck_of_all_people_counts_the_missed_ones_too(folder):
    data = dataset(folder, [0])
    shares = measured(data, partial(PCK, normaliser='box', people='all')).values
    labelled = np.array([(r.truth.visible > 0).sum(axis=0) for r in (data.records[0], *data.unseen)])
    assert shares['PCK@0.2'] == pytest.approx(100 * (labelled[0] / labelled.sum(axis=0)).mean(), abs=0.01)
