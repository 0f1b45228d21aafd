"""A student that also learns what a trained, frozen teacher predicts (output distillation, Xu et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.sample import Batch
from poseplug.models.estimators.base import PartConfig
from poseplug.models.estimators.top_down import TopDown
from poseplug.registry import MODELS


@MODELS.register_module()
class DistilledTopDown(TopDown):
    """A `TopDown` with a further loss between the fields of its last stage and those of a `teacher`.

    `teacher` is a built estimator, or dict(config=FILE, weights=FILE) of a trained one. It sees the same pictures, is
    never trained, and is no part of the student's weights. `distill_loss` is the loss, `distill_weight` its weight.
    """

    def __init__(
        self,
        *args: Any,
        teacher: nn.Module | PartConfig,
        distill_loss: nn.Module | PartConfig = dict(type='MeanSquaredError'),  # noqa: B006 - read only
        distill_weight: float = 1.0,
        **parts: Any,
    ):
        super().__init__(*args, **parts)
        self.distill_loss, self.distill_weight = MODELS.build(distill_loss), distill_weight
        self._teacher = [teacher if isinstance(teacher, nn.Module) else _load_teacher(**teacher)]  # no submodule
        self._teacher[0].eval().requires_grad_(False)
        theirs, ours = self.teacher.codec.shapes, self.codec.shapes
        if theirs != ours or self.teacher.skeleton.keypoints != self.skeleton.keypoints:
            raise MismatchError(
                f'the teacher predicts {theirs} for the joints of {self.teacher.skeleton.name!r}, the student {ours} '
                f'for those of {self.skeleton.name!r}; give both one codec, input size and skeleton'
            )

    @property
    def teacher(self) -> Any:
        """The teacher, on the student's device."""
        self._teacher[0] = self._teacher[0].to(self.input_norm.mean.device)
        return self._teacher[0]

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The student's own losses, and 'loss_distill'."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.source_indices(batch))
        with torch.no_grad():
            shown = self.teacher(batch.images[:, 0], batch.centers, self.teacher.source_indices(batch))[-1]
        taught = torch.stack([self.distill_loss(maps, shown[name].float()) for name, maps in outputs[-1].items()]).sum()
        return {**super().losses(batch, outputs), 'loss_distill': self.distill_weight * taught}


def _load_teacher(config: str | None = None, weights: str | None = None) -> nn.Module:
    """A trained estimator from its config and its weights."""
    from poseplug.config.build import (
        build_model,  # imports lie here since these modules import the estimators' registry
    )
    from poseplug.config.load import load_config
    from poseplug.files.weights import load_weights

    if config is None or weights is None:
        raise ConfigError('a teacher is dict(config=FILE, weights=FILE); give both')
    model = build_model(load_config(config))
    load_weights(model, weights)
    return model
