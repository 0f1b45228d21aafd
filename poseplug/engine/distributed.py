"""Several processes that train one model: their connection, common decisions, and divided evaluations.

torchrun sets the rank of each process in environment variables; without them there is one process. gloo exchanges
values on the CPU, NCCL gradients on GPUs. A strategy (`poseplug.engine.strategy`) divides the training among the
processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from poseplug.core.errors import ConfigError

_PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)  # until the slowest process arrives


# --- processes --------------------------------------------------------------------------------------------------------


def get_rank() -> int:
    """Return the index of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def get_local_world_size() -> int:
    """Return the number of processes of the run on this machine."""
    return int(os.environ.get('LOCAL_WORLD_SIZE', 1)) if dist.is_initialized() else 1


@contextmanager
def process_group_context() -> Iterator[None]:
    """Connect the processes that torchrun started within this context; a single process needs no connection.

    Raises:
        ConfigError: the processes do not find each other.
    """
    # a caller that has connected the processes also disconnects them
    if 'RANK' not in os.environ or dist.is_initialized():
        yield
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    try:
        # flags and Python objects are exchanged on the CPU, where they do not wait for the GPU's queue
        backend = 'cpu:gloo,cuda:nccl' if has_gpu else 'gloo'
        dist.init_process_group(backend, timeout=_PROCESS_GROUP_TIMEOUT, **create_rendezvous())
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f'RANK is set, but the processes cannot find each other ({error}); start them with torchrun'
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def create_rendezvous() -> dict[str, Any]:
    """Create the arguments with which torch finds the other processes.

    torchrun keeps one store of addresses for all attempts of `--max-restarts`. Each attempt has a prefix there, since
    otherwise a restarted process may call the address of a dead one. Several machines count their attempts separately,
    so all their attempts have the same prefix.

    Returns:
        The arguments `store`, `rank` and `world_size` of `torch.distributed.init_process_group`.
    """
    store, rank, world_size = next(dist.rendezvous('env://', timeout=_PROCESS_GROUP_TIMEOUT))
    is_one_machine = os.environ.get('GROUP_WORLD_SIZE') == '1'
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') if is_one_machine else '0'
    return dict(store=dist.PrefixStore(f'attempt {attempt}', store), rank=rank, world_size=world_size)


# --- agreement --------------------------------------------------------------------------------------------------------


def all_reduce_max(value: int) -> int:
    """Return the largest value of all processes."""
    if get_world_size() == 1:
        return value
    # on the CPU, so that gloo exchanges it
    maximum = torch.tensor([value])
    dist.all_reduce(maximum, dist.ReduceOp.MAX)
    return int(maximum)


def all_reduce_any(flag: bool) -> bool:
    """Return whether a flag is true in any process."""
    return bool(all_reduce_max(int(flag)))


def wait_for_all_ranks() -> None:
    """Wait until all processes have called this."""
    all_reduce_max(0)


def all_gather_objects(value: Any) -> list[Any]:
    """Return the values of all processes, by rank."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def run_on_main_process(function: Callable[[], None]) -> None:
    """Call a function in the first process while the others wait.

    Raises:
        Exception: in the first process, what the function raised.
        ConfigError: in the others, if the function raised an error.
    """
    # The first process must not raise before the exchange: the others would wait for it until the timeout.
    main_error: Exception | None = None
    if get_rank() == 0:
        try:
            function()
        except Exception as error:
            main_error = error
    message = f'{type(main_error).__name__}: {main_error}' if main_error else None
    main_message = all_gather_objects(message)[0]
    if main_error is not None:
        raise main_error
    if main_message:
        raise ConfigError(f'the first process failed: {main_message}')


# --- evaluation -------------------------------------------------------------------------------------------------------


class RankBatches(Sequence):
    """The batches of an evaluation for one process: every `world_size`-th one, starting at `rank`.

    All processes have the same number of batches, since they exchange every result. A process that would have fewer
    repeats the first batch, whose second result `merge_rank_results` skips.

    Args:
        batches: all batches.
        rank: the index of this process.
        world_size: the number of processes.
    """

    def __init__(self, batches: Iterable[Any], rank: int, world_size: int):
        all_batches = list(batches)
        self.num_batches = len(all_batches)
        num_rounds = -(-self.num_batches // world_size)
        indices = range(rank, num_rounds * world_size, world_size)
        self.rank_batches = [all_batches[index if index < self.num_batches else 0] for index in indices]

    def __len__(self) -> int:
        return len(self.rank_batches)

    def __getitem__(self, index: Any) -> Any:
        return self.rank_batches[index]


def merge_rank_results(results: Iterable[Any], num_batches: int) -> Iterator[Any]:
    """Exchange the results of `RankBatches`.

    Args:
        results: of the batches of this process, in their order.
        num_batches: the number of batches of all processes.

    Yields:
        The results of all batches in their order, in every process.
    """
    num_yielded = 0
    for rank_result in results:
        # batch i is that of rank i % world_size, so that the rounds in order of rank are the batches in order
        for result in all_gather_objects(rank_result):
            if num_yielded < num_batches:
                yield result
            num_yielded += 1


# --- batch norms ------------------------------------------------------------------------------------------------------


def broadcast_norm_statistics(model: nn.Module) -> None:
    """Copy the running statistics of batch norms from the first process, which saves them, to all others."""
    if get_world_size() == 1:
        return
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False) if buffer.is_floating_point()]
    if buffers:
        # one exchange for the small vectors of all norms, since each exchange has a fixed cost
        flat_statistics = torch.cat([buffer.flatten() for buffer in buffers])
        dist.broadcast(flat_statistics, src=0)
        split_statistics = flat_statistics.split([buffer.numel() for buffer in buffers])
        for buffer, values in zip(buffers, split_statistics, strict=True):
            buffer.copy_(values.view_as(buffer))
