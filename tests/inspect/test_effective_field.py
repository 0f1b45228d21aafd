"""The effective receptive field, on a network whose field is known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.inspect.effective_field import measure_effective_fields


class BoxNetwork(nn.Module):
    """A mean over squares of some sides, one stage each."""

    def __init__(self, sides):
        super().__init__()
        self.backbone = nn.Identity()
        self.head = lambda x: [
            {'heatmap': nn.functional.avg_pool2d(x.sum(1, keepdim=True), n, 1, n // 2)} for n in sides
        ]

    def normalize_images(self, images):
        return images.permute(0, 3, 1, 2).float()

    def active_parts(self):
        return {'backbone': self.backbone, 'head': self.head}


def measure(sides, num_images=2):
    network = BoxNetwork(sides)
    model = SimpleNamespace(network=network, device='cpu', eval=lambda: None)
    images = torch.randint(0, 255, (2, 1, 33, 33, 3), dtype=torch.uint8)
    batch = SimpleNamespace(images=images)
    batch.to = lambda device: batch
    return measure_effective_fields(model, [batch] * num_images)


def test_the_field_of_a_mean_is_its_square():
    narrow, wide = measure([5, 11])
    assert narrow.width_px == 5
    assert wide.width_px == 11
    assert wide.half_width_px == pytest.approx(11 / 2**0.5, abs=1.3)  # half of the area
    assert narrow.profile.sum() == pytest.approx(1)
    assert (narrow.profile > 0).sum() == 5


def test_without_images_it_is_an_error():
    with pytest.raises(ConfigError, match='is measured on images; the data set has none'):
        measure([5], num_images=0)
