"""RTMO's head (Lu et al. 2023, arXiv:2312.07526): a person at every cell, its joints by dynamic classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.errors import MismatchError
from poseplug.geometry import Size
from poseplug.models.csp import block, set_norms
from poseplug.models.dcc import DCC, Distributions
from poseplug.models.heads.one_stage import Fields, OneStageHead, boxes_of, flat, grid_points, predictors
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS

GROUPS = 8  # of the pose branch's convolutions
NORMS = dict(eps=1e-3, momentum=0.03)


@MODELS.register_module()
class RTMOHead(OneStageHead):
    """One half of the channels leads to the score, the other to box, proxy joints, visibility and a pose vector.

    `width` is that of the pose branch, `vector` that of the pose vector (by default the features'). The proxies, joints
    by direct offsets, serve training alone; joints come from the vector through a `DCC` with the settings `dcc`.
    Nothing is shared between levels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        input_size: Size,
        width: int = 144,
        vector: int | None = None,
        dcc: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        joints, channels, levels = shapes['keypoints'][0], in_channels[0], len(in_channels)
        if channels % 2 or set(in_channels) != {channels}:
            raise MismatchError(
                f'RTMOHead takes maps of one even number of channels; these have {tuple(in_channels)}. Set '
                f'model.neck to HybridEncoder, whose maps are alike'
            )
        self.scored, vector = channels // 2, vector or channels
        self.score_towers = nn.ModuleList(
            nn.Sequential(*(block(self.scored, self.scored, 3) for _ in range(2))) for _ in range(levels)
        )
        self.pose_towers = nn.ModuleList(
            nn.Sequential(block(self.scored, width, 3), *(block(width, width, 3, groups=GROUPS) for _ in range(3)))
            for _ in range(levels)
        )
        init_convolutions(self)
        set_norms(self, **NORMS)
        self.scores = predictors(levels, self.scored, dict(score=1))
        self.poses = predictors(levels, width, dict(raw=4, proxy=2 * joints, visible=joints, vector=vector))
        self.dcc = DCC(joints, vector, input_size, **(dcc or {}))

    def forward(self, features: Sequence[Tensor]) -> list[Fields]:
        points, strides = grid_points([f.shape[2:] for f in features], self.strides, features[0])
        halves = [f.split([self.scored, f.shape[1] - self.scored], dim=1) for f in features]
        scores = [tower(a) for tower, (a, _) in zip(self.score_towers, halves, strict=True)]
        posed = [tower(b) for tower, (_, b) in zip(self.pose_towers, halves, strict=True)]
        wanted = [n for n in self.poses if self.training or n != 'proxy']
        fields = {n: flat([layer(f) for layer, f in zip(self.poses[n], posed, strict=True)]) for n in wanted}
        fields['score'] = flat([p(f) for p, f in zip(self.scores['score'], scores, strict=True)])[..., 0]
        fields['box'] = boxes_of(fields['raw'], points, strides)
        if 'proxy' in fields:
            fields['proxy'] = points[:, None] + fields['proxy'].unflatten(2, (-1, 2)) * strides[:, None, None]
        return [{**fields, 'points': points, 'strides': strides}]

    def distributions(self, people: Mapping[str, Tensor]) -> Distributions:
        """Where the joints of chosen cells may be; their boxes teach nothing and learn nothing from here."""
        return self.dcc(people['vector'], people['box'].detach(), people['points'])

    def joints(self, people: Mapping[str, Tensor]) -> Tensor:
        return self.distributions(people).expectation()
