"""poseplug's side of the comparison."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import inputs
from turns import Task, serve_requests

CODEC = dict(type='MSRAHeatmap', input_size=inputs.INPUT_SIZE)
# The augmentation of the other side's config: half bodies, flips, scales and rotations.
TRAIN_TRANSFORMS = ('CropBox', 'RandomHalfBody', 'RandomFlip', 'NormalScaleRotate')
TEST_TRANSFORMS = ('CropBox', 'Warp')
HRNET = dict(
    skeleton='coco',
    model=dict(
        type='TopDown',
        codec=CODEC,
        backbone=dict(type='HRNet', width=32),
        head=dict(type='HeatmapHead'),
        # As MMPose's config has it; the table states it for both sides.
        flip_test=True,
    ),
    test_dataloader=dict(dataset=dict(pipeline=[dict(type=name) for name in TEST_TRANSFORMS])),
)


def build_codec(name: str, **settings: Any) -> Any:
    """A codec of COCO's skeleton."""
    from poseplug.registry import CODECS
    from poseplug.skeletons.coco import COCO

    return CODECS.build(dict(type=name, input_size=inputs.INPUT_SIZE, **settings), skeleton=COCO)


def encode_heatmaps(codec_name: str) -> Callable[[Path], Task]:
    """Keypoints to heatmaps; the answer is the sum of each."""

    def create_task(data_root: Path) -> Task:
        import torch

        codec, keypoints = build_codec(codec_name), torch.from_numpy(inputs.create_keypoints()[:, None])
        visible = torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)
        return Task(
            # The whole batch at once, as a training step encodes it.
            lambda: codec.encode(keypoints, visible).stage_fields(0)['heatmap'],
            len(keypoints),
            lambda heatmaps: heatmaps.sum((2, 3)).flatten().tolist(),
        )

    return create_task


def decode_heatmaps(codec_name: str) -> Callable[[Path], Task]:
    """Heatmaps to keypoints."""

    def create_task(data_root: Path) -> Task:
        import torch

        codec = build_codec(codec_name, blur_kernel_size=inputs.BLUR_KERNEL_SIZE)
        heatmaps = torch.from_numpy(inputs.create_heatmaps())
        action = torch.inference_mode()(lambda: codec.decode({'heatmap': heatmaps}).keypoints)  # as `predict` calls it
        return Task(action, len(heatmaps), lambda keypoints: keypoints.flatten().tolist())

    return create_task


def encode_simcc(data_root: Path) -> Task:
    """Keypoints to vectors; the answer is the sum of each."""
    import torch

    codec, keypoints = build_codec('SimCC'), torch.from_numpy(inputs.create_keypoints()[:, None])
    visible = torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)
    return Task(
        lambda: codec.encode(keypoints, visible).stage_fields(0),
        len(keypoints),
        lambda fields: [v for axis in 'xy' for v in fields[axis].sum(-1).flatten().tolist()],
    )


def decode_simcc(data_root: Path) -> Task:
    """Vectors to keypoints."""
    import torch

    codec, (x, y) = build_codec('SimCC'), map(torch.from_numpy, inputs.create_simcc_vectors())
    action = torch.inference_mode()(lambda: codec.decode({'x': x, 'y': y}).keypoints)
    return Task(action, len(x), lambda keypoints: keypoints.flatten().tolist())


def group_tags(data_root: Path) -> Task:
    """Heatmaps and tags to the keypoints of instances, whose order is from left to right."""
    import torch

    from poseplug.codecs.tags import Tags
    from poseplug.skeletons.coco import COCO

    codec = Tags(COCO, (512, 512), heatmap_codec=dict(type='MSRAHeatmap'))
    heatmaps, tags = map(torch.from_numpy, inputs.create_tagged_heatmaps())
    fields = {'heatmap': heatmaps, 'tags': tags}
    action = torch.inference_mode()(lambda: codec.decode(fields).keypoints.numpy())
    return Task(action, convert_result=inputs.flatten_left_to_right)


def suppress_clusters(num_clusters: int) -> Callable[[Path], Task]:
    """OKS-NMS of 1,000 instances; the answer is their indices."""

    def create_task(data_root: Path) -> Task:
        from poseplug.grouping.oks import oks_nms
        from poseplug.skeletons.coco import COCO

        instances = inputs.create_clusters(1000, num_clusters)
        return Task(lambda: oks_nms(*instances, COCO.sigmas, 0.9), convert_result=list)

    return create_task


def build_dataset(data_root: Path, pipeline: Sequence[Any], image_cache_size: int = 0, pack: Path | None = None) -> Any:
    """The training set, or a pack of it."""
    from poseplug.data.dataset import PoseDataset

    source = dict(type='CocoSource', data_root=str(data_root), split='train')
    if pack is not None:
        source = dict(type='PackedSource', data_root=str(pack))
    settings = dict(skeleton='coco', input_size=inputs.INPUT_SIZE, image_cache_size=image_cache_size)
    return PoseDataset([source], pipeline, **settings)


def load_samples(
    reduced_decoding: bool = False, image_cache_size: int = 0, packed: bool = False
) -> Callable[[Path], Task]:
    """One pass over the training set, batches of 32, and the subjects' targets, which a training step draws."""

    def create_task(data_root: Path) -> Task:
        from poseplug.core.sample import SampleKey
        from poseplug.data.collate import collate
        from poseplug.registry import CODECS
        from poseplug.skeletons.coco import COCO

        pipeline = [dict(type=name) for name in TRAIN_TRANSFORMS]
        pipeline.append(dict(type='Warp', reduced_decoding=reduced_decoding))
        dataset, codec = build_dataset(data_root, pipeline, image_cache_size), CODECS.build(CODEC, skeleton=COCO)
        # Printed beside the times, so that both sides are seen to read the same samples.
        facts = {'samples': len(dataset)}
        if packed:
            folder = write_pack(dataset)
            dataset, facts['MiB'] = build_dataset(data_root, pipeline, pack=folder), compute_mebibytes(folder)
        batches = [range(i, min(i + 32, len(dataset))) for i in range(0, len(dataset), 32)]

        def load_all() -> None:
            for indices in batches:
                # In this process: workers would hide the time of one behind that of another.
                batch = collate([dataset[SampleKey(0, i)] for i in indices])
                # MMPose's pipeline draws targets in the loader; here they are drawn behind it, and still count.
                codec.encode(batch.keypoints[:, :1], batch.visible[:, :1])

        return Task(load_all, len(dataset), facts=facts)

    return create_task


@functools.cache
def create_scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed with this process."""
    return tempfile.TemporaryDirectory()


def write_pack(dataset: Any) -> Path:
    """A pack of a data set, as poseplug dataset writes it."""
    from poseplug.data.pack_writer import pack_dataset

    return pack_dataset(dataset, inputs.INPUT_SIZE, Path(create_scratch_folder().name) / 'pack')


def compute_mebibytes(folder: Path) -> float:
    """The size of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def decode_and_warp(data_root: Path) -> Task:
    """What every loader has to do: decode the image of each instance, and cut out its crop."""
    import cv2

    from poseplug.data.transforms.cropping import CropBox

    dataset = build_dataset(data_root, [CropBox(inputs.INPUT_SIZE)])
    # Boxes alone: no step of this pipeline reads pixels.
    samples = [dataset[i] for i in range(len(dataset))]
    crops = [(str(sample.record.path), sample.image_to_input[:2]) for sample in samples]

    def crop_all() -> None:
        for path, matrix in crops:
            cv2.warpAffine(cv2.imread(path), matrix, inputs.INPUT_SIZE)

    return Task(crop_all, len(crops), facts={'samples': len(crops)})


def build_random_predictor(cfg: Any, channels_last: bool | None = None) -> Any:
    """A predictor of a config with random weights."""
    import torch

    from poseplug.config.build import build_model
    from poseplug.predict.predictor import Predictor

    with tempfile.TemporaryDirectory() as folder:
        # A predictor wants a file; speed does not depend on what is in it.
        weights = Path(folder) / 'random.pth'
        torch.save({'state_dict': build_model(cfg).state_dict()}, weights)
        return Predictor(cfg, weights, device='cpu', channels_last=channels_last)


def predict_boxes(num_images: int, num_instances: int, channels_last: bool | None = None) -> Callable[[Path], Task]:
    """HRNet-W32 from files and boxes to keypoints."""

    def create_task(data_root: Path) -> Task:
        predictor = build_random_predictor(HRNET, channels_last)
        paths, boxes = zip(*inputs.list_images(data_root, num_images, num_instances), strict=True)
        return Task(
            lambda: predictor(paths, boxes, box_format='xyxy'),
            num_images * num_instances,
            facts={'flip test': predictor.model.flip_test},
        )

    return create_task


@functools.cache
def build_rtmo() -> Any:
    """A predictor of RTMO-s with random weights."""
    import torch

    from poseplug.config.load import load_config

    cfg = load_config(Path(__file__).parents[2] / 'configs/rtmo/rtmo_s_coco_640.py')
    torch.manual_seed(0)
    return build_random_predictor(cfg)


def run_rtmo_network(data_root: Path) -> Task:
    """From normalized pixels to the fields of all cells, as `predict` runs it."""
    import torch

    from poseplug.models.estimators.network import predict_from_features

    network = build_rtmo().model.network
    # Converted before the clock runs, as `normalize` would do it in the network.
    pixels = torch.from_numpy(inputs.create_noise_image()).contiguous(memory_format=network.memory_format)

    def predict() -> object:
        return predict_from_features(network.neck, network.head, network.backbone(pixels))

    return Task(torch.inference_mode()(predict))


def predict_rtmo_image(data_root: Path) -> Task:
    """From a file to instances; the answer is their number."""
    predictor, ((path, _),) = build_rtmo(), inputs.list_images(data_root, 1, 1)
    inputs.fix_scores(predictor.model.network.head.scores['score'])
    return Task(
        lambda: predictor([path]),
        convert_result=lambda predictions: [len(predictions[0])],
        facts={'instances': inputs.NUM_PREDICTED},
    )


def assign_simota(data_root: Path) -> Task:
    """The assignment of cells to instances; the answer is the number of cells."""
    import torch

    from poseplug.models.assigners.base import GroundTruthInstances
    from poseplug.models.assigners.sim_ota import SimOTA
    from poseplug.skeletons.coco import COCO

    arrays, predictions = (
        {name: torch.from_numpy(array) for name, array in part.items()} for part in inputs.create_assignment()
    )
    labeled = torch.ones(arrays['keypoints'].shape[:2]) > 0
    ground_truth = GroundTruthInstances(arrays['keypoints'], labeled, arrays['boxes'], arrays['areas'])
    assigner = SimOTA(COCO.sigmas)
    return Task(
        lambda: assigner(predictions, ground_truth),
        convert_result=lambda assignment: [len(assignment.cell_indices)],
    )


def import_all() -> None:
    """Import what a prediction with that config needs."""
    import poseplug.predict.predictor  # noqa: F401
    from poseplug.registry import CODECS, MODELS, TRANSFORMS

    model = HRNET['model']
    # Parts are imported when they are named: a prediction imports these.
    for name in (model['type'], model['backbone']['type'], model['head']['type']):
        MODELS.get(name)
    CODECS.get(CODEC['type'])
    for name in TEST_TRANSFORMS:
        TRANSFORMS.get(name)


ROWS = {
    'encode msra': encode_heatmaps('MSRAHeatmap'),
    'encode dark': encode_heatmaps('DARKHeatmap'),
    'encode udp': encode_heatmaps('UDPHeatmap'),
    'encode simcc': encode_simcc,
    'decode dark': decode_heatmaps('DARKHeatmap'),
    'decode udp': decode_heatmaps('UDPHeatmap'),
    'decode simcc': decode_simcc,
    'tags': group_tags,
    'oks-nms distinct': suppress_clusters(1000),
    'oks-nms clustered': suppress_clusters(50),
    'decode and warp': decode_and_warp,
    'loader': load_samples(),
    'loader reduced': load_samples(reduced_decoding=True),
    'loader cached': load_samples(image_cache_size=1),
    'loader packed': load_samples(packed=True),
    'three boxes': predict_boxes(1, 3),
    'three boxes, channels first': predict_boxes(1, 3, channels_last=False),
    '64 boxes': predict_boxes(16, 4),
    'rtmo network': run_rtmo_network,
    'rtmo image': predict_rtmo_image,
    'simota': assign_simota,
}

if __name__ == '__main__':
    serve_requests(ROWS, import_all)
