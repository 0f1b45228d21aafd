"""The format of a config: its top-level settings, and the parts that each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from poseplug.core.errors import ConfigError
from poseplug.registry.wiring import Slot, find_argument_errors

_SettingsT = TypeVar('_SettingsT')


@dataclass(frozen=True)
class DataloaderSettings:
    """The settings of a loader.

    Attributes:
        dataset: the config of the data set.
        batch_size: number of samples of a batch.
        num_workers: number of processes that load samples; 0 loads in the main process.
        source_ratios: fraction of the training samples by source; None for the sizes of the sources.
        shard_buffer: in training on `ShardSource`, number of shards whose samples are mixed at a time; None mixes all
            samples, for which every shard must be at hand at once.

    Raises:
        ConfigError: a number is out of range, or two settings of the order exclude each other.
    """

    dataset: Mapping[str, Any]
    batch_size: int = 1
    num_workers: int = 0
    source_ratios: Mapping[str, float] | None = None
    shard_buffer: int | None = None

    slots: ClassVar = {'dataset': Slot('dataset', ('skeleton', 'input_size', 'crop_rule', 'seed'))}

    def __post_init__(self) -> None:
        numbers_are_whole = all(type(number) is int for number in (self.batch_size, self.num_workers))
        if not numbers_are_whole or self.batch_size < 1 or self.num_workers < 0:
            numbers = f'{self.batch_size!r} and {self.num_workers!r}'
            raise ConfigError(f'a loader needs batch_size >= 1 and num_workers >= 0; got {numbers}')
        if self.shard_buffer is not None and self.source_ratios is not None:
            raise ConfigError('a loader mixes samples by source_ratios or by shard_buffer, not by both; remove one')


@dataclass(frozen=True)
class AutoScaleSettings:
    """The setting `auto_scale_lr`.

    Attributes:
        base_batch_size: number of samples per step that the config's learning rates are stated for.

    Raises:
        ConfigError: it is not a whole number from 1.
    """

    base_batch_size: int

    def __post_init__(self) -> None:
        if not isinstance(self.base_batch_size, int) or self.base_batch_size < 1:
            raise ConfigError(f'auto_scale_lr is dict(base_batch_size=N), N at least 1; got {self.base_batch_size!r}')


@dataclass(frozen=True)
class GradientClipping:
    """The setting `optim_wrapper.clip_grad`; mmengine passes it on to torch's `clip_grad_norm_` or `clip_grad_value_`.

    Attributes:
        type: 'norm' or 'value'.
        max_norm: largest norm of all gradients together.
        norm_type: the exponent of the norm.
        clip_value: largest absolute value of a gradient.
        error_if_nonfinite: whether a norm that is not finite is an error.
        foreach: whether torch's faster implementation is used; None leaves that to torch.
    """

    type: str = 'norm'
    max_norm: float | None = None
    norm_type: float = 2.0
    clip_value: float | None = None
    error_if_nonfinite: bool = False
    foreach: bool | None = None


# None switches off a hook that mmengine's Runner adds by default. Its replacement is in docs/explanation/engine.md.
DEFAULT_HOOKS: Mapping[str, Mapping[str, Any] | None] = dict(
    runtime_info=None,
    timer=None,
    sampler_seed=None,
    logger=None,
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SaveHook'),
    progress=dict(type='ProgressHook'),
    report=dict(type='ReportHook'),
    check_invalid_loss=dict(type='CheckInvalidLossHook'),
)
_DEFAULT_HOOK_TYPES = {name: spec['type'] for name, spec in DEFAULT_HOOKS.items() if spec}

# Settings that hold parts. What mmengine's builders provide and read is theirs: its parts declare nothing.
TRAINING_SLOTS: Mapping[str, Slot] = {
    'train_cfg': Slot('loop', ('runner', 'dataloader'), default_types={'train_cfg': 'TrainLoop'}),
    'optim_wrapper': Slot(
        'optimizer wrapper',
        ('optimizer',),
        default_types={'optim_wrapper': 'OptimWrapper'},
        builder_settings=('constructor', 'paramwise_cfg'),
        builder_slots={'optimizer': Slot('optimizer', ('params',)), 'clip_grad': Slot(GradientClipping)},
    ),
    'param_scheduler': Slot(
        'parameter scheduler',
        ('optimizer', 'param_name'),
        builder_settings=('convert_to_iter_based', 'epoch_length', 'max_fraction'),
    ),
    'default_hooks': Slot('hook', by_name=True, default_types=_DEFAULT_HOOK_TYPES, builder_settings=('priority',)),
    'custom_hooks': Slot('hook', builder_settings=('priority',)),
    'early_stop': Slot('hook', default_types={'early_stop': 'EarlyStopHook'}),
    'auto_scale_lr': Slot(AutoScaleSettings),
}
CONFIG_SLOTS: Mapping[str, Slot] = {
    'model': Slot('model', ('skeleton',)),
    'train_dataloader': Slot(DataloaderSettings),
    'val_dataloader': Slot(DataloaderSettings),
    'test_dataloader': Slot(DataloaderSettings),
    'val_evaluator': Slot('metric', ('skeleton',)),
    'test_evaluator': Slot('metric', ('skeleton',)),
    **TRAINING_SLOTS,
}
PLAIN_SETTINGS = (
    'skeleton',
    'seed',
    'init',
    'freeze',
    'compile',
    'precision',
    'overfit_steps',
    'custom_imports',
    'visualizer',
)
CONFIG_SETTINGS = (*CONFIG_SLOTS, *PLAIN_SETTINGS)


def parse_settings(settings_class: type[_SettingsT], name: str, spec: Mapping[str, Any]) -> _SettingsT:
    """Parse a dict of a config that is no part.

    Args:
        settings_class: of the result; its fields are the known settings.
        name: of the dict, such as 'train_dataloader', for the message.
        spec: the dict.

    Returns:
        The settings, with the defaults of those that the dict leaves out.

    Raises:
        ConfigError: a setting is unknown, missing or out of range.
    """
    errors = find_argument_errors(settings_class, name, spec, ())
    if errors:
        raise ConfigError('\n'.join(errors.values()))
    return settings_class(**spec)


def merge_default_hooks(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a config's `default_hooks` into `DEFAULT_HOOKS`.

    Args:
        overrides: hook settings by hook name. Settings without a 'type' change the default hook of that name, those
            with one replace it or add another, and None switches it off.

    Returns:
        The settings of all hooks by name, None for a hook that is off.

    Raises:
        ConfigError: settings without a 'type' under a name that has no default hook.
    """
    hooks: dict[str, Any] = {name: dict(spec) if spec else None for name, spec in DEFAULT_HOOKS.items()}
    for name, spec in overrides.items():
        if spec is None:
            hooks[name] = None
            continue
        # A hook of another type starts anew: the default hook's settings are not its own.
        default = {} if 'type' in spec else hooks.get(name) or {}
        hooks[name] = {**default, **spec}
        if 'type' not in hooks[name]:
            known = ', '.join(_DEFAULT_HOOK_TYPES)
            raise ConfigError(f"default_hooks.{name} has no 'type' and is no default hook; default hooks: {known}")
    return hooks
