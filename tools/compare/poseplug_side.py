"""poseplug's side of the comparison."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import inputs
from turns import Task, serve

CODEC = dict(type='MSRAHeatmap', input_size=inputs.INPUT)
TRAIN = ('PlaceBox', 'RandomHalfBody', 'RandomFlip', 'NormalScaleRotate')
TEST = ('PlaceBox', 'Warp')
HRNET = dict(
    skeleton='coco',
    model=dict(
        type='TopDown',
        codec=CODEC,
        backbone=dict(type='HRNet', width=32),
        head=dict(type='HeatmapHead'),
        flip_test=True,
    ),
    test_dataloader=dict(dataset=dict(pipeline=[dict(type=name) for name in TEST])),
)


def codec(kind: str, **settings: Any) -> Any:
    from poseplug.registry import CODECS
    from poseplug.skeletons.coco import COCO

    return CODECS.build(dict(type=kind, input_size=inputs.INPUT, **settings), skeleton=COCO)


def encode(kind: str) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        import torch

        own, people = codec(kind), torch.from_numpy(inputs.joints()[:, None])
        visible = torch.full(people.shape[:3], 2, dtype=torch.uint8)
        action = lambda: own.encode(people, visible).at(0)['heatmap']  # noqa: E731
        return Task(action, len(people), lambda maps: maps.sum((2, 3)).flatten().tolist())

    return task


def decode(kind: str) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        import torch

        own, maps = codec(kind, kernel=inputs.KERNEL), torch.from_numpy(inputs.maps())
        action = torch.inference_mode()(lambda: own.decode({'heatmap': maps}).keypoints)  # as `predict` calls it
        return Task(action, len(maps), lambda found: found.flatten().tolist())

    return task


def encode_bins(root: Path) -> Task:
    import torch

    own, people = codec('SimCC'), torch.from_numpy(inputs.joints()[:, None])
    visible = torch.full(people.shape[:3], 2, dtype=torch.uint8)
    action = lambda: own.encode(people, visible).at(0)  # noqa: E731
    return Task(action, len(people), lambda found: [v for n in 'xy' for v in found[n].sum(-1).flatten().tolist()])


def decode_bins(root: Path) -> Task:
    import torch

    own, (x, y) = codec('SimCC'), map(torch.from_numpy, inputs.lines())
    action = torch.inference_mode()(lambda: own.decode({'x': x, 'y': y}).keypoints)
    return Task(action, len(x), lambda found: found.flatten().tolist())


def group_tags(root: Path) -> Task:
    """From maps to the joints of people, who are put into the order of their middles."""
    import torch

    from poseplug.codecs.tags import Tags
    from poseplug.skeletons.coco import COCO

    own, (maps, tags) = Tags(COCO, (512, 512), peaks=dict(type='MSRAHeatmap')), map(torch.from_numpy, inputs.tagged())
    action = torch.inference_mode()(lambda: own.decode({'heatmap': maps, 'tags': tags}).keypoints.numpy())
    return Task(action, answer=inputs.in_order)


def suppression(clusters: int) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        from poseplug.grouping.oks import oks_nms
        from poseplug.skeletons.coco import COCO

        people = inputs.crowd(1000, clusters)
        return Task(lambda: oks_nms(*people, COCO.sigmas, 0.9), answer=list)

    return task


def dataset(root: Path, pipeline: Sequence[Any], keep: int = 0, packed: Path | None = None) -> Any:
    """The training set, or a pack of it."""
    from poseplug.datasets.dataset import PoseDataset

    source = dict(type='CocoSource', root=str(root), half='train')
    if packed is not None:
        source = dict(type='PackedSource', root=str(packed))
    return PoseDataset([source], pipeline, skeleton='coco', input_size=inputs.INPUT, keep=keep)


def loader(reduced: bool = False, keep: int = 0, packed: bool = False) -> Callable[[Path], Task]:
    """One pass over the training set, batches of 32, and the subjects' targets, which a training step draws."""

    def task(root: Path) -> Task:
        from poseplug.registry import CODECS
        from poseplug.sample import Draw, collate
        from poseplug.skeletons.coco import COCO

        pipeline = [*(dict(type=name) for name in TRAIN), dict(type='Warp', reduced=reduced)]
        samples, own = dataset(root, pipeline, keep), CODECS.build(CODEC, skeleton=COCO)
        facts = {'samples': len(samples)}
        if packed:
            folder = pack_of(samples)
            samples, facts['MiB'] = dataset(root, pipeline, packed=folder), size_of(folder)
        batches = [range(i, min(i + 32, len(samples))) for i in range(0, len(samples), 32)]

        def one_pass() -> None:
            for places in batches:
                batch = collate([samples[Draw(0, i)] for i in places])
                own.encode(batch.keypoints[:, :1], batch.visible[:, :1])

        return Task(one_pass, len(samples), facts=facts)

    return task


@functools.cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory()


def pack_of(samples: Any) -> Path:
    """A pack of a data set, as tools/dataset.py writes it."""
    from poseplug.datasets.pack import pack

    return pack(samples, inputs.INPUT, Path(scratch().name) / 'pack')


def size_of(folder: Path) -> float:
    """MiB of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def decode_and_warp(root: Path) -> Task:
    """What no loader can do without: every person's picture decoded, and its crop cut."""
    import cv2

    from poseplug.datasets.transforms.placing import PlaceBox

    samples = dataset(root, [PlaceBox(inputs.INPUT)])
    work = [(str(s.record.path), s.matrix[:2]) for s in (samples[i] for i in range(len(samples)))]

    def one_pass() -> None:
        for path, matrix in work:
            cv2.warpAffine(cv2.imread(path), matrix, inputs.INPUT)

    return Task(one_pass, len(work), facts={'samples': len(work)})


def predictor(channels_last: bool | None) -> Any:
    """HRNet-W32 with random weights."""
    import torch

    from poseplug.build import build_model
    from poseplug.inference.predictor import Predictor

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / 'random.pth'
        torch.save({'state_dict': build_model(HRNET).state_dict()}, weights)
        return Predictor(HRNET, weights, device='cpu', channels_last=channels_last)


def predict(pictures: int, people: int, channels_last: bool | None = None) -> Callable[[Path], Task]:
    def task(root: Path) -> Task:
        own, (paths, boxes) = predictor(channels_last), zip(*inputs.pictures(root, pictures, people), strict=True)
        action = lambda: own(paths, boxes, box_format='corners')  # noqa: E731
        return Task(action, pictures * people, facts={'flip test': own.model.flip_test})

    return task


@functools.cache
def rtmo() -> Any:
    """RTMO-s with random weights."""
    import torch

    from poseplug.build import build_model
    from poseplug.config import load_config
    from poseplug.inference.predictor import Predictor

    cfg = load_config(Path(__file__).parents[2] / 'configs/rtmo/rtmo_s_coco_640.py')
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / 'random.pth'
        torch.save({'state_dict': build_model(cfg).state_dict()}, weights)
        return Predictor(cfg, weights, device='cpu')


def rtmo_network(root: Path) -> Task:
    """From normalised pixels to the fields of all cells, as `predict` runs it."""
    import torch

    model = rtmo().model
    pixels = torch.from_numpy(inputs.noise()).contiguous(memory_format=model.memory_format)
    action = torch.inference_mode()(lambda: model.stages(model.backbone(pixels)))
    return Task(action)


def rtmo_picture(root: Path) -> Task:
    """From a file to people, of which there are `FOUND`."""
    own, ((path, _),) = rtmo(), inputs.pictures(root, 1, 1)
    inputs.sure(own.model.head.scores['score'])
    return Task(lambda: own([path]), answer=lambda people: [len(people[0])], facts={'people': inputs.FOUND})


def simota(root: Path) -> Task:
    """The cells that get somebody, for everybody's labels and what a little trained network says."""
    import torch

    from poseplug.models.assigners.base import Truth
    from poseplug.models.assigners.sim_ota import SimOTA
    from poseplug.skeletons.coco import COCO

    truth, said = ({n: torch.from_numpy(v) for n, v in part.items()} for part in inputs.assignment())
    everybody = Truth(truth['keypoints'], torch.ones(truth['keypoints'].shape[:2]) > 0, truth['boxes'], truth['areas'])
    own = SimOTA(COCO.sigmas)
    return Task(lambda: own(said, everybody), answer=lambda given: [len(given.cells)])


def import_all() -> None:
    """What a prediction with that config loads."""
    import poseplug.inference.predictor  # noqa: F401
    from poseplug.registry import CODECS, MODELS, TRANSFORMS

    for name in (HRNET['model']['type'], *(HRNET['model'][part]['type'] for part in ('backbone', 'head'))):
        MODELS.get(name)
    CODECS.get(CODEC['type'])
    for name in TEST:
        TRANSFORMS.get(name)


ROWS = {
    'encode msra': encode('MSRAHeatmap'),
    'encode dark': encode('DARKHeatmap'),
    'encode udp': encode('UDPHeatmap'),
    'encode simcc': encode_bins,
    'decode dark': decode('DARKHeatmap'),
    'decode udp': decode('UDPHeatmap'),
    'decode simcc': decode_bins,
    'tags': group_tags,
    'oks-nms distinct': suppression(1000),
    'oks-nms clustered': suppression(50),
    'decode and warp': decode_and_warp,
    'loader': loader(),
    'loader reduced': loader(reduced=True),
    'loader kept': loader(keep=1),
    'loader packed': loader(packed=True),
    'three boxes': predict(1, 3),
    'three boxes, channels first': predict(1, 3, channels_last=False),
    '64 boxes': predict(16, 4),
    'rtmo network': rtmo_network,
    'rtmo picture': rtmo_picture,
    'simota': simota,
}

if __name__ == '__main__':
    serve(ROWS, import_all)
