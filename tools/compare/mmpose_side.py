"""MMPose's side of the comparison, by its public interface, in an environment that has it (docs/lab/benchmark.md)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import stand_ins
from turns import Task, serve_requests

RTMO = 'body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py'
HRNET = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'


def get_config_file(name: str) -> Path:
    """A config that MMPose ships."""
    import mmpose

    return Path(mmpose.__file__).parent / '.mim/configs' / name


def build_codec(name: str, **settings: Any) -> Any:
    """A codec of heatmaps."""
    import mmpose.codecs

    sizes = dict(input_size=inputs.INPUT_SIZE, heatmap_size=inputs.GRID_SIZE)
    return getattr(mmpose.codecs, name)(**sizes, sigma=2, **settings)


def encode_heatmaps(codec_name: str, **settings: Any) -> Callable[[Path], Task]:
    """Keypoints to heatmaps; the answer is the sum of each."""

    def create_task(data_root: Path) -> Task:
        codec, instances = build_codec(codec_name, **settings), inputs.create_keypoints()[:, None]
        visible = np.ones((1, inputs.NUM_KEYPOINTS), np.float32)
        return Task(
            # One instance after the other, as its data pipeline calls the codec.
            lambda: [codec.encode(keypoints, visible)['heatmaps'] for keypoints in instances],
            len(instances),
            lambda heatmaps: np.stack(heatmaps).sum(axis=(2, 3)).ravel(),
        )

    return create_task


def decode_heatmaps(codec_name: str, **settings: Any) -> Callable[[Path], Task]:
    """Heatmaps to keypoints."""

    def create_task(data_root: Path) -> Task:
        codec = build_codec(codec_name, blur_kernel_size=inputs.BLUR_KERNEL_SIZE, **settings)
        instances = inputs.create_heatmaps()
        action = lambda: [codec.decode(heatmaps)[0] for heatmaps in instances]  # noqa: E731
        return Task(action, len(instances), lambda keypoints: np.concatenate(keypoints).ravel())

    return create_task


def build_simcc_codec() -> Any:
    """A codec of SimCC's vectors."""
    import mmpose.codecs

    return mmpose.codecs.SimCCLabel(input_size=inputs.INPUT_SIZE)


def encode_simcc(data_root: Path) -> Task:
    """Keypoints to vectors; the answer is the sum of each."""
    # (32, 1, 17, 2): its codecs expect an axis of instances.
    codec, instances = build_simcc_codec(), inputs.create_keypoints()[:, None]
    visible = np.ones((1, inputs.NUM_KEYPOINTS), np.float32)

    def sum_vectors(encoded: Any) -> list[float]:
        names = ('keypoint_x_labels', 'keypoint_y_labels')
        return [float(v) for name in names for fields in encoded for v in fields[name].sum(-1).ravel()]

    action = lambda: [codec.encode(keypoints, visible) for keypoints in instances]  # noqa: E731
    return Task(action, len(instances), sum_vectors)


def decode_simcc(data_root: Path) -> Task:
    """Vectors to keypoints."""
    codec, (x, y) = build_simcc_codec(), inputs.create_simcc_vectors()
    action = lambda: [codec.decode(*vectors)[0] for vectors in zip(x, y, strict=True)]  # noqa: E731
    return Task(action, len(x), lambda keypoints: np.concatenate(keypoints).ravel())


def group_tags(data_root: Path) -> Task:
    """Heatmaps and tags to keypoints, without its shift by half a cell, which filled-in keypoints do not get."""
    import torch
    from mmpose.codecs import AssociativeEmbedding

    order = [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]  # as its config has it
    codec = AssociativeEmbedding((512, 512), (128, 128), sigma=2, decode_keypoint_order=order, decode_max_instances=30)
    heatmaps, tags = map(torch.from_numpy, inputs.create_tagged_heatmaps())
    # Cloned, since decoding changes the heatmaps in place.
    action = torch.inference_mode()(lambda: codec.batch_decode(heatmaps.clone(), tags)[0][0])
    return Task(action, convert_result=inputs.flatten_left_to_right)


def suppress_clusters(num_clusters: int) -> Callable[[Path], Task]:
    """OKS-NMS of 1,000 instances; the answer is their indices."""

    def create_task(data_root: Path) -> Task:
        from mmpose.evaluation.functional import oks_nms

        instances = [
            dict(keypoints=np.column_stack([keypoints, np.ones(len(keypoints))]), score=score, area=area)
            for keypoints, score, area in zip(*inputs.create_clusters(1000, num_clusters), strict=True)
        ]
        return Task(lambda: oks_nms(instances, 0.9), convert_result=list)

    return create_task


def load_samples(data_root: Path) -> Task:
    """One pass over the training set with the config's own pipeline, batches of 32 as its loader collates them."""
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    from mmpose.datasets import CocoDataset

    init_default_scope('mmpose')
    pipeline = Config.fromfile(str(get_config_file(HRNET))).train_pipeline
    file, folder = inputs.TRAIN_FILES
    files = dict(ann_file=file, data_root=str(data_root), data_prefix=dict(img=folder + '/'))
    dataset = CocoDataset(**files, data_mode='topdown', pipeline=pipeline)
    batches = [range(i, min(i + 32, len(dataset))) for i in range(0, len(dataset), 32)]

    def load_all() -> None:
        for batch in batches:
            pseudo_collate([dataset[i] for i in batch])

    return Task(load_all, len(dataset), facts={'samples': len(dataset)})


def predict_boxes(num_images: int, num_instances: int) -> Callable[[Path], Task]:
    """HRNet-W32 from files and boxes to keypoints; one image after the other, as its interface requires."""

    def create_task(data_root: Path) -> Task:
        from mmpose.apis import inference_topdown, init_model

        model = init_model(str(get_config_file(HRNET)), device='cpu')
        images = inputs.list_images(data_root, num_images, num_instances)
        action = lambda: [inference_topdown(model, path, boxes) for path, boxes in images]  # noqa: E731
        return Task(action, num_images * num_instances, facts={'flip test': model.test_cfg['flip_test']})

    return create_task


@functools.cache
def build_rtmo() -> Any:
    """RTMO-s with random weights."""
    import torch
    from mmpose.apis import init_model

    torch.manual_seed(0)
    return init_model(str(get_config_file(RTMO)), device='cpu')


def run_rtmo_network(data_root: Path) -> Task:
    """From normalized pixels to the outputs of all cells."""
    import torch

    model, pixels = build_rtmo(), torch.from_numpy(inputs.create_noise_image())
    return Task(torch.inference_mode()(lambda: model.head(model.extract_feat(pixels))))


def predict_rtmo_image(data_root: Path) -> Task:
    """From a file to instances, by its public function; the answer is their number."""
    from mmpose.apis import inference_bottomup

    model, ((path, _),) = build_rtmo(), inputs.list_images(data_root, 1, 1)
    inputs.fix_scores(model.head.head_module.out_cls)
    return Task(
        lambda: inference_bottomup(model, path),
        convert_result=lambda results: [len(results[0].pred_instances.keypoints)],
        facts={'instances': inputs.NUM_PREDICTED},
    )


def assign_simota(data_root: Path) -> Task:
    """The assignment of cells to instances; the answer is the number of cells."""
    import torch
    from mmengine.structures import InstanceData

    arrays, predictions = (
        {name: torch.from_numpy(array) for name, array in part.items()} for part in inputs.create_assignment()
    )
    # x, y and the stride in both directions, as its generator of priors returns them.
    priors = torch.cat([predictions['points'], predictions['strides'][:, None].expand(-1, 2)], dim=1)
    labeled = torch.ones(arrays['keypoints'].shape[:2])
    ground_truth = InstanceData(
        bboxes=arrays['boxes'],
        labels=torch.zeros(len(labeled), dtype=torch.long),
        keypoints=arrays['keypoints'],
        keypoints_visible=labeled,
        areas=arrays['areas'],
    )
    cells = InstanceData(
        bboxes=predictions['box'],
        scores=predictions['score'].sigmoid()[:, None],
        priors=priors,
        keypoints=predictions['proxy'],
        keypoints_visible=torch.ones(len(priors), inputs.NUM_KEYPOINTS),
    )
    assigner = build_rtmo().head.assigner
    return Task(
        lambda: assigner.assign(cells, ground_truth),
        convert_result=lambda assignment: [len(assignment['gt_inds'].nonzero())],
    )


def import_all() -> None:
    """Import what a prediction needs."""
    stand_ins.install_stand_ins()
    import mmpose.apis  # noqa: F401


ROWS = {
    'encode msra': encode_heatmaps('MSRAHeatmap'),
    'encode dark': encode_heatmaps('MSRAHeatmap', unbiased=True),
    'encode udp': encode_heatmaps('UDPHeatmap'),
    'encode simcc': encode_simcc,
    'decode dark': decode_heatmaps('MSRAHeatmap', unbiased=True),
    'decode udp': decode_heatmaps('UDPHeatmap'),
    'decode simcc': decode_simcc,
    'tags': group_tags,
    'oks-nms distinct': suppress_clusters(1000),
    'oks-nms clustered': suppress_clusters(50),
    'loader': load_samples,
    'three boxes': predict_boxes(1, 3),
    '64 boxes': predict_boxes(16, 4),
    'rtmo network': run_rtmo_network,
    'rtmo image': predict_rtmo_image,
    'simota': assign_simota,
}

if __name__ == '__main__':
    stand_ins.install_stand_ins()
    serve_requests(ROWS, import_all)
