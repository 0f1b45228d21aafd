"""Several processes that train one model: how they find each other, agree, share data, gradients and checkpoints.

What torchrun sets in the environment says who a process is; without it there is one. Whatever is exchanged on the CPU
goes by gloo, gradients on GPUs by NCCL.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from poseplug.core.errors import ConfigError

_DISTRIBUTED_TYPES = ('ddp', 'fsdp')
_PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)  # for the slowest process, before a run gives up


# --- who is there -----------------------------------------------------------------------------------------------------


def get_rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def get_local_world_size() -> int:
    """How many of the processes share this machine."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', 1)) if dist.is_initialized() else 1


@contextmanager
def process_group_context() -> Iterator[None]:
    """Within this context the processes that torchrun started are one group; alone, nothing happens."""
    if 'RANK' not in os.environ or dist.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    try:
        dist.init_process_group(
            'cpu:gloo,cuda:nccl' if cuda else 'gloo', timeout=_PROCESS_GROUP_TIMEOUT, **create_rendezvous()
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f'RANK is set, but the processes cannot find each other ({error}); start them with torchrun'
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def create_rendezvous() -> dict[str, Any]:
    """Where the processes find each other's addresses, and who this one is.

    torchrun keeps one store for all attempts of `--max-restarts`: without a place for each, a process that was started
    again may call the address of one that is dead. (Several machines count their attempts each for itself.)
    """
    store, own, world = next(dist.rendezvous('env://', timeout=_PROCESS_GROUP_TIMEOUT))
    alone = os.environ.get('GROUP_WORLD_SIZE') == '1'
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') if alone else '0'
    return dict(store=dist.PrefixStore(f'attempt {attempt}', store), rank=own, world_size=world)


# --- what they agree on -----------------------------------------------------------------------------------------------


def all_reduce_max(value: int) -> int:
    """The largest of the processes' numbers, in each of them."""
    if get_world_size() == 1:
        return value
    one = torch.tensor([value])
    dist.all_reduce(one, dist.ReduceOp.MAX)
    return int(one)


def all_reduce_any(flag: bool) -> bool:
    """Whether something is so in any process."""
    return bool(all_reduce_max(int(flag)))


def wait_for_all_ranks() -> None:
    """Go on when every process has come here."""
    all_reduce_max(0)


def all_gather_objects(value: Any) -> list[Any]:
    """The values of all processes by rank, in each of them."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def run_on_main_process(function: Callable[[], None]) -> None:
    """Let the first process do something while the others wait; an error there is an error of all."""
    failed: Exception | None = None
    if get_rank() == 0:
        try:
            function()
        except Exception as error:
            failed = error
    told = all_gather_objects(failed and f'{type(failed).__name__}: {failed}')[0]
    if failed is not None:
        raise failed
    if told:
        raise ConfigError(f'the first process failed: {told}')


# --- evaluation -------------------------------------------------------------------------------------------------------


class RankBatches(Sequence):
    """The batches of an evaluation that one process takes: every `world_size`-th one.

    All take equally many, so that they stay in step; whoever has none left takes the first again, which
    `merge_rank_results` leaves out.
    """

    def __init__(self, batches: Iterable[Any], rank: int, world_size: int):
        every = list(batches)
        self.num_batches = len(every)
        self.rank_batches = [
            every[n] if n < self.num_batches else every[0]
            for n in range(rank, -(-self.num_batches // world_size) * world_size, world_size)
        ]

    def __len__(self) -> int:
        return len(self.rank_batches)

    def __getitem__(self, index: Any) -> Any:
        return self.rank_batches[index]


def merge_rank_results(results: Iterable[Any], num_batches: int) -> Iterator[Any]:
    """What all processes make of their `RankBatches`, in the order of the `num_batches` batches, in every process."""
    given = 0
    for result in results:
        for one in all_gather_objects(result):
            if given < num_batches:
                yield one
            given += 1


# --- gradients --------------------------------------------------------------------------------------------------------


def parse_distributed_cfg(spec: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """A config's `distributed` as a dict with its `type`."""
    given = {'type': spec} if isinstance(spec, str) else dict(spec or {})
    kind = given.setdefault('type', 'ddp')
    known = {'ddp': ('type', 'sync_bn', 'find_unused_parameters'), 'fsdp': ('type', 'sync_bn', 'wrap_classes')}
    if kind not in _DISTRIBUTED_TYPES or set(given) - set(known[kind]):
        raise ConfigError(
            f"distributed is 'ddp', 'fsdp', or one of dict(type='ddp', sync_bn=, find_unused_parameters=) and "
            f"dict(type='fsdp', sync_bn=, wrap_classes=); got {spec!r}"
        )
    return given


class _LossModule(nn.Module):
    """An estimator's losses as a module of its own: what DistributedDataParallel runs."""

    def __init__(self, model: Any):
        super().__init__()
        self.model, self.compute_losses = model, model.losses

    def forward(self, *args: Any, **named: Any) -> dict[str, Tensor]:
        return self.compute_losses(*args, **named)


def wrap_losses_in_ddp(model: Any, find_unused_parameters: bool = True) -> None:
    """Have every backward pass leave the mean gradient of all processes, and start from the first one's weights.

    It is the losses that are wrapped, not the network: all that a loss depends on has run by then, parameters of losses
    included. `find_unused_parameters` allows parameters that a batch does not train. The model itself, and its names,
    stay.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # DDP tells what it does by itself
        wrapped = DistributedDataParallel(
            _LossModule(model), broadcast_buffers=False, find_unused_parameters=find_unused_parameters
        )
    model.losses = lambda *args, **named: wrapped(*args, **named)
    model.no_sync = wrapped.no_sync


def shard_model(model: Any, wrap_classes: Sequence[str] = ()) -> None:
    """Leave each process with its part of every parameter, gradient and optimiser state (torch's fully_shard).

    Modules whose class is named in `wrap_classes` (transformer blocks, say) are gathered one by one, all else at once.
    """
    kinds = {type(m).__name__ for m in model.modules()}
    strange = [name for name in wrap_classes if name not in kinds]
    if strange:
        raise ConfigError(f'distributed.wrap_classes: the model has no {strange[0]}; it has {", ".join(sorted(kinds))}')
    model.to(memory_format=torch.contiguous_format)  # other orders cannot be cut
    empty = copy.deepcopy(model).to('meta')
    for module in model.modules():
        if type(module).__name__ in wrap_classes:
            fully_shard(module)
    warnings.filterwarnings('ignore', message='FSDP2-wrapped module .* returned a view')  # nobody writes into outputs
    for role in (model.network, model.criterion):
        if any(True for _ in role.parameters()):
            fully_shard(role, reshard_after_forward=False)  # a loss may use parameters after the network has run
    model.__deepcopy__ = lambda _: _copy_sharded_model(model, empty, wrap_classes)  # averaged weights are a copy


def _copy_sharded_model(model: nn.Module, meta_model: nn.Module, wrap_classes: Sequence[str]) -> nn.Module:
    """A copy of a sharded model, which torch does not copy, from the model without numbers, `meta_model`."""
    made = copy.deepcopy(meta_model).to_empty(device=next(model.buffers()).device)
    shard_model(made, wrap_classes)
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, tensor in (*made.named_parameters(), *made.named_buffers()):
            tensor.copy_(own[name])
    return made


def broadcast_norm_statistics(model: nn.Module) -> None:
    """Give all processes the running statistics of the first one, whose are saved."""
    if get_world_size() == 1:
        return
    found = [b for m in model.modules() if isinstance(m, _BatchNorm) for b in m.buffers(recurse=False)]
    floats = [b for b in found if b.is_floating_point()]
    if floats:
        flat = torch.cat([b.flatten() for b in floats])
        dist.broadcast(flat, src=0)
        for buffer, values in zip(floats, flat.split([b.numel() for b in floats]), strict=True):
            buffer.copy_(values.view_as(buffer))


# --- sharded tensors --------------------------------------------------------------------------------------------------


def to_local_tensor(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds: all of it, unless it is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gather_full_tensors(value: Any) -> Any:
    """The same content with sharded tensors put together; every process has to ask."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {k: gather_full_tensors(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(gather_full_tensors, value))
    return value


def _shard_like(tensor: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor in the parts that `reference` is held in."""
    if not isinstance(reference, DTensor) or isinstance(tensor, DTensor) or tensor.shape != reference.shape:
        return tensor
    device = reference.to_local().device
    return distribute_tensor(tensor.to(device), reference.device_mesh, reference.placements)


def shard_state_dict(state_dict: Mapping[str, Any], model: nn.Module, prefix: str = '') -> dict[str, Any]:
    """Weights by name, in the parts that a model's are held in."""
    own = model.state_dict()
    return {
        name: _shard_like(value, own[key]) if (key := name.removeprefix(prefix)) in own else value
        for name, value in state_dict.items()
    }


def shard_optimizer_state(state_dict: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's saved state, in the parts that its parameters are held in."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    parts = {
        number: {n: _shard_like(v, parameters[int(number)]) if isinstance(v, Tensor) else v for n, v in own.items()}
        for number, own in state_dict['state'].items()
    }
    return {**state_dict, 'state': parts}


def reshard_parameters(model: nn.Module) -> None:
    """Drop the whole parameters that a forward pass without a backward pass left in memory."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
