"""How many input pixels a feature map or a stage can see, found by gradient on the network itself.

The network is copied and made one in which every path counts and none cancels: every weight a positive constant (the
mean over what a layer reads), biases zero, norms out of the way, activations fed with positive numbers. Then an output
cell depends on a pixel exactly if its gradient is not zero there. The maximum of a pooling window hands its gradient
to one pixel of the window, although any of them could have been the largest: an average over the same window hands it
to all, so it shows the same extent as the maximum can reach. In float64 no path vanishes: one through six stages of
CPM is worth about 1e-30, and 1e-308 is still a number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.analysis.complexity import told
from poseplug.errors import ConfigError, MismatchError

WIDTH = 1024  # px of the first try
WIDEST = 16384  # px; what still reaches the border here sees the whole picture
GLOBAL = ('full', 'pool', 'shift+pool')  # kinds of attention by which every cell sees every other one in some way
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)

Extent = int | None  # px; None is the whole picture


@dataclass(frozen=True)
class Fields:
    """Receptive fields in px along a row: of each feature map of the backbone and of the neck, and of each stage."""

    backbone: list[Extent]
    neck: list[Extent]
    head: list[Extent]


def receptive_fields(model: Any) -> Fields:
    """The receptive fields of an estimator's parts on its input; `model` itself is not touched.

    The centre map of a head has no part in them: it is drawn from the subject's position, not from pixels.
    """
    if getattr(model.backbone, 'attention', None) in GLOBAL:
        return everything(model)
    network = transparent(model)
    rows = int(max(network.backbone.strides))
    width = max(WIDTH, 2 * rows)
    try:
        found = _fields(network, width, rows)
        while any(touched(found)) and width < WIDEST:
            width *= 2
            found = _fields(network, width, rows)
    except (RuntimeError, ValueError, MismatchError):  # a network of one input size
        found = _fields(network, *model.codec.input_size)
    return found


def everything(model: Any) -> Fields:
    """The fields of a network in which each output sees the whole picture, without a look at the layers."""
    counts = len(model.backbone.strides), 0 if model.neck is None else len(model.neck.strides), model.head.stages
    backbone, neck, head = ([None] * n for n in counts)
    return Fields([*backbone], [*neck], [*head])


def touched(fields: Fields) -> list[bool]:
    """Which of the fields reach the border of the input."""
    return [extent is None for extent in (*fields.backbone, *fields.neck, *fields.head)]


def transparent(model: nn.Module) -> Any:
    """A copy of a network in float64 through which every path shows (see the top of the file)."""
    network = copy.deepcopy(model).cpu().double().eval().requires_grad_(False)
    module: Any
    for module in network.modules():
        for name, value in module.named_parameters(recurse=False):
            value.fill_(0.0 if name == 'bias' else 1.0 / value[0].numel() if value.ndim > 1 else 1.0)
        module.forward = stand_in(module)
    return network


def stand_in(module: nn.Module) -> Callable[..., Any]:
    """What a layer of constant weights does instead of its own forward pass; other modules keep theirs."""
    if isinstance(module, nn.Conv2d):
        return partial(mean_convolution, module)
    if isinstance(module, nn.Linear):
        return lambda x: x.mean(dim=-1, keepdim=True).expand(*x.shape[:-1], module.out_features)
    if isinstance(module, nn.MaxPool2d):
        return mean_pooling(module)
    if isinstance(module, nn.ReLU):
        return F.relu  # never in place: a norm before it hands its input on
    return (lambda x: x) if isinstance(module, NORMS) else module.forward


def mean_convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution of equal weights gives, cheaply: its output channels are alike, so one a group is computed."""
    groups = layer.groups
    means = x.unflatten(1, (groups, -1)).mean(dim=2)
    kernel = x.new_full((groups, 1, *layer.kernel_size), 1.0 / (layer.kernel_size[0] * layer.kernel_size[1]))
    out = F.conv2d(means, kernel, None, layer.stride, layer.padding, layer.dilation, groups)
    return out.repeat_interleave(layer.out_channels // groups, dim=1)


def mean_pooling(layer: nn.MaxPool2d) -> Callable[[Tensor], Tensor]:
    """The average over the windows of a maximum pooling."""
    if layer.dilation not in (1, (1, 1)):
        raise ConfigError(f'the receptive field through {layer} is not known: its windows have holes')
    return partial(
        F.avg_pool2d,
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        ceil_mode=layer.ceil_mode,
    )


def _fields(network: Any, width: int, rows: int) -> Fields:
    """The fields of all outputs in an input of `rows` x `width` px of constant 1."""
    pixels = torch.ones(1, 3, rows, width, dtype=torch.float64, requires_grad=True)
    features = network.backbone(pixels, *told(network.backbone, 'cpu'))
    necked = features if network.neck is None else network.neck(features)
    stages = network.head(necked)
    extents = partial(_extents, pixels=pixels)
    return Fields(
        backbone=extents([middle(f) for f in features]),
        neck=extents([middle(f) for f in necked]) if network.neck is not None else [],
        head=extents([torch.stack([middle(maps) for maps in stage.values()]).sum() for stage in stages]),
    )


def middle(output: Tensor) -> Tensor:
    """The sum over the channels of the middle cell of maps (1, C, H, W), or over all of an output without a place."""
    return output[..., output.shape[-2] // 2, output.shape[-1] // 2].sum() if output.ndim == 4 else output.sum()


def _extents(outputs: Sequence[Tensor], pixels: Tensor) -> list[Extent]:
    return [extent(torch.autograd.grad(out, pixels, retain_graph=True)[0]) for out in outputs]


def extent(gradient: Tensor) -> Extent:
    """Columns from the first to the last that count in a gradient (1, 3, H, W); None where they reach a border."""
    columns = gradient[0].abs().sum(dim=(0, 1)).nonzero().flatten().tolist()
    if not columns or columns[0] == 0 or columns[-1] == gradient.shape[-1] - 1:
        return None
    return int(columns[-1] - columns[0] + 1)
