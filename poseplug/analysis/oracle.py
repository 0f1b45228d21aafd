"""What a codec brings back of the truth: its own targets, with noise, read as if a network had predicted them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from poseplug.build import build_metrics, build_model
from poseplug.engine import launch
from poseplug.engine.evaluate import Evaluation, evaluate
from poseplug.errors import ConfigError
from poseplug.models.estimators.bottom_up import BottomUp, sizes_of
from poseplug.models.estimators.views import Views
from poseplug.poses import Poses
from poseplug.sample import Batch


class TrueFields:
    """Predicts as an estimator whose network gives the codec's targets, plus normal `noise` in every cell.

    The noise is in units of the fields (a peak is 1, a limb's vector has length 1), and follows from `seed` and the
    place of the picture.
    """

    def __init__(self, model: Any, noise: float = 0.0, seed: int = 0):
        if not isinstance(model, Views):
            raise ConfigError(f'the oracle decodes what TopDown or BottomUp predicts; got {type(model).__name__}')
        self.model, self.noise = model, noise
        self.rng = torch.Generator().manual_seed(seed)

    def predict(self, batch: Batch, every_stage: bool = False) -> list[list[Poses]]:
        """The people of every picture, in image pixels, as one stage."""
        views = [self.noisy(fields) for fields in self.fields(batch)]
        return [self.model.people(views, batch)]

    def fields(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """The last stage of targets of every view."""
        back = torch.linalg.inv(batch.matrices[:, 0])
        for view, size in enumerate(sizes_of(batch)):
            moved = batch.matrices[:, view] @ back
            points = batch.keypoints.to(moved) @ moved[:, None, :2, :2].mT + moved[:, None, None, :2, 2]
            codec = self.model.codec_of(size) if isinstance(self.model, BottomUp) else self.model.codec
            targets = codec.encode(points.float(), batch.visible, batch.people)
            yield targets.at(max(len(targets.stages) - 1, 0))

    def noisy(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.noise:
            return fields
        return {n: f + self.noise * torch.randn(f.shape, generator=self.rng) for n, f in fields.items()}


def oracle(cfg: Any, noise: float = 0.0, seed: int = 0) -> Evaluation:
    """Scores of the true fields of a config's test set, by its own metrics. No weights are asked for."""
    model: Any = build_model(cfg).eval()
    batches = launch.build_loader(cfg, 'test_dataloader', seed)
    metrics = functools.partial(build_metrics, cfg.test_evaluator, model.skeleton)
    return evaluate(TrueFields(model, noise, seed), batches, metrics)


def sweep(configs: Sequence[Any], noises: Sequence[float], tell: Any = None) -> list[list[dict[str, float]]]:
    """The scores of every config (rows) at every amount of noise (columns); `tell` hears of each that is done."""
    rows: list[list[dict[str, float]]] = []
    for place, cfg in enumerate(configs):
        rows.append([])
        for noise in noises:
            rows[-1].append(oracle(cfg, noise).values)
            if tell is not None:
                tell(place, noise, rows[-1][-1])
    return rows
