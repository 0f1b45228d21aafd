"""Learning rates and weight decay by parameter (rules on names, decay over layers), and mixed precision."""

from __future__ import annotations

__all__ = [
    'AutocastOptimWrapper',
    'RuleOptimWrapperConstructor',
    'check_default_paramwise_cfg',
    'check_wrapper_device',
    'check_wrapper_precision',
    'get_accumulative_counts',
]

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.weight_names import weight_name
from poseplug.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from poseplug.registry.wiring import inspect_parameters

ParamFactors = Mapping[str, float]
_PARAMWISE_SETTINGS = ('rules', 'layer_decay_rate', 'no_weight_decay')
_DEFAULT_CONSTRUCTOR = 'DefaultOptimWrapperConstructor'
_FACTOR_NAMES = ('lr_mult', 'decay_mult')
# of mmengine's constructor, which ignores all others
_DEFAULT_PARAMWISE_SETTINGS = (
    'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult',
    'dcn_offset_lr_mult', 'bypass_duplicate',
)  # fmt: skip
_AUTOCAST_WRAPPERS = ('AmpOptimWrapper', 'AutocastOptimWrapper')
_AUTOCAST_DTYPES = {'bfloat16': torch.bfloat16, 'float16': torch.float16}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class RuleOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Groups parameters by learning rate and weight decay, which depend on their names, depth and shape.

    All factors of a parameter are multiplied.

    Args:
        optim_wrapper_cfg: the config of the optimizer wrapper; its optimizer must have an `lr`.
        paramwise_cfg: the factors, a dict with any of these settings:

            `rules`: regular expression -> dict(lr_mult=..., decay_mult=...), factors of the learning rate and of the
            weight decay. The first rule that matches a parameter's name applies; parameters without a rule keep the
            optimizer's values. A rule that matches no parameter is an error.

            `layer_decay_rate`: the factor of the learning rate from one layer of the backbone to the one below it (Bao
            et al. 2022, arXiv:2106.08254). A backbone may declare its depth as `num_layers` and the layer of a
            parameter as `get_layer_id(name)`: 0 before the first layer, `num_layers + 1` after the last. Of any other
            one, each top-level module is a layer.

            `no_weight_decay='vectors'`: no weight decay of biases and other parameters of one dimension (norms).

    Raises:
        ConfigError: a setting is unknown, or the optimizer has no `lr`.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        settings = dict(paramwise_cfg or {})
        _check_setting_names('RuleOptimWrapperConstructor', settings, _PARAMWISE_SETTINGS)
        super().__init__(optim_wrapper_cfg)
        if self.base_lr is None:
            raise ConfigError('optim_wrapper.optimizer has no lr, which RuleOptimWrapperConstructor multiplies; set it')
        self.settings = settings

    def __call__(self, model: nn.Module) -> Any:
        """Build the optimizer wrapper for a model."""
        estimator: Any = model.module if is_model_wrapper(model) else model
        base_weight_decay = self.base_wd or 0.0
        groups = build_param_groups(
            estimator, base_lr=self.base_lr, base_weight_decay=base_weight_decay, **self.settings
        )
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': groups})
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.optim_wrapper_cfg}, optimizer=optimizer)


def check_default_paramwise_cfg(model: nn.Module, optim_wrapper_cfg: Mapping[str, Any]) -> None:
    """Check the factors by parameter of mmengine's own constructor, which ignores names that fit nothing.

    Args:
        model: the estimator.
        optim_wrapper_cfg: the setting `optim_wrapper`; nothing is checked if it names another constructor.

    Raises:
        ConfigError: a setting or a factor is unknown, or one of `custom_keys` is part of no parameter's name.
    """
    if optim_wrapper_cfg.get('constructor', _DEFAULT_CONSTRUCTOR) != _DEFAULT_CONSTRUCTOR:
        return
    settings = optim_wrapper_cfg.get('paramwise_cfg') or {}
    _check_setting_names(_DEFAULT_CONSTRUCTOR, settings, _DEFAULT_PARAMWISE_SETTINGS)
    names = [name for name, _ in model.named_parameters()]
    # settings of the optimizer may be set for some parameters, too
    optimizer_settings, _ = inspect_parameters(OPTIMIZERS.get(optim_wrapper_cfg['optimizer']['type']))
    for key, factors in (settings.get('custom_keys') or {}).items():
        _check_setting_names(f'custom_keys[{key!r}]', factors, (*_FACTOR_NAMES, *optimizer_settings))
        if not any(key in name for name in names):
            raise ConfigError(
                f"optim_wrapper.paramwise_cfg: custom_keys has {key!r}, which is part of no parameter's name; names "
                f'look like {", ".join(names[:4])}'
            )


def _check_setting_names(owner: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a setting that is not known."""
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(
            compose_message(
                f'optim_wrapper.paramwise_cfg: {owner} has no setting {unknown[0]!r}',
                suggest_closest(unknown[0], known),
                f'known: {", ".join(known)}',
            )
        )


def build_param_groups(
    model: nn.Module,
    rules: Mapping[str, ParamFactors] | None = None,
    base_lr: float = 1.0,
    base_weight_decay: float = 0.0,
    layer_decay_rate: float | None = None,
    no_weight_decay: str | None = None,
) -> list[dict[str, Any]]:
    """Group a model's trainable parameters by learning rate and weight decay.

    Args:
        model: the estimator.
        rules, layer_decay_rate, no_weight_decay: the settings of `RuleOptimWrapperConstructor`.
        base_lr: the learning rate that the factors multiply.
        base_weight_decay: the weight decay that the factors multiply.

    Returns:
        Parameter groups for an optimizer, each with 'params', 'lr' and 'weight_decay'. Frozen parameters are in none.

    Raises:
        ConfigError: a rule matches no parameter or has an unknown factor, or a setting has a wrong value.
    """
    if no_weight_decay not in (None, 'vectors'):
        raise ConfigError(f"optim_wrapper.paramwise_cfg: no_weight_decay is None or 'vectors'; got {no_weight_decay!r}")
    layer_factors = _compute_layer_factors(model, layer_decay_rate) if layer_decay_rate is not None else {}
    rule_factors = _match_rule_factors(model, rules or {})
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in ((weight_name(n), p) for n, p in model.named_parameters()):
        if not parameter.requires_grad:
            continue
        is_vector = parameter.ndim <= 1 or name.endswith('bias')  # norms and biases; a bias may have any shape
        lr = base_lr * rule_factors[name].get('lr_mult', 1.0) * layer_factors.get(name, 1.0)
        weight_decay = base_weight_decay * rule_factors[name].get('decay_mult', 1.0)
        if is_vector and no_weight_decay:
            weight_decay = 0.0
        # few groups instead of one for each parameter: `foreach` optimizers update a group at once
        groups.setdefault((lr, weight_decay), []).append(parameter)
    return [dict(params=p, lr=lr, weight_decay=weight_decay) for (lr, weight_decay), p in groups.items()]


def _match_rule_factors(model: nn.Module, rules: Mapping[str, ParamFactors]) -> dict[str, ParamFactors]:
    """The factors of the first matching rule of every parameter, by parameter name."""
    for rule, factors in rules.items():
        _check_setting_names(f'the rule {rule!r}', factors, _FACTOR_NAMES)
    # the order of the rules in the config is their priority
    first_rules = {
        n: next((r for r in rules if re.search(r, n)), None) for n in map(weight_name, dict(model.named_parameters()))
    }
    unused = [rule for rule in rules if rule not in first_rules.values()]
    if unused:
        examples = ', '.join([*first_rules][:4])
        raise ConfigError(f'optim_wrapper: the rule {unused[0]!r} matches no parameter; names look like {examples}')
    return {name: rules[rule] if rule is not None else {} for name, rule in first_rules.items()}


def _compute_layer_factors(model: nn.Module, layer_decay_rate: float) -> dict[str, float]:
    """The rate to the power of the number of layers above each of the backbone's parameters, by full name."""
    backbone: Any = getattr(getattr(model, 'network', model), 'backbone', None)
    num_layers, get_layer_id = getattr(backbone, 'num_layers', None), getattr(backbone, 'get_layer_id', None)
    if not isinstance(num_layers, int) or not callable(get_layer_id):
        num_layers, get_layer_id = _number_children(backbone, layer_decay_rate)
    if not 0 < layer_decay_rate <= 1:
        raise ConfigError(
            f'optim_wrapper.paramwise_cfg: layer_decay_rate is above 0 and at most 1; got {layer_decay_rate}'
        )
    factors = {}
    for name, _ in backbone.named_parameters():
        # the head, above all layers, has the whole rate; patch embedding has rate ** (num_layers + 1)
        layers_above = num_layers + 1 - _check_layer_id(get_layer_id, name, num_layers)
        factors[f'backbone.{name}'] = layer_decay_rate**layers_above
    return factors


def _number_children(backbone: Any, layer_decay_rate: float) -> tuple[int, Callable[[str], int]]:
    """The number of a backbone's outermost modules with parameters, and a function to the index of a parameter's.

    Single layers before the first module of several, such as a stem's convolution and norm, count as one.
    """
    prefix, children = '', _list_trained_children(backbone)
    while len(children) == 1:  # a module that only holds others
        prefix, backbone = f'{prefix}{children[0]}.', backbone.get_submodule(children[0])
        children = _list_trained_children(backbone)
    if not children:
        raise ConfigError(
            f'optim_wrapper.paramwise_cfg: layer_decay_rate={layer_decay_rate:g} needs a backbone of several layers or '
            f'one with `num_layers` (a number) and `get_layer_id(name)`; {type(backbone).__name__} is neither. Remove '
            f'layer_decay_rate, or use rules'
        )

    # of ResNet's six modules conv1, bn1 and layer1 to layer4, the first two count as one layer
    is_single = [not _list_trained_children(backbone.get_submodule(name)) for name in children]
    num_stem_layers = is_single.index(False) if False in is_single else 0
    shift = max(0, num_stem_layers - 1)

    def get_layer_id(name: str) -> int:
        child = name.removeprefix(prefix).partition('.')[0]
        return max(0, children.index(child) - shift) if child in children else 0

    return len(children) - shift - 2, get_layer_id  # the first module counts as what is before the first layer


def _list_trained_children(module: Any) -> list[str]:
    """The names of a module's children that have parameters."""
    children = module.named_children() if isinstance(module, nn.Module) else ()
    return [name for name, child in children if any(True for _ in child.parameters())]


def _check_layer_id(get_layer_id: Callable[[str], int], name: str, num_layers: int) -> int:
    """The layer that a backbone declares for a parameter, or an error if it has no such layer."""
    layer_id = get_layer_id(name)
    if not 0 <= layer_id <= num_layers + 1:
        raise ConfigError(
            f'get_layer_id({name!r}) of a backbone with {num_layers} layers is 0 to {num_layers + 1}; got {layer_id}'
        )
    return layer_id


def get_accumulative_counts(settings: Any) -> int:
    """Return the number of batches of a step.

    Args:
        settings: of the optimizer wrapper.

    Raises:
        ConfigError: it is no count.
    """
    count = settings.get('accumulative_counts', 1)
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f'optim_wrapper.accumulative_counts is an integer of at least 1; got {count!r}')
    return count


def check_wrapper_device(settings: Any) -> None:
    """Raise if an optimizer wrapper needs a GPU and there is none.

    Args:
        settings: of the optimizer wrapper.

    Raises:
        ConfigError: mmengine's wrapper of mixed precision would end in an assertion.
    """
    wrapper_type = settings.get('type') if isinstance(settings, Mapping) else None
    if wrapper_type == 'AmpOptimWrapper' and not torch.accelerator.is_available():
        raise ConfigError(
            "optim_wrapper: AmpOptimWrapper needs a GPU; on the CPU set type='AutocastOptimWrapper', dtype='bfloat16'"
        )


def check_wrapper_precision(settings: Any, precision: str | None) -> None:
    """Raise if both the optimizer wrapper and the setting `precision` say in which format the network computes.

    Args:
        settings: of the optimizer wrapper.
        precision: the setting.

    Raises:
        ConfigError: both do.
    """
    wrapper_type = settings.get('type') if isinstance(settings, Mapping) else None
    if precision is not None and wrapper_type in _AUTOCAST_WRAPPERS:
        raise ConfigError(
            f'precision={precision!r} and optim_wrapper.type={wrapper_type!r} both choose the precision; leave one of '
            f'them out'
        )


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision: the network computes in a shorter float format where torch.autocast holds that safe.

    Weights, averages, losses and the optimizer stay in float32. It works on the CPU, too, which mmengine's
    `AmpOptimWrapper` refuses. With float16 the loss is scaled so that small gradients do not become 0; the scale is
    part of a checkpoint.

    Args:
        dtype: 'bfloat16', or 'float16', which needs a GPU.
        loss_scale: the initial scale of the loss for float16. A gradient that overflows halves it.
        settings: those of mmengine's `OptimWrapper`, such as `accumulative_counts` and `clip_grad`.

    Raises:
        ConfigError: the format is unknown, or float16 is used on the CPU.
    """

    def __init__(self, dtype: str = 'bfloat16', loss_scale: float = 65536.0, **settings: Any):
        super().__init__(**settings)
        if dtype not in _AUTOCAST_DTYPES:
            raise ConfigError(f'AutocastOptimWrapper: dtype is one of {", ".join(_AUTOCAST_DTYPES)}; got {dtype!r}')
        self.dtype = _AUTOCAST_DTYPES[dtype]
        device_types = {p.device.type for group in self.optimizer.param_groups for p in group['params']}
        self.device = 'cuda' if 'cuda' in device_types else 'cpu'
        if dtype == 'float16' and self.device == 'cpu':
            raise ConfigError("AutocastOptimWrapper: dtype='float16' needs a GPU; on the CPU use 'bfloat16'")
        # bfloat16 has the exponents of float32, so that no gradient becomes 0 for lack of a scale
        self.scaler = torch.amp.GradScaler(self.device, init_scale=loss_scale, enabled=dtype == 'float16')

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context in which the network and its losses are computed."""
        with super().optim_context(model), torch.autocast(self.device, dtype=self.dtype):
            yield

    def backward(self, loss: Tensor, **settings: Any) -> None:
        """Compute the gradients of the scaled loss."""
        super().backward(self.scaler.scale(loss), **settings)

    def step(self, **settings: Any) -> None:
        """Update the weights, unless a scaled gradient overflowed: then the step is skipped and the scale is halved."""
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)  # max_norm limits the true gradients, not the scaled ones
            self._clip_grad()
        self.scaler.step(self.optimizer, **settings)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer and of the loss scale."""
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        optimizer_state = dict(state_dict)
        self.scaler.load_state_dict(optimizer_state.pop('scaler', {}))
        super().load_state_dict(optimizer_state)
