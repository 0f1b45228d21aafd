"""Time and memory of a prediction by the number of people in an image, for models of crops and of whole images.

What a network without training predicts has no people in it. So the fields that are decoded are true ones: of N people
who stand on a grid. The networks run on noise, whose content changes no time.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from poseplug.codecs.base import Targets
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.models.estimators.base import Estimator

_CONFIDENT_LOGIT = 6.0
_FIGURE_FRACTION = 0.8  # of a grid cell that a person fills


@dataclass(frozen=True)
class InstanceCost:
    """The cost of one image of so many people.

    Attributes:
        family: 'top-down', 'bottom-up' or 'one-stage'.
        num_instances: in the image.
        total_ms: time of the prediction, the median of several.
        network_ms: of it, time of the network.
        peak_mib: most memory that tensors took at a time beside the weights.
        num_predicted: instances that were predicted.
    """

    family: str
    num_instances: int
    total_ms: float
    network_ms: float
    peak_mib: float
    num_predicted: int


def measure_instance_costs(
    model: Any, counts: Sequence[int], batch_size: int = 16, num_repeats: int = 3
) -> list[InstanceCost]:
    """Measure the cost of images of several numbers of people.

    Args:
        model: an estimator in evaluation mode.
        counts: numbers of people, each at least 1.
        batch_size: crops that a top-down network predicts at a time.
        num_repeats: predictions of each image, after one that does not count.

    Raises:
        ConfigError: the model is no estimator of poseplug, or there are no people.
    """
    if not isinstance(model, Estimator):
        raise ConfigError(f'costs are measured of TopDown, BottomUp and OneStage; got {type(model).__name__}')
    if not counts or min(counts) < 1:
        raise ConfigError(f'the numbers of people are at least 1; got {list(counts)}')
    return [_measure_count(model, count, batch_size, num_repeats) for count in counts]


def find_family(model: Estimator) -> str:
    """Return 'top-down', 'bottom-up' or 'one-stage'."""
    if not model.finds_instances:
        return 'top-down'
    return 'one-stage' if model.codec.field_kind == 'instances' else 'bottom-up'


def arrange_instances(num_instances: int, num_keypoints: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Arrange people on a grid that fills an image, each with its keypoints at random within its grid cell.

    Args:
        num_instances: N.
        num_keypoints: K.
        size: (width, height) of the image in px.
        seed: of the keypoints.

    Returns:
        (1, N, K, 2) in px.
    """
    columns = int(np.ceil(np.sqrt(num_instances)))
    rows = -(-num_instances // columns)
    cell = np.array([size[0] / columns, size[1] / rows])
    figure = np.random.default_rng(seed).random((num_keypoints, 2)) - 0.5  # one pose, which all people take
    indices = np.arange(num_instances)
    middles = (np.stack([indices % columns, indices // columns], axis=1) + 0.5) * cell
    keypoints = middles[:, None] + _FIGURE_FRACTION * cell * figure
    return torch.from_numpy(keypoints)[None].float()


def _measure_count(model: Estimator, num_instances: int, batch_size: int, num_repeats: int) -> InstanceCost:
    family = find_family(model)
    batches = _create_batches(model, num_instances, batch_size)
    network_seconds: list[float] = []

    def predict_batches() -> int:
        network_seconds.append(0.0)
        num_predicted = 0
        for batch in batches:
            start = time.perf_counter()
            views = model.predict_fields(batch)
            _wait_for(model)
            network_seconds[-1] += time.perf_counter() - start
            fields = [stages[-1] for stages in views]
            if family != 'top-down':
                fields = [_replace_by_true_fields(model, batch, view) for view in fields]
            num_predicted += sum(len(poses) for poses in model.decode_views(fields, batch))
        return num_predicted

    with torch.inference_mode():
        # drawing true fields is part of the measured call but of no prediction, so that its time is taken off
        drawing_seconds = _time_drawing(model, batches) if family != 'top-down' else 0.0
        # the first run prepares kernels and buffers, and does not count
        num_predicted = predict_batches()
        network_seconds.clear()
        seconds = []
        for _ in range(num_repeats):
            start = time.perf_counter()
            predict_batches()
            _wait_for(model)
            seconds.append(time.perf_counter() - start - drawing_seconds)
        peak_mib = _measure_peak_mib(model, predict_batches)
    network_ms = 1000 * statistics.median(network_seconds[:num_repeats])
    # after the subtraction the noise of both measurements could make it smaller than its part
    total_ms = max(1000 * statistics.median(seconds), network_ms)
    return InstanceCost(family, num_instances, total_ms, network_ms, peak_mib, num_predicted)


def _wait_for(model: Estimator) -> None:
    if model.device.type == 'cuda':
        torch.cuda.synchronize(model.device)


def _create_batches(model: Estimator, num_instances: int, batch_size: int) -> list[Batch]:
    """Noise: a crop per person in batches, or one image of all."""
    width, height = model.codec.input_size
    num_keypoints = len(model.skeleton)
    is_crops = not model.finds_instances
    num_images = num_instances if is_crops else 1
    keypoints = arrange_instances(1 if is_crops else num_instances, num_keypoints, (width, height))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 1, height, width, 3), generator=generator, dtype=torch.uint8)
    visible = torch.full((1, keypoints.shape[1], num_keypoints), 2, dtype=torch.uint8)
    batches = []
    for part in images.split(batch_size):
        repeated = (tensor.expand(len(part), *tensor.shape[1:]).clone() for tensor in (keypoints, visible))
        batches.append(Batch.from_instances(part, *repeated).to(model.device))
    return batches


def _replace_by_true_fields(model: Estimator, batch: Batch, fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """The predicted fields with those of the annotated people instead: all maps, or one cell per person."""
    targets: Targets = model.codec.encode(batch.keypoints, batch.visible, batch.valid)
    true_fields = targets.stage_fields(max(len(targets.stages) - 1, 0))
    if model.codec.field_kind != 'instances':
        return {**fields, **true_fields}
    num_instances, num_cells = batch.keypoints.shape[1], fields['score'].shape[1]
    # spread over all cells, so that suppression sees boxes of every stride
    cells = torch.linspace(0, num_cells - 1, num_instances, device=fields['score'].device).round().long()
    score, box = torch.full_like(fields['score'], -_CONFIDENT_LOGIT), fields['box'].clone()
    score[:, cells] = _CONFIDENT_LOGIT
    box[:, cells] = true_fields['box'].to(box)
    return {**fields, 'score': score, 'box': box}


def _time_drawing(model: Estimator, batches: Sequence[Batch]) -> float:
    """The seconds that drawing true fields takes, which is no part of a prediction."""
    views = [model.predict_fields(batch)[0][-1] for batch in batches]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for batch, fields in zip(batches, views, strict=True):
            _replace_by_true_fields(model, batch, fields)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _measure_peak_mib(model: Estimator, predict_batches: Callable[[], Any]) -> float:
    """The most memory that tensors took at a time during a prediction, beside what they took before."""
    if model.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        predict_batches()
        return (torch.cuda.max_memory_allocated(model.device) - before) / 2**20
    with _MemoryMeter() as meter:
        predict_batches()
    return meter.peak_bytes / 2**20


class _MemoryMeter(TorchDispatchMode):
    """Adds up the storages that operations create, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.current_bytes, self.peak_bytes = 0, 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # views and in-place results share the storage of an input and take no memory
        inputs = {tensor.untyped_storage()._cdata for tensor in _list_tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _list_tensors(result):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in inputs and key not in self.known:
                self.known.add(key)
                self.current_bytes += storage.nbytes()
                self.peak_bytes = max(self.peak_bytes, self.current_bytes)
                # called when the last tensor of the storage is gone
                weakref.finalize(storage, self._release_memory, key, storage.nbytes())
        return result

    def _release_memory(self, key: int, num_bytes: int) -> None:
        self.known.discard(key)
        self.current_bytes -= num_bytes


def _list_tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
