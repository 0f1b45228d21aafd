from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.efficientnet_lite import EfficientNetLite

LAST_CHANNELS, CLASSES = 1280, 1000
EPS = 1e-3
BLOCKS = 16  # of Lite0
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
KERNEL_SIZES = (3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3)


def count_parameters(network: EfficientNetLite) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ('size', 'num_parameters'), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072), (3, 8_197_096), (4, 13_006_568)]
)
def test_with_a_classifier_of_1000_classes_every_size_has_the_published_number_of_parameters(size, num_parameters):
    with torch.device('meta'):
        network = EfficientNetLite(size=size)
    classifier = (network.out_channels[-1] + 2) * LAST_CHANNELS + (LAST_CHANNELS + 1) * CLASSES
    assert count_parameters(network) + classifier == num_parameters


def test_coarser_blocks_than_the_last_stride_are_not_built():
    network = EfficientNetLite(out_strides=(4, 16))
    assert (network.out_channels, network.strides) == ((24, 112), (4, 16))
    assert len(network.features) == 1 + 11
    assert [tuple(m.shape[2:]) for m in network(torch.zeros(1, 3, 33, 64))] == [(9, 16), (3, 4)]


def test_a_size_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r'EfficientNetLite: size is 0 to 4; got 5'):
        EfficientNetLite(size=5)


def test_norms_activations_and_convolutions_are_those_of_the_config():
    network = EfficientNetLite(
        out_strides=(4,),
        norm_cfg=dict(type='GN', num_groups=8),
        act_cfg=dict(type='Hardswish'),
        conv_cfg=dict(type='Conv2d'),
    )
    kinds = Counter(type(module) for module in network.modules() if not list(module.children()))
    plain = Counter(
        type(module) for module in EfficientNetLite(out_strides=(4,)).modules() if not list(module.children())
    )
    assert kinds[nn.GroupNorm] == plain[nn.BatchNorm2d] > 0
    assert kinds[nn.Hardswish] == plain[nn.ReLU6] > 0
    assert not {nn.BatchNorm2d, nn.ReLU6} & set(kinds)


def draw_published_weights(network: EfficientNetLite) -> dict[str, Tensor]:
    """Random weights of Lite0 with the names of the authors' port, in the order of the layers."""
    layers = ['_conv_stem', '_bn0']
    for block in range(BLOCKS):
        expansion = ['_expand_conv', '_bn0'] if block else []
        parts = [*expansion, '_depthwise_conv', '_bn1', '_project_conv', '_bn2']
        layers += [f'_blocks.{block}.{part}' for part in parts]
    parameters = ('weight', 'bias', 'running_mean', 'running_var')
    names = [
        f'{layer}.{parameter}' for layer in layers for parameter in (parameters if '_bn' in layer else parameters[:1])
    ]
    own = [tensor for name, tensor in network.state_dict().items() if not name.endswith('num_batches_tracked')]
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(tensor.shape, generator=generator) * (0.5 if tensor.ndim == 1 else 0.2)
        for name, tensor in zip(names, own, strict=True)
    }


def run_published_network(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The formula of the network from weights with the names of the authors' port, layer by layer."""

    def normalize(x, name):
        values = [weights[f'{name}.{key}'] for key in ('running_mean', 'running_var', 'weight', 'bias')]
        return F.batch_norm(x, *values, eps=EPS)

    x = F.relu6(normalize(F.conv2d(images, weights['_conv_stem.weight'], stride=2, padding=1), '_bn0'))
    for block, (stride, kernel_size) in enumerate(zip(STRIDES, KERNEL_SIZES, strict=True)):
        name, shortcut = f'_blocks.{block}', x
        if block:
            x = F.relu6(normalize(F.conv2d(x, weights[f'{name}._expand_conv.weight']), f'{name}._bn0'))
        depthwise = weights[f'{name}._depthwise_conv.weight']
        x = F.conv2d(x, depthwise, stride=stride, padding=kernel_size // 2, groups=len(depthwise))
        x = F.relu6(normalize(x, f'{name}._bn1'))
        x = normalize(F.conv2d(x, weights[f'{name}._project_conv.weight']), f'{name}._bn2')
        x = x + shortcut if x.shape == shortcut.shape else x
    return x


def test_published_weights_load_by_their_names_and_give_the_output_of_the_published_layers():
    network = EfficientNetLite().eval()
    published = draw_published_weights(network)
    renamed = {f'encoder.{name}': tensor for name, tensor in published.items()} | {'encoder._fc.bias': torch.zeros(1)}
    network.adapt_weights(renamed, 'encoder.')
    assert renamed.pop('encoder._fc.bias') is not None  # the classifier keeps its name, and is reported as not used
    state = {name.removeprefix('encoder.'): tensor for name, tensor in renamed.items()}
    missing = network.load_state_dict(state, strict=False)
    assert all(name.endswith('num_batches_tracked') for name in missing.missing_keys)
    assert missing.unexpected_keys == []
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = run_published_network(published, images)
        torch.testing.assert_close(network(images)[-1], expected, rtol=1e-4, atol=1e-5)


def test_names_of_timm_are_those_of_the_same_layers():
    names = {
        'conv_stem.weight': 'features.0.0.weight',
        'bn1.bias': 'features.0.1.bias',
        'blocks.0.0.conv_dw.weight': 'features.1.conv.0.0.weight',
        'blocks.0.0.bn1.weight': 'features.1.conv.0.1.weight',
        'blocks.0.0.conv_pw.weight': 'features.1.conv.1.weight',
        'blocks.0.0.bn2.weight': 'features.1.conv.2.weight',
        'blocks.1.1.conv_pw.weight': 'features.3.conv.0.0.weight',
        'blocks.4.2.bn2.running_var': 'features.11.conv.1.1.running_var',
        'blocks.6.0.conv_pwl.weight': 'features.16.conv.2.weight',
        'blocks.6.0.bn3.bias': 'features.16.conv.3.bias',
    }
    state = {name: torch.full((), float(index)) for index, name in enumerate(names)}
    EfficientNetLite().adapt_weights(state)
    assert {name: int(value) for name, value in state.items()} == {own: i for i, own in enumerate(names.values())}
