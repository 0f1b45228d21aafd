"""A person at every cell with its joints by direct offsets (Maji et al. 2022, arXiv:2204.06806), on YOLOX's towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.models.csp import block, set_norms
from poseplug.models.heads.one_stage import Fields, OneStageHead, boxes_of, flat, grid_points, predictors
from poseplug.models.heads.rtmo import NORMS
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class YOLOXPoseHead(OneStageHead):
    """Two 3x3 convolutions each towards score, box and joints, on `width` channels, on each level its own."""

    TOWERS = dict(score=('score',), box=('raw',), joints=('proxy', 'visible'))

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        width: int = 128,
    ):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        joints, levels = shapes['keypoints'][0], len(in_channels)
        sizes = dict(score=1, raw=4, proxy=2 * joints, visible=joints)
        self.entries = nn.ModuleList(block(n, width, 1) for n in in_channels)
        self.towers: Any = nn.ModuleDict(
            {
                name: nn.ModuleList(nn.Sequential(*(block(width, width, 3) for _ in range(2))) for _ in range(levels))
                for name in self.TOWERS
            }
        )
        init_convolutions(self)
        set_norms(self, **NORMS)
        self.outputs = predictors(levels, width, sizes)

    def forward(self, features: Sequence[Tensor]) -> list[Fields]:
        points, strides = grid_points([f.shape[2:] for f in features], self.strides, features[0])
        entered = [entry(f) for entry, f in zip(self.entries, features, strict=True)]
        fields = {}
        for name, outputs in self.TOWERS.items():
            maps = [tower(f) for tower, f in zip(self.towers[name], entered, strict=True)]
            for output in outputs:
                fields[output] = flat([p(f) for p, f in zip(self.outputs[output], maps, strict=True)])
        fields['score'] = fields['score'][..., 0]
        fields['box'] = boxes_of(fields['raw'], points, strides)
        fields['proxy'] = points[:, None] + fields['proxy'].unflatten(2, (-1, 2)) * strides[:, None, None]
        return [{**fields, 'points': points, 'strides': strides}]

    def joints(self, people: Mapping[str, Tensor]) -> Tensor:
        return people['proxy']
