"""The sequential prediction of convolutional pose machines (Wei et al. 2016, arXiv:1602.00134, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.errors import ConfigError
from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.layers import Layer, conv_stack, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class CPMHead(Head):
    """Stage 1 reads the picture; each later stage reads the picture again, the beliefs before it, and who is meant.

    Layers are (kernel, channels) or (kernel, channels, dropout): `first` are those of stage 1, `image` and `context`
    those of every later stage before and after the image features join the beliefs and the centre map. Each stage has
    its own, but `share_image` gives all later stages one image block, as the paper words it. `center_sigma` is the
    spread of the centre map in input pixels. The first feature map of the codec's stride feeds stage 1, the next ones
    the later stages; the last one serves all that follow.
    """

    uses_centers: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        stages: int = 6,
        first: Sequence[Layer] = ((5, 32), (9, 512, 0.5), (1, 512, 0.5)),
        image: Sequence[Layer] = ((5, 32),),
        context: Sequence[Layer] = ((11, 128), (11, 128), (11, 128), (1, 128)),
        share_image: bool = False,
        beliefs_first: bool = False,
        center_sigma: float = 21.0,
        norm: str | None = None,
        init_std: float | None = 0.01,
    ):
        super().__init__()
        if stages < 1:
            raise ConfigError(f'CPMHead needs at least one stage; got stages={stages}')
        self.stages, self.stride, self.fields = stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.center_sigma, self.beliefs_first = center_sigma, beliefs_first
        places = maps_of_stride('CPMHead', in_channels, strides, stride)
        self.places = [places[min(t, len(places) - 1)] for t in range(stages)]
        beliefs = sum(fields.values())
        self.first, width = conv_stack(in_channels[self.places[0]], first, norm)
        self.images, widths = self._image_blocks([in_channels[p] for p in self.places[1:]], image, norm, share_image)
        contexts = [conv_stack(w + beliefs + 1, context, norm) for w in widths]
        self.contexts = nn.ModuleList(stack for stack, _ in contexts)
        init_convolutions(self, init_std)
        self.predict = nn.ModuleList(nn.Conv2d(w, beliefs, 1) for w in [width, *(w for _, w in contexts)])
        init_convolutions(self.predict, 0.01)

    @staticmethod
    def _image_blocks(channels: list[int], layers: Sequence[Layer], norm: str | None, share: bool):
        if share and len(set(channels)) > 1:
            raise ConfigError(f'CPMHead: share_image needs later stages of one width; got {channels}')
        blocks = [conv_stack(c, layers, norm) for c in (channels[:1] if share else channels)]
        widths = [width for _, width in blocks]
        return nn.ModuleList(block for block, _ in blocks), widths * len(channels) if share else widths

    def forward(self, features: Sequence[Tensor], centers: Tensor | None = None) -> list[dict[str, Tensor]]:
        beliefs = self.predict[0](self.first(features[self.places[0]]))
        stages = [beliefs]
        where = self.center_map(beliefs, centers) if self.stages > 1 else None
        for t, place in enumerate(self.places[1:]):
            seen = self.images[min(t, len(self.images) - 1)](features[place])
            parts = [beliefs, seen, where] if self.beliefs_first else [seen, beliefs, where]
            beliefs = self.predict[t + 1](self.contexts[t](torch.cat(parts, dim=1)))
            stages.append(beliefs)
        names, counts = list(self.fields), list(self.fields.values())
        return [dict(zip(names, stage.split(counts, dim=1), strict=True)) for stage in stages]

    def center_map(self, like: Tensor, centers: Tensor | None) -> Tensor:
        """The Gaussian around the subject, average-pooled to the beliefs' grid: (B, 1, H, W).

        Drawn in input pixels; in training it is cut to 0 below 1 %. Windows of stride + 1 px, clipped at the border.
        """
        height, width = (int(n * self.stride) for n in like.shape[-2:])
        if centers is None:
            middle = [(width - 1) / 2, (height - 1) / 2]
            centers = torch.tensor([middle], device=like.device).expand(len(like), 2)
        gain = -0.5 / self.center_sigma**2
        across = gain * (torch.arange(width, device=like.device) - centers[:, 0, None]) ** 2
        down = gain * (torch.arange(height, device=like.device) - centers[:, 1, None]) ** 2
        full = torch.exp(down[:, :, None] + across[:, None, :])
        if self.training:
            full = torch.where(full < 0.01, 0.0, full)
        kernel, stride = int(self.stride) + 1, int(self.stride)
        pooled = F.avg_pool2d(full[:, None], kernel, stride, ceil_mode=True, count_include_pad=False)
        return pooled.to(like.dtype)
