"""Strategies of several processes, which divide the samples (DDP) or the weights (FSDP), and the choice of one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.engine.compiling import CompileSpec
from poseplug.engine.distributed import get_world_size
from poseplug.engine.sharding import (
    ShardedModelTemplate,
    gather_full_tensors,
    reshard_parameters,
    shard_model,
    shard_optimizer_state,
    shard_state_dict,
)
from poseplug.engine.strategy import SingleProcessStrategy
from poseplug.engine.sync_batch_norm import convert_to_sync_batch_norm
from poseplug.models.estimators.base import Estimator

_DDP_SETTINGS = ('type', 'sync_bn', 'find_unused_parameters')
_FSDP_SETTINGS = ('type', 'sync_bn', 'wrap_classes')


class DDPStrategy(SingleProcessStrategy):
    """Every process has the whole model and a part of the samples; gradients are averaged (DistributedDataParallel).

    Args:
        model, compile_spec: as in `SingleProcessStrategy`.
        sync_bn: whether batch norms normalize by the samples of all processes.
        find_unused_parameters: whether a batch may leave some parameters without a gradient.
    """

    def __init__(
        self,
        model: Estimator,
        compile_spec: CompileSpec = None,
        sync_bn: bool = False,
        find_unused_parameters: bool = True,
    ):
        super().__init__(model, compile_spec)
        self.sync_bn, self.find_unused_parameters = sync_bn, find_unused_parameters
        self._ddp_module: DistributedDataParallel | None = None

    def prepare_model(self) -> None:
        if self.sync_bn:
            convert_to_sync_batch_norm(self.model)

    def prepare_training(self, optim_wrapper: OptimWrapper) -> None:
        """Wrap the losses, so that all processes start from the weights of the first one."""
        super().prepare_training(optim_wrapper)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # DDP warns of settings that are intended
            # `broadcast_norm_statistics` copies buffers after every step; DDP would wait for the next forward pass,
            # after evaluations
            self._ddp_module = DistributedDataParallel(
                LossModule(self.model), broadcast_buffers=False, find_unused_parameters=self.find_unused_parameters
            )

    def _loss_module(self) -> nn.Module:
        assert self._ddp_module is not None
        return self._ddp_module

    def _compute_losses(self, batch: Batch) -> dict[str, Tensor]:
        assert self._ddp_module is not None
        losses: dict[str, Tensor] = self._ddp_module(batch)
        return losses


class LossModule(nn.Module):
    """An estimator whose forward pass computes its losses, for DistributedDataParallel to average their gradients.

    The losses are wrapped rather than the network, since their parameters are trained, too.
    """

    def __init__(self, model: Estimator):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch by name."""
        return self.model.losses(batch)


class FSDPStrategy(SingleProcessStrategy):
    """Every process holds a part of each parameter, gradient and optimizer state (torch's `fully_shard`).

    Args:
        model, compile_spec: as in `SingleProcessStrategy`.
        sync_bn: as in `DDPStrategy`.
        wrap_classes: names of module classes, such as transformer blocks, whose parameters are gathered one module at
            a time; all others are gathered at once.
    """

    def __init__(
        self,
        model: Estimator,
        compile_spec: CompileSpec = None,
        sync_bn: bool = False,
        wrap_classes: Sequence[str] = (),
    ):
        super().__init__(model, compile_spec)
        self.sync_bn, self.wrap_classes = sync_bn, wrap_classes
        self._copy_source: ShardedModelTemplate | None = None

    def prepare_model(self) -> None:
        if self.sync_bn:
            convert_to_sync_batch_norm(self.model)
        # the optimizer is built after this, since its parameters have to be the sharded ones
        self._copy_source = shard_model(self.model, self.wrap_classes)

    def finish_prediction(self) -> None:
        """Free the whole parameters, which a forward pass without a backward pass keeps."""
        reshard_parameters(self.model)

    def gather_state(self, content: Any) -> Any:
        return gather_full_tensors(content)

    def distribute_weights(self, state_dict: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
        return shard_state_dict(state_dict, self.model, prefix)

    def distribute_optimizer_state(
        self, state_dict: Mapping[str, Any], optimizer: torch.optim.Optimizer
    ) -> dict[str, Any]:
        return shard_optimizer_state(state_dict, optimizer)

    def copy_source(self) -> nn.Module:
        assert self._copy_source is not None
        return self._copy_source


def parse_distributed_cfg(spec: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Parse the setting `train_cfg.distributed`.

    Args:
        spec: 'ddp' (also for None), 'fsdp', or a dict with such a `type` and the settings of its strategy.

    Returns:
        The settings with their `type`.

    Raises:
        ConfigError: the type or a setting is unknown.
    """
    settings = {'type': spec} if isinstance(spec, str) else dict(spec or {})
    kind = settings.setdefault('type', 'ddp')
    known = {'ddp': _DDP_SETTINGS, 'fsdp': _FSDP_SETTINGS}
    if kind not in known or set(settings) - set(known[kind]):
        raise ConfigError(
            f"distributed is 'ddp', 'fsdp', or one of dict(type='ddp', sync_bn=, find_unused_parameters=) and "
            f"dict(type='fsdp', sync_bn=, wrap_classes=); got {spec!r}"
        )
    return settings


def build_strategy(
    model: Estimator, distributed: Mapping[str, Any] | str | None = None, compile_spec: CompileSpec = None
) -> SingleProcessStrategy:
    """Build the strategy of a run.

    Args:
        model: the estimator, on its device.
        distributed: how several processes train it, as in `parse_distributed_cfg`.
        compile_spec: as in `SingleProcessStrategy`.

    Raises:
        ConfigError: `distributed` is wrong.
    """
    settings = parse_distributed_cfg(distributed)
    strategy_type = settings.pop('type')
    if get_world_size() == 1:
        return SingleProcessStrategy(model, compile_spec)
    if strategy_type == 'fsdp':
        return FSDPStrategy(model, compile_spec, **settings)
    return DDPStrategy(model, compile_spec, **settings)
