"""Batch norms folded into convolutions."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.models.layers.batch_norm_folding import fold_batch_norms
from poseplug.registry import MODELS


def randomize_norms(network):
    """Set random statistics and weights of the batch norms."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.mark.parametrize(
    'spec',
    [
        dict(type='HRNet', width=8, num_modules=(1, 1, 1), num_blocks=1),
        dict(type='ResNet', depth=18, base_channels=8),
        dict(type='ResNet', depth=50, base_channels=8),
        dict(type='MobileNetV2', widen_factor=0.25),
        dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.33),
        dict(type='CSPDarknet', widen_factor=0.125, deepen_factor=0.33),
        dict(type='Hourglass', num_stacks=1, channels=8),
    ],
    ids=lambda spec: f'{spec["type"]}{spec.get("depth", "")}',
)
def test_a_folded_backbone_computes_the_same_numbers(spec):
    backbone = randomize_norms(MODELS.build(spec, input_size=(64, 64))).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = backbone(images)
        assert fold_batch_norms(backbone) > 0
        for folded, expected in zip(backbone(images), before, strict=True):
            assert_close(folded, expected)


def test_no_norm_of_a_residual_network_remains():
    spec = dict(type='HRNet', width=8, num_modules=(1, 1, 1), num_blocks=1)
    backbone = MODELS.build(spec, input_size=(64, 64)).eval()
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    assert fold_batch_norms(backbone) == norms
    assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())


def test_the_norm_of_a_deconvolution_is_folded_too():
    network = randomize_norms(nn.Sequential(nn.ConvTranspose2d(3, 5, 4, 2, 1), nn.BatchNorm2d(5)))
    maps = torch.randn(1, 3, 4, 4)
    before = network(maps)
    assert fold_batch_norms(network) == 1
    assert_close(network(maps), before, rtol=1e-4, atol=1e-5)


def test_a_norm_that_comes_first_or_after_something_else_stays():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    assert fold_batch_norms(network) == 0


def test_a_network_in_training_is_refused():
    with pytest.raises(RuntimeError, match='call eval'):
        fold_batch_norms(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
