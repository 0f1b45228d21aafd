"""Everybody in a picture at once, each found by a cell of the network (YOLO-Pose, RTMO)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.errors import ConfigError, MismatchError, clauses, closest
from poseplug.geometry import Size
from poseplug.models.assigners.base import Assigner, Truth, likeness
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.resizing import Sizes, resized
from poseplug.models.estimators.views import Views
from poseplug.poses import Poses
from poseplug.registry import CODECS, MODELS
from poseplug.sample import Batch

WEIGHTS = dict(score=1.0, box=5.0, visible=1.0, proxy=30.0, joints=1.0, raw=0.0)
LOSSES = dict(
    score=dict(type='Varifocal'),
    box=dict(type='SquaredIoU'),
    visible=dict(type='BinaryCrossEntropy'),
    proxy=dict(type='OKS'),
    joints=dict(type='MLE'),
    raw=dict(type='L1'),
)
TEACHERS = ('labels', 'joints')


@dataclass(frozen=True)
class Phase:
    """What training asks for at a time.

    `weights` multiply the losses. `proxies` says of whom the proxies learn, and whose likeness is the wanted score: the
    'labels', where the proxies' own counts, or the 'joints' that the classifier gives, where these are the nearer ones.
    The wanted score is the OKS to the power of `power`.
    """

    weights: Mapping[str, float]
    proxies: str = 'labels'
    power: float = 1.0


class Given(NamedTuple):
    """P cells that shall find somebody: of the pictures `images` (P,) the `cells` (P,), and whom they shall find.

    `alike` (P,) is the OKS of their proxies. `real` (P,) is 0 for what is there only since a network in training wants
    several rows.
    """

    images: Tensor
    cells: Tensor
    truth: Truth
    alike: Tensor
    real: Tensor


@MODELS.register_module()
class OneStage(Views, Estimator):
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

    finds_people: ClassVar[bool] = True
    flip_test = False

    def __init__(
        self,
        *args: Any,
        assigner: Assigner | Mapping[str, Any] | None = None,
        loss: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        proxies: str = 'labels',
        power: float = 1.0,
        sizes: Sizes | None = None,
        **parts: Any,
    ):
        super().__init__(*args, **parts)
        self.sigmas = self.skeleton.sigmas
        self._check_codec()
        self.assigner: Any = MODELS.build(assigner or dict(type='SimOTA'), sigmas=self.sigmas)
        known = [n for n in LOSSES if n != 'joints' or hasattr(self.head, 'distributions')]
        check_names('loss', loss or {}, known)
        self.loss: Any = nn.ModuleDict(
            {n: MODELS.build((loss or {}).get(n, LOSSES[n]), sigmas=self.sigmas) for n in known}
        )
        self.known, self.sizes = known, sizes
        self.base = self.phase = Phase({n: WEIGHTS[n] for n in known})
        self.enter(weights or {}, proxies, power)
        self.base = self.phase

    def enter(
        self, weights: Mapping[str, float] | None = None, proxies: str | None = None, power: float | None = None
    ) -> Phase:
        """Train as was first asked for, but for these settings of `Phase`."""
        check_names('weights', weights or {}, self.known)
        taught = proxies or self.base.proxies
        if taught not in TEACHERS or (taught == 'joints' and 'joints' not in self.known):
            raise ConfigError(
                f"OneStage: proxies is one of {', '.join(TEACHERS)}, and 'joints' only where the head gives "
                f'distributions; got {taught!r} with {type(self.head).__name__}'
            )
        self.phase = Phase(
            {**self.base.weights, **(weights or {})}, taught, self.base.power if power is None else power
        )
        return self.phase

    def train_step(self, batch: Batch, optim_wrapper: Any) -> dict[str, Tensor]:
        """As of other estimators, of pictures of another size each step where `sizes` asks for it."""
        return super().train_step(resized(batch, self.sizes) if self.sizes else batch, optim_wrapper)

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The weighted losses by name. `outputs` are the head's stages for the first view."""
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, self.domains(batch))
        (fields,) = outputs
        given = self.assigned(fields, truths(batch))
        people = {n: f.float() for n, f in at(fields, given).items()}
        terms, quality = self.people_losses(people, given)
        wanted = torch.zeros_like(fields['score'])
        wanted[given.images, given.cells] = quality**self.phase.power * given.real
        counts = counting(batch.masks, fields['points'], wanted)
        terms['score'] = self.loss['score'](fields['score'], wanted, counts)
        number = mean_of_devices(given.real.sum()).clamp(min=1)
        weights = {n: w for n, w in self.phase.weights.items() if w}
        return {f'loss_{n}': weight * terms[n] / number for n, weight in weights.items()}

    def people_losses(self, people: Mapping[str, Tensor], given: Given) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of cells that shall find somebody, and (P,) how well they do."""
        truth, real = given.truth, given.real
        sizes = truth.areas.clamp(min=1).sqrt()
        counts = truth.labelled * real[:, None]
        terms = {
            'box': self.loss['box'](people['box'], truth.boxes, real),
            'visible': self.loss['visible'](people['visible'], truth.labelled.float(), real[:, None]),
            'raw': 4 * len(real) * self.loss['raw'](people['raw'], raw_of(truth.boxes, people), real[:, None]),
        }
        quality, wanted, learns = given.alike, truth.keypoints, counts
        if 'joints' in self.loss:
            found = self.head.distributions(people)
            terms['joints'] = self.loss['joints'](found, truth.keypoints, sizes, counts)
            if self.phase.proxies == 'joints':
                wanted = found.expectation().detach()
                nearer = (wanted - truth.keypoints).norm(dim=-1) < (people['proxy'] - truth.keypoints).norm(dim=-1)
                quality, learns = likeness(wanted, truth, self.sigmas_like(wanted)), counts * nearer
        scale = sizes[:, None, None]
        terms['proxy'] = self.loss['proxy'](people['proxy'] / scale, wanted / scale, learns)
        return terms, quality

    @torch.no_grad()
    def assigned(self, fields: Mapping[str, Tensor], everybody: Sequence[Truth]) -> Given:
        """Which cells shall find whom: two rows at least, since batch norms in training want several."""
        shared = {n: fields[n] for n in ('points', 'strides')}
        own = [{**shared, **{n: fields[n][i] for n in ('score', 'box', 'proxy')}} for i in range(len(everybody))]
        found = [self.assigner(f, truth) for f, truth in zip(own, everybody, strict=True)]
        images = torch.cat([torch.full_like(a.cells, i) for i, a in enumerate(found)])
        cells, alike = torch.cat([a.cells for a in found]), torch.cat([a.alike for a in found])
        parts = [truth.of(a.people) for truth, a in zip(everybody, found, strict=True)]
        truth = Truth(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        missing = max(2 - len(cells), 0)
        real = F.pad(torch.ones_like(alike), (0, missing))
        filled = Truth(*(F.pad(t, (0, 0) * (t.ndim - 1) + (0, missing)) for t in truth))
        return Given(F.pad(images, (0, missing)), F.pad(cells, (0, missing)), filled, F.pad(alike, (0, missing)), real)

    def sigmas_like(self, tensor: Tensor) -> Tensor:
        """(K,) the skeleton's sigmas with a tensor's type and device."""
        return torch.tensor(self.sigmas, dtype=tensor.dtype, device=tensor.device)

    def people(self, views: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """Everybody in every picture, in image pixels, from the fields of its one view."""
        if len(views) > 1:
            raise MismatchError('OneStage reads one view of a picture; leave Scales out of the test pipeline')
        return self.decode(views[0], batch)

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """The people that the fields of each picture show, in image pixels, surest first."""
        found = self.found(fields).numpy().split(len(batch))
        back = np.linalg.inv(batch.matrices[:, 0].cpu().numpy())
        placed = [single(poses.moved(matrix)) for poses, matrix in zip(found, back, strict=True)]
        return [seen(poses, size) for poses, size in zip(placed, batch.sizes, strict=True)]

    def found(self, fields: Mapping[str, Tensor]) -> Poses:
        """The people that the fields of all pictures show, in input pixels, surest first in each."""
        images, cells = self.codec.chosen(fields)
        people = at(fields, (images, cells))
        return self.codec.poses({**people, 'keypoints': self.head.joints(people)}, images)

    def _check_codec(self) -> None:
        if self.codec.kind != 'people':
            fitting = [n for n in CODECS.names() if getattr(CODECS.get(n), 'kind', '') == 'people']
            raise MismatchError(
                f'OneStage finds people at cells, but {type(self.codec).__name__} reads {self.codec.kind}; set '
                f'model.codec.type to one of {", ".join(fitting)}, or take another model.type'
            )


def check_names(setting: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Settings of losses are of the losses that there are."""
    for name in given:
        if name not in known:
            raise ConfigError(
                clauses(f'model.{setting} names {name!r}', closest(name, known), f'known: {", ".join(known)}')
            )


def at(fields: Mapping[str, Tensor], where: Any) -> dict[str, Tensor]:
    """What chosen cells say, each field (P, ...); `where` begins with the pictures (P,) and the cells (P,)."""
    images, cells = where[0], where[1]
    return {n: f[cells] if n in ('points', 'strides') else f[images, cells] for n, f in fields.items()}


def truths(batch: Batch) -> list[Truth]:
    """The annotated people of every picture, without those of whom no labelled joint lies in the input."""
    if batch.boxes is None or batch.areas is None:
        raise ConfigError('OneStage is trained with boxes and areas of people; this batch, not of collate, has none')
    height, width = batch.images.shape[2:4]
    edge = batch.keypoints.new_tensor([width, height]) - 0.5
    inside = ((batch.keypoints >= -0.5) & (batch.keypoints <= edge)).all(dim=-1)
    labelled = inside & (batch.visible > 0) & batch.people[..., None]
    boxes = torch.minimum(batch.boxes.clamp(min=-0.5), edge.repeat(2))
    there = labelled.any(dim=-1) & (boxes[..., 2:] - boxes[..., :2] >= 1).all(dim=-1)
    everybody = Truth(batch.keypoints, labelled, boxes, batch.areas)
    return [Truth(*(t[i] for t in everybody)).of(there[i]) for i in range(len(batch))]


def raw_of(boxes: Tensor, people: Mapping[str, Tensor]) -> Tensor:
    """(P, 4) boxes (P, 4; two corners) as a network should give them: middles and logarithms of sizes, in strides."""
    strides = people['strides'][:, None]
    away = ((boxes[:, :2] + boxes[:, 2:]) / 2 - people['points']) / strides
    return torch.cat([away, ((boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / strides).log()], dim=1)


def counting(masks: Tensor | None, points: Tensor, wanted: Tensor) -> Tensor | None:
    """(B, A) of cells at `points` (A, 2): 0 where masks (B, H, W) leave one out that shall find nobody."""
    if masks is None:
        return None
    height, width = masks.shape[1:]
    x, y = points.round().long().unbind(dim=-1)
    return ((masks[:, y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0) | (wanted > 0)).float()


def mean_of_devices(number: Tensor) -> Tensor:
    """A number as the mean of all processes that train together."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return number
    total = number.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def seen(poses: Poses, size: Size) -> Poses:
    """NumPy people whose boxes have something in common with a picture of `size` (width, height)."""
    boxes = np.asarray(poses.boxes)
    return poses[(boxes[:, 2:] > -0.5).all(axis=1) & (boxes[:, :2] < np.array(size) - 0.5).all(axis=1)]


def single(poses: Poses) -> Poses:
    """NumPy people in single precision."""
    values = {n: np.asarray(getattr(poses, n), np.float32) for n in ('keypoints', 'boxes')}
    return replace(poses, **values)
