"""Exported files in half precision or 8 bits, with the layers in float that images show to need it."""

from __future__ import annotations

__all__ = ['PrecisionSettings', 'reduce_precision']

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from poseplug.core.errors import ConfigError
from poseplug.deploy.parity import ParityTolerance, compare_results
from poseplug.deploy.quantization import (
    describe_layers,
    find_sensitive_layers,
    list_quantizable_layers,
    quantize_file,
    to_half_precision,
)
from poseplug.deploy.runtime import ExportedPredictor


@dataclass(frozen=True)
class PrecisionSettings:
    """The precision of an exported ONNX file.

    Attributes:
        precision: 'float32', 'float16' or 'int8'.
        calibration: images, as for a predictor, on which the ranges of 8 bits are measured.
        max_px: with 8 bits, layers stay float until 95 of 100 keypoints of these images move by at most this much.
    """

    precision: Literal['float32', 'float16', 'int8'] = 'float32'
    calibration: Sequence[Any] = ()
    max_px: float = ParityTolerance.for_precision('int8').px

    def __post_init__(self) -> None:
        if self.precision not in ('float32', 'float16', 'int8'):
            raise ConfigError(f"the precision is 'float32', 'float16' or 'int8'; got {self.precision!r}")
        if self.precision == 'int8' and not self.calibration:
            raise ConfigError('--int8 measures the ranges of numbers on images; give it some: --calibrate IMAGES')

    def check_target(self, target: str) -> None:
        """Raise a ConfigError if files of a target have no such precision."""
        if self.precision != 'float32' and target != 'onnx':
            raise ConfigError(f'--half and --int8 are for --to onnx; --to {target} writes single precision')


def reduce_precision(file: Path, settings: PrecisionSettings, report: Callable[[str], None]) -> None:
    """Convert an exported ONNX file, in place.

    Args:
        file: in single precision.
        settings: the precision.
        report: receives a line about the layers that stay float.
    """
    if settings.precision == 'float16':
        to_half_precision(file)
    elif settings.precision == 'int8':
        _quantize_file(file, settings, report)


def _quantize_file(file: Path, settings: PrecisionSettings, report: Callable[[str], None]) -> None:
    """Convert a file to 8 bits; the layers that cost too much stay float."""
    tolerance = ParityTolerance.for_precision('int8')
    predictor, images = ExportedPredictor(file), list(settings.calibration)
    batches, expected = list(predictor.stream_inputs(images)), predictor(images)
    quantized = file.with_name(f'.{file.stem}.int8.onnx')
    layers = list_quantizable_layers(file)

    def measure_difference(float_layers: Sequence[str]) -> float:
        quantize_file(file, quantized, batches, float_layers, Path(folder, 'ranges.json'))
        actual = ExportedPredictor(quantized)(images)
        return compare_results(expected, actual, tolerance.min_score).quantile_px(tolerance.quantile)

    # the ranges are those of the whole network in single precision, whichever layers are converted: measured once
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        float_layers = find_sensitive_layers(layers, measure_difference, settings.max_px)
    listed = ', '.join(describe_layers(file, float_layers)) or 'none'
    report(f'8 bits: {len(layers) - len(float_layers)} of {len(layers)} layers; float: {listed}')
    # the last measurement wrote the layers that were chosen
    os.replace(quantized, file)
