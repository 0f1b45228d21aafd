"""Batch norms that always follow the same convolution, made a part of it, for networks that only predict."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module) -> int:
    """Multiply batch norms into the convolutions before them, and return how many; in evaluation mode alone.

    Folded are neighbours in an `nn.Sequential`, and `conv1` with `bn1`, `conv2` with `bn2` and so on of one module. The
    network then computes the same numbers but for rounding, and can neither be trained on nor be saved for others.
    """
    if network.training:
        raise RuntimeError('norms are folded in evaluation mode: call eval() first')
    count = 0
    for owner in list(network.modules()):
        for first, second in list(pairs(owner)):
            conv, norm = getattr(owner, first), getattr(owner, second)
            setattr(owner, first, fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d)))
            setattr(owner, second, nn.Identity())
            count += 1
    return count


def pairs(owner: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of a module's convolutions and of the norms that follow each."""
    children = dict(owner.named_children())
    if isinstance(owner, nn.Sequential):
        candidates = list(zip(children, list(children)[1:], strict=False))
    else:
        candidates = [(n, n.replace('conv', 'bn')) for n in children if n.startswith('conv')]
    for first, second in candidates:
        conv, norm = children[first], children.get(second)
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
            yield first, second
