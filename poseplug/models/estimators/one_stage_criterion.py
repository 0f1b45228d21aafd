"""The criterion of one-stage models: an assigner gives cells to instances, and these cells learn to predict them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.codecs.dense_instances import gather_cell_fields
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.models.assigners.base import Assigner, Assignment, GroundTruthInstances, compute_keypoint_oks
from poseplug.models.estimators.network import StageFields
from poseplug.models.estimators.part_wiring import PartConfig
from poseplug.models.layers.dcc import KeypointDistributions
from poseplug.models.losses.base import LossSpec
from poseplug.registry import MODELS
from poseplug.registry.wiring import Slot

_DEFAULT_LOSS_WEIGHTS = dict(score=1.0, box=5.0, visible=1.0, proxy=30.0, keypoints=1.0, raw_box=0.0)
_DEFAULT_LOSSES: Mapping[str, PartConfig] = dict(
    score=dict(type='VarifocalLoss'),
    box=dict(type='SquaredIoULoss'),
    visible=dict(type='BinaryCrossEntropy'),
    proxy=dict(type='OKSLoss'),
    keypoints=dict(type='MLECCLoss'),
    raw_box=dict(type='L1Loss'),
)
_PROXY_TARGETS = ('labels', 'keypoints')

PredictDistributions = Callable[[Mapping[str, Tensor]], KeypointDistributions]


@dataclass(frozen=True)
class TrainingPhase:
    """The loss weights and targets of a one-stage model during some epochs.

    Attributes:
        loss_weights: A factor for every loss; a loss of weight 0 is left out.
        proxy_target: 'labels': proxies learn the labels, and their OKS is the target score. 'keypoints': they learn the
            keypoints that the head's distributions predict where these are nearer to the labels, and the OKS of those
            is the target score.
        overlaps_power: The target score is the OKS to this power.
    """

    loss_weights: Mapping[str, float]
    proxy_target: str = 'labels'
    overlaps_power: float = 1.0


class PositiveCells(NamedTuple):
    """P cells that learn to predict an instance.

    Attributes:
        image_indices: (P,).
        cell_indices: (P,).
        ground_truth: The instance of each.
        oks: (P,), OKS of the cell's proxy keypoints with the instance.
        valid: (P,), 0 for rows of padding, since batch norms in training need several rows.
    """

    image_indices: Tensor
    cell_indices: Tensor
    ground_truth: GroundTruthInstances
    oks: Tensor
    valid: Tensor


class OneStageCriterion(nn.Module):
    """The losses of cells: score, box, visibility, proxy keypoints, and keypoints as distributions.

    Each loss is summed and divided by the number of positive cells, as a mean of all processes. Masked cells without an
    assigned instance are not trained as background.

    Args:
        sigmas: (K,), the skeleton's; None if it has none, which the default assigner and losses refuse.
        head_name: Name of the head, for messages.
        predict_distributions: The head's function from the fields of P cells to the distributions of their keypoints;
            None if it has none, and then no loss 'keypoints'.
        assigner: Gives cells to instances; by default `SimOTA`.
        loss: A loss for each of 'score', 'box', 'visible', 'proxy', 'keypoints' and 'raw_box' (the box in strides); one
            that it leaves out has its default.
        loss_weights: Factors of the losses that replace the default ones.
        proxy_target: As in `TrainingPhase`.
        overlaps_power: As in `TrainingPhase`.

    Raises:
        ConfigError: A loss is unknown, or the proxy target is unknown or unsuitable for the head.
    """

    slots: ClassVar[Mapping[str, Slot]] = {
        'assigner': Slot('model', ('sigmas',)),
        'loss': Slot('model', ('sigmas',), by_name=True),
    }

    def __init__(
        self,
        sigmas: Sequence[float] | None,
        head_name: str,
        predict_distributions: PredictDistributions | None = None,
        assigner: Assigner | PartConfig | None = None,
        loss: Mapping[str, LossSpec] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str = 'labels',
        overlaps_power: float = 1.0,
    ):
        super().__init__()
        self.sigmas, self.head_name, self.predict_distributions = sigmas, head_name, predict_distributions
        self.assigner: Assigner = MODELS.build(assigner or dict(type='SimOTA'), sigmas=sigmas)
        names = [name for name in _DEFAULT_LOSSES if name != 'keypoints' or predict_distributions is not None]
        _check_loss_names('loss', loss or {}, names)
        specs: dict[str, LossSpec] = {name: (loss or {}).get(name, _DEFAULT_LOSSES[name]) for name in names}
        self.loss = nn.ModuleDict({name: MODELS.build(spec, sigmas=sigmas) for name, spec in specs.items()})
        default = TrainingPhase({name: _DEFAULT_LOSS_WEIGHTS[name] for name in names})
        self.initial_phase = self._change_phase(default, loss_weights, proxy_target, overlaps_power)
        self.phase = self.initial_phase

    def set_phase(
        self,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str | None = None,
        overlaps_power: float | None = None,
    ) -> TrainingPhase:
        """Train with the initial settings, except for these.

        Args:
            loss_weights: Factors of losses that replace the initial ones; the others keep theirs.
            proxy_target: As in `TrainingPhase`.
            overlaps_power: As in `TrainingPhase`.

        Returns:
            The new phase.

        Raises:
            ConfigError: A loss is unknown, or the proxy target is unknown or unsuitable for the head.
        """
        self.phase = self._change_phase(self.initial_phase, loss_weights, proxy_target, overlaps_power)
        return self.phase

    def _change_phase(
        self,
        phase: TrainingPhase,
        loss_weights: Mapping[str, float] | None,
        proxy_target: str | None,
        overlaps_power: float | None,
    ) -> TrainingPhase:
        """A phase with other settings; None keeps the phase's."""
        _check_loss_names('loss_weights', loss_weights or {}, list(self.loss))
        target = proxy_target or phase.proxy_target
        if target not in _PROXY_TARGETS or (target == 'keypoints' and 'keypoints' not in self.loss):
            raise ConfigError(
                f"OneStage: proxy_target is one of {', '.join(_PROXY_TARGETS)}, and 'keypoints' only where the head "
                f'gives distributions; got {target!r} with {self.head_name}'
            )
        if target == 'keypoints' and self.sigmas is None:
            raise ConfigError("OneStage: proxy_target='keypoints' needs the sigmas that the skeleton lacks; add sigmas")
        power = phase.overlaps_power if overlaps_power is None else overlaps_power
        return TrainingPhase({**phase.loss_weights, **(loss_weights or {})}, target, power)

    def forward(self, stages: Sequence[StageFields], batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses.

        Args:
            stages: One stage with the fields of a `OneStageHead`.
            batch: The images with their instances.

        Returns:
            Scalars by name, such as 'loss_box'.
        """
        # One stage: a one-stage head has no intermediate predictions.
        (fields,) = stages
        # 1. Assign cells to instances, by what the network predicts now and without a gradient.
        positives = self.assign_cells(fields, extract_ground_truths(batch))
        # 2. The losses of these cells, (P, ...), in single precision.
        positive_fields = gather_cell_fields(fields, positives.image_indices, positives.cell_indices)
        losses, oks = self.compute_positive_losses({n: f.float() for n, f in positive_fields.items()}, positives)
        # 3. The score of every cell, (B, A): the OKS where there is an instance, else 0.
        target_scores = torch.zeros_like(fields['score'])
        positive_scores = (oks**self.phase.overlaps_power * positives.valid).to(target_scores)
        # Added, not written: rows of padding have the indices of cell 0 of image 0, which may be a positive cell.
        cells = (positives.image_indices, positives.cell_indices)
        target_scores.index_put_(cells, positive_scores, accumulate=True)
        score_mask = build_score_mask(batch.masks, fields['points'], target_scores)
        losses['score'] = self.loss['score'](fields['score'], target_scores, score_mask)
        # 4. All sums over cells become means; over all processes, so that each step has one scale.
        num_positives = _reduce_mean(positives.valid.sum()).clamp(min=1)
        weights = {name: weight for name, weight in self.phase.loss_weights.items() if weight}
        return {f'loss_{name}': weight * losses[name] / num_positives for name, weight in weights.items()}

    def compute_positive_losses(
        self, fields: Mapping[str, Tensor], positives: PositiveCells
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Compute the losses of positive cells, without their weights.

        Args:
            fields: The fields of the P cells, each (P, ...).
            positives: The cells and their instances.

        Returns:
            The summed losses by name, without that of the score, and (P,) the OKS of every cell.
        """
        truth, valid = positives.ground_truth, positives.valid
        labeled = truth.labeled * valid[:, None]
        raw_boxes = encode_raw_boxes(truth.boxes, fields)
        losses = {
            'box': self.loss['box'](fields['box'], truth.boxes, valid),
            'visible': self.loss['visible'](fields['visible'], truth.labeled.float(), valid[:, None]),
            # `L1Loss` is a mean over P x 4 numbers; times their count it is a sum like the others.
            'raw_box': 4 * len(valid) * self.loss['raw_box'](fields['raw'], raw_boxes, valid[:, None]),
        }
        instance_sizes = truth.areas.clamp(min=1).sqrt()
        oks, proxy_targets, trained_proxies = positives.oks, truth.keypoints, labeled
        if self.predict_distributions is not None:
            distributions = self.predict_distributions(fields)
            losses['keypoints'] = self.loss['keypoints'](distributions, truth.keypoints, instance_sizes, labeled)
            if self.phase.proxy_target == 'keypoints':
                # RTMO from epoch 280 on: proxies learn from the classifier, where it is better than they are.
                proxy_targets = distributions.expected_keypoints().detach()
                keypoint_errors = (proxy_targets - truth.keypoints).norm(dim=-1)
                proxy_errors = (fields['proxy'] - truth.keypoints).norm(dim=-1)
                trained_proxies = labeled * (keypoint_errors < proxy_errors)
                oks = compute_keypoint_oks(proxy_targets, truth, self._sigmas_like(proxy_targets))
        # OKS has no unit: distances are fractions of the instance size.
        scale = instance_sizes[:, None, None]
        losses['proxy'] = self.loss['proxy'](fields['proxy'] / scale, proxy_targets / scale, trained_proxies)
        return losses, oks

    def _sigmas_like(self, tensor: Tensor) -> Tensor:
        """(K,) the sigmas with a tensor's type and device."""
        return torch.tensor(self.sigmas or (), dtype=tensor.dtype, device=tensor.device)

    @torch.no_grad()
    def assign_cells(self, fields: StageFields, ground_truths: Sequence[GroundTruthInstances]) -> PositiveCells:
        """Assign cells to the instances of every image.

        Args:
            fields: The fields of a `OneStageHead`.
            ground_truths: The instances of every image.

        Returns:
            The cells that have an instance; rows of padding make them two at least.
        """
        # The same for all images: (A, 2) and (A,).
        shared = {name: fields[name] for name in ('points', 'strides')}
        assignments: list[Assignment] = []
        for index, ground_truth in enumerate(ground_truths):
            image_fields = {name: fields[name][index] for name in ('score', 'box', 'proxy')}
            assignments.append(self.assigner({**shared, **image_fields}, ground_truth))
        images = torch.cat([torch.full_like(a.cell_indices, index) for index, a in enumerate(assignments)])
        cells = torch.cat([a.cell_indices for a in assignments])
        oks = torch.cat([a.oks for a in assignments])
        pairs = zip(ground_truths, assignments, strict=True)
        selected = [ground_truth.select_rows(a.instance_indices) for ground_truth, a in pairs]
        columns = [torch.cat(arrays) for arrays in zip(*selected, strict=True)]
        # Rows of zeros, of cell 0 of image 0; `valid` takes them out of every loss.
        padding = max(2 - len(cells), 0)
        valid = F.pad(torch.ones_like(oks), (0, padding))
        truth = GroundTruthInstances(*(F.pad(t, (0, 0) * (t.ndim - 1) + (0, padding)) for t in columns))
        return PositiveCells(
            F.pad(images, (0, padding)), F.pad(cells, (0, padding)), truth, F.pad(oks, (0, padding)), valid
        )


def _check_loss_names(setting: str, settings: Mapping[str, object], loss_names: Sequence[str]) -> None:
    """Raise if settings name a loss that does not exist."""
    for name in settings:
        if name not in loss_names:
            closest, known = suggest_closest(name, loss_names), f'known: {", ".join(loss_names)}'
            raise ConfigError(compose_message(f'model.{setting} names {name!r}', closest, known))


def extract_ground_truths(batch: Batch) -> list[GroundTruthInstances]:
    """Return the annotated instances of every image that have a labeled keypoint inside the input.

    Args:
        batch: Images with their instances.

    Returns:
        The instances of each image; boxes are clipped to the input.
    """
    height, width = batch.images.shape[2:4]
    # Pixel centers sit on integers, so the input reaches from -0.5 to size - 0.5.
    last_edge = batch.keypoints.new_tensor([width, height]) - 0.5
    inside = ((batch.keypoints >= -0.5) & (batch.keypoints <= last_edge)).all(dim=-1)
    labeled = inside & (batch.visible > 0) & batch.valid[..., None]
    boxes = torch.minimum(batch.boxes.clamp(min=-0.5), last_edge.repeat(2))
    # A box of less than 1 px would have a logarithm of size that no cell can predict.
    trained = labeled.any(dim=-1) & (boxes[..., 2:] - boxes[..., :2] >= 1).all(dim=-1)
    instances = GroundTruthInstances(batch.keypoints, labeled, boxes, batch.areas)
    return [GroundTruthInstances(*(t[i] for t in instances)).select_rows(trained[i]) for i in range(len(batch))]


def encode_raw_boxes(boxes: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
    """Encode boxes as the network predicts them.

    Args:
        boxes: (P, 4), xyxy in input px.
        fields: 'points' (P, 2) and 'strides' (P,) of the cells.

    Returns:
        (P, 4): offsets of the center and logarithms of width and height, both in strides.
    """
    strides = fields['strides'][:, None]
    offsets = ((boxes[:, :2] + boxes[:, 2:]) / 2 - fields['points']) / strides
    return torch.cat([offsets, ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / strides).log()], dim=1)


def build_score_mask(masks: Tensor, points: Tensor, target_scores: Tensor) -> Tensor:
    """Build the mask of the cells whose score is trained.

    Args:
        masks: (B, H, W) over the input, 0 where a position is not trained.
        points: (A, 2), positions of the cells in input px.
        target_scores: (B, A), above 0 for cells with an instance, which are always trained.

    Returns:
        (B, A), 0 for a cell that is not trained.
    """
    height, width = masks.shape[1:]
    # The mask at the pixel nearest to the cell, not its mean over the cell.
    x, y = points.round().long().unbind(dim=-1)
    unmasked = masks[:, y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0
    return (unmasked | (target_scores > 0)).float()


def _reduce_mean(value: Tensor) -> Tensor:
    """The mean of a number over all processes that train together."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return value
    # all_reduce works in place.
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
