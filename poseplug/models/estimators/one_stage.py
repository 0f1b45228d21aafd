"""Everybody in a picture at once, each found by a cell of the network (YOLO-Pose, RTMO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError, MismatchError, compose_message, suggest_closest
from poseplug.core.geometry import Size
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch
from poseplug.models.assigners.base import Assigner, GroundTruthInstances, compute_keypoint_oks
from poseplug.models.estimators.augmentation import TTAMixin
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.random_resize import SizeRange, resize_batch_randomly
from poseplug.registry import CODECS, MODELS

_DEFAULT_LOSS_WEIGHTS = dict(score=1.0, box=5.0, visible=1.0, proxy=30.0, keypoints=1.0, raw_box=0.0)
_DEFAULT_LOSSES = dict(
    score=dict(type='VarifocalLoss'),
    box=dict(type='SquaredIoULoss'),
    visible=dict(type='BinaryCrossEntropy'),
    proxy=dict(type='OKSLoss'),
    keypoints=dict(type='MLECCLoss'),
    raw_box=dict(type='L1Loss'),
)
_PROXY_TARGETS = ('labels', 'keypoints')


@dataclass(frozen=True)
class TrainingPhase:
    """What training asks for at a time.

    `weights` multiply the losses. `proxies` says of whom the proxies learn, and whose likeness is the wanted score: the
    'labels', where the proxies' own counts, or the 'joints' that the classifier gives, where these are the nearer ones.
    The wanted score is the OKS to the power of `power`.
    """

    loss_weights: Mapping[str, float]
    proxy_target: str = 'labels'
    overlaps_power: float = 1.0


class PositiveCells(NamedTuple):
    """P cells that shall find somebody: of the pictures `images` (P,) the `cells` (P,), and whom they shall find.

    `alike` (P,) is the OKS of their proxies. `real` (P,) is 0 for what is there only since a network in training wants
    several rows.
    """

    image_indices: Tensor
    cell_indices: Tensor
    ground_truth: GroundTruthInstances
    oks: Tensor
    valid: Tensor


@MODELS.register_module()
class OneStage(TTAMixin, Estimator):
    """Finds everybody by cells that each say how sure they are, where a person is, and where their joints are.

    The codec is `People`, the head one that predicts for it. In training an `assigner` gives cells to people. `loss`
    names a loss for each of: the 'score', the 'box', the 'visible' joints, the 'proxy' joints by direct offsets, the
    'joints' as distributions, where the head has them, and the 'raw' box in strides; what it leaves out has the usual
    one. `weights` multiply them. Each is summed, and divided by the number of cells that shall find somebody, as a mean
    of all devices. `proxies` and `power` are as in `Phase`; `enter` changes them and the weights on the way.

    Cells that masks leave out and that nobody got do not learn that nobody is there. With `sizes` the batches are
    brought to another size each in training. A person whose box lies beyond the picture, in what fills up the input, is
    nobody; joints and boxes of others may reach over its border.
    """

    finds_instances: ClassVar[bool] = True
    flip_test = False

    def __init__(
        self,
        *args: Any,
        assigner: Assigner | Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str = 'labels',
        overlaps_power: float = 1.0,
        random_size_range: SizeRange | None = None,
        **parts: Any,
    ):
        super().__init__(*args, **parts)
        self.sigmas = self.skeleton.sigmas
        self._check_codec_field_kind()
        self.assigner: Any = MODELS.build(assigner or dict(type='SimOTA'), sigmas=self.sigmas)
        known = [n for n in _DEFAULT_LOSSES if n != 'keypoints' or hasattr(self.head, 'predict_distributions')]
        _check_loss_names('loss', loss or {}, known)
        self.loss: Any = nn.ModuleDict(
            {n: MODELS.build((loss or {}).get(n, _DEFAULT_LOSSES[n]), sigmas=self.sigmas) for n in known}
        )
        self.loss_names, self.random_size_range = known, random_size_range
        self.base_phase = self.phase = TrainingPhase({n: _DEFAULT_LOSS_WEIGHTS[n] for n in known})
        self.set_phase(loss_weights or {}, proxy_target, overlaps_power)
        self.base_phase = self.phase

    def set_phase(
        self,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str | None = None,
        overlaps_power: float | None = None,
    ) -> TrainingPhase:
        """Train as was first asked for, but for these settings of `Phase`."""
        _check_loss_names('loss_weights', loss_weights or {}, self.loss_names)
        taught = proxy_target or self.base_phase.proxy_target
        if taught not in _PROXY_TARGETS or (taught == 'keypoints' and 'keypoints' not in self.loss_names):
            raise ConfigError(
                f"OneStage: proxy_target is one of {', '.join(_PROXY_TARGETS)}, and 'keypoints' only where the head "
                f'gives distributions; got {taught!r} with {type(self.head).__name__}'
            )
        self.phase = TrainingPhase(
            {**self.base_phase.loss_weights, **(loss_weights or {})},
            taught,
            self.base_phase.overlaps_power if overlaps_power is None else overlaps_power,
        )
        return self.phase

    def train_step(self, batch: Batch, optim_wrapper: Any) -> dict[str, Tensor]:
        """As of other estimators, of pictures of another size each step where `sizes` asks for it."""
        return super().train_step(
            resize_batch_randomly(batch, self.random_size_range) if self.random_size_range else batch, optim_wrapper
        )

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted losses by name. `outputs` are the head's stages for the first view."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.source_indices(batch))
        (fields,) = outputs
        given = self.assign_cells(fields, extract_ground_truths(batch))
        people = {n: f.float() for n, f in _select_cells(fields, given).items()}
        terms, quality = self.compute_positive_losses(people, given)
        wanted = torch.zeros_like(fields['score'])
        wanted[given.image_indices, given.cell_indices] = quality**self.phase.overlaps_power * given.valid
        counts = build_score_mask(batch.masks, fields['points'], wanted)
        terms['score'] = self.loss['score'](fields['score'], wanted, counts)
        number = _reduce_mean(given.valid.sum()).clamp(min=1)
        weights = {n: w for n, w in self.phase.loss_weights.items() if w}
        return {f'loss_{n}': weight * terms[n] / number for n, weight in weights.items()}

    def compute_positive_losses(
        self, predictions: Mapping[str, Tensor], positives: PositiveCells
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of cells that shall find somebody, and (P,) how well they do."""
        truth, real = positives.ground_truth, positives.valid
        sizes = truth.areas.clamp(min=1).sqrt()
        counts = truth.labeled * real[:, None]
        terms = {
            'box': self.loss['box'](predictions['box'], truth.boxes, real),
            'visible': self.loss['visible'](predictions['visible'], truth.labeled.float(), real[:, None]),
            'raw_box': 4
            * len(real)
            * self.loss['raw_box'](predictions['raw'], encode_raw_boxes(truth.boxes, predictions), real[:, None]),
        }
        quality, wanted, learns = positives.oks, truth.keypoints, counts
        if 'keypoints' in self.loss:
            found = self.head.predict_distributions(predictions)
            terms['keypoints'] = self.loss['keypoints'](found, truth.keypoints, sizes, counts)
            if self.phase.proxy_target == 'keypoints':
                wanted = found.expected_keypoints().detach()
                nearer = (wanted - truth.keypoints).norm(dim=-1) < (predictions['proxy'] - truth.keypoints).norm(dim=-1)
                quality, learns = compute_keypoint_oks(wanted, truth, self.get_sigmas_like(wanted)), counts * nearer
        scale = sizes[:, None, None]
        terms['proxy'] = self.loss['proxy'](predictions['proxy'] / scale, wanted / scale, learns)
        return terms, quality

    @torch.no_grad()
    def assign_cells(
        self, fields: Mapping[str, Tensor], ground_truths: Sequence[GroundTruthInstances]
    ) -> PositiveCells:
        """Which cells shall find whom: two rows at least, since batch norms in training want several."""
        shared = {n: fields[n] for n in ('points', 'strides')}
        own = [{**shared, **{n: fields[n][i] for n in ('score', 'box', 'proxy')}} for i in range(len(ground_truths))]
        found = [self.assigner(f, truth) for f, truth in zip(own, ground_truths, strict=True)]
        images = torch.cat([torch.full_like(a.cell_indices, i) for i, a in enumerate(found)])
        cells, alike = torch.cat([a.cell_indices for a in found]), torch.cat([a.oks for a in found])
        parts = [truth.select(a.instance_indices) for truth, a in zip(ground_truths, found, strict=True)]
        truth = GroundTruthInstances(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        missing = max(2 - len(cells), 0)
        real = F.pad(torch.ones_like(alike), (0, missing))
        filled = GroundTruthInstances(*(F.pad(t, (0, 0) * (t.ndim - 1) + (0, missing)) for t in truth))
        return PositiveCells(
            F.pad(images, (0, missing)), F.pad(cells, (0, missing)), filled, F.pad(alike, (0, missing)), real
        )

    def get_sigmas_like(self, tensor: Tensor) -> Tensor:
        """(K,) the skeleton's sigmas with a tensor's type and device."""
        return torch.tensor(self.sigmas, dtype=tensor.dtype, device=tensor.device)

    def decode_views(self, view_fields: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """Everybody in every picture, in image pixels, from the fields of its one view."""
        if len(view_fields) > 1:
            raise MismatchError('OneStage reads one view of a picture; leave MultiScaleImage out of the test pipeline')
        return self.decode(view_fields[0], batch)

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """The people that the fields of each picture show, in image pixels, surest first."""
        found = self.decode_to_input(fields).numpy().split_by_image(len(batch))
        back = np.linalg.inv(batch.image_to_input[:, 0].cpu().numpy())
        placed = [_to_float32(poses.transform(matrix)) for poses, matrix in zip(found, back, strict=True)]
        return [_drop_outside_image(poses, size) for poses, size in zip(placed, batch.image_sizes, strict=True)]

    def decode_to_input(self, fields: Mapping[str, Tensor]) -> Poses:
        """The people that the fields of all pictures show, in input pixels, surest first in each."""
        images, cells = self.codec.select_cells(fields)
        people = _select_cells(fields, (images, cells))
        return self.codec.to_poses({**people, 'keypoints': self.head.decode_keypoints(people)}, images)

    def _check_codec_field_kind(self) -> None:
        if self.codec.field_kind != 'instances':
            fitting = [n for n in CODECS.list_names() if getattr(CODECS.get(n), 'field_kind', '') == 'instances']
            raise MismatchError(
                f'OneStage finds people at cells, but {type(self.codec).__name__} reads {self.codec.field_kind}; set '
                f'model.codec.type to one of {", ".join(fitting)}, or take another model.type'
            )


def _check_loss_names(setting: str, settings: Mapping[str, Any], loss_names: Sequence[str]) -> None:
    """Settings of losses are of the losses that there are."""
    for name in settings:
        if name not in loss_names:
            raise ConfigError(
                compose_message(
                    f'model.{setting} names {name!r}',
                    suggest_closest(name, loss_names),
                    f'known: {", ".join(loss_names)}',
                )
            )


def _select_cells(fields: Mapping[str, Tensor], indices: Any) -> dict[str, Tensor]:
    """What chosen cells say, each field (P, ...); `where` begins with the pictures (P,) and the cells (P,)."""
    images, cells = indices[0], indices[1]
    return {n: f[cells] if n in ('points', 'strides') else f[images, cells] for n, f in fields.items()}


def extract_ground_truths(batch: Batch) -> list[GroundTruthInstances]:
    """The annotated people of every picture, without those of whom no labelled joint lies in the input."""
    if batch.boxes is None or batch.areas is None:
        raise ConfigError('OneStage is trained with boxes and areas of people; this batch, not of collate, has none')
    height, width = batch.images.shape[2:4]
    edge = batch.keypoints.new_tensor([width, height]) - 0.5
    inside = ((batch.keypoints >= -0.5) & (batch.keypoints <= edge)).all(dim=-1)
    labelled = inside & (batch.visible > 0) & batch.valid[..., None]
    boxes = torch.minimum(batch.boxes.clamp(min=-0.5), edge.repeat(2))
    there = labelled.any(dim=-1) & (boxes[..., 2:] - boxes[..., :2] >= 1).all(dim=-1)
    everybody = GroundTruthInstances(batch.keypoints, labelled, boxes, batch.areas)
    return [GroundTruthInstances(*(t[i] for t in everybody)).select(there[i]) for i in range(len(batch))]


def encode_raw_boxes(boxes: Tensor, predictions: Mapping[str, Tensor]) -> Tensor:
    """(P, 4) boxes (P, 4; two corners) as a network should give them: middles and logarithms of sizes, in strides."""
    strides = predictions['strides'][:, None]
    away = ((boxes[:, :2] + boxes[:, 2:]) / 2 - predictions['points']) / strides
    return torch.cat([away, ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / strides).log()], dim=1)


def build_score_mask(masks: Tensor | None, points: Tensor, target_scores: Tensor) -> Tensor | None:
    """(B, A) of cells at `points` (A, 2): 0 where masks (B, H, W) leave one out that shall find nobody."""
    if masks is None:
        return None
    height, width = masks.shape[1:]
    x, y = points.round().long().unbind(dim=-1)
    return ((masks[:, y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0) | (target_scores > 0)).float()


def _reduce_mean(value: Tensor) -> Tensor:
    """A number as the mean of all processes that train together."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def _drop_outside_image(poses: Poses, image_size: Size) -> Poses:
    """NumPy people whose boxes have something in common with a picture of `size` (width, height)."""
    boxes = np.asarray(poses.boxes)
    return poses[(boxes[:, 2:] > -0.5).all(axis=1) & (boxes[:, :2] < np.array(image_size) - 0.5).all(axis=1)]


def _to_float32(poses: Poses) -> Poses:
    """NumPy people in single precision."""
    values = {n: np.asarray(getattr(poses, n), np.float32) for n in ('keypoints', 'boxes')}
    return replace(poses, **values)
