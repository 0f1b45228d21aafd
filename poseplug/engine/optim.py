"""Which parameters learn how fast: rules on their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from poseplug.errors import ConfigError
from poseplug.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RuleConstructor(DefaultOptimWrapperConstructor):
    """Groups parameters by `paramwise_cfg['rules']`: regular expression -> dict(lr=..., decay=...), both factors.

    The first rule that is found in a parameter's name holds; the others keep the optimiser's own numbers. A rule that
    fits no parameter is an error, since it was meant for one.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        rules = dict((paramwise_cfg or {}).get('rules', {}))
        others = {k: v for k, v in (paramwise_cfg or {}).items() if k != 'rules'}
        super().__init__(optim_wrapper_cfg, others or None)
        self.rules: dict[str, Mapping[str, float]] = rules

    def __call__(self, model: nn.Module) -> Any:
        self.optimizer_cfg['params'] = parameter_groups(
            model, self.rules, self.optimizer_cfg.get('lr'), self.optimizer_cfg.get('weight_decay', 0.0)
        )
        from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS

        optimizer = OPTIMIZERS.build(self.optimizer_cfg)
        return OPTIM_WRAPPERS.build(self.optim_wrapper_cfg, default_args=dict(optimizer=optimizer))


def parameter_groups(
    model: nn.Module, rules: Mapping[str, Mapping[str, float]], lr: float, decay: float
) -> list[dict[str, Any]]:
    """One group for each rule that is used, and one for the parameters that none is written for."""
    groups: dict[str | None, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rule = next((r for r in rules if re.search(r, name)), None)
            groups.setdefault(rule, []).append(parameter)
    idle = [r for r in rules if r not in groups]
    if idle:
        some = ', '.join(n for n, _ in list(model.named_parameters())[:4])
        raise ConfigError(f'optim_wrapper: the rule {idle[0]!r} fits no parameter; names look like {some}')
    result = []
    for rule, parameters in groups.items():
        factors = rules[rule] if rule is not None else {}
        group = dict(params=parameters, lr=lr * factors.get('lr', 1.0), weight_decay=decay * factors.get('decay', 1.0))
        result.append(group)
    return result
