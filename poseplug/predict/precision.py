"""The precision and the threads of a network in prediction, and the check that decides on them."""

from __future__ import annotations

__all__ = [
    'COMPUTE_DTYPES',
    'Precision',
    'PrecisionChoice',
    'measure_differences',
    'set_num_threads',
]

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.processors import count_allowed_processors, has_bfloat16_instructions

Precision = Literal['auto', 'fp32', 'bf16', 'fp16']
COMPUTE_DTYPES: dict[str, torch.dtype | None] = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_MAX_MEDIAN_PX = 0.1
_MAX_WORST_PX = 1.0
_MIN_CHECKED_INPUTS = 8
_MIN_SCORE = 0.05  # below, keypoints are not drawn either, and mean nothing


class PrecisionChoice:
    """Predicts batches in the precision that was asked for.

    With 'auto' the first 8 inputs or more are predicted in fp32 and in bf16. If the keypoints that score at least 0.05
    differ by at most 0.1 px at the median and 1 px at the worst, bf16 is used from then on, else fp32. A CPU without
    instructions for bf16, where it is slower, and another device use fp32.

    Args:
        model: the estimator.
        precision: 'auto', 'fp32', 'bf16' or 'fp16'.

    Attributes:
        name: 'fp32', 'bf16' or 'fp16', of the next batch.
        reason: why, in words.

    Raises:
        ConfigError: there is no such precision.
    """

    def __init__(self, model: Any, precision: str):
        self.model, self.name, self.reason = model, precision, f'{precision}, as asked for'
        self._differences: list[np.ndarray] = []
        self._num_inputs = 0
        self.is_open = precision == 'auto'
        if self.is_open:
            self._prepare_check()
        if self.name not in COMPUTE_DTYPES:
            known = ', '.join(('auto', *COMPUTE_DTYPES))
            raise ConfigError(f'precision is one of {known}; got {precision!r}')
        if COMPUTE_DTYPES[self.name] is not None:
            model.network.set_compute_dtype(COMPUTE_DTYPES[self.name])

    def _prepare_check(self) -> None:
        on_cpu = self.model.device.type == 'cpu'
        self.name, self.reason = 'fp32', 'fp32: fewer than 8 inputs, not checked'
        if not on_cpu or not has_bfloat16_instructions():
            self.is_open = False
            cause = 'this CPU has no instructions for bf16' if on_cpu else 'bf16 is chosen on CPUs alone'
            self.reason = f'fp32: {cause}'

    def predict(self, batch: Batch) -> list[Poses]:
        """Predict a batch, and check it as long as 'auto' is not decided.

        Args:
            batch: of the model.

        Returns:
            The instances of each input.
        """
        predicted: list[Poses] = self.model.predict(batch)
        if self.is_open:
            self._compare_types(batch, predicted)
        return predicted

    def _compare_types(self, batch: Batch, expected: Sequence[Poses]) -> None:
        # the caller gets the poses of fp32 as long as nothing is decided
        self.model.network.set_compute_dtype(torch.bfloat16)
        reduced = self.model.predict(batch)
        self._differences += [measure_differences(a, b) for a, b in zip(expected, reduced, strict=True)]
        self._num_inputs += len(expected)
        if self._num_inputs >= _MIN_CHECKED_INPUTS:
            self._decide_type()
        # the type of the next batch, whether it is compared again or not
        if self.name == 'fp32':
            self.model.network.set_compute_dtype(None)

    def _decide_type(self) -> None:
        """Choose by what was measured."""
        self.is_open = False
        differences = np.concatenate(self._differences)
        if not differences.size:
            self.reason = f'fp32: no keypoint in {self._num_inputs} inputs'
            return
        # the median for the usual error, the maximum for a peak that falls on another cell
        median, worst = float(np.median(differences)), float(differences.max())
        self.name = 'bf16' if median <= _MAX_MEDIAN_PX and worst <= _MAX_WORST_PX else 'fp32'
        self.reason = (
            f'{self.name}: in {self._num_inputs} inputs bf16 moves keypoints by {median:.3f} px at the median and '
            f'{worst:.3f} px at the worst (at most {_MAX_MEDIAN_PX:g} and {_MAX_WORST_PX:g})'
        )


def measure_differences(expected: Poses, other: Poses) -> np.ndarray:
    """Measure how far keypoints lie apart.

    Args:
        expected: N instances.
        other: the same instances of another prediction.

    Returns:
        (M,) px, of the keypoints that score enough in either; infinite where the numbers of instances differ.
    """
    expected, other = expected.numpy(), other.numpy()
    if len(expected) != len(other):
        return np.array([np.inf])
    # the higher score of the two: a keypoint that only one of them finds is a difference
    scores = np.maximum(np.asarray(expected.keypoint_scores), np.asarray(other.keypoint_scores))
    offsets = np.asarray(expected.keypoints, float) - np.asarray(other.keypoints, float)
    distances: np.ndarray = np.linalg.norm(offsets, axis=-1)[scores >= _MIN_SCORE]
    return distances


def set_num_threads(count: int | None = None) -> int:
    """Set how many threads the network uses, and return it.

    Args:
        count: of threads; None for OMP_NUM_THREADS where it is set, else for the processors that affinity and control
            group allow: threads beyond these wait for each other.
    """
    # torch has read the variable itself
    if count is None and 'OMP_NUM_THREADS' in os.environ:
        return torch.get_num_threads()
    if count is None:
        count = min(torch.get_num_threads(), max(1, int(count_allowed_processors())))
    torch.set_num_threads(count)
    return count
