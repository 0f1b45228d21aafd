"""MMPose's side of the comparison, by its public interface; runs in an environment that has it (docs/benchmark.md)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import stand_ins
from turns import Task, serve

RTMO = 'body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py'
HRNET = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'


def config_file(name: str) -> Path:
    """One of the configs that MMPose ships."""
    import mmpose

    return Path(mmpose.__file__).parent / '.mim/configs' / name


def codec(kind: str, **settings: Any) -> Any:
    import mmpose.codecs

    return getattr(mmpose.codecs, kind)(input_size=inputs.INPUT, heatmap_size=inputs.GRID, sigma=2, **settings)


def encode(kind: str, **settings: Any) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        own, people = codec(kind, **settings), inputs.joints()[:, None]
        visible = np.ones((1, inputs.JOINTS), np.float32)
        action = lambda: [own.encode(p, visible)['heatmaps'] for p in people]  # noqa: E731
        return Task(action, len(people), lambda maps: np.stack(maps).sum(axis=(2, 3)).ravel())

    return task


def decode(kind: str, **settings: Any) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        own, maps = codec(kind, blur_kernel_size=inputs.KERNEL, **settings), inputs.maps()
        return Task(lambda: [own.decode(m)[0] for m in maps], len(maps), lambda found: np.concatenate(found).ravel())

    return task


def bins() -> Any:
    import mmpose.codecs

    return mmpose.codecs.SimCCLabel(input_size=inputs.INPUT)


def encode_bins(root: Path) -> Task:
    own, people = bins(), inputs.joints()[:, None]
    visible = np.ones((1, inputs.JOINTS), np.float32)
    sums = lambda found, axis: [float(v) for f in found for v in f[f'keypoint_{axis}_labels'].sum(-1).ravel()]  # noqa: E731
    action = lambda: [own.encode(p, visible) for p in people]  # noqa: E731
    return Task(action, len(people), lambda found: sums(found, 'x') + sums(found, 'y'))


def decode_bins(root: Path) -> Task:
    own, (x, y) = bins(), inputs.lines()
    action = lambda: [own.decode(*both)[0] for both in zip(x, y, strict=True)]  # noqa: E731
    return Task(action, len(x), lambda found: np.concatenate(found).ravel())


def group_tags(root: Path) -> Task:
    """Without its shift by half a cell, which joints that it fills in do not get."""
    import torch
    from mmpose.codecs import AssociativeEmbedding

    order = [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]  # as its config has it
    own = AssociativeEmbedding((512, 512), (128, 128), sigma=2, decode_keypoint_order=order, decode_max_instances=30)
    maps, tags = map(torch.from_numpy, inputs.tagged())
    action = torch.inference_mode()(lambda: own.batch_decode(maps.clone(), tags)[0][0])
    return Task(action, answer=inputs.in_order)


def suppression(clusters: int) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        from mmpose.evaluation.functional import oks_nms

        people = [
            dict(keypoints=np.column_stack([k, np.ones(len(k))]), score=score, area=area)
            for k, score, area in zip(*inputs.crowd(1000, clusters), strict=True)
        ]
        return Task(lambda: oks_nms(people, 0.9), answer=list)

    return task


def loader(root: Path) -> Task:
    """One pass over the training set with the config's own pipeline, batches of 32 as its loader puts them together."""
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    from mmpose.datasets import CocoDataset

    init_default_scope('mmpose')
    pipeline = Config.fromfile(str(config_file(HRNET))).train_pipeline
    file, folder = inputs.TRAIN
    dataset = CocoDataset(
        ann_file=file, data_root=str(root), data_prefix=dict(img=folder + '/'), data_mode='topdown', pipeline=pipeline
    )
    batches = [range(i, min(i + 32, len(dataset))) for i in range(0, len(dataset), 32)]

    def one_pass() -> None:
        for batch in batches:
            pseudo_collate([dataset[i] for i in batch])

    return Task(one_pass, len(dataset), facts={'samples': len(dataset)})


def predict(pictures: int, people: int) -> Callable[[Path], Task]:
    """One picture after the other, as its interface takes them."""

    def task(root: Path) -> Task:
        from mmpose.apis import inference_topdown, init_model

        model, work = init_model(str(config_file(HRNET)), device='cpu'), inputs.pictures(root, pictures, people)
        action = lambda: [inference_topdown(model, path, boxes) for path, boxes in work]  # noqa: E731
        return Task(action, pictures * people, facts={'flip test': model.test_cfg['flip_test']})

    return task


@functools.cache
def rtmo() -> Any:
    """RTMO-s with random weights."""
    import torch
    from mmpose.apis import init_model

    torch.manual_seed(0)
    return init_model(str(config_file(RTMO)), device='cpu')


def rtmo_network(root: Path) -> Task:
    """From normalised pixels to the outputs of all cells."""
    import torch

    model, pixels = rtmo(), torch.from_numpy(inputs.noise())
    return Task(torch.inference_mode()(lambda: model.head(model.extract_feat(pixels))))


def rtmo_picture(root: Path) -> Task:
    """From a file to people, by its public function."""
    from mmpose.apis import inference_bottomup

    model, ((path, _),) = rtmo(), inputs.pictures(root, 1, 1)
    inputs.sure(model.head.head_module.out_cls)
    answer = lambda found: [len(found[0].pred_instances.keypoints)]  # noqa: E731
    return Task(lambda: inference_bottomup(model, path), answer=answer, facts={'people': inputs.FOUND})


def simota(root: Path) -> Task:
    """The cells that get somebody."""
    import torch
    from mmengine.structures import InstanceData

    truth, said = ({n: torch.from_numpy(v) for n, v in part.items()} for part in inputs.assignment())
    priors = torch.cat([said['points'], said['strides'][:, None].expand(-1, 2)], dim=1)
    shown = torch.ones(truth['keypoints'].shape[:2])
    people = InstanceData(
        bboxes=truth['boxes'],
        labels=torch.zeros(len(shown), dtype=torch.long),
        keypoints=truth['keypoints'],
        keypoints_visible=shown,
        areas=truth['areas'],
    )
    cells = InstanceData(
        bboxes=said['box'],
        scores=said['score'].sigmoid()[:, None],
        priors=priors,
        keypoints=said['proxy'],
        keypoints_visible=torch.ones(len(priors), inputs.JOINTS),
    )
    own, answer = rtmo().head.assigner, lambda given: [len(given['gt_inds'].nonzero())]
    return Task(lambda: own.assign(cells, people), answer=answer)


def import_all() -> None:
    stand_ins.install()
    import mmpose.apis  # noqa: F401


ROWS = {
    'encode msra': encode('MSRAHeatmap'),
    'encode dark': encode('MSRAHeatmap', unbiased=True),
    'encode udp': encode('UDPHeatmap'),
    'encode simcc': encode_bins,
    'decode dark': decode('MSRAHeatmap', unbiased=True),
    'decode udp': decode('UDPHeatmap'),
    'decode simcc': decode_bins,
    'tags': group_tags,
    'oks-nms distinct': suppression(1000),
    'oks-nms clustered': suppression(50),
    'loader': loader,
    'three boxes': predict(1, 3),
    '64 boxes': predict(16, 4),
    'rtmo network': rtmo_network,
    'rtmo picture': rtmo_picture,
    'simota': simota,
}

if __name__ == '__main__':
    stand_ins.install()
    serve(ROWS, import_all)
