"""How MMPose names the tensors of its convolutional backbones and their heads, where the names here differ."""

from __future__ import annotations

__all__ = ['CONV_BACKBONE_RULES', 'REGRESSION_HEAD_RULES']

from collections.abc import Iterator

_Rule = tuple[str, str]  # (pattern of a whole name, replacement)

_RESNET_RULES = (
    # SE-ResNet
    (r'(backbone\.layer\d\.\d+)\.se_layer\.conv([12])\.conv\.(.+)', r'\1.se.fc\2.\3'),
    # SCNet
    (r'(backbone\.layer\d\.\d+)\.k1\.(.+)', r'\1.straight.\2'),
    (r'(backbone\.layer\d\.\d+)\.scconv\.k2\.1\.(.+)', r'\1.calibrated.coarse.0.\2'),
    (r'(backbone\.layer\d\.\d+)\.scconv\.k2\.2\.(.+)', r'\1.calibrated.coarse.1.\2'),
    (r'(backbone\.layer\d\.\d+)\.scconv\.k3\.(.+)', r'\1.calibrated.fine.\2'),
    (r'(backbone\.layer\d\.\d+)\.scconv\.k4\.(.+)', r'\1.calibrated.last.\2'),
)
_SHUFFLENET_V1_RULES = (
    (r'(backbone\.layers\.\d\.\d+)\.g_conv_1x1_(compress|expand)\.(.+)', r'\1.\2.\3'),
    (r'(backbone\.layers\.\d\.\d+)\.depthwise_conv3x3_bn\.(.+)', r'\1.depthwise.\2'),
)
_LITE_HRNET_RULES = ((r'(backbone\.stage\d\..+\.spatial_weighting\.\d)\.conv([12])\.conv\.(.+)', r'\1.fc\2.\3'),)
_VIPNAS_RESNET_RULES = (
    (r'(backbone\.layer\d\.\d+)\.attention\.conv_mask\.weight', r'\1.context.mask.weight'),
    (r'(backbone\.layer\d\.\d+)\.attention\.channel_add_conv\.(.+)', r'\1.context.transform.\2'),
)
_NUM_VIPNAS_BLOCKS = 21  # of the mobile network
_MOBILENET_V2_DEPTHS = (1, 2, 3, 4, 3, 3, 1)  # blocks in MMPose's layer1 to layer7
_VGG16_DEPTHS = (2, 2, 3, 3, 3)  # convolutions in the stages, behind each of which stands a pooling


def _list_mobilenet_v2_rules() -> Iterator[_Rule]:
    """The blocks' convolutions and norms, which torchvision numbers through."""
    for mmpose_name, name in (('conv', '0'), ('bn', '1')):
        # The stem is feature 0, the last 1x1 convolution the one behind all blocks.
        yield rf'backbone\.conv1\.{mmpose_name}\.(.+)', rf'backbone.features.0.{name}.\1'
        yield rf'backbone\.conv2\.{mmpose_name}\.(.+)', rf'backbone.features.{sum(_MOBILENET_V2_DEPTHS) + 1}.{name}.\1'
    index = 0
    for layer, depth in enumerate(_MOBILENET_V2_DEPTHS, 1):
        for block in range(depth):
            index += 1
            last = 1 if layer == 1 else 2  # index of the last convolution: layer1 has none that expands
            prefix, target = rf'backbone\.layer{layer}\.{block}\.conv', f'backbone.features.{index}.conv'
            # In torchvision the last convolution and its norm are no pair of their own, see `InvertedResidual`.
            yield rf'{prefix}\.{last}\.conv\.(.+)', rf'{target}.{last}.\1'
            yield rf'{prefix}\.{last}\.bn\.(.+)', rf'{target}.{last + 1}.\1'
            yield rf'{prefix}\.(\d)\.conv\.(.+)', rf'{target}.\1.0.\2'
            yield rf'{prefix}\.(\d)\.bn\.(.+)', rf'{target}.\1.1.\2'


def _list_vipnas_mobile_rules() -> Iterator[_Rule]:
    """The blocks of the mobile network, which MMPose numbers from 1."""
    for index in range(_NUM_VIPNAS_BLOCKS):
        prefix, target = rf'backbone\.layer{index + 1}', f'backbone.blocks.{index}'
        # Before the general rule: the first one that matches counts.
        yield rf'{prefix}\.se\.conv([12])\.conv\.(.+)', rf'{target}.se.fc\1.\2'
        yield rf'{prefix}\.(.+)', rf'{target}.\1'


def _list_vgg16_rules() -> Iterator[_Rule]:
    """The convolutions of the stages, which MMPose numbers through with the poolings."""
    index = 0
    for stage, depth in enumerate(_VGG16_DEPTHS):
        for block in range(depth):
            yield rf'backbone\.features\.{index}\.(conv|bn)\.(.+)', rf'backbone.stages.{stage}.{block}.\1.\2'
            index += 1
        index += 1


CONV_BACKBONE_RULES: tuple[_Rule, ...] = (
    *_RESNET_RULES,
    *_SHUFFLENET_V1_RULES,
    *_LITE_HRNET_RULES,
    *_VIPNAS_RESNET_RULES,
    *_list_mobilenet_v2_rules(),
    *_list_vipnas_mobile_rules(),
    *_list_vgg16_rules(),
)
REGRESSION_HEAD_RULES: tuple[_Rule, ...] = (
    (r'head\.fc\.(weight|bias)', r'head.points.keypoints.\1'),
    (r'head\.simplebaseline_head\.deconv_layers\.(.+)', r'head.deconvs.\1'),
    (r'head\.simplebaseline_head\.final_layer\.(weight|bias)', r'head.maps.\1'),
)
