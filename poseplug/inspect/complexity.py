"""Parameters and multiply-adds of a model by part, counted on an image without pixels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.models.estimators.base import Estimator
from poseplug.zoo.published_models import load_published_config

COUNTED_OPERATIONS = 'convolutions, transposed convolutions, matrix products and attention'
_FLOPS_PER_MAC = 2


@dataclass(frozen=True)
class ModuleCost:
    """Parameters and multiply-adds of a module.

    Attributes:
        parameters: Number of learned parameters.
        macs: Multiply-adds for one image of the model's input size.
        submodules: The costs of the modules inside it, by name.
    """

    parameters: int
    macs: int
    submodules: dict[str, ModuleCost] = field(default_factory=dict)


@dataclass(frozen=True)
class ForwardTrace:
    """One forward pass without its values; shapes are (C, H, W).

    Attributes:
        input_shape: Shape of the normalized input.
        backbone_shapes: Shapes of the backbone's feature maps.
        neck_shapes: Shapes of the neck's feature maps; empty without a neck.
        stage_shapes: Shapes of the head's fields by name, for each stage.
        macs: Multiply-adds by the path of a module; 'Global' is the whole model.
    """

    input_shape: tuple[int, ...]
    backbone_shapes: list[tuple[int, ...]]
    neck_shapes: list[tuple[int, ...]]
    stage_shapes: list[dict[str, tuple[int, ...]]]
    macs: dict[str, int]


# --- models without weights -------------------------------------------------------------------------------------------


def build_without_teacher_weights(cfg: Mapping[str, Any]) -> Any:
    """Build the estimator of a config as `build_model` does, but without reading the weights of a teacher."""
    teacher_cfg = cfg.get('model', {}).get('teacher')
    # the name of a published model
    if isinstance(teacher_cfg, str):
        teacher = build_model(load_published_config(teacher_cfg))
        return build_model({**cfg, 'model': {**cfg['model'], 'teacher': teacher}})
    if not isinstance(teacher_cfg, Mapping) or not teacher_cfg.get('config'):
        return build_model(cfg)
    teacher = build_without_teacher_weights(load_config(teacher_cfg['config']))
    return build_model({**cfg, 'model': {**cfg['model'], 'teacher': teacher}})


def build_on_meta_device(cfg: Mapping[str, Any]) -> Any:
    """Build the estimator of a config on PyTorch's meta device: with all shapes and without memory for values.

    If the constructor of a part needs values, the whole estimator is built on the CPU.
    """
    try:
        with torch.device('meta'):
            return build_without_teacher_weights(cfg)
    # tensors on the meta device have no values that a constructor could read
    except (NotImplementedError, RuntimeError):
        return build_without_teacher_weights(cfg)


def _materialize_on_cpu(model: nn.Module) -> nn.Module:
    """A model on the CPU; a model on the meta device gets random values."""
    if not any(p.is_meta for p in model.parameters()):
        return model.cpu()
    model = model.to_empty(device='cpu')
    for values in (*model.parameters(), *model.buffers()):
        if values.is_floating_point():
            # from 0 to 1: uninitialized memory may hold NaN, on which data-dependent branches would depend
            values.detach().uniform_()
    return model


# --- shapes and multiply-adds -----------------------------------------------------------------------------------------


def trace_forward(model: Any) -> ForwardTrace:
    """Trace shapes and multiply-adds of an estimator on PyTorch's meta device, where nothing is computed.

    If a part needs values, as for a data-dependent branch, a black image runs through a copy on the CPU. A backbone
    with experts uses the first one.

    Args:
        model: An estimator, with or without weights; it is not changed.
    """
    try:
        return _trace_on_device(copy.deepcopy(model).to('meta'), 'meta')
    except (NotImplementedError, RuntimeError):
        return _trace_on_device(_materialize_on_cpu(copy.deepcopy(model)), 'cpu')


def default_source_indices(backbone: nn.Module, device: torch.device | str) -> tuple[Tensor, ...]:
    """Return what a backbone receives beside one image: with experts, that it belongs to the first; else nothing."""
    if not getattr(backbone, 'experts', ()):
        return ()
    return (torch.zeros(1, dtype=torch.int64, device=device),)


@torch.no_grad()
def _trace_on_device(model: Any, device: str) -> ForwardTrace:
    model.eval()
    width, height = model.codec.input_size
    outputs: dict[str, Any] = {}
    network = model.network
    for name, part in {'input_norm': network.input_norm, **network.active_parts()}.items():
        # `name=name` binds each name now; a closure would see the last one
        part.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
    # with several decoders, source indices would select one by the image's source instead of the active one
    indices = () if network.inactive_parts() else default_source_indices(network.backbone, device)
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)
    counter = FlopCounterMode(display=False)
    with counter:
        network(image, **dict(zip(['source_indices'], indices, strict=False)))
    flops = {path: sum(by_operation.values()) for path, by_operation in counter.get_flop_counts().items()}
    # torch counts a multiply-add as two operations
    macs = {path: count // _FLOPS_PER_MAC for path, count in flops.items()}
    features, neck_features = outputs['backbone'], outputs.get('neck', ())
    return ForwardTrace(
        input_shape=_shape_without_batch(outputs['input_norm']),
        backbone_shapes=[_shape_without_batch(maps) for maps in features],
        neck_shapes=[_shape_without_batch(maps) for maps in neck_features],
        stage_shapes=[_shapes_by_name(fields) for fields in outputs['head']],
        macs=macs,
    )


def _shapes_by_name(fields: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: _shape_without_batch(tensor) for name, tensor in fields.items()}


def _shape_without_batch(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape[1:])


def compute_costs(model: Estimator, macs: dict[str, int]) -> ModuleCost:
    """Compute the cost of an estimator and of its parts, two levels down.

    Args:
        model: The estimator.
        macs: The multiply-adds of a `ForwardTrace`; modules without an entry have none.
    """
    # the counter names modules by the class of the outermost one
    paths = {part: f'{type(model.network).__name__}.{name}' for name, part in model.network.named_modules()}
    submodules = {
        name: _compute_module_cost(part, macs, paths[part], 1) for name, part in list_network_parts(model).items()
    }
    return ModuleCost(_count_parameters(model), macs.get('Global', 0), submodules)


def list_network_parts(model: Estimator) -> dict[str, nn.Module]:
    """List the parts of an estimator by name: those that features pass through, then decoders that are not active."""
    return {**model.network.active_parts(), **model.network.inactive_parts()}


def _compute_module_cost(part: nn.Module, macs: dict[str, int], path: str, levels: int) -> ModuleCost:
    """The cost of a module and of the modules inside it, some levels down; those without parameters are left out."""
    submodules = {}
    if levels:
        for name, inner in _iter_submodules(part):
            submodules[name] = _compute_module_cost(inner, macs, f'{path}.{name}', levels - 1)
    submodules = {name: cost for name, cost in submodules.items() if cost.parameters}
    return ModuleCost(_count_parameters(part), _sum_macs(part, macs, path), submodules)


def _sum_macs(part: nn.Module, macs: dict[str, int], path: str) -> int:
    """The multiply-adds of a module; of one that is not called itself, as a list is not, those of its modules."""
    if path in macs:
        return macs[path]
    return sum(_sum_macs(inner, macs, f'{path}.{name}') for name, inner in part.named_children())


def _iter_submodules(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules directly inside one; lists and dicts of modules stand for what they hold."""
    for name, inner in part.named_children():
        if isinstance(inner, nn.ModuleList | nn.ModuleDict):
            yield from ((f'{name}.{key}', item) for key, item in inner.named_children())
        else:
            yield name, inner


def _count_parameters(part: nn.Module) -> int:
    """Number of parameters; one that several modules share counts once."""
    return sum(p.numel() for p in part.parameters())
