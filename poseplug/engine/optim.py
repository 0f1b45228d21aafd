"""Which parameters learn how fast (rules on names, decay over depth), and optimising in a shorter number format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from poseplug.errors import ConfigError, clauses, closest
from poseplug.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

Factors = Mapping[str, float]
PARAMWISE = ('rules', 'layer_decay', 'undecayed')
FORMATS = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RuleConstructor(DefaultOptimWrapperConstructor):
    """Groups parameters by their learning rate and weight decay, which `paramwise_cfg` sets by name, depth and shape.

    `rules`: regular expression -> dict(lr=..., decay=...), both factors. The first rule that is found in a parameter's
    name holds; the others keep the optimiser's own numbers. A rule that fits no parameter is an error, since it was
    meant for one.

    `layer_decay`: the learning rate falls by this factor from one layer of the backbone to the one below it (Bao et
    al. 2022, arXiv:2106.08254). The backbone says how deep it is, as `layers`, and where a parameter stands, as
    `layer_id(name)`: 0 before the first layer, `layers + 1` after the last. All factors are multiplied.

    `undecayed='vectors'`: no weight decay on biases and other parameters of one dimension (those of norms).
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        settings = dict(paramwise_cfg or {})
        strange = [k for k in settings if k not in PARAMWISE]
        if strange:
            raise ConfigError(
                clauses(
                    f'optim_wrapper.paramwise_cfg: RuleConstructor has no setting {strange[0]!r}',
                    closest(strange[0], PARAMWISE),
                    f'known: {", ".join(PARAMWISE)}',
                )
            )
        super().__init__(optim_wrapper_cfg)
        if self.base_lr is None:
            raise ConfigError('optim_wrapper.optimizer has no lr, which the factors of RuleConstructor multiply')
        self.settings = settings

    def __call__(self, model: nn.Module) -> Any:
        bare: Any = model.module if is_model_wrapper(model) else model
        groups = parameter_groups(bare, lr=self.base_lr, decay=self.base_wd or 0.0, **self.settings)
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': groups})
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.optim_wrapper_cfg}, optimizer=optimizer)


def parameter_groups(
    model: nn.Module,
    rules: Mapping[str, Factors] | None = None,
    lr: float = 1.0,
    decay: float = 0.0,
    layer_decay: float | None = None,
    undecayed: str | None = None,
) -> list[dict[str, Any]]:
    """One group for each learning rate and weight decay; frozen parameters are in none. Settings: `RuleConstructor`."""
    if undecayed not in (None, 'vectors'):
        raise ConfigError(f"optim_wrapper.paramwise_cfg: undecayed is None or 'vectors'; got {undecayed!r}")
    by_layer = layer_factors(model, layer_decay) if layer_decay is not None else {}
    by_rule = rule_factors(model, rules or {})
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            vector = parameter.ndim <= 1 or name.endswith('bias')
            rate = lr * by_rule[name].get('lr', 1.0) * by_layer.get(name, 1.0)
            held = 0.0 if vector and undecayed else decay * by_rule[name].get('decay', 1.0)
            groups.setdefault((rate, held), []).append(parameter)
    return [dict(params=p, lr=rate, weight_decay=held) for (rate, held), p in groups.items()]


def rule_factors(model: nn.Module, rules: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors of the first rule that fits, for every parameter by name; a rule that is never used is an error."""
    first = {n: next((r for r in rules if re.search(r, n)), None) for n, _ in model.named_parameters()}
    idle = [r for r in rules if r not in first.values()]
    if idle:
        some = ', '.join([*first][:4])
        raise ConfigError(f'optim_wrapper: the rule {idle[0]!r} fits no parameter; names look like {some}')
    return {name: rules[rule] if rule is not None else {} for name, rule in first.items()}


def layer_factors(model: nn.Module, rate: float) -> dict[str, float]:
    """`rate` to the power of the layers that stand above each of the backbone's parameters, by full name."""
    backbone: Any = getattr(model, 'backbone', None)
    layers, place = getattr(backbone, 'layers', None), getattr(backbone, 'layer_id', None)
    if not isinstance(layers, int) or not callable(place):
        raise ConfigError(
            f'optim_wrapper.paramwise_cfg: layer_decay={rate:g} needs a backbone with `layers` (a number) and '
            f'`layer_id(name)`, which {type(backbone).__name__} lacks; leave layer_decay out, or use rules'
        )
    if not 0 < rate <= 1:
        raise ConfigError(f'optim_wrapper.paramwise_cfg: layer_decay is above 0 and at most 1; got {rate}')
    return {f'backbone.{n}': rate ** (layers + 1 - place_of(place, n, layers)) for n, _ in backbone.named_parameters()}


def place_of(layer_id: Callable[[str], int], name: str, layers: int) -> int:
    """What a backbone says about one of its parameters, or an error where that is no layer it has."""
    place = layer_id(name)
    if not 0 <= place <= layers + 1:
        raise ConfigError(f'layer_id({name!r}) of a backbone with {layers} layers is 0 to {layers + 1}; got {place}')
    return place


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Computes the network in `dtype`, 'bfloat16' or 'float16', where torch.autocast holds that safe; weights stay.

    It works on the CPU and on GPUs; float16 needs a GPU, where its losses are scaled so that small gradients survive
    (`loss_scale`: the factor to begin with). The scaler's state is saved and resumed.
    """

    def __init__(self, dtype: str = 'bfloat16', loss_scale: float = 65536.0, **settings: Any):
        super().__init__(**settings)
        if dtype not in FORMATS:
            raise ConfigError(f'AutocastOptimWrapper: dtype is one of {", ".join(FORMATS)}; got {dtype!r}')
        self.dtype = FORMATS[dtype]
        kinds = {p.device.type for group in self.optimizer.param_groups for p in group['params']}
        self.device = 'cuda' if 'cuda' in kinds else 'cpu'
        if dtype == 'float16' and self.device == 'cpu':
            raise ConfigError("AutocastOptimWrapper: dtype='float16' needs a GPU; on the CPU use 'bfloat16'")
        self.scaler = torch.amp.GradScaler(self.device, init_scale=loss_scale, enabled=dtype == 'float16')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(self.device, dtype=self.dtype):
            yield

    def backward(self, loss: Tensor, **settings: Any) -> None:
        super().backward(self.scaler.scale(loss), **settings)

    def step(self, **settings: Any) -> None:
        """A step of the optimiser; scaled gradients that overflowed take none, and halve the scale."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **settings)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rest = dict(state_dict)
        self.scaler.load_state_dict(rest.pop('scaler', {}))
        super().load_state_dict(rest)
