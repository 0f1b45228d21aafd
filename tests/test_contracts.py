"""Every registered part keeps its contract; a part that is registered without settings here fails and says so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.base import Source
from poseplug.data.sources.shards import ShardSource
from poseplug.data.transforms.base import Transform
from poseplug.data.transforms.mosaic import MixImageTransform
from poseplug.models.heads.base import Head
from poseplug.registry import CODECS, METRICS, MODELS, SMOOTHERS, SOURCES, TRACKERS, TRANSFORMS, PartRegistry
from poseplug.registry.part_registry import qualified_name
from poseplug.registry.wiring import inspect_parameters
from poseplug.testing import (
    SMALL_SKELETON,
    BackboneContract,
    CodecContract,
    ExportContract,
    HeadContract,
    LossContract,
    MetricContract,
    NeckContract,
    SmootherContract,
    SourceContract,
    TrackerContract,
    TransformContract,
    create_test_keypoints,
    list_target_tensors,
)
from poseplug.testing.samples import list_record_values

COCO_STYLE_MODULES = [f'poseplug.data.sources.{name}' for name in ('animal_sets', 'body_sets', 'hand_and_face_sets')]
CPM_TRUNK = dict(channels=(4, 5, 6), kernel_sizes=(3, 3, 3), norm_cfg=dict(type='BN'), init_std=None)
CPM_HEAD = dict(
    num_stages=3,
    first_layers=((3, 8),),
    image_layers=((3, 4),),
    context_layers=((3, 8), (1, 8)),
    norm_cfg=dict(type='BN'),
    init_std=None,
)
OPENPOSE_HEAD = dict(
    num_stages=3, first_layers=((3, 8),), later_layers=((3, 8), (1, 8)), norm_cfg=dict(type='BN'), init_std=None
)
PAF_STAGES_HEAD = dict(
    num_limb_stages=2,
    num_keypoint_stages=2,
    first_channels=(4, 8),
    later_channels=(4, 8),
    num_blocks=2,
    limb_field='first',
)
PVT = dict(embed_dims=(4, 8, 8, 16), depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), drop_path_rate=0.0)
SETTINGS = {
    'CPMHeatmap': dict(input_size=(96, 64)),
    'CPNHeatmap': dict(input_size=(64, 48), kernel_sizes=(7, 5), smoothing_kernel_size=5, coarse_min_visibility=1),
    'CenterDisplacement': dict(input_size=(64, 48), sigma_px=4.0, center_sigma_px=6.0, radius_px=6.0),
    'DARKHeatmap': dict(input_size=(64, 48)),
    'Heatmap': dict(input_size=(64, 48)),
    'Integral': dict(input_size=(64, 48)),
    'LimbMidpoints': dict(input_size=(96, 64)),
    'MSRAHeatmap': dict(input_size=(64, 48)),
    'PAF': dict(input_size=(96, 64)),
    'Regression': dict(input_size=(64, 48)),
    'RLERegression': dict(input_size=(64, 48)),
    'SimCC': dict(input_size=(64, 48)),
    'Tags': dict(input_size=(64, 48), keypoint_threshold=0.01),
    'UDPCombined': dict(input_size=(96, 64), radius_factor=0.1, blur_kernel_size=7),
    'UDPHeatmap': dict(input_size=(64, 48)),
    'CPMTrunk': CPM_TRUNK,
    'CPMVGGTrunk': dict(vgg_channels=(4, 4, 6, 6), extra_channels=(5,), norm_cfg=dict(type='BN'), init_std=None),
    'CornerHourglass': dict(num_stacks=2, channels=(8, 8, 12), num_blocks=(1, 2, 1), stem_channels=4, feat_channels=8),
    'CSPNeXt': dict(widen_factor=0.125, deepen_factor=0.33),
    'EfficientNetLite': dict(size=0),
    'HRFormer': dict(width=4, num_modules=(1, 1, 1), num_blocks=1, out_strides=(4, 8, 16, 32), drop_path_rate=0.0),
    'HRNet': dict(width=4, num_modules=(1, 1, 1), num_blocks=1, out_strides=(4, 8, 16, 32)),
    'MobileNetV1': dict(widen_factor=0.25, out_strides=(4, 8, 16), num_dilated=2),
    'LiteHRNet': dict(width=8, num_modules=(1, 1, 1), num_blocks=1, out_strides=(4, 8, 16, 32)),
    'MobileNetV2': dict(widen_factor=0.25),
    'MSPN': dict(num_stages=2, unit_channels=8, num_blocks=(1, 1, 1, 1), base_channels=4),
    'PyramidVisionTransformer': PVT,
    'PyramidVisionTransformerV2': PVT,
    'ResNet': dict(depth=18, base_channels=4),
    'RSN': dict(num_stages=2, unit_channels=8, num_blocks=(1, 1, 1, 1), num_steps=3, base_channels=4),
    'ShuffleNetV1': dict(widen_factor=0.25),
    'ShuffleNetV2': dict(widen_factor=0.5),
    'SwinTransformer': dict(
        embed_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=3, drop_path_rate=0.0
    ),
    'TimmBackbone': dict(name='small'),
    'VGG': dict(depth=11, base_channels=4),
    'ViPNASMobileNetV3': {},
    'ViPNASResNet': dict(widen_factor=0.34),
    'ViT': dict(embed_dim=16, depth=2, num_heads=2, drop_path_rate=0.0),
    'Hourglass': dict(num_stacks=2, channels=8, depth=2),
    'HourglassStem': dict(channels=8),
    'CPMHead': CPM_HEAD,
    'HeatmapHead': dict(conv_layers=((3, 8),)),
    'CPNHead': dict(channels=8),
    'CSPNeXtPAFPN': dict(num_csp_blocks=1),
    'YOLOXPAFPN': dict(out_channels=8),
    'CSPDarknet': dict(widen_factor=0.125, deepen_factor=0.33),
    'ConcatMaps': {},
    'DEKRHead': dict(regressed_field='second', numbers_per_branch=1, channels_per_branch=4, heatmap_channels=8),
    'DeconvHead': dict(deconv_out_channels=8),
    'FPN': dict(out_channels=8),
    'HybridEncoder': dict(out_channels=8, hidden_dim=16, feedforward_channels=16),
    'HourglassHead': dict(num_stacks=2, channels=8, depth=2),
    'IntegralHead': dict(deconv_out_channels=8),
    'LightweightOpenPoseHead': dict(channels=8, hidden_channels=(8, 6), num_blocks=2, num_stages=3),
    'MSPNHead': {},
    'OpenPoseHead': OPENPOSE_HEAD,
    'PAFStagesHead': PAF_STAGES_HEAD,
    'RegressionHead': {},
    'RLEHead': {},
    'RTMCCHead': dict(hidden_dims=16, query_dims=8),
    'RTMWHead': dict(hidden_dims=16, query_dims=8, final_layer_kernel_size=3),
    'SimCCHead': dict(deconv_out_channels=8),
    'SimpleHead': {},
    'AssociativeEmbeddingLoss': {},
    'BinaryCrossEntropy': {},
    'JensenShannon': {},
    'KLDivergence': {},
    'L1Loss': {},
    'MeanSquaredError': {},
    'OKSLoss': dict(sigmas=(0.1, 0.2, 0.3)),
    'RLELoss': dict(num_layers=2, hidden_channels=8),
    'SmoothL1Loss': {},
    'SquaredIoULoss': {},
    'VarifocalLoss': {},
    'WingLoss': {},
    'SumSquaredError': {},
    'OHKMLoss': dict(topk=2),
    'AUC': dict(normalizer='box'),
    'CrowdPoseAP': {},
    'EPE': {},
    'NME': dict(normalizer='box_diagonal'),
    'OKSAP': {},
    'OnSkeleton': dict(target_skeleton=SMALL_SKELETON, metric=dict(type='PCK')),
    'PCK': {},
    'PCKh': dict(head_size='keypoints'),
    'WholeBodyAP': dict(parts=dict(nose=('nose',), hands=('left_hand', 'right_hand'))),
    'MaskIgnoredRegions': {},
    'NormalScaleRotate': dict(shift_factor=0.1),
    'CropBox': {},
    'CropByScale': {},
    'TransformBySource': dict(transforms=dict(test=dict(type='LetterboxImage'))),
    'CenterOnInstance': {},
    'CropFullHeight': {},
    'LetterboxImage': {},
    'FitImage': {},
    'RandomColor': {},
    'RandomBlur': dict(prob=1.0),
    'RandomCut': dict(prob=1.0),
    'RandomDownscale': dict(prob=1.0),
    'RandomErase': dict(prob=1.0),
    'RandomFlip': dict(prob=0.5),
    'RandomHSV': {},
    'RandomHalfBody': dict(prob=1.0, num_keypoints_half_body=2),
    'RandomScaleRotate': dict(shift_factor=0.1),
    'RandomShift': {},
    'MultiScaleCrop': dict(scales=(1.0, 0.5, 2.0)),
    'PipelineSwitch': dict(
        switch_epoch=1, first_transforms=[dict(type='RandomFlip', prob=1.0), dict(type='RandomShift')]
    ),
    'Warp': {},
    'MultiScaleImage': {},
}
FIRST_TRANSFORMS = (  # they map the image to the input, or require an unmapped one
    'CenterOnInstance',
    'CropBox',
    'CropByScale',
    'FitImage',
    'CropFullHeight',
    'LetterboxImage',
    'RandomHalfBody',
    'TransformBySource',
)
SOURCE_FILES = {
    'AICSource': 'write_aic',
    'CocoSource': 'write_coco',
    'CrowdPoseSource': 'write_crowdpose',
    'CocoWholeBodyFaceSource': 'write_coco_wholebody',
    'CocoWholeBodyHandSource': 'write_coco_wholebody',
    'CocoWholeBodySource': 'write_coco_wholebody',
    'LabelSource': 'write_yolo',
    'ShardSource': 'write_shard_set',
    'FLICSource': 'write_flic',
    'LSPSource': 'write_lsp',
    'LSPETSource': 'write_lspet',
    'MPIISource': 'write_mpii',
    'PackedSource': 'write_pack',
}


def list_builtin_parts(registry: PartRegistry, package: str = '') -> list[str]:
    """Names of the registered parts of poseplug (a plugin has tests of its own), of all packages or of one."""
    prefix = f'poseplug.{package}'
    return [name for name in registry.list_names() if qualified_name(registry.get(name)).startswith(prefix)]


def build_small(
    registry: PartRegistry, name: str, settings: dict[str, object] | None = None, **provided: object
) -> object:
    """A part with its small settings, and with others."""
    if name not in SETTINGS:
        pytest.fail(
            f"{registry.name} {name!r} is registered but not tested: add '{name}': dict(...) with small settings to "
            f'SETTINGS in tests/test_contracts.py, and every law of its contract runs on it'
        )
    return registry.build({'type': name, **SETTINGS[name], **(settings or {})}, **provided)


def parametrize_by_name(names: Iterable):
    """A fixture that gives a class of contracts each name in turn."""

    @pytest.fixture(autouse=True, params=list(names))
    def name(self, request):
        self.name = request.param

    return name


def is_codec_of_images(name: str) -> bool:
    """Whether a codec's fields are of a whole image; DenseInstances has tests/codecs/test_dense_instances.py."""
    return CODECS.get(name).field_kind != 'instances'


def is_exportable(name: str) -> bool:
    """Whether a codec decodes as many instances as there are images."""
    return is_codec_of_images(name) and not CODECS.get(name).groups_instances


class TestCodecs(CodecContract):
    name = parametrize_by_name(filter(is_codec_of_images, list_builtin_parts(CODECS)))

    @property
    def has_confidence(self):
        return self.name != 'Regression'

    def build_part(self, skeleton):
        return build_small(CODECS, self.name, skeleton=skeleton)

    def weaken_fields(self, fields):
        if self.name == 'RLERegression':  # its second half is the standard deviation: larger is less confident
            return {name: points + 0.2 for name, points in fields.items()}
        return super().weaken_fields(fields)

    def test_both_directions_stay_on_the_device_of_their_tensors(self, codec):
        """A codec that groups instances counts them on the way, which tensors without values cannot do."""
        if not codec.groups_instances:
            return super().test_both_directions_stay_on_the_device_of_their_tensors(codec)
        keypoints = create_test_keypoints(codec).to('meta')
        targets = codec.encode(keypoints, torch.ones(keypoints.shape[:3], device='meta'))
        assert {maps.device.type for maps in list_target_tensors(targets)} == {'meta'}


class TestExport(ExportContract):
    """Every codec that decodes as many instances as there are images."""

    name = parametrize_by_name(filter(is_exportable, list_builtin_parts(CODECS)))

    def build_part(self, skeleton):
        return build_small(CODECS, self.name, skeleton=skeleton)


def accepts_layers(name: str) -> bool:
    return 'norm_cfg' in inspect_parameters(MODELS.get(name))[0]


@pytest.mark.usefixtures('timm')
class TestBackbones(BackboneContract):
    name = parametrize_by_name(list_builtin_parts(MODELS, 'models.backbones'))

    def build_part(self, **settings):
        return build_small(MODELS, self.name, settings, input_size=(64, 64))

    def build_part_with(self, **settings):
        return self.build_part(**settings) if accepts_layers(self.name) else None


class FinestFeatures(nn.Module):
    """The simplest neck: the finest feature map alone."""

    def __init__(self, in_channels, strides):
        super().__init__()
        self.out_channels, self.strides = in_channels[:1], strides[:1]
        self.mix = nn.Conv2d(in_channels[0], in_channels[0], 1)

    def forward(self, features):
        return [self.mix(features[0])]


class TestNecks(NeckContract):
    """Every registered neck, and the simplest one."""

    name = parametrize_by_name([FinestFeatures, *list_builtin_parts(MODELS, 'models.necks')])

    def build_part(self, in_channels, strides):
        provided = dict(in_channels=in_channels, strides=strides)
        return FinestFeatures(**provided) if self.name is FinestFeatures else build_small(MODELS, self.name, **provided)

    def build_part_with(self, in_channels, strides, **settings):
        if self.name is FinestFeatures or not accepts_layers(self.name):
            return None
        return build_small(MODELS, self.name, settings, in_channels=in_channels, strides=strides)


SHAPES = {
    'IntegralHead': {'first': (3, 12, 8), 'second': (3, 2)},
    'RLEHead': {'first': (3, 4), 'second': (5, 4)},
    'RTMCCHead': {'first': (3, 10), 'second': (3, 14)},
    'RTMWHead': {'first': (3, 10), 'second': (3, 14)},
    'RegressionHead': {'first': (3, 2), 'second': (5, 2)},
    'SimCCHead': {'first': (3, 10), 'second': (3, 14)},
}


def is_head_of_images(name: str) -> bool:
    """Whether a head predicts fields of a whole image; others have tests/models/heads/test_one_stage.py."""
    return 'instances' not in MODELS.get(name).field_kinds


class TestHeads(HeadContract):
    """Every registered head; one of another kind than maps has the shapes of its fields in SHAPES."""

    name = parametrize_by_name(filter(is_head_of_images, list_builtin_parts(MODELS, 'models.heads')))

    @property
    def field_kind(self):
        return MODELS.get(self.name).field_kinds[0]

    @property
    def shapes(self):
        return SHAPES[self.name] if self.field_kind != 'maps' else super().shapes

    @property
    def fields(self):
        return {name: shape[0] for name, shape in SHAPES.get(self.name, {'first': (3,), 'second': (5,)}).items()}

    def build_part(self, in_channels, strides, fields, stride, **settings):
        provided = dict(in_channels=in_channels, strides=strides, fields=fields, stride=stride)
        return build_small(MODELS, self.name, settings, **provided, shapes=self.shapes, input_size=self.input_size)

    def build_part_with(self, *args, **settings):
        return self.build_part(*args, **settings) if accepts_layers(self.name) else None


def is_loss_of_fields(name: str) -> bool:
    """Whether a loss compares fields; those of distributions have tests/models/losses/test_mle.py."""
    return not hasattr(MODELS.get(name), 'target_kind')


class TestLosses(LossContract):
    """Every registered loss of fields."""

    name = parametrize_by_name(filter(is_loss_of_fields, list_builtin_parts(MODELS, 'models.losses')))

    @property
    def shape(self):
        return dict(OKSLoss=(2, 3, 2), RLELoss=(2, 3, 4), SquaredIoULoss=(2, 3, 4)).get(self.name, super().shape)

    def random_pair(self, seed=0):
        """Random fields; those of SquaredIoULoss are boxes with a positive size."""
        predicted, target = super().random_pair(seed)
        if self.name != 'SquaredIoULoss':
            return predicted, target
        boxes = [torch.cat([b[..., :2], b[..., :2] + b[..., 2:]], dim=-1).detach() for b in (predicted, target)]
        return boxes[0].requires_grad_(), boxes[1]

    @property
    def min_value(self):
        return -math.inf if self.name == 'RLELoss' else 0.0

    @property
    def zero_when_equal(self):
        return self.name not in ('BinaryCrossEntropy', 'KLDivergence', 'RLELoss', 'VarifocalLoss')

    def build_part(self):
        return build_small(MODELS, self.name)


class TestMetrics(MetricContract):
    name = parametrize_by_name(list_builtin_parts(METRICS))

    def build_part(self, skeleton):
        return build_small(METRICS, self.name, skeleton=skeleton)


def is_transform_of_one_image(name: str) -> bool:
    """Whether a transform changes one image; those of several have tests/data/transforms/test_mosaic.py."""
    return not issubclass(TRANSFORMS.get(name), MixImageTransform)


class TestTransforms(TransformContract):
    """Every registered transform of one image."""

    name = parametrize_by_name(filter(is_transform_of_one_image, list_builtin_parts(TRANSFORMS)))

    @property
    def changes_colors(self):
        names = ('RandomBlur', 'RandomColor', 'RandomCut', 'RandomDownscale', 'RandomErase', 'RandomHSV')
        return self.name in names

    @property
    def moves_keypoints_out(self):
        return self.name == 'RandomCut'

    def build_part(self, input_size):
        return build_small(TRANSFORMS, self.name, input_size=input_size)

    def preceding_transforms(self):
        crop, warp = (
            TRANSFORMS.build(dict(type=name), input_size=self.input_size) for name in ('LetterboxImage', 'Warp')
        )
        if self.changes_colors:
            return [crop, warp]
        return [] if self.name in FIRST_TRANSFORMS else [crop]


class TestSources(SourceContract):
    name = parametrize_by_name(list_builtin_parts(SOURCES))

    def build_part(self, folder):
        if SOURCES.get(self.name).__module__ in COCO_STYLE_MODULES:
            return build_coco_style(folder, SOURCES.get(self.name))
        if self.name not in SOURCE_FILES:
            pytest.fail(
                f'source {self.name!r} is registered but not tested: write its files in a function of '
                f"tests/test_contracts.py and add '{self.name}': 'that_function' to SOURCE_FILES"
            )
        globals()[SOURCE_FILES[self.name]](folder)
        return SOURCES.build(dict(type=self.name, data_root=str(folder)))

    def test_shards_hold_the_same_records(self, source, tmp_path_factory):
        records, out = source.load()[0], tmp_path_factory.mktemp('shards') / 'out'
        if any(record.is_crop for record in records):
            with pytest.raises(ConfigError, match='the crops of a pack'):
                write_shards(records, source.skeleton, out)
            return
        in_shards = ShardSource(write_shards(records, source.skeleton, out))
        assert in_shards.skeleton == source.skeleton
        for actual, expected in zip(in_shards.load()[0], records, strict=True):
            position = dict(path=expected.path, byte_range=expected.byte_range)
            np.testing.assert_equal(list_record_values(replace(actual, **position)), list_record_values(expected))


def random_lsp_keypoints(seed: int, count: int) -> np.ndarray:
    """(14, 3, count) keypoints within an image of 40 x 60 px, counted from 1, every flag 1."""
    points = np.random.default_rng(seed).uniform(1, 40, (14, 2, count))
    return np.concatenate([points, np.ones((14, 1, count))], axis=1)


def write_images(folder: Path, names: list[str]) -> None:
    (folder / 'images').mkdir()
    for name in names:
        cv2.imwrite(str(folder / 'images' / name), np.zeros((60, 40, 3), np.uint8))


def write_lsp(folder: Path) -> None:
    write_images(folder, [f'im{i + 1:04d}.jpg' for i in range(4)])
    savemat(folder / 'joints.mat', {'joints': random_lsp_keypoints(0, 4).transpose(1, 0, 2)})


def write_lspet(folder: Path) -> None:
    """Of the four people one has an unlabeled keypoint without a position, and one no labeled keypoint."""
    write_images(folder, [f'im{i + 1:05d}.jpg' for i in range(4)])
    content = random_lsp_keypoints(1, 4)
    content[3, :, 1] = 0
    content[:, :, 2] = 0
    savemat(folder / 'joints.mat', {'joints': content})


def write_flic(folder: Path) -> None:
    """Three examples on two images."""
    names = ['a.jpg', 'b.jpg', 'a.jpg']
    write_images(folder, sorted(set(names)))
    examples = np.zeros((1, 3), dtype=[(f, object) for f in ('coords', 'filepath', 'torsobox', 'istrain', 'istest')])
    for i, name in enumerate(names):
        points = random_lsp_keypoints(i, 1)[:11, :2, 0].T
        coords = np.pad(points, ((0, 0), (0, 18)), constant_values=np.nan)
        examples[0, i] = (coords, name, np.array([5.0, 5.0, 30.0, 50.0]), True, False)
    savemat(folder / 'examples.mat', {'examples': examples})


def write_coco_format(folder: Path, file: str, num_keypoints: int, **image_fields: object) -> None:
    """Two images of 40 x 60 px; of the four annotations one is a crowd and one has no labeled keypoint."""
    write_images(folder, ['1.jpg', '2.jpg'])
    points = np.random.default_rng(2).uniform(1, 38, (4, num_keypoints, 2))
    keypoints = np.concatenate([points, np.ones((4, num_keypoints, 1))], axis=2)
    keypoints[3] = 0
    annotations = [
        dict(
            id=n + 1,
            image_id=n % 2 + 1,
            bbox=[1, 2, 38, 50],
            keypoints=keypoints[n].ravel().tolist(),
            iscrowd=int(n == 2),
        )
        for n in range(4)
    ]
    images = [dict(id=i, file_name=f'{i}.jpg', width=40, height=60, **image_fields) for i in (1, 2)]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(dict(images=images, annotations=annotations)))


def write_coco(folder: Path) -> None:
    write_coco_format(folder, 'annotations/person_keypoints_train2017.json', 17)
    (folder / 'images').rename(folder / 'train2017')


def build_coco_style(folder: Path, source: type) -> Source:
    """A source whose files are in COCO's format, of the first split that it has."""
    split, (file, image_folder) = next(iter(source.splits.items()))
    folder = folder / source.name
    folder.mkdir()
    write_coco_format(folder, file, len(source.reader.skeleton))
    for image in sorted((folder / 'images').iterdir()):
        (folder / image_folder).mkdir(exist_ok=True, parents=True)
        image.rename(folder / image_folder / image.name)
    return source(folder, split)


def write_shard_set(folder: Path) -> None:
    from poseplug.data.shard_writer import write_shards
    from poseplug.data.sources.coco import CocoSource

    (folder / 'coco').mkdir()
    write_coco(folder / 'coco')
    source = CocoSource(folder / 'coco')
    for file in write_shards(source.load()[0], source.skeleton, folder / 'shards').iterdir():
        file.rename(folder / file.name)


def write_yolo(folder: Path) -> None:
    write_images(folder, ['1.jpg', '2.jpg'])
    (folder / 'labels').mkdir()
    (folder / 'data.yaml').write_text('train: images\nkpt_shape: [2, 3]\nnames: [cat]\nflip_idx: [1, 0]\n')
    for name in ('1', '2'):
        (folder / f'labels/{name}.txt').write_text('0 0.5 0.5 0.4 0.4 0.4 0.5 2 0.6 0.5 2\n')


def write_pack(folder: Path) -> None:
    from poseplug.data.dataset import PoseDataset
    from poseplug.data.pack_writer import pack_dataset

    (folder / 'coco').mkdir()
    write_coco(folder / 'coco')
    source = dict(type='CocoSource', data_root=str(folder / 'coco'))
    dataset = PoseDataset(source, [dict(type='CropBox')], 'coco', (24, 32))
    pack = pack_dataset(dataset, (24, 32), folder / 'pack')
    for file in pack.iterdir():
        file.rename(folder / file.name)


def write_crowdpose(folder: Path) -> None:
    write_coco_format(folder, 'annotations/crowdpose_train.json', 14, crowdIndex=0.5)


def write_coco_wholebody(folder: Path) -> None:
    """COCO's annotations with further lists of keypoints, whose third number is a confidence."""
    file = folder / 'annotations/coco_wholebody_train_v1.0.json'
    write_coco_format(folder, 'annotations/coco_wholebody_train_v1.0.json', 17)
    (folder / 'images').rename(folder / 'train2017')
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        for key, count in dict(foot_kpts=6, face_kpts=68, lefthand_kpts=21).items():  # without the other hand
            annotation[key] = [v for k in range(count) for v in (5 + k % 30, 8 + k % 40, 0.5 * (k % 2))]
        for part in ('face', 'lefthand'):
            annotation.update({f'{part}_valid': True, f'{part}_box': [4, 7, 30, 40]})
    file.write_text(json.dumps(content))


def write_aic(folder: Path) -> None:
    """Two people in one image; the second has no labeled keypoint."""
    write_images(folder, ['a.jpg'])
    (folder / 'images').rename(folder / 'keypoint_train_images_20170902')
    keypoints = [v for k in range(14) for v in (5 + k, 50 - k, 1 + k % 3)]
    image = dict(
        image_id='a',
        human_annotations=dict(human1=[1, 2, 30, 55], human2=[10, 2, 39, 55]),
        keypoint_annotations=dict(human1=keypoints, human2=[0, 0, 3] * 14),
    )
    (folder / 'keypoint_train_annotations_20170909.json').write_text(json.dumps([image]))


def write_mpii(folder: Path) -> None:
    """Three people in two images; the last has no labeled keypoint."""
    write_images(folder, ['a.jpg', 'b.jpg'])
    person = dict(center=[20, 30], scale=0.2, joints=[[5 + k, 50 - k] for k in range(16)])
    annotations = [{**person, 'image': f'{"ab"[n % 2]}.jpg', 'joints_vis': [int(n < 2)] * 16} for n in range(3)]
    (folder / 'annot').mkdir()
    (folder / 'annot/train.json').write_text(json.dumps(annotations))


class TestTrackers(TrackerContract):
    # That of a package has its contract in tests/predict/test_package_tracker.py.
    name = parametrize_by_name(sorted({*list_builtin_parts(TRACKERS)} - {'PackageTracker'}))

    def build_part(self, skeleton):
        return TRACKERS.build(dict(type=self.name), skeleton=skeleton)


class TestSmoothers(SmootherContract):
    name = parametrize_by_name(list_builtin_parts(SMOOTHERS))

    def build_part(self):
        return SMOOTHERS.build(dict(type=self.name))


def test_every_model_part_lies_in_a_package_with_a_contract():
    packages = ('assigners', 'backbones', 'necks', 'heads', 'losses', 'estimators')
    parts = [name for package in packages for name in list_builtin_parts(MODELS, f'models.{package}')]
    assert sorted(parts) == list_builtin_parts(MODELS)


def test_heads_transforms_and_sources_are_of_their_base_class():
    assert all(issubclass(MODELS.get(name), Head) for name in list_builtin_parts(MODELS, 'models.heads'))
    assert all(issubclass(TRANSFORMS.get(name), Transform) for name in list_builtin_parts(TRANSFORMS))
    assert all(issubclass(SOURCES.get(name), Source) for name in list_builtin_parts(SOURCES))


@dataclass(frozen=True)
class UnswappedHeatmap(Heatmap):
    """A codec that does not exchange left and right in a flip."""

    @property
    def flip_channels(self):
        return {'heatmap': list(range(len(self.skeleton)))}


@dataclass(frozen=True)
class ShiftedHeatmap(Heatmap):
    """A codec that decodes cells half a stride away from where it encodes them."""

    def decode(self, fields):
        poses = super().decode(fields)
        return replace(poses, keypoints=poses.keypoints + 4.0)


@pytest.mark.parametrize(
    ('codec_type', 'law'),
    [
        (UnswappedHeatmap, 'test_flipped_fields_of_flipped_keypoints_decode_to_the_keypoints'),
        (ShiftedHeatmap, 'test_decoding_undoes_encoding_within_the_tolerance'),
    ],
)
def test_a_broken_codec_breaks_its_law(codec_type, law):
    with pytest.raises(AssertionError, match='px away'):
        getattr(CodecContract(), law)(codec_type(SMALL_SKELETON, (64, 48)))


def test_a_part_without_settings_fails_and_the_message_says_what_to_add():
    with pytest.raises(pytest.fail.Exception, match="codec 'New' is registered but not tested: add 'New': dict"):
        build_small(CODECS, 'New')
