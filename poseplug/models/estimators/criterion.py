"""Criteria: stages of fields and their batch to named losses, one per trained stage (intermediate supervision)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Targets
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.estimators.network import StageFields
from poseplug.models.estimators.sized_codecs import SizedCodecs
from poseplug.models.heads.base import Head
from poseplug.models.losses.base import LossSpec, LossTable, expand_weight

Supervision = str | Sequence[float]
MaskWeights = Literal['square', 'binary']


class StageCriterion(nn.Module):
    """Compares every trained stage with the codec's targets: the sum of the losses of its fields.

    Args:
        codec: Encodes the targets.
        head: The head whose stages are compared; the criterion keeps its number of stages and its name.
        loss: One loss for all fields, a dict by field, or a list of these with one per stage; as in `LossTable`.
        supervision: 'all' stages (intermediate supervision), the 'last' one, or one weight per stage; a stage of weight
            0 has no loss.
        whole_images: The instances are all those of an image. Then targets have the grid of the batch's images, which
            may be of any size; masked positions have no loss, nor has a keypoint that the data set does not annotate.
        mask_weights: How much a cell counts that is masked in part: by the 'square' of its unmasked fraction, as where
            prediction and target are multiplied by it; or as a whole if more than half of it is unmasked ('binary').

    Raises:
        ConfigError: The losses or the supervision do not fit the fields or the stages.
    """

    def __init__(
        self,
        codec: Codec,
        head: Head,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        supervision: Supervision = 'all',
        whole_images: bool = False,
        mask_weights: MaskWeights = 'square',
    ):
        super().__init__()
        if mask_weights not in ('square', 'binary'):
            raise ConfigError(f"mask_weights is 'square' or 'binary'; got {mask_weights!r}")
        self.mask_weights: MaskWeights = mask_weights
        self.codecs, self.whole_images = SizedCodecs(codec), whole_images
        self.head_name = type(head).__name__
        self.loss = LossTable(loss, list(codec.fields), head.num_stages)
        self.stage_weights = _parse_supervision(supervision, head.num_stages)

    def forward(self, stages: Sequence[StageFields], batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted loss of every trained stage.

        Args:
            stages: What the network predicts for the first view: fields (B, C, ...) by name, for every stage.
            batch: The B images with their instances.

        Returns:
            Scalars by name, 'loss_1' for the first stage.

        Raises:
            MismatchError: A field has another shape than its target.
        """
        return self.compute_target_losses(stages, self.encode_targets(batch))

    @property
    def codec(self) -> Codec:
        """The codec of the config's input size."""
        return self.codecs.codec

    def compute_target_losses(self, stages: Sequence[StageFields], targets: Targets) -> dict[str, Tensor]:
        """Compute the weighted loss of every trained stage, by name, against targets."""
        losses: dict[str, Tensor] = {}
        for index, (fields, weight) in enumerate(zip(stages, self.stage_weights, strict=True)):
            # Skipped, not multiplied by 0, which would make NaN of an infinite loss.
            if weight:
                losses[f'loss_{index + 1}'] = weight * self.compute_stage_loss(fields, targets, index)
        return losses

    def encode_targets(self, batch: Batch) -> Targets:
        """Encode the instances of a batch."""
        if not self.whole_images:
            return self.codec.encode(batch.keypoints, batch.visible, batch.valid)
        # Batches of whole images have their own size, and so their own grid.
        codec = self.codecs.get_codec((batch.images.shape[3], batch.images.shape[2]))
        annotated: dict[str, Any] = {'annotated_keypoints': batch.annotated_keypoints}
        targets = codec.encode(batch.keypoints, batch.visible, batch.valid, **annotated)
        return mask_target_weights(targets, batch.masks, self.mask_weights)

    def compute_stage_loss(self, fields: StageFields, targets: Targets, stage: int) -> Tensor:
        """Compute the loss of one stage, counted from 0: the sum over its fields, without the stage's weight."""
        # Fields, targets and weights may differ from stage to stage, as in CPM and CPN.
        stage_targets, weights = targets.stage_fields(stage), targets.stage_field_weights(stage)
        self._check_shapes(fields, stage_targets)
        losses = [
            self.loss.get_loss(stage, name)(field, stage_targets[name], weights.get(name))
            for name, field in fields.items()
        ]
        return torch.stack(losses).sum()

    def _check_shapes(self, fields: StageFields, targets: StageFields) -> None:
        for name, field in fields.items():
            predicted, encoded = tuple(field.shape[1:]), tuple(targets[name].shape[1:])
            # Checked before the loss: broadcasting would train on wrong cells without an error.
            if field.shape != targets[name].shape:
                raise MismatchError(
                    f'{self.head_name} predicts {name!r} as {predicted} but {type(self.codec).__name__} draws '
                    f'{encoded}, both (channels, rows, columns); set model.codec.input_size to multiples of the '
                    f"backbone's stride"
                )


def _parse_supervision(supervision: Supervision, num_stages: int) -> list[float]:
    """One weight per stage from 'all', 'last' or explicit weights."""
    if supervision == 'all':
        return [1.0] * num_stages
    if supervision == 'last':
        return [0.0] * (num_stages - 1) + [1.0]
    if isinstance(supervision, str) or len(supervision) != num_stages:
        raise ConfigError(f"supervision is 'all', 'last' or {num_stages} weights (one per stage); got {supervision!r}")
    return [float(weight) for weight in supervision]


def mask_target_weights(targets: Targets, masks: Tensor, mask_weights: MaskWeights = 'square') -> Targets:
    """Multiply the weights of targets by those that the mask leaves each cell.

    With 'square', prediction and target are thought of as multiplied by the unmasked fraction of the cell, so that a
    squared error has its square. Fields that are no maps keep their weights.

    Args:
        targets: Of B images.
        masks: (B, H, W) over the input, 0 where a position is not trained.
        mask_weights: As in `StageCriterion`.

    Returns:
        Targets with weights of the fields' shapes.
    """
    num_weights = 1 if isinstance(targets.weights, dict) else len(targets.weights)
    weights = []
    # Either may have one entry for all stages; the longer one decides.
    for stage in range(max(len(targets.stages), num_weights)):
        stage_weights = targets.stage_field_weights(stage)
        masked = {
            name: _mask_weights(field, stage_weights.get(name), masks, mask_weights)
            for name, field in targets.stage_fields(stage).items()
            if field.ndim == 4
        }
        weights.append({**stage_weights, **masked})
    return replace(targets, weights=tuple(weights))


def _mask_weights(heatmaps: Tensor, weight: Tensor | None, masks: Tensor, mask_weights: MaskWeights) -> Tensor:
    """The weights of maps (B, C, H, W), in their shape."""
    height, width = heatmaps.shape[-2:]
    # The mean over the pixels of a cell: its unmasked fraction.
    fraction = F.adaptive_avg_pool2d(masks[:, None].to(heatmaps), (height, width))
    cell_weights = (fraction > 0.5).to(heatmaps) if mask_weights == 'binary' else fraction.square()
    weights = cell_weights if weight is None else expand_weight(weight, heatmaps) * cell_weights
    # (B, 1, H, W) to the shape of the field, without a copy.
    return weights.expand_as(heatmaps)
