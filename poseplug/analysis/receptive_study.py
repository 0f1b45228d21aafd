"""Accuracy against receptive field at equal parameters (Wei et al. 2016, section 3.2.2 and figure 4)."""

from __future__ import annotations

__all__ = ['FieldMeasure', 'build_field_claims', 'build_kernel_variants', 'measure_run_fields']

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poseplug.analysis.study import StudySettings, VariantRun, build_training_config
from poseplug.analysis.variants import Variant
from poseplug.analysis.verdicts import Claim
from poseplug.config.build import build_model
from poseplug.config.check import get_setting
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.engine.dataloaders import build_dataloader
from poseplug.files.weights import load_weights
from poseplug.inspect.complexity import build_on_meta_device
from poseplug.inspect.effective_field import measure_effective_fields
from poseplug.inspect.receptive_field import compute_receptive_fields

# a kernel of k² weights costs as much as one of a single weight with k times the channels: enough for 63x63
_MAX_CHANNEL_FACTOR = 64
# the first steps find a lower end, 15 more leave a range of 8^(2^-15), or 6e-5 of a width
_NUM_BISECTIONS = 18


@dataclass(frozen=True)
class FieldMeasure:
    """The receptive fields of the last stage of one run.

    Attributes:
        theoretical_px: what a cell can see; the input's width if it is the whole image.
        half_width_px: of the effective field, half of the gradient.
        width_px: of the effective field, 95 % of the gradient.
    """

    theoretical_px: int
    half_width_px: float
    width_px: float


def build_kernel_variants(settings: StudySettings, layers_key: str, kernel_sizes: Sequence[int]) -> list[Variant]:
    """Build variants whose layers have other kernels, with the width solved for the parameters of the config.

    Args:
        settings: of the experiment.
        layers_key: the setting, by dotted key, that lists layers as (kernel size, channels), such as
            'model.head.context_layers'. Layers of kernel size 1 keep it.
        kernel_sizes: odd sizes, one variant each.

    Raises:
        ConfigError: there is no such setting, or a size is no odd number.
    """
    cfg = load_config(settings.config, settings.options)
    layers = get_setting(cfg, layers_key.split('.'))
    if not isinstance(layers, list | tuple) or not all(isinstance(layer, list | tuple) for layer in layers):
        raise ConfigError(f'{layers_key} lists layers as (kernel size, channels); the config has {layers!r}')
    wrong = [size for size in kernel_sizes if size < 1 or size % 2 == 0]
    if wrong or not kernel_sizes:
        raise ConfigError(f'kernel sizes are odd numbers, such as 3,7,11; got {list(kernel_sizes)}')
    budget = _count_parameters(settings, {})
    variants = []
    for size in kernel_sizes:
        variants.append(
            Variant(f'kernel {size}', {layers_key: _solve_width(settings, layers_key, layers, size, budget)})
        )
    return variants


def _solve_width(settings: StudySettings, key: str, layers: Sequence[Any], size: int, budget: int) -> tuple[Any, ...]:
    """The layers with another kernel, and channels with which the network has the parameters of the budget."""

    def scale_layers(factor: float) -> tuple[Any, ...]:
        return tuple(
            (size if kernel > 1 else 1, max(1, round(channels * factor)), *rest) for kernel, channels, *rest in layers
        )

    # bisection of the factor on a logarithmic scale: below `low` the network fits the budget, at `high` it does not
    low, high = 0.0, float(_MAX_CHANNEL_FACTOR)
    for _ in range(_NUM_BISECTIONS):
        # a geometric mean needs a lower end; until one is found the factor falls by 8
        factor = math.sqrt(low * high) if low else high / 8
        if _count_parameters(settings, {key: scale_layers(factor)}) > budget:
            high = factor
        else:
            low = factor
        # channels are whole numbers, so that different factors may be the same network
        if low and scale_layers(low) == scale_layers(high):
            break
    if not low:
        raise ConfigError(f'kernels of {size} exceed {budget:,} parameters even with one channel; choose smaller ones')
    return scale_layers(low)


def _count_parameters(settings: StudySettings, options: dict[str, Any]) -> int:
    cfg = load_config(settings.config, {**settings.options, **options})
    return sum(parameter.numel() for parameter in build_on_meta_device(cfg).parameters())


def measure_run_fields(
    settings: StudySettings, variant: Variant, run: VariantRun, num_images: int = 20
) -> FieldMeasure:
    """Measure the fields of the last stage of a run: in theory, and of its weights on test images.

    Args:
        settings: of the experiment.
        variant: of the run.
        run: whose last weights are measured.
        num_images: number of test images.
    """
    cfg = build_training_config(settings, variant, len(variant.trainings) - 1, run.seed)
    model: Any = build_model(cfg)
    # of several trainings the last one has the weights that were tested
    load_weights(model, run.work_dirs[-1])
    theoretical = compute_receptive_fields(model).head[-1]
    effective = measure_effective_fields(model, build_dataloader(cfg, 'test_dataloader', 0), num_images)[-1]
    width = int(model.codec.input_size[0])
    # None stands for the whole input
    return FieldMeasure(width if theoretical is None else theoretical, effective.half_width_px, effective.width_px)


def build_field_claims(names: Sequence[str], margin: float) -> list[Claim]:
    """Build the claims that accuracy rises with the receptive field and saturates.

    Args:
        names: of the variants, by rising field.
        margin: difference of the score within which two are equally good.
    """
    claims = []
    for name, before in zip(names[1:], names, strict=False):
        claims.append(Claim(f'{name} better than {before}', name, before))
    # of two variants the first claim says all
    if len(names) > 2:
        text = f'accuracy saturates: {names[-1]} as good as {names[-2]}, within {margin:g}'
        claims.append(Claim(text, names[-1], names[-2], -margin, margin))
    return claims
