"""Tags alike within a person and unlike between people (Newell et al. 2017, arXiv:1611.05424, section 3.2)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.losses.base import spread
from poseplug.registry import MODELS


@MODELS.register_module()
class AssociativeEmbedding(nn.Module):
    """How far a person's tags lie from their mean, and how near the means of two people lie to each other.

    Pull is the mean square within a person, averaged over people; push is exp(-d²) of two means d apart, averaged over
    pairs of people. Both are averaged over pictures. `factor` multiplies both, and `push` the latter alone. A picture
    of nobody costs nothing, and a single person has nobody to be pushed from. MMPose sums over pictures, and counts
    everybody as one more pair, with themselves, a constant.
    """

    reads: ClassVar[str] = 'numbers of people'

    def __init__(self, factor: float = 1.0, push: float = 0.5):
        super().__init__()
        for name, value in (('factor', factor), ('push', push)):
            if value < 0:
                raise ConfigError(f'AssociativeEmbedding: {name} is not negative; got {value}')
        self.factor, self.push = factor, push

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Tags (B, K, H, W) and in the same shape the numbers, from 1, of whose joints are where, to one number.

        Cells that are 0 do not count, nor do those without weight, (B, K) or (B, K, H, W).
        """
        counts = wanted > 0 if weight is None else (wanted > 0) & (spread(weight, wanted) > 0)
        places = counts.nonzero(as_tuple=True)
        pull, push = pull_and_push(predicted[places], wanted[places].long() - 1, places[0], len(predicted))
        return self.factor * (pull + self.push * push) / max(len(predicted), 1)


def pull_and_push(tags: Tensor, people: Tensor, pictures: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Pull and push, each summed over `count` pictures, from the tags (M,) of joints and whose they are.

    `people` and `pictures` (M,) count from 0; a person who has no joint is nobody.
    """
    most = int(people.max()) + 1 if len(people) else 0
    owner = pictures * most + people
    joints = sums(torch.ones_like(tags, dtype=torch.float32), owner, count * most)
    means = sums(tags.float(), owner, count * most) / joints.clamp(min=1)
    squares = sums((tags.float() - means[owner]).square(), owner, count * most) / joints.clamp(min=1)
    means, squares, there = (t.view(count, most) for t in (means, squares, joints > 0))
    n = there.sum(dim=1).clamp(min=1)
    near = torch.exp(-(means[:, :, None] - means[:, None]).square())
    others = there[:, :, None] & there[:, None] & ~torch.eye(most, dtype=torch.bool, device=tags.device)
    push = (near * others).sum(dim=(1, 2)) / (n * (n - 1)).clamp(min=1)
    return (squares.sum(dim=1) / n).sum(), push.sum()


def sums(values: Tensor, owner: Tensor, count: int) -> Tensor:
    """(count,) the sums of values (M,) by owner."""
    return values.new_zeros(count).index_add(0, owner, values)
