"""The stage of a head that each parameter belongs to, and patterns that freeze whole stages."""

from __future__ import annotations

__all__ = ['find_parameter_stages', 'list_stage_patterns', 'resolve_freeze']

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.core.weight_names import weight_name


def find_parameter_stages(model: Any) -> dict[str, int]:
    """Find the first stage whose prediction depends on each parameter.

    The dependence is read from the graph of one forward pass on PyTorch's meta device, where nothing is computed, so it
    holds for every head with stages.

    Args:
        model: an estimator with stages; it is not changed.

    Returns:
        The stage, counted from 1, by the name of the weight ('backbone...', 'head...'). Parameters that no prediction
        depends on, such as those of a loss, are left out.

    Example:
        >>> from poseplug.config.build import build_model
        >>> from poseplug.config.load import load_config
        >>> stages = find_parameter_stages(build_model(load_config('cpm_lsp_368')))
        >>> stages['backbone.trunks.0.0.0.weight'], stages['backbone.trunks.1.0.0.weight'], max(stages.values())
        (1, 2, 6)
    """
    try:
        return _trace_stages(copy.deepcopy(model).to('meta'), 'meta')
    except (NotImplementedError, RuntimeError):  # a part needs values
        return _trace_stages(copy.deepcopy(model).cpu(), 'cpu')


def _trace_stages(model: Any, device: str) -> dict[str, int]:
    # frozen parameters belong to a stage, too; in training mode batch norm refuses a batch of one value per channel
    network = model.eval().requires_grad_(True).network
    width, height = model.codec.input_size
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)
    # expert layers (ViTPose++) choose their weights by the source of each image
    has_experts = bool(getattr(network.backbone, 'experts', ()))
    indices = torch.zeros(1, dtype=torch.int64, device=device) if has_experts else None
    fields = network(image, source_indices=indices)
    parameters = dict(model.named_parameters())
    stages: dict[str, int] = {}
    for number, stage_fields in enumerate(fields, start=1):
        total = torch.stack([field.float().sum() for field in stage_fields.values()]).sum()
        # the values are not used: a gradient of None says that the stage does not depend on the parameter
        gradients = torch.autograd.grad(total, list(parameters.values()), retain_graph=True, allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                stages.setdefault(weight_name(name), number)
    return stages


def list_stage_patterns(model: Any, stages: Sequence[int]) -> list[str]:
    """List patterns of `freeze` that match the parameters and running statistics of some stages.

    Args:
        model: an estimator with stages.
        stages: counted from 1. What several stages use belongs to the first of them.

    Returns:
        One regular expression per parameter, and one per batch norm.

    Raises:
        ConfigError: the model has no such stage.
    """
    parameter_stages = find_parameter_stages(model)
    num_stages = max(parameter_stages.values(), default=1)
    wrong = [stage for stage in stages if not isinstance(stage, int) or not 1 <= stage <= num_stages]
    if not stages or wrong:
        raise ConfigError(f'freeze: stages are numbers from 1 to {num_stages}, such as [1]; got {list(stages)!r}')
    names = [name for name, stage in parameter_stages.items() if stage in stages]
    norms = {weight_name(name) for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    # a batch norm without weights has no stage and stays as it is
    norm_names = [f'{norm}.running_mean' for norm in sorted(norms) if f'{norm}.weight' in names]
    return [f'^{re.escape(name)}$' for name in (*names, *norm_names)]


def resolve_freeze(spec: Any, model: Any) -> Any:
    """Replace the stages of a config's `freeze` by patterns.

    Args:
        spec: the setting: a list of patterns, `dict(stages=[1, 2])`, `dict(patterns=[...], epochs=N)` or
            `dict(stages=[1, 2], epochs=N)`; None for nothing.
        model: the estimator.

    Returns:
        A list of patterns, or a dict with `patterns` and `epochs`.

    Raises:
        ConfigError: the model has no such stage.
    """
    if not isinstance(spec, Mapping) or 'stages' not in spec:
        return spec
    settings = dict(spec)
    stages = settings.pop('stages')
    listed = list(stages) if isinstance(stages, list | tuple) else [stages]
    patterns = [*settings.pop('patterns', ()), *list_stage_patterns(model, listed)]
    return {'patterns': patterns, **settings} if settings else patterns
