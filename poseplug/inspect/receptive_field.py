"""How many input pixels a feature map or a stage can see, found by gradient on the network itself.

The network is copied and made one in which every path counts and none cancels: every weight is a positive constant (the
mean over what a layer reads), biases are zero, norms are removed, and activations receive positive numbers. Then an
output cell depends on a pixel exactly if its gradient is not zero there. Max pooling passes its gradient to one pixel
of the window, although any of them could have been the largest; average pooling over the same window passes it to all,
so it has the extent that the maximum can reach. In float64 no path vanishes: one through six stages of CPM is worth
about 1e-30, and 1e-308 is still a number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.geometry import Size
from poseplug.inspect.complexity import default_source_indices

_INITIAL_WIDTH_PX = 1024  # of the first input
_MAX_WIDTH_PX = 16384  # what still reaches the border of such an input sees the whole image
GLOBAL_ATTENTION = ('full', 'pool', 'shift+pool')  # kinds of attention in which every cell sees every other one
_NORM_LAYERS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)

ReceptiveWidth = int | None  # px; None is the whole image
Measured = TypeVar('Measured')


@dataclass(frozen=True)
class ReceptiveFields:
    """Receptive fields along a row, in px; None is the whole image.

    Attributes:
        backbone: Of each feature map of the backbone.
        neck: Of each feature map of the neck; empty without a neck.
        head: Of each stage.
    """

    backbone: list[ReceptiveWidth]
    neck: list[ReceptiveWidth]
    head: list[ReceptiveWidth]


def compute_receptive_fields(model: Any) -> ReceptiveFields:
    """Compute the receptive fields of an estimator's parts on its input.

    The center map of a head does not count: it is drawn from the subject's position, not from pixels.

    Args:
        model: An estimator; it is not changed.

    Raises:
        ConfigError: The windows of a pooling layer have holes.
    """
    if getattr(model.network.backbone, 'attention', None) in GLOBAL_ATTENTION:
        return _build_global_fields(model)
    network = build_averaging_network(model.network)

    def reaches_border(fields: ReceptiveFields) -> bool:
        return any(find_global_fields(fields))

    return widen_until_inside(network, model.codec.input_size, _measure_receptive_fields, reaches_border)


def widen_until_inside(
    network: Any, input_size: Size, measure: Callable[[Any, int, int], Measured], reaches_border: Callable[..., bool]
) -> Measured:
    """Measure receptive fields on inputs that are widened until no field reaches their border.

    Args:
        network: of `build_averaging_network`.
        input_size: (width, height) of the config in px, for a network that accepts no other size.
        measure: from the network, and the width and height of an input, to what is measured.
        reaches_border: whether a field of what was measured reaches the border.

    Returns:
        What was measured on the last input.
    """
    # one cell high: fields are measured along a row
    height = int(max(network.backbone.strides))
    width = max(_INITIAL_WIDTH_PX, 2 * height)
    try:
        fields = measure(network, width, height)
        # a field that reaches the border may be cut off by it, or be the whole image: a wider input tells
        while reaches_border(fields) and width < _MAX_WIDTH_PX:
            width *= 2
            fields = measure(network, width, height)
    except (RuntimeError, ValueError, MismatchError):  # the network accepts one input size only
        fields = measure(network, *input_size)
    return fields


def _build_global_fields(model: Any) -> ReceptiveFields:
    """The fields of a network in which every output sees the whole image, without measuring them."""
    parts = model.network.active_parts()
    num_neck_maps = len(parts['neck'].strides) if 'neck' in parts else 0
    counts = len(parts['backbone'].strides), num_neck_maps, parts['head'].num_stages
    backbone, neck, head = ([None] * n for n in counts)
    return ReceptiveFields([*backbone], [*neck], [*head])


def find_global_fields(fields: ReceptiveFields) -> list[bool]:
    """Check for each field of backbone, neck and head whether it reaches the border of the input."""
    return [width is None for width in (*fields.backbone, *fields.neck, *fields.head)]


# --- a network in which every path counts -----------------------------------------------------------------------------


class AveragingLayer(nn.Module):
    """Replaces a layer in a copied network, and computes what the layer would compute by averaging.

    Args:
        layer: Is kept, for code that reads its settings or weights.
        function: From the layer's input to its output.
    """

    def __init__(self, layer: nn.Module, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the layer, if this module has none of that name."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__('layer'), name)


def build_averaging_network(model: nn.Module) -> Any:
    """Copy a network to float64 and make one of it in which every path counts, as the top of this file explains."""
    network = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            parameter.fill_(_averaging_value(name, parameter))
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            parent.add_module(name, _build_averaging_layer(child))
    return _build_averaging_layer(network)


def _averaging_value(name: str, parameter: Tensor) -> float:
    """What a parameter is filled with."""
    if name == 'bias':
        return 0.0
    # 1 / number of inputs: the mean, so that values stay near 1 through any number of layers
    return 1.0 / parameter[0].numel() if parameter.ndim > 1 else 1.0


def _build_averaging_layer(module: nn.Module) -> nn.Module:
    """The layer that takes a module's place: one that averages, or the module itself if there is none."""
    if isinstance(module, nn.Conv2d):
        return AveragingLayer(module, partial(_average_convolution, module))
    if isinstance(module, nn.Linear):
        return AveragingLayer(module, partial(_average_features, module.out_features))
    if isinstance(module, nn.MaxPool2d):
        return AveragingLayer(module, _build_average_pooling(module))
    if isinstance(module, nn.ReLU):
        return nn.ReLU()  # never in place: a norm before it returns its own input
    return nn.Identity() if isinstance(module, _NORM_LAYERS) else module


def _average_features(num_outputs: int, x: Tensor) -> Tensor:
    """A linear layer of equal weights, for features (..., C)."""
    return x.mean(dim=-1, keepdim=True).expand(*x.shape[:-1], num_outputs)


def _average_convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of equal weights, cheaply: its output channels are equal, so one per group is computed."""
    groups = layer.groups
    means = x.unflatten(1, (groups, -1)).mean(dim=2)
    kernel = x.new_full((groups, 1, *layer.kernel_size), 1.0 / (layer.kernel_size[0] * layer.kernel_size[1]))
    output = F.conv2d(means, kernel, None, layer.stride, layer.padding, layer.dilation, groups)
    return output.repeat_interleave(layer.out_channels // groups, dim=1)


def _build_average_pooling(layer: nn.MaxPool2d) -> Callable[[Tensor], Tensor]:
    """Average pooling over the windows of max pooling."""
    if layer.dilation not in (1, (1, 1)):
        raise ConfigError(f'the receptive field through {layer} cannot be computed: its windows have holes')
    return partial(
        F.avg_pool2d,
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        ceil_mode=layer.ceil_mode,
    )


# --- gradients --------------------------------------------------------------------------------------------------------


def _measure_receptive_fields(network: Any, width_px: int, height_px: int) -> ReceptiveFields:
    """The fields of all outputs for an input of constant 1."""
    pixels, features, neck_features, stages = run_on_constant(network, width_px, height_px)
    stage_cells = [torch.stack([_sum_center_cell(maps) for maps in stage.values()]).sum() for stage in stages]
    return ReceptiveFields(
        backbone=measure_cell_widths(features, pixels),
        neck=measure_cell_widths(neck_features, pixels) if 'neck' in network.active_parts() else [],
        head=_measure_widths(stage_cells, pixels),
    )


def run_on_constant(network: Any, width_px: int, height_px: int) -> tuple[Tensor, Any, Any, Any]:
    """Run a network of `build_averaging_network` on an input of constant 1.

    Args:
        network: that runs.
        width_px: of the input.
        height_px: of the input.

    Returns:
        The input (1, 3, H, W), which has gradients, the features of the backbone, those of the neck (of the backbone
        without a neck), and the fields of every stage.
    """
    pixels = torch.ones(1, 3, height_px, width_px, dtype=torch.float64, requires_grad=True)
    parts = network.active_parts()
    features = network.backbone(pixels, *default_source_indices(network.backbone, 'cpu'))
    neck_features = parts['neck'](features) if 'neck' in parts else features
    return pixels, features, neck_features, parts['head'](neck_features)


def measure_cell_widths(outputs: Sequence[Tensor], pixels: Tensor) -> list[ReceptiveWidth]:
    """Measure how wide the middle cell of each output sees.

    Args:
        outputs: maps (1, C, H, W) that were computed from the pixels.
        pixels: (1, 3, H, W), with gradients.
    """
    return _measure_widths([_sum_center_cell(maps) for maps in outputs], pixels)


def _sum_center_cell(output: Tensor) -> Tensor:
    """The sum over the channels of the center cell of maps (1, C, H, W), or over all of an output without cells."""
    return output[..., output.shape[-2] // 2, output.shape[-1] // 2].sum() if output.ndim == 4 else output.sum()


def _measure_widths(outputs: Sequence[Tensor], pixels: Tensor) -> list[ReceptiveWidth]:
    return [_measure_gradient_width(torch.autograd.grad(out, pixels, retain_graph=True)[0]) for out in outputs]


def _measure_gradient_width(gradient: Tensor) -> ReceptiveWidth:
    """Columns from the first to the last with a gradient (1, 3, H, W); None if they reach a border."""
    columns: Sequence[int] = gradient[0].abs().sum(dim=(0, 1)).nonzero().flatten().tolist()
    if not columns or columns[0] == 0 or columns[-1] == gradient.shape[-1] - 1:
        return None
    return int(columns[-1] - columns[0] + 1)
