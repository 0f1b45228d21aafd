"""The receptive field after every layer with a window (Wei et al. 2016, figure 2), by the gradients of all outputs."""

from __future__ import annotations

__all__ = ['LayerField', 'compute_layer_fields']

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.inspect.receptive_field import (
    GLOBAL_ATTENTION,
    AveragingLayer,
    ReceptiveWidth,
    build_averaging_network,
    measure_cell_widths,
    run_on_constant,
    widen_until_inside,
)

_WINDOW_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class LayerField:
    """A layer and what a cell of its output sees.

    Attributes:
        layer: its name, by attributes of the network.
        kind: its class.
        window: rows x columns of its kernel.
        stride: columns of its input per column of its output; a transposed convolution has the inverse.
        field_px: the width that a cell sees; None is the whole image.
    """

    layer: str
    kind: str
    window: str
    stride: float
    field_px: ReceptiveWidth


def compute_layer_fields(model: Any) -> list[LayerField]:
    """Compute the receptive field of the output of every convolution and pooling, in the order in which they run.

    A layer that runs several times is listed each time.

    Args:
        model: An estimator; it is not changed.

    Returns:
        The layers of backbone, neck and head.

    Raises:
        ConfigError: Every cell of the backbone sees the whole image by its attention, or a pooling has holes.
    """
    backbone = model.network.backbone
    if getattr(backbone, 'attention', None) in GLOBAL_ATTENTION:
        raise ConfigError(
            f'{type(backbone).__name__}: with attention={backbone.attention!r} every cell sees the whole image, so '
            'that layers have no fields of their own'
        )
    network = build_averaging_network(model.network)
    return widen_until_inside(network, model.codec.input_size, _measure_layers, _reaches_border)


def _reaches_border(fields: Sequence[LayerField]) -> bool:
    return any(field.field_px is None for field in fields)


def _measure_layers(network: Any, width_px: int, height_px: int) -> list[LayerField]:
    """The fields of all layers for an input of one size."""
    layers, outputs = list[tuple[str, Any]](), list[Tensor]()
    handles, names = [], dict[nn.Module, str]()
    for part_name, part in network.active_parts().items():
        for name, module in part.named_modules(prefix=part_name):
            # what replaces a layer runs in its place; the layer within runs where a network has it a second time
            layer = module.layer if isinstance(module, AveragingLayer) else module
            if isinstance(layer, _WINDOW_LAYERS):
                hook = _build_hook(names.setdefault(layer, name), layer, layers, outputs)
                handles.append(module.register_forward_hook(hook))
    try:
        pixels, *_ = run_on_constant(network, width_px, height_px)
    finally:  # a network that accepts one size only is measured again
        for handle in handles:
            handle.remove()
    widths = measure_cell_widths(outputs, pixels)
    return [
        LayerField(name, type(layer).__name__, _format_window(layer), _get_stride(layer), width)
        for (name, layer), width in zip(layers, widths, strict=True)
    ]


def _build_hook(name: str, layer: nn.Module, layers: list[tuple[str, Any]], outputs: list[Tensor]) -> Any:
    """A forward hook that records a layer and its output."""

    def record(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        # a convolution without a batch has no cells to measure
        if output.ndim == 4 and output.requires_grad:
            layers.append((name, layer))
            outputs.append(output)

    return record


def _get_pair(value: Any) -> tuple[int, int]:
    """A size as (rows, columns); poolings have one number."""
    return (int(value[0]), int(value[1])) if isinstance(value, tuple | list) else (int(value), int(value))


def _format_window(layer: Any) -> str:
    rows, columns = _get_pair(layer.kernel_size)
    return f'{rows} x {columns}'


def _get_stride(layer: Any) -> float:
    """Columns of the input per column of the output."""
    stride = _get_pair(layer.stride)[1]
    return 1 / stride if isinstance(layer, nn.ConvTranspose2d) else stride
