"""Weights of CPM implementations in PyTorch: names, poolings and outputs at all six stages."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.zoo.mmpose import convert_state_dict

NUM_MAPS, NUM_STAGES = 15, 6


class SequentialCPM(nn.Module):
    """Six stages by the usual names: max poolings 3x3 of stride 2 with padding 1, a center map pooled 9x9, stride 8."""

    def __init__(self):
        super().__init__()
        for stage in (1, 2):
            for number, channels in ((1, 3), (2, 128), (3, 128)):
                self.add(f'conv{number}_stage{stage}', channels, 128, 9)
        self.add('conv4_stage1', 128, 32, 5)
        self.add('conv5_stage1', 32, 512, 9)
        self.add('conv6_stage1', 512, 512, 1)
        self.add('conv7_stage1', 512, NUM_MAPS, 1)
        self.add('conv4_stage2', 128, 32, 5)
        for stage in range(2, NUM_STAGES + 1):
            if stage > 2:
                self.add(f'conv1_stage{stage}', 128, 32, 5)
            for number, channels in ((1, 32 + NUM_MAPS + 1), (2, 128), (3, 128)):
                self.add(f'Mconv{number}_stage{stage}', channels, 128, 11)
            self.add(f'Mconv4_stage{stage}', 128, 128, 1)
            self.add(f'Mconv5_stage{stage}', 128, NUM_MAPS, 1)

    def add(self, name, in_channels, out_channels, size):
        self.add_module(name, nn.Conv2d(in_channels, out_channels, size, padding=size // 2))

    def convolve(self, name, x):
        return F.relu(getattr(self, name)(x))

    def pooled_features(self, image, stage):
        for number in (1, 2, 3):
            image = F.max_pool2d(self.convolve(f'conv{number}_stage{stage}', image), 3, 2, padding=1)
        return image

    def forward(self, image, center_map):
        x = self.pooled_features(image, 1)
        for number in (4, 5, 6):
            x = self.convolve(f'conv{number}_stage1', x)
        maps = [self.conv7_stage1(x)]
        features = self.pooled_features(image, 2)
        center = F.avg_pool2d(center_map, 9, 8, padding=1)
        for stage in range(2, NUM_STAGES + 1):
            name = 'conv4_stage2' if stage == 2 else f'conv1_stage{stage}'
            x = torch.cat([self.convolve(name, features), maps[-1], center], dim=1)
            for number in (1, 2, 3, 4):
                x = self.convolve(f'Mconv{number}_stage{stage}', x)
            maps.append(getattr(self, f'Mconv5_stage{stage}')(x))
        return maps


@pytest.fixture(scope='module')
def reference():
    """The network with weights that keep values of all stages near 1."""
    torch.manual_seed(0)
    network = SequentialCPM().eval()
    for parameter in network.parameters():
        std = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.05
        nn.init.normal_(parameter, std=std)
    return network


@pytest.mark.parametrize('size', [96, pytest.param(368, marks=pytest.mark.slow)])
def test_weights_load_and_give_equal_outputs_at_all_six_stages(reference, size):
    model = build_model(load_config('cpm_lsp_368_padded', {'model.codec.input_size': (size, size)})).eval()
    state, report = convert_state_dict(model, reference.state_dict(), 'cpm.pth')
    assert (report.layout, len(state)) == ('a CPM in PyTorch', len(reference.state_dict()))
    model.load_state_dict(state)
    torch.manual_seed(1)
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    center = torch.tensor([[size / 2 + 9.0, size / 2 - 4.5]])
    pixels = (image.float().permute(0, 3, 1, 2) - 128) / 256
    x, y = torch.arange(size), torch.arange(size)
    squares = (x - center[0, 0])[None, :] ** 2 + (y - center[0, 1])[:, None] ** 2
    center_map = torch.exp(-squares / (2 * 21.0**2))[None, None]
    with torch.inference_mode():
        expected = reference(pixels, center_map)
        stages = model.network(image, center)
    assert len(stages) == NUM_STAGES
    for stage, maps in zip(stages, expected, strict=True):
        assert maps.std() > 0.1  # a comparison of zeros would show nothing
        assert_close(stage['heatmap'], maps, rtol=1e-4, atol=1e-4 * float(maps.abs().max()))


def test_poolings_without_padding_give_other_outputs(reference):
    model = build_model(load_config('cpm_lsp_368', {'model.codec.input_size': (96, 96)})).eval()
    model.load_state_dict(convert_state_dict(model, reference.state_dict(), 'cpm.pth')[0])
    image = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    pixels = (image.float().permute(0, 3, 1, 2) - 128) / 256
    with torch.inference_mode():
        difference = model.network(image)[0]['heatmap'] - reference(pixels, torch.zeros(1, 1, 96, 96))[0]
    assert difference.abs().max() > 0.1
