"""Sharding: a model whose parameters are divided among processes (torch's `fully_shard`, FSDP2)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from poseplug.core.errors import ConfigError
from poseplug.models.estimators.base import Estimator


class ShardedModelTemplate(nn.Module):
    """The source of copies of a sharded model: `copy.deepcopy` of this returns a sharded copy of the model.

    torch does not copy sharded modules, but averages of weights (EMA) begin as a copy.

    Args:
        model: the sharded model.
        meta_model: the model before it was sharded, without values (on the device 'meta').
        wrap_classes: as in `shard_model`.
    """

    def __init__(self, model: Estimator, meta_model: Estimator, wrap_classes: Sequence[str]):
        super().__init__()
        # Models in a tuple are not registered as submodules, so this module has no weights.
        self._models, self._wrap_classes = (model, meta_model), wrap_classes

    def __deepcopy__(self, memo: dict[int, Any]) -> Estimator:
        model, meta_model = self._models
        device = next(model.buffers()).device
        sharded_copy: Estimator = copy.deepcopy(meta_model).to_empty(device=device)
        shard_model(sharded_copy, self._wrap_classes)
        source = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with torch.no_grad():
            for name, tensor in (*sharded_copy.named_parameters(), *sharded_copy.named_buffers()):
                tensor.copy_(source[name])
        return sharded_copy


def shard_model(model: Estimator, wrap_classes: Sequence[str] = ()) -> ShardedModelTemplate:
    """Divide every parameter, gradient and optimizer state of a model among the processes.

    Args:
        model: the estimator; it is changed in place.
        wrap_classes: names of module classes whose parameters are gathered one module at a time; all others are
            gathered at once.

    Returns:
        The template from which the model is copied.

    Raises:
        ConfigError: the model has no module of a class in `wrap_classes`.
    """
    class_names = {type(module).__name__ for module in model.modules()}
    unknown = [name for name in wrap_classes if name not in class_names]
    if unknown:
        listed = ', '.join(sorted(class_names))
        raise ConfigError(f'distributed.wrap_classes: the model has no {unknown[0]}; it has {listed}')
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # others cannot be divided
    # the copy is taken before the model is sharded, and without values takes no memory
    meta_model = copy.deepcopy(model).to('meta')
    # inner modules first: an outer one takes those parameters that no inner one has
    for module in model.modules():
        if type(module).__name__ in wrap_classes:
            fully_shard(module)
    # The warning concerns outputs that are written into, and none are.
    warnings.filterwarnings('ignore', message='FSDP2-wrapped module .* returned a view')
    for role in (model.network, model.criterion):
        if any(True for _ in role.parameters()):
            # A loss may use parameters after the network has run.
            fully_shard(role, reshard_after_forward=False)
    return ShardedModelTemplate(model, meta_model, wrap_classes)


def reshard_parameters(model: nn.Module) -> None:
    """Free the whole parameters of a sharded model, which a forward pass without a backward pass keeps in memory."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def to_local_tensor(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds: all of it, unless it is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_full_tensors(value: Any) -> Any:
    """Replace sharded tensors by whole ones, at any depth of mappings and lists. All processes must call this."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: gather_full_tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(gather_full_tensors, value))
    return value


def shard_state_dict(state_dict: Mapping[str, Any], model: nn.Module, prefix: str = '') -> dict[str, Any]:
    """Shard whole weights as a model's weights are.

    Args:
        state_dict: tensors by name.
        model: the sharded model.
        prefix: the text before the model's names in `state_dict`.

    Returns:
        The weights by name; those of the model are sharded, others are unchanged.
    """
    model_tensors = model.state_dict()
    return {
        name: _shard_like(value, model_tensors[key]) if (key := name.removeprefix(prefix)) in model_tensors else value
        for name, value in state_dict.items()
    }


def shard_optimizer_state(state_dict: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Shard the whole state of an optimizer as its parameters are."""
    parameters: list[Tensor] = [parameter for group in optimizer.param_groups for parameter in group['params']]
    sharded_state = {
        index: {
            name: _shard_like(value, parameters[int(index)]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for index, values in state_dict['state'].items()
    }
    return {**state_dict, 'state': sharded_state}


def _shard_like(tensor: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor, sharded as `reference` is."""
    # such as the step counter of Adam, which has another shape than its parameter
    if not isinstance(reference, DTensor) or isinstance(tensor, DTensor) or tensor.shape != reference.shape:
        return tensor
    device = reference.to_local().device
    return distribute_tensor(tensor.to(device), reference.device_mesh, reference.placements)
