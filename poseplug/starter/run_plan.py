"""Which model is trained on a data set, for how long, and with which batches."""

from __future__ import annotations

__all__ = ['MODEL_SIZES', 'RunPlan', 'plan_run']

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError

MODEL_SIZES = {
    'small': 'hourglass1_coco_128',
    'base': 'hrnet_w32_coco_256x192_dark',
    'large': 'hrnet_w48_coco_256x192_dark',
}
MIN_BASE_INSTANCES, MIN_LARGE_INSTANCES = 2_000, 20_000  # fewer do not train a model of that size from random weights
MIN_BASE_BOX_PX = 100  # a smaller box has nothing that 128 px do not show
_PASSES = 60  # times that every instance is seen, unless that is too short or too long
_STEP_LIMITS = {'small': (600, 20_000), 'base': (3_000, 60_000), 'large': (6_000, 120_000)}
_MAX_BATCH_SIZES = {'small': 16, 'base': 32, 'large': 32}
_SQUARE_SHAPES = (0.85, 1.2)  # width over height of boxes for which a square input is chosen
_INPUT_SIDES_PX = (192, 256)  # of the base and the large model


@dataclass(frozen=True)
class RunPlan:
    """How a model is trained.

    Attributes:
        config: name of the shipped config to build on.
        reason: why it was chosen.
        batch_size: number of instances of a batch.
        max_steps: length of the run.
        lr: the learning rate for that batch.
        input_size: (width, height) of the input in px; None for that of the config.
        num_epochs: times that every instance is seen.
    """

    config: str
    reason: str
    batch_size: int
    max_steps: int
    lr: float
    input_size: tuple[int, int] | None
    num_epochs: float

    def describe(self) -> str:
        """Describe the plan in a line."""
        size = '' if self.input_size is None else f' at {self.input_size[0]} x {self.input_size[1]} px'
        return (
            f'model: {self.config}{size} ({self.reason}), {self.max_steps:,} steps of {self.batch_size} instances '
            f'({self.num_epochs:.0f} epochs)'
        )


def plan_run(model: str | None, num_instances: int, median_box: tuple[float, float]) -> RunPlan:
    """Choose model, batches and length for a data set.

    Args:
        model: 'small', 'base', 'large' or the name of a shipped config; None chooses by the data set.
        num_instances: number of training instances.
        median_box: width and height of a usual box in px.

    Returns:
        The plan. Every instance is seen 60 times, within limits of the model's size. A smaller batch than the
        config's has a learning rate that is smaller by the same factor.

    Raises:
        ConfigError: there is no such model, or it is not one that crops boxes of COCO files.

    Example:
        >>> plan = plan_run(None, num_instances=100, median_box=(80, 60))
        >>> plan.config, plan.batch_size, plan.max_steps
        ('hourglass1_coco_128', 16, 600)
    """
    size, reason = (model, 'as --model says') if model is not None else _choose_size(num_instances, median_box)
    config = MODEL_SIZES.get(size, size)
    cfg = load_config(config)
    _check_config(cfg, config)
    # a config by its own name has the limits of the base model
    limits_of = size if size in _STEP_LIMITS else 'base'
    base_batch_size = cfg['train_dataloader']['batch_size']
    batch_size = max(1, min(base_batch_size, _MAX_BATCH_SIZES[limits_of], num_instances))
    min_steps, max_steps = _STEP_LIMITS[limits_of]
    steps = min(max(_PASSES * num_instances // batch_size, min_steps), max_steps)
    return RunPlan(
        config=config,
        reason=reason,
        batch_size=batch_size,
        max_steps=steps,
        # the linear rule, as for `auto_scale_lr`
        lr=cfg['optim_wrapper']['optimizer']['lr'] * batch_size / base_batch_size,
        input_size=_choose_input_size(median_box) if size in ('base', 'large') else None,
        num_epochs=steps * batch_size / num_instances,
    )


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


def _check_config(cfg: Mapping[str, Any], name: str) -> None:
    """Raise unless a config is one of a top-down model on COCO's boxes, whose data can be exchanged."""
    sources = cfg['train_dataloader']['dataset']['sources'] if cfg.get('train_dataloader') else []
    source_types = {source['type'] for source in sources}
    if cfg['model']['type'] != 'TopDown' or source_types != {'CocoSource'}:
        sizes, read = ', '.join(MODEL_SIZES), ', '.join(sorted(source_types)) or 'no source'
        raise ConfigError(
            f'--model {name}: init needs a top-down model (TopDown) whose config reads CocoSource; this one is '
            f'{cfg["model"]["type"]} with {read}. Name {sizes}, or another config'
        )
