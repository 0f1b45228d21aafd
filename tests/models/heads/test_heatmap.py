import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.heatmap import HeatmapHead


def test_every_field_is_a_linear_map_of_the_last_features_of_its_stride():
    torch.manual_seed(0)
    head = HeatmapHead((5, 6, 7), (8, 4, 4), {'heatmap': 3, 'offset': 2}, 4)
    features = [torch.rand(2, 5, 4, 4), torch.rand(2, 6, 8, 8), torch.rand(2, 7, 8, 8)]
    (stage,) = head(features)
    assert {n: f.shape for n, f in stage.items()} == {'heatmap': (2, 3, 8, 8), 'offset': (2, 2, 8, 8)}
    weight = head.predict['offset'].weight[:, :, 0, 0]
    assert_close(stage['offset'], torch.einsum('oc,bchw->bohw', weight, features[2]))


def test_hidden_layers_come_before_the_prediction():
    head = HeatmapHead((5,), (4,), {'heatmap': 3}, 4, conv_layers=((3, 16), (1, 8)))
    assert head.predict['heatmap'].in_channels == 8
    assert len(head.hidden) == 2


def test_a_backbone_of_another_stride_is_an_error():
    with pytest.raises(MismatchError, match=r'HeatmapHead .* 4, .* strides \(8, 16\) with \(5, 6\) channels'):
        HeatmapHead((5, 6), (8, 16), {'heatmap': 3}, 4)
