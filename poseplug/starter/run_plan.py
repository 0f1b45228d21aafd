"""Which model is trained on a data set, for how long, and with which batches."""

from __future__ import annotations

__all__ = ['MODEL_SIZES', 'RunPlan', 'plan_run']

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.zoo.index import PublishedModel, find_published_model, is_model_name
from poseplug.zoo.installed_models import list_installed_entries

MODEL_SIZES = {
    'small': 'cpm_efficientnet_coco_128',
    'base': 'hrnet_w32_coco_256x192_dark',
    'large': 'hrnet_w48_coco_256x192_dark',
}
# Fewer do not train a model of that size from random weights; the small one begins with installed weights.
MIN_BASE_INSTANCES, MIN_LARGE_INSTANCES = 2_000, 20_000
MIN_BASE_BOX_PX = 100  # a smaller box has nothing that 128 px do not show
_PASSES = 60  # times that every instance is seen, unless that is too short or too long
_STEP_LIMITS = {'small': (600, 20_000), 'base': (3_000, 60_000), 'large': (6_000, 120_000)}
_MAX_BATCH_SIZES = {'small': 16, 'base': 32, 'large': 32}
_SQUARE_SHAPES = (0.85, 1.2)  # width over height of boxes for which a square input is chosen
_INPUT_SIDES_PX = (192, 256)  # of the base and the large model
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@dataclass(frozen=True)
class RunPlan:
    """The model, its input and the settings of its training.

    Attributes:
        config: name of the shipped config to build on.
        reason: why it was chosen.
        batch_size: number of instances of a batch.
        max_steps: length of the run.
        lr: the learning rate for that batch.
        input_size: (width, height) of the input in px; None for that of the config.
        num_epochs: times that every instance is seen.
        published_name: of the published model whose weights the run begins with; '' for those of the config.
        installed_name: of the installed model whose weights the config begins with; '' for random weights.
        overrides: settings of that model that replace those of the config, by dotted keys.
        replaces_crop: whether the config crops otherwise than by boxes, which is all that labels of any format have.
        replaces_ratios: whether the config mixes its own sources by ratios, which the labels do not have.
    """

    config: str
    reason: str
    batch_size: int
    max_steps: int
    lr: float
    input_size: tuple[int, int] | None
    num_epochs: float
    published_name: str = ''
    installed_name: str = ''
    overrides: Mapping[str, Any] = field(default_factory=dict)
    replaces_crop: bool = False
    replaces_ratios: bool = False

    def describe(self) -> str:
        """Describe the plan in a line."""
        size = '' if self.input_size is None else f' at {self.input_size[0]} x {self.input_size[1]} px'
        weights = f' with the published weights of {self.published_name}' if self.published_name else ''
        weights = f' with the installed weights of {self.installed_name}' if self.installed_name else weights
        return (
            f'model: {self.config}{size}{weights} ({self.reason}), {self.max_steps:,} steps of {self.batch_size} '
            f'instances ({self.num_epochs:.0f} epochs)'
        )


def plan_run(model: str | None, num_instances: int, median_box: tuple[float, float]) -> RunPlan:
    """Choose model, batches and length for a data set.

    Args:
        model: 'small', 'base', 'large', the name of a shipped config, or that of a published or installed model, from
            whose weights the run begins; None chooses by the data set.
        num_instances: number of training instances.
        median_box: width and height of a usual box in px.

    Returns:
        The plan. Every instance is seen 60 times, within limits of the model's size. A smaller batch than the
        config's has a learning rate that is smaller by the same factor, with published weights by its square root.

    Raises:
        ConfigError: there is no such model, or it is not one that crops boxes of COCO files.

    Example:
        >>> plan = plan_run(None, num_instances=100, median_box=(80, 60))
        >>> plan.config, plan.batch_size, plan.max_steps
        ('cpm_efficientnet_coco_128', 16, 600)
    """
    size, reason = (model, 'as --model says') if model is not None else _choose_size(num_instances, median_box)
    published = _find_model_with_weights(size)
    config = MODEL_SIZES.get(size, size) if published is None else published.config
    cfg = load_config(config)
    config_init = cfg.get('init')
    crops = _list_crops(cfg, size)
    # a config by its own name has the limits of the base model; published weights need fewer steps
    limits_of = 'base' if published is None else 'small'
    limits_of = size if size in _STEP_LIMITS else limits_of
    base_batch_size = cfg['train_dataloader']['batch_size']
    batch_size = max(1, min(base_batch_size, _MAX_BATCH_SIZES[limits_of], num_instances))
    min_steps, max_steps = _STEP_LIMITS[limits_of]
    steps = min(max(_PASSES * num_instances // batch_size, min_steps), max_steps)
    # The linear rule, as for `auto_scale_lr`. Published models were trained with batches of up to 1,024; in proportion
    # to those, the rate would be too low for new layers in a short run.
    rate_factor = (batch_size / base_batch_size) ** (0.5 if published is not None else 1.0)
    return RunPlan(
        config=config,
        reason=reason,
        batch_size=batch_size,
        max_steps=steps,
        lr=cfg['optim_wrapper']['optimizer']['lr'] * rate_factor,
        input_size=_choose_input_size(median_box) if size in ('base', 'large') else None,
        num_epochs=steps * batch_size / num_instances,
        published_name='' if published is None else published.name,
        installed_name=config_init if published is None and isinstance(config_init, str) else '',
        overrides={} if published is None else _select_model_settings(published.overrides),
        replaces_crop=crops != {'CropBox'},
        replaces_ratios=cfg['train_dataloader'].get('source_ratios') is not None,
    )


def _find_model_with_weights(name: str) -> PublishedModel | None:
    """The published or installed model of a name; None for a size or a config."""
    if name in MODEL_SIZES:
        return None
    installed = next((entry for entry in list_installed_entries() if entry.name == name), None)
    return find_published_model(name) if installed is None and is_model_name(name) else installed


def _select_model_settings(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings of the network and its codec; data, skeleton and scores are those of the project."""
    return {key: value for key, value in overrides.items() if key.startswith('model.')}


def _choose_size(num_instances: int, median_box: tuple[float, float]) -> tuple[str, str]:
    """The size of the model for a data set, and why."""
    if num_instances < MIN_BASE_INSTANCES:
        return 'small', f'{num_instances:,} instances are less than {MIN_BASE_INSTANCES:,}'
    if max(median_box) < MIN_BASE_BOX_PX:
        return 'small', f'boxes are smaller than {MIN_BASE_BOX_PX} px'
    size = 'base' if num_instances < MIN_LARGE_INSTANCES else 'large'
    return size, f'{num_instances:,} instances'


def _choose_input_size(median_box: tuple[float, float]) -> tuple[int, int]:
    """The input, upright, square or wide like the boxes."""
    short, long = _INPUT_SIDES_PX
    width, height = median_box
    if width < _SQUARE_SHAPES[0] * height:
        return short, long
    return (long, long) if width <= _SQUARE_SHAPES[1] * height else (long, short)


def _list_crops(cfg: Mapping[str, Any], name: str) -> set[str]:
    """List the types of a config's crops; it must be of a top-down model, whose data can be exchanged."""
    pipelines = [cfg[key]['dataset']['pipeline'] for key in _LOADERS if cfg.get(key)]
    if cfg['model']['type'] != 'TopDown' or not pipelines:
        raise ConfigError(
            f'--model {name}: init needs a top-down model (TopDown) with its data; this one is {cfg["model"]["type"]}. '
            f'Name {", ".join(MODEL_SIZES)}, or another config or published model'
        )
    return {pipeline[0]['type'] for pipeline in pipelines}
