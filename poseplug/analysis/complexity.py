"""Parameters and multiply-adds of a model, part by part, counted on a picture without pixels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from poseplug.build import build_model
from poseplug.config import load_config

COUNTED = 'convolutions, transposed convolutions, matrix products and attention'
FLOPS_A_MAC = 2
FLOW = ('backbone', 'neck', 'head')


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


def untaught(cfg: Mapping[str, Any]) -> Any:
    """The estimator of a config, built as `build_model` does, but for a teacher's weights: they need not be there."""
    teacher = cfg.get('model', {}).get('teacher')
    if not isinstance(teacher, Mapping) or not teacher.get('config'):
        return build_model(cfg)
    built = untaught(load_config(teacher['config']))
    return build_model({**cfg, 'model': {**cfg['model'], 'teacher': built}})


def weightless(cfg: Mapping[str, Any]) -> Any:
    """The estimator of a config on PyTorch's meta device: with all its shapes, and without a number in them.

    A part whose constructor needs numbers has the whole estimator built on the CPU instead.
    """
    try:
        with torch.device('meta'):
            return untaught(cfg)
    except (NotImplementedError, RuntimeError):
        return untaught(cfg)


def trace(model: Any) -> Trace:
    """Shapes and multiply-adds of an estimator, on PyTorch's meta device: shapes are followed, nothing is computed.

    A part that needs values to go on (a data-dependent branch) gets a black picture on the CPU instead; a model without
    weights (`weightless`) gets random ones for it. One with experts asks the first.
    """
    try:
        return _trace(copy.deepcopy(model).to('meta'), 'meta')
    except (NotImplementedError, RuntimeError):
        return _trace(on_cpu(copy.deepcopy(model)), 'cpu')


def on_cpu(model: nn.Module) -> nn.Module:
    """A model on the CPU; what was on the meta device becomes noise."""
    if not any(p.is_meta for p in model.parameters()):
        return model.cpu()
    model = model.to_empty(device='cpu')
    for values in (*model.parameters(), *model.buffers()):
        if values.is_floating_point():
            values.detach().uniform_()
    return model


def told(backbone: nn.Module, device: torch.device | str) -> tuple[Tensor, ...]:
    """What a backbone is told beside one picture: with experts, that it belongs to the first."""
    return (torch.zeros(1, dtype=torch.int64, device=device),) if getattr(backbone, 'experts', ()) else ()


@torch.no_grad()
def _trace(model: Any, device: str) -> Trace:
    model.eval()
    width, height = model.codec.input_size
    seen: dict[str, Any] = {}
    for name in ('pixels', *FLOW):
        if getattr(model, name, None) is not None:
            getattr(model, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    counter = FlopCounterMode(display=False)
    domains = {} if hasattr(model, 'decoders') else dict(zip(['domains'], told(model.backbone, device), strict=False))
    with counter:
        model(torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device), **domains)
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
    places = {part: f'{type(model).__name__}.{name}' for name, part in model.named_modules()}
    inner = {name: _cost(part, macs, places[part], 1) for name, part in parts(model).items()}
    return Cost(_count(model), macs.get('Global', 0), inner)


def parts(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of an estimator by name: those that features pass through, and the decoders that are not in use."""
    flow = {name: part for name in FLOW if (part := getattr(model, name, None)) is not None}
    decoders: Any = getattr(model, 'decoders', {})
    return {**flow, **{f'decoders.{name}': part for name, part in decoders.items() if name != model.use}}


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
