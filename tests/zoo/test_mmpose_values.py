"""Converted values: biases before norms, and the masked halves of RLE's flow."""

import torch
from torch import nn

from poseplug.models.losses.rle import RealNVP
from poseplug.zoo.mmpose_values import convert_flow_weight, fold_conv_biases


@torch.no_grad()
def test_a_folded_bias_gives_the_same_output():
    torch.manual_seed(0)
    conv, norm, x = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), torch.randn(1, 3, 6, 6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    expected = norm(conv(x))
    state = {f'f.conv.{n}': v for n, v in conv.named_parameters()} | {f'f.bn.{n}': v for n, v in norm.named_buffers()}
    norm.running_mean.copy_(fold_conv_biases(state)['f.bn.running_mean'])
    nn.init.zeros_(conv.bias)
    torch.testing.assert_close(norm(conv(x)), expected)


def test_biases_without_a_norm_stay():
    state = {'head.conv_layers.0.bias': torch.ones(2), 'head.final_layer.bias': torch.ones(2)}
    assert fold_conv_biases(state) == state


def test_a_flow_reads_the_coordinate_that_is_not_masked_in_reverse_order():
    state = {f'loss.parts.0.flow.{name}': value for name, value in RealNVP(6, 4).state_dict().items()}
    first, last = torch.tensor([[1.0, 2.0]] * 4), torch.tensor([[1.0] * 4, [2.0] * 4])
    prefix, ours = 'head.loss_module.flow_model', 'loss.parts.0.flow'
    # MMPose's last network, 5, is the first here; it reads x and changes y.
    converted = convert_flow_weight(f'{prefix}.s.5.0.weight', first, state)
    assert converted[f'{ours}.scales.0.0.weight'].tolist() == [[1.0]] * 4
    converted = convert_flow_weight(f'{prefix}.t.5.4.weight', last, state)
    assert converted[f'{ours}.moves.0.4.weight'].tolist() == [[2.0] * 4]
    converted = convert_flow_weight(f'{prefix}.t.4.4.weight', last, state)
    assert converted[f'{ours}.moves.1.4.weight'].tolist() == [[1.0] * 4]


def test_a_model_without_a_flow_has_no_use_for_its_weights():
    assert convert_flow_weight('head.loss_module.flow_model.s.0.2.weight', torch.ones(4, 4), {}) == {}
    assert convert_flow_weight('head.fc.weight', torch.ones(4, 4), {}) == {}
