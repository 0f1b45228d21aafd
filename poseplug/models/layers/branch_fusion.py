"""What high-resolution networks share: new branches, and sums over all branches (Sun et al. 2019, arXiv:1902.09212)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

BuildConv = Callable[[int, int, int], nn.Module]  # of input channels, output channels and stride
BuildFuseLayer = Callable[[Sequence[int], int, int], nn.Module]  # of the branches' channels, source and target


class BranchTransition(nn.ModuleDict):
    """Adapt the branches' channels and start one more branch from the coarsest, at half its size.

    Layers are named by the index of their branch; a branch that keeps its channels has none.

    Args:
        in_channels: Channels of the branches before.
        out_channels: Channels of the branches behind, one more.
        build_conv: Builds a convolution with norm and activation.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], build_conv: BuildConv):
        pairs = enumerate(zip(in_channels, out_channels, strict=False))
        super().__init__({str(i): build_conv(old, new, 1) for i, (old, new) in pairs if old != new})
        self.new_branch = str(len(in_channels))
        # A Sequential of one block: the released names count the halvings to a new branch.
        self[self.new_branch] = nn.Sequential(build_conv(in_channels[-1], out_channels[-1], 2))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features (B, C, H, W) of all branches, finest first."""
        adapted = [self[str(i)](x) if str(i) in self else x for i, x in enumerate(features)]
        # The new branch reads the features as they came, not as adapted.
        return [*adapted, self[self.new_branch](features[-1])]


def build_fuse_layers(channels: Sequence[int], targets: Iterable[int], build_layer: BuildFuseLayer) -> nn.ModuleDict:
    """Build the layers from every branch to every other one that is computed.

    Args:
        channels: Channels of every branch, finest first.
        targets: Indices of the branches that are computed.
        build_layer: Builds the layers from one branch to another.

    Returns:
        A ModuleDict by target, of ModuleDicts by source; without a layer from a branch to itself.
    """
    indices = range(len(channels))
    return nn.ModuleDict(
        {
            str(target): nn.ModuleDict({str(i): build_layer(channels, i, target) for i in indices if i != target})
            for target in targets
        }
    )


def fuse_branches(
    fuse_layers: nn.ModuleDict, features: Sequence[Tensor], activation: nn.Module, upsample_mode: str
) -> list[Tensor]:
    """Compute the output branches of a module as sums over all branches.

    Args:
        fuse_layers: From `build_fuse_layers`.
        features: One map per branch, (B, C, H, W), finest first.
        activation: Applied to every sum.
        upsample_mode: How a coarser branch is enlarged: 'nearest' or 'bilinear'.

    Returns:
        One map per output branch, of the branch's shape.
    """
    return [
        activation(_sum_branches(int(target), layers, features, upsample_mode))
        for target, layers in fuse_layers.items()
    ]


def _sum_branches(target: int, layers: Any, features: Sequence[Tensor], upsample_mode: str) -> Tensor:
    total = features[target]
    for source, layer in layers.items():
        addend = layer(features[int(source)])
        # A coarser branch is enlarged; a finer one was halved by its layers.
        if int(source) > target:
            addend = F.interpolate(addend, size=total.shape[-2:], mode=upsample_mode)
        # Not in place: the branch's features are also addends of the other branches.
        total = total + addend
    return total
