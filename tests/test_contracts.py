"""Every registered part keeps its contract; a part that is registered without settings here is told what to add."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

from poseplug.codecs.heatmap import Heatmap
from poseplug.datasets.sources.base import Source
from poseplug.datasets.transforms.base import Transform
from poseplug.models.heads.base import Head
from poseplug.registry import CODECS, METRICS, MODELS, SOURCES, TRANSFORMS, Registry, where
from poseplug.testing import (
    SMALL,
    BackboneContract,
    CodecContract,
    ExportContract,
    HeadContract,
    LossContract,
    MetricContract,
    NeckContract,
    SourceContract,
    TransformContract,
    everywhere,
    tensors,
)

TINY = dict(channels=(4, 5, 6), kernels=(3, 3, 3), norm='BN', init_std=None)
SETTINGS = {
    'CPMHeatmap': dict(input_size=(96, 64)),
    'CPNHeatmap': dict(input_size=(64, 48), kernels=(7, 5), smooth=5, coarse_from=1),
    'DARKHeatmap': dict(input_size=(64, 48)),
    'Heatmap': dict(input_size=(64, 48)),
    'Integral': dict(input_size=(64, 48)),
    'MSRAHeatmap': dict(input_size=(64, 48)),
    'PAF': dict(input_size=(96, 64)),
    'Regression': dict(input_size=(64, 48)),
    'RLERegression': dict(input_size=(64, 48)),
    'SimCC': dict(input_size=(64, 48)),
    'Tags': dict(input_size=(64, 48), threshold=0.01),
    'UDPCombined': dict(input_size=(96, 64), radius=0.1, kernel=7),
    'UDPHeatmap': dict(input_size=(64, 48)),
    'CPMTrunk': TINY,
    'CPMVGGTrunk': dict(vgg=(4, 4, 6, 6), extra=(5,), norm='BN', init_std=None),
    'CSPNeXt': dict(widen=0.125, deepen=0.33),
    'HRNet': dict(width=4, modules=(1, 1, 1), blocks=1, out_strides=(4, 8, 16, 32)),
    'MobileNetV1': dict(width=0.25, out_strides=(4, 8, 16), dilated=2),
    'MobileNetV2': dict(width=0.25),
    'ResNet': dict(depth=18, width=4),
    'TimmBackbone': dict(name='small'),
    'ViT': dict(dim=16, depth=2, heads=2, drop_path=0.0),
    'Hourglass': dict(stacks=2, channels=8, depth=2),
    'HourglassStem': dict(channels=8),
    'CPMHead': dict(stages=3, first=((3, 8),), image=((3, 4),), context=((3, 8), (1, 8)), norm='BN', init_std=None),
    'HeatmapHead': dict(hidden=((3, 8),)),
    'CPNHead': dict(channels=8),
    'CSPDarknet': dict(widen=0.125, deepen=0.33),
    'DeconvHead': dict(deconvs=8),
    'HybridEncoder': dict(out=8, channels=16, feedforward=16),
    'HourglassHead': dict(stacks=2, channels=8, depth=2),
    'IntegralHead': dict(deconvs=8),
    'LightweightOpenPoseHead': dict(channels=8, hidden=(8, 6), blocks=2, stages=3),
    'OpenPoseHead': dict(stages=3, first=((3, 8),), later=((3, 8), (1, 8)), norm='BN', init_std=None),
    'PAFStagesHead': dict(limb_stages=2, joint_stages=2, first=(4, 8), later=(4, 8), blocks=2, limbs='first'),
    'RegressionHead': {},
    'RLEHead': {},
    'RTMCCHead': dict(hidden=16, width=8),
    'SimCCHead': dict(deconvs=8),
    'SimpleHead': {},
    'AssociativeEmbedding': {},
    'BinaryCrossEntropy': {},
    'JensenShannon': {},
    'KLDivergence': {},
    'L1': {},
    'MeanSquaredError': {},
    'OKS': dict(sigmas=(0.1, 0.2, 0.3)),
    'RLE': dict(layers=2, width=8),
    'SmoothL1': {},
    'SquaredIoU': {},
    'Varifocal': {},
    'Wing': {},
    'SumSquaredError': {},
    'OHKM': dict(top=2),
    'AUC': dict(normaliser='box'),
    'CrowdPoseAP': {},
    'EPE': {},
    'NME': dict(normaliser='box_diagonal'),
    'OKSAP': {},
    'OnSkeleton': dict(of=SMALL, metric=dict(type='PCK')),
    'PCK': {},
    'PCKh': dict(head='joints'),
    'MaskUnlabelled': {},
    'NormalScaleRotate': dict(shift=0.1),
    'PlaceBox': {},
    'PlaceByScale': {},
    'PlaceBySource': dict(rules=dict(test=dict(type='PlacePicture'))),
    'PlaceOnPerson': {},
    'PlacePicture': {},
    'PlaceWhole': {},
    'RandomColor': {},
    'RandomBlur': dict(p=1.0),
    'RandomErase': dict(p=1.0),
    'RandomFlip': dict(p=0.5),
    'RandomHSV': {},
    'RandomHalfBody': dict(p=1.0, least=2),
    'RandomScaleRotate': dict(shift=0.1),
    'RandomShift': {},
    'Scales': dict(scales=(1.0, 0.5, 2.0)),
    'Until': dict(epoch=1, transforms=[dict(type='RandomFlip', p=1.0), dict(type='RandomShift')]),
    'Warp': {},
    'WholeScales': {},
}
SOURCE_FILES = {
    'AICSource': 'write_aic',
    'CocoSource': 'write_coco',
    'CrowdPoseSource': 'write_crowdpose',
    'FLICSource': 'write_flic',
    'LSPSource': 'write_lsp',
    'LSPETSource': 'write_lspet',
    'MPIISource': 'write_mpii',
    'PackedSource': 'write_pack',
}


def ours(registry: Registry, place: str = '') -> list[str]:
    """The registered parts of this house (a plugin has tests of its own), of one folder where asked."""
    return [n for n in registry.names() if where(registry.get(n)).startswith(f'poseplug.{place}')]


def made(registry: Registry, name: str, **wired: object) -> object:
    """A part with its small settings."""
    if name not in SETTINGS:
        pytest.fail(
            f"{registry.name} {name!r} is registered but not tested: add '{name}': dict(...) with small settings to "
            f'SETTINGS in tests/test_contracts.py, and every law of its contract runs on it'
        )
    return registry.build({'type': name, **SETTINGS[name]}, **wired)


def each(registry: Registry, place: str = ''):
    """A fixture that gives a class of contracts the name of every registered part in turn."""

    @pytest.fixture(autouse=True, params=ours(registry, place))
    def name(self, request):
        self.name = request.param

    return name


def of_pictures(name):
    """Whether a codec's fields belong to a picture; those of people at cells are tested in codecs/test_people.py."""
    return CODECS.get(name).kind != 'people'


class TestCodecs(CodecContract):
    @pytest.fixture(autouse=True, params=list(filter(of_pictures, ours(CODECS))))
    def name(self, request):
        self.name = request.param

    @property
    def scored(self):
        return self.name != 'Regression'

    def make(self, skeleton):
        return made(CODECS, self.name, skeleton=skeleton)

    def unsure(self, fields):
        if self.name == 'RLERegression':
            return {name: points + 0.2 for name, points in fields.items()}
        return super().unsure(fields)

    def test_both_directions_stay_on_the_device_of_their_tensors(self, codec):
        """A codec that puts people together counts them on the way, which no tensor without values can."""
        if not codec.assembles:
            return super().test_both_directions_stay_on_the_device_of_their_tensors(codec)
        keypoints = everywhere(codec).to('meta')
        targets = codec.encode(keypoints, torch.ones(keypoints.shape[:3], device='meta'))
        assert {maps.device.type for maps in tensors(targets)} == {'meta'}


class TestExport(ExportContract):
    """Every codec that finds as many people as pictures."""

    @pytest.fixture(autouse=True, params=[n for n in filter(of_pictures, ours(CODECS)) if not CODECS.get(n).assembles])
    def name(self, request):
        self.name = request.param

    def make(self, skeleton):
        return made(CODECS, self.name, skeleton=skeleton)


@pytest.mark.usefixtures('timm')
class TestBackbones(BackboneContract):
    name = each(MODELS, 'models.backbones')

    def make(self):
        return made(MODELS, self.name, input_size=(64, 64))


class Finest(nn.Module):
    """The plainest neck: the finest feature map alone."""

    def __init__(self, in_channels, strides):
        super().__init__()
        self.out_channels, self.strides = in_channels[:1], strides[:1]
        self.mix = nn.Conv2d(in_channels[0], in_channels[0], 1)

    def forward(self, features):
        return [self.mix(features[0])]


class TestNecks(NeckContract):
    """Every registered neck, and the plainest one."""

    @pytest.fixture(autouse=True, params=[Finest, *ours(MODELS, 'models.necks')])
    def name(self, request):
        self.name = request.param

    def make(self, in_channels, strides):
        wired = dict(in_channels=in_channels, strides=strides)
        return Finest(**wired) if self.name is Finest else made(MODELS, self.name, **wired)


SHAPES = {
    'IntegralHead': {'first': (3, 12, 8), 'second': (3, 2)},
    'RLEHead': {'first': (3, 4), 'second': (5, 4)},
    'RTMCCHead': {'first': (3, 10), 'second': (3, 14)},
    'RegressionHead': {'first': (3, 2), 'second': (5, 2)},
    'SimCCHead': {'first': (3, 10), 'second': (3, 14)},
}


def predicts(name):
    return MODELS.get(name).predicts


class TestHeads(HeadContract):
    """Every registered head; one of another kind than maps has the shapes of its fields in SHAPES.

    Heads that predict a person at every cell are tested in tests/models/heads/test_one_stage.py.
    """

    @pytest.fixture(autouse=True, params=[n for n in ours(MODELS, 'models.heads') if 'people' not in predicts(n)])
    def name(self, request):
        self.name = request.param

    @property
    def kind(self):
        return MODELS.get(self.name).predicts[0]

    @property
    def shapes(self):
        return SHAPES[self.name] if self.kind != 'maps' else super().shapes

    @property
    def fields(self):
        return {name: shape[0] for name, shape in SHAPES.get(self.name, {'first': (3,), 'second': (5,)}).items()}

    def make(self, in_channels, strides, fields, stride):
        wired = dict(in_channels=in_channels, strides=strides, fields=fields, stride=stride)
        return made(MODELS, self.name, **wired, shapes=self.shapes, input_size=self.input_size)


class TestLosses(LossContract):
    """Every registered loss of fields; those of distributions are tested in tests/models/losses/test_mle.py."""

    @pytest.fixture(
        autouse=True, params=[n for n in ours(MODELS, 'models.losses') if not hasattr(MODELS.get(n), 'reads')]
    )
    def name(self, request):
        self.name = request.param

    @property
    def shape(self):
        return dict(OKS=(2, 3, 2), RLE=(2, 3, 4), SquaredIoU=(2, 3, 4)).get(self.name, super().shape)

    def pair(self, seed=0):
        """Boxes have an extent."""
        predicted, wanted = super().pair(seed)
        if self.name != 'SquaredIoU':
            return predicted, wanted
        boxes = [torch.cat([b[..., :2], b[..., :2] + b[..., 2:]], dim=-1).detach() for b in (predicted, wanted)]
        return boxes[0].requires_grad_(), boxes[1]

    @property
    def least(self):
        return -math.inf if self.name == 'RLE' else 0.0

    @property
    def zero_when_equal(self):
        return self.name not in ('BinaryCrossEntropy', 'KLDivergence', 'RLE', 'Varifocal')

    def make(self):
        return made(MODELS, self.name)


class TestMetrics(MetricContract):
    name = each(METRICS)

    def make(self, skeleton):
        return made(METRICS, self.name, skeleton=skeleton)


class TestTransforms(TransformContract):
    """Every registered transform of one picture; those of several are in datasets/transforms/test_mosaic.py."""

    @pytest.fixture(
        autouse=True, params=[n for n in ours(TRANSFORMS) if not getattr(TRANSFORMS.get(n), 'combines', False)]
    )
    def name(self, request):
        self.name = request.param

    @property
    def recolours(self):
        return self.name in ('RandomBlur', 'RandomColor', 'RandomErase', 'RandomHSV')

    def make(self, input_size):
        return made(TRANSFORMS, self.name, input_size=input_size)

    def before(self):
        first = [TRANSFORMS.build(dict(type='PlacePicture'), input_size=self.input_size)]
        warp = [TRANSFORMS.build(dict(type='Warp'), input_size=self.input_size)]
        return (
            first + warp
            if self.recolours
            else []
            if self.name.startswith('Place') or self.name == 'RandomHalfBody'
            else first
        )


class TestSources(SourceContract):
    name = each(SOURCES)

    def make(self, folder):
        if self.name not in SOURCE_FILES:
            pytest.fail(
                f'source {self.name!r} is registered but not tested: write its files in a function of '
                f"tests/test_contracts.py and add '{self.name}': 'that_function' to SOURCE_FILES"
            )
        globals()[SOURCE_FILES[self.name]](folder)
        return SOURCES.build(dict(type=self.name, root=str(folder)))


def joints(seed: int, count: int) -> np.ndarray:
    """(14, 3, count) joints within a picture of 40 x 60 px, counted from 1, every flag 1."""
    points = np.random.default_rng(seed).uniform(1, 40, (14, 2, count))
    return np.concatenate([points, np.ones((14, 1, count))], axis=1)


def pictures(folder: Path, names: list[str]) -> None:
    (folder / 'images').mkdir()
    for name in names:
        cv2.imwrite(str(folder / 'images' / name), np.zeros((60, 40, 3), np.uint8))


def write_lsp(folder: Path) -> None:
    pictures(folder, [f'im{i + 1:04d}.jpg' for i in range(4)])
    savemat(folder / 'joints.mat', {'joints': joints(0, 4).transpose(1, 0, 2)})


def write_lspet(folder: Path) -> None:
    """Of the four people one has an unlabelled joint without a position, and one no labelled joint."""
    pictures(folder, [f'im{i + 1:05d}.jpg' for i in range(4)])
    content = joints(1, 4)
    content[3, :, 1] = 0
    content[:, :, 2] = 0
    savemat(folder / 'joints.mat', {'joints': content})


def write_flic(folder: Path) -> None:
    """Three examples on two pictures."""
    names = ['a.jpg', 'b.jpg', 'a.jpg']
    pictures(folder, sorted(set(names)))
    examples = np.zeros((1, 3), dtype=[(f, object) for f in ('coords', 'filepath', 'torsobox', 'istrain', 'istest')])
    for i, name in enumerate(names):
        coords = np.pad(joints(i, 1)[:11, :2, 0].T, ((0, 0), (0, 18)), constant_values=np.nan)
        examples[0, i] = (coords, name, np.array([5.0, 5.0, 30.0, 50.0]), True, False)
    savemat(folder / 'examples.mat', {'examples': examples})


def coco_format(folder: Path, file: str, joints: int, **more: object) -> None:
    """Two pictures of 40 x 60 px; of the four annotations one is a crowd and one has no labelled joint."""
    pictures(folder, ['1.jpg', '2.jpg'])
    points = np.concatenate([np.random.default_rng(2).uniform(1, 38, (4, joints, 2)), np.ones((4, joints, 1))], axis=2)
    points[3] = 0
    people = [
        dict(
            id=n + 1, image_id=n % 2 + 1, bbox=[1, 2, 38, 50], keypoints=points[n].ravel().tolist(), iscrowd=int(n == 2)
        )
        for n in range(4)
    ]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=40, height=60, **more) for i in (1, 2)], annotations=people
    )
    (folder / file).parent.mkdir()
    (folder / file).write_text(json.dumps(content))


def write_coco(folder: Path) -> None:
    coco_format(folder, 'annotations/person_keypoints_train2017.json', 17)
    (folder / 'images').rename(folder / 'train2017')


def write_pack(folder: Path) -> None:
    from poseplug.datasets.dataset import PoseDataset
    from poseplug.datasets.pack import pack

    (folder / 'coco').mkdir()
    write_coco(folder / 'coco')
    source = dict(type='CocoSource', root=str(folder / 'coco'))
    made = pack(PoseDataset(source, [dict(type='PlaceBox')], 'coco', (24, 32)), (24, 32), folder / 'pack')
    for file in made.iterdir():
        file.rename(folder / file.name)


def write_crowdpose(folder: Path) -> None:
    coco_format(folder, 'annotations/crowdpose_train.json', 14, crowdIndex=0.5)


def write_aic(folder: Path) -> None:
    """Two people of one picture, of whom the second has no labelled joint."""
    pictures(folder, ['a.jpg'])
    (folder / 'images').rename(folder / 'keypoint_train_images_20170902')
    joints = [v for k in range(14) for v in (5 + k, 50 - k, 1 + k % 3)]
    people = dict(
        image_id='a',
        human_annotations=dict(human1=[1, 2, 30, 55], human2=[10, 2, 39, 55]),
        keypoint_annotations=dict(human1=joints, human2=[0, 0, 3] * 14),
    )
    (folder / 'keypoint_train_annotations_20170909.json').write_text(json.dumps([people]))


def write_mpii(folder: Path) -> None:
    """Three people on two pictures, of whom the last has no labelled joint."""
    pictures(folder, ['a.jpg', 'b.jpg'])
    people = [
        dict(
            image='ab'[n % 2] + '.jpg',
            center=[20, 30],
            scale=0.2,
            joints=[[5 + k, 50 - k] for k in range(16)],
            joints_vis=[int(n < 2)] * 16,
        )
        for n in range(3)
    ]
    (folder / 'annot').mkdir()
    (folder / 'annot/train.json').write_text(json.dumps(people))


def test_every_model_part_lies_in_a_folder_with_a_contract():
    places = ('assigners', 'backbones', 'necks', 'heads', 'losses', 'estimators')
    assert sorted(n for p in places for n in ours(MODELS, f'models.{p}')) == ours(MODELS)


def test_heads_transforms_and_sources_are_of_their_base_class():
    assert all(issubclass(MODELS.get(n), Head) for n in ours(MODELS, 'models.heads'))
    assert all(issubclass(TRANSFORMS.get(n), Transform) for n in ours(TRANSFORMS))
    assert all(issubclass(SOURCES.get(n), Source) for n in ours(SOURCES))


@dataclass(frozen=True)
class OneSided(Heatmap):
    """A codec that forgets to exchange left and right in a mirror."""

    @property
    def mirror_channels(self):
        return {'heatmap': list(range(len(self.skeleton)))}


@dataclass(frozen=True)
class OffGrid(Heatmap):
    """A codec that reads its cells half a stride away from where it drew them."""

    def decode(self, fields):
        poses = super().decode(fields)
        return replace(poses, keypoints=poses.keypoints + 4.0)


@pytest.mark.parametrize(
    ('broken', 'law'),
    [
        (OneSided, 'test_the_mirrored_fields_of_mirrored_joints_are_those_of_the_joints'),
        (OffGrid, 'test_decoding_undoes_encoding_within_the_tolerance'),
    ],
)
def test_a_broken_codec_breaks_its_law(broken, law):
    with pytest.raises(AssertionError, match='px away'):
        getattr(CodecContract(), law)(broken(SMALL, (64, 48)))


def test_a_part_without_settings_is_told_what_to_add():
    with pytest.raises(pytest.fail.Exception, match="codec 'New' is registered but not tested: add 'New': dict"):
        made(CODECS, 'New')
