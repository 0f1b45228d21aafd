"""Batch norms merged into the convolutions before them, for networks that only predict."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> int:
    """Merge batch norms into the convolutions before them, in place.

    Pairs are neighbors in an `nn.Sequential`, and `conv1` with `bn1`, `conv2` with `bn2` and so on of one module. The
    network computes the same numbers except for rounding. It must not be trained afterwards, and its weights no longer
    fit the unfolded network.

    Args:
        network: The network, in evaluation mode.

    Returns:
        Number of merged batch norms.

    Raises:
        RuntimeError: The network is in training mode.
    """
    if network.training:
        raise RuntimeError('batch norms are folded in evaluation mode: call eval() first')
    count = 0
    for module in list(network.modules()):
        # Lists, since the loop replaces modules.
        for conv_name, norm_name in list(_find_conv_norm_pairs(module)):
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            fused = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
            setattr(module, conv_name, fused)
            setattr(module, norm_name, nn.Identity())
            count += 1
    return count


def _find_conv_norm_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a module's convolutions and of the batch norm behind each."""
    children = dict(module.named_children())
    if isinstance(module, nn.Sequential):
        candidates = list(zip(children, list(children)[1:], strict=False))
    else:
        # In other modules neighbors need not run one after the other; the names of residual blocks say it.
        candidates = [(name, name.replace('conv', 'bn')) for name in children if name.startswith('conv')]
    for first, second in candidates:
        conv, norm = children[first], children.get(second)
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
            yield first, second
