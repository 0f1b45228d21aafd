"""Parameters and multiply-adds of a model, part by part, counted on a picture without pixels."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

COUNTED = 'convolutions, transposed convolutions, matrix products and attention'
FLOPS_A_MAC = 2


@dataclass(frozen=True)
class Cost:
    """What a part holds and does: `parameters`, and `macs` on one picture of the model's input size.

    `inner` are the costs of the parts inside it, by name.
    """

    parameters: int
    macs: int
    inner: dict[str, Cost] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """One forward pass, without its numbers: shapes (C, H, W) of what flows between the parts.

    `features` leave the backbone, `necked` the neck (where there is one), `stages` are the head's fields by name.
    """

    input: tuple[int, ...]
    features: list[tuple[int, ...]]
    necked: list[tuple[int, ...]]
    stages: list[dict[str, tuple[int, ...]]]
    macs: dict[str, int]


def trace(model: Any) -> Trace:
    """Shapes and multiply-adds of an estimator, on PyTorch's meta device: shapes are followed, nothing is computed.

    A part that needs values to go on (a data-dependent branch) gets a black picture on the CPU instead.
    """
    try:
        return _trace(copy.deepcopy(model).to('meta'), 'meta')
    except (NotImplementedError, RuntimeError):
        return _trace(copy.deepcopy(model).cpu(), 'cpu')


@torch.no_grad()
def _trace(model: Any, device: str) -> Trace:
    model.eval()
    width, height = model.codec.input_size
    seen: dict[str, Any] = {}
    for name in ('pixels', 'backbone', 'neck', 'head'):
        if getattr(model, name) is not None:
            getattr(model, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device))
    return Trace(
        input=shape(seen['pixels']),
        features=[shape(f) for f in seen['backbone']],
        necked=[shape(f) for f in seen.get('neck', ())],
        stages=[{name: shape(maps) for name, maps in stage.items()} for stage in seen['head']],
        macs={place: sum(ops.values()) // FLOPS_A_MAC for place, ops in counter.get_flop_counts().items()},
    )


def shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape without the batch."""
    return tuple(tensor.shape[1:])


def costs(model: nn.Module, macs: dict[str, int]) -> Cost:
    """The cost of an estimator and of its parts, two levels down, from the multiply-adds of a trace."""
    root = type(model).__name__
    inner = {name: _cost(part, macs, f'{root}.{name}', 1) for name, part in parts(model).items()}
    return Cost(_count(model), macs.get('Global', 0), inner)


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of an estimator that features pass through, by name."""
    return {name: part for name in ('backbone', 'neck', 'head') if (part := getattr(model, name)) is not None}


def _cost(part: nn.Module, macs: dict[str, int], place: str, levels: int) -> Cost:
    inner = {n: _cost(p, macs, f'{place}.{n}', levels - 1) for n, p in _blocks(part)} if levels else {}
    return Cost(_count(part), macs.get(place, 0), {n: c for n, c in inner.items() if c.parameters})


def _blocks(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts right inside one; lists and dicts of parts stand for what they hold."""
    for name, inner in part.named_children():
        if isinstance(inner, nn.ModuleList | nn.ModuleDict):
            yield from ((f'{name}.{key}', one) for key, one in inner.named_children())
        else:
            yield name, inner


def _count(part: nn.Module) -> int:
    """Numbers that are learnt; one that several parts share counts once."""
    return sum(p.numel() for p in part.parameters())
