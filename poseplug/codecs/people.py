"""People as such: every cell of a network says how sure it is of a person, and where (YOLOX, RTMO)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.errors import ConfigError
from poseplug.grouping.boxes import staying
from poseplug.poses import Poses
from poseplug.registry import CODECS

SURE = 10.0  # the logit of what is certain
logger = logging.getLogger(__name__)


@CODECS.register_module()
@dataclass(frozen=True)
class People(Codec):
    """The people of all cells, those left out whom a surer one overlaps.

    Fields, of A cells of any arrangement: 'score' (B, A) and 'visible' (B, A, K), logits; 'box' (B, A, 4), x, y of two
    corners, and 'keypoints' (B, A, K, 2), both input px. A person's score is that of the cell. Of the `candidates`
    surest cells of a picture those above `threshold` count; the box of a surer one suppresses whose IoU with it is
    above `overlap`; `most` people of a picture are left at most. Whom these two numbers cut off is counted in the log.
    """

    threshold: float = 0.1
    overlap: float = 0.65
    candidates: int = 1000
    most: int = 300

    score: ClassVar[str] = 'how likely the joint is visible, by the network, 0..1'
    tolerance: ClassVar[float] = 0.01
    kind: ClassVar[str] = 'people'

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1 or not 0 <= self.overlap <= 1 or min(self.candidates, self.most) < 1:
            raise ConfigError(
                f'People: threshold and overlap are within 0 and 1, candidates and most at least 1; got '
                f'{self.threshold}, {self.overlap}, {self.candidates}, {self.most}'
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {'keypoints': (len(self.skeleton), 2)}

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        """What cells should say, one a person: sure of everybody with a labelled joint; boxes are the joints' hull."""
        labelled = visible > 0 if people is None else (visible > 0) & people[..., None]
        known, real = labelled[..., None], labelled.any(dim=-1)
        low = torch.where(known, keypoints, torch.inf).amin(dim=-2)
        high = torch.where(known, keypoints, -torch.inf).amax(dim=-2)
        fields = {
            'score': torch.where(real, SURE, -SURE),
            'visible': torch.where(labelled, SURE, -SURE),
            'box': torch.where(real[..., None], torch.cat([low, high], dim=-1), 0.0),
            'keypoints': torch.where(known, keypoints, 0.0),
        }
        return Targets((fields,), {'keypoints': labelled.float(), 'box': real.float()})

    def decode(self, fields: Fields) -> Poses:
        """People (N) of every picture, the surest first."""
        images, cells = self.chosen(fields)
        return self.poses(taken(fields, images, cells), images)

    def chosen(self, fields: Fields) -> tuple[Tensor, Tensor]:
        """The pictures (N,) and cells (N,) of those who are people, by 'score' and 'box' alone; surest first."""
        scores = fields['score'].float().sigmoid().nan_to_num(0.0)
        best, cells = scores.topk(min(self.candidates, scores.shape[1]), dim=1)
        counts = best > self.threshold
        longest = int(counts.sum(dim=1).max()) if counts.numel() else 0
        counts, cells = counts[:, :longest], cells[:, :longest]
        boxes = fields['box'].float().gather(1, cells[..., None].expand(-1, -1, 4))
        stays = staying(boxes, counts, self.overlap)
        self._tell((scores > self.threshold).sum(dim=1), stays.sum(dim=1))
        images, ranks = (stays & (stays.cumsum(dim=1) <= self.most)).nonzero(as_tuple=True)
        return images, cells[images, ranks]

    def _tell(self, sure: Tensor, stay: Tensor) -> None:
        """Count whom the numbers of candidates and of people cut off, of so many sure cells (B,) and stayers (B,)."""
        for i, (cells, people) in enumerate(torch.stack([sure, stay], dim=1).tolist()):
            if cells > self.candidates or people > self.most:
                logger.info(
                    'picture %d: %d of %d sure cells were no candidates (candidates=%d), %d of %d people were one too '
                    'many (most=%d)',
                    *(i, max(cells - self.candidates, 0), cells, self.candidates),
                    *(max(people - self.most, 0), people, self.most),
                )

    def poses(self, people: Mapping[str, Tensor], images: Tensor) -> Poses:
        """People of `images` (N,) from what their cells say: every field (N, ...)."""
        return Poses(
            keypoints=people['keypoints'].float(),
            scores=people['visible'].float().sigmoid(),
            person_scores=people['score'].float().sigmoid(),
            images=images,
            boxes=people['box'].float(),
        )

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Cells keep their order, so that a mirrored input's are those of other places than the input's."""
        order, last = self.skeleton.mirror.tolist(), self.input_size[0] - 1
        left, top, right, bottom = fields['box'].unbind(-1)
        x, y = fields['keypoints'][..., order, :].unbind(-1)
        return {
            **fields,
            'visible': fields['visible'][..., order],
            'box': torch.stack([last - right, top, last - left, bottom], dim=-1),
            'keypoints': torch.stack([last - x, y], dim=-1),
        }


def taken(fields: Fields, images: Tensor, cells: Tensor) -> dict[str, Tensor]:
    """What cells say, each field (N, ...); what all pictures share, (A, ...), too."""
    shared = ('points', 'strides')
    return {n: f[cells] if n in shared else f[images, cells] for n, f in fields.items()}
