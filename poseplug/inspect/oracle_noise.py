"""What a codec recovers from true fields: its own targets, with noise, decoded as if a network had predicted them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from poseplug.config.build import build_evaluator, build_model
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.engine import dataloaders
from poseplug.engine.evaluate import evaluate
from poseplug.evaluation.results import EvaluationResult
from poseplug.models.estimators.base import Estimator


class OraclePredictor:
    """Predicts like an estimator whose network returns the codec's targets plus noise.

    Args:
        model: An estimator; only its codec, augmentation and postprocessing are used.
        noise_std: Standard deviation of the normal noise in every cell, in units of the fields: a peak is 1, a limb's
            vector has length 1.
        seed: Seed of the noise.

    Raises:
        ConfigError: The estimator does not decode fields.
    """

    def __init__(self, model: Any, noise_std: float = 0.0, seed: int = 0):
        # targets of one-stage models are assigned to predictions, and do not exist without a network
        if not isinstance(model, Estimator) or model.codec.field_kind == 'instances':
            raise ConfigError(f'the oracle decodes what TopDown or BottomUp predicts; got {type(model).__name__}')
        self.model, self.noise_std = model, noise_std
        self.rng = torch.Generator().manual_seed(seed)

    def predict(self, batch: Batch) -> list[Poses]:
        """Predict the poses of every image in image pixels."""
        view_fields = [self.add_noise(fields) for fields in self.encode_views(batch)]
        return self.model.decode_views(view_fields, batch)

    def encode_views(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """Encode the annotations for every view; yields the targets of the last stage by field name."""
        for view, size in enumerate(batch.view_sizes):
            to_view = batch.to_view(view)
            # row vectors: x A^T + t of each view's affine matrix
            points = batch.keypoints.to(to_view) @ to_view[:, None, :2, :2].mT + to_view[:, None, None, :2, 2]
            codec = self.model.postprocess.get_codec(size)
            targets = codec.encode(points.float(), batch.visible, batch.valid)
            yield targets.stage_fields(max(len(targets.stages) - 1, 0))

    def add_noise(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the noise to fields of any shape."""
        if not self.noise_std:
            return fields
        return {n: f + self.noise_std * torch.randn(f.shape, generator=self.rng) for n, f in fields.items()}


def evaluate_oracle(cfg: Any, noise_std: float = 0.0, seed: int = 0) -> EvaluationResult:
    """Measure the true fields of a config's test set by its own metrics; no weights are needed.

    Args:
        cfg: The config.
        noise_std: Standard deviation of the noise, as in `OraclePredictor`.
        seed: Seed of the noise and of the loader.
    """
    model: Any = build_model(cfg).eval()
    batches = dataloaders.build_dataloader(cfg, 'test_dataloader', seed)
    create_metrics = functools.partial(build_evaluator, cfg, 'test', model.skeleton)
    return evaluate(OraclePredictor(model, noise_std, seed), batches, create_metrics)


def sweep_oracle_noise(
    configs: Sequence[Any],
    noise_stds: Sequence[float],
    on_result: Callable[[int, float, dict[str, float]], Any] | None = None,
) -> list[list[dict[str, float]]]:
    """Measure the true fields of several configs at several amounts of noise.

    Args:
        configs: The configs.
        noise_stds: Standard deviations of the noise.
        on_result: Called with the index of the config, the noise and the scores as soon as they are known.

    Returns:
        Scores by name, for every config (rows) and every noise (columns).
    """
    rows: list[list[dict[str, float]]] = []
    for index, cfg in enumerate(configs):
        rows.append([])
        for noise_std in noise_stds:
            values = evaluate_oracle(cfg, noise_std).values
            rows[-1].append(values)
            if on_result is not None:
                on_result(index, noise_std, values)
    return rows
