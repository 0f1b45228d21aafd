"""The gated attention unit (Hua et al. 2022, arXiv:2202.10447), as RTMPose uses it (arXiv:2303.07399)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaleNorm(nn.Module):
    """Vectors (..., C) over their root mean square, times one learned number, in single precision.

    Nguyen and Salazar 2019, arXiv:1910.05895.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.scale, self.eps = channels**-0.5, eps
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x.float(), dim=-1, keepdim=True) * self.scale
        return (x.float() / size.clamp(min=self.eps) * self.g).to(x.dtype)


class GatedAttention(nn.Module):
    """Attention between tokens (B, K, C) and a gate on each, in one layer, beside a scaled shortcut.

    With s = `width` and e = `expansion` times C: a layer gives u and v of e channels and a base of s, all through SiLU.
    Queries and keys are the base, scaled and moved each in its own way; token i takes v of token j by the share
    max(0, q_i · k_j / √s)², is gated by u, and comes back to C channels. The shares are computed in single precision.
    Scales and moves start within 0 and 1, where hardly any share starts at 0, whose gradient is nothing.
    """

    def __init__(self, channels: int, width: int = 128, expansion: float = 2.0):
        super().__init__()
        self.inner, self.width = int(channels * expansion), width
        self.ln = ScaleNorm(channels)
        self.uv = nn.Linear(channels, 2 * self.inner + width, bias=False)
        self.gamma = nn.Parameter(torch.rand(2, width))
        self.beta = nn.Parameter(torch.rand(2, width))
        self.o = nn.Linear(self.inner, channels, bias=False)
        self.shortcut = nn.Parameter(torch.ones(channels))
        for layer in (self.uv, self.o):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, tokens: Tensor, code: Tensor | None = None) -> Tensor:
        """Tokens (B, K, C) to tokens of the same shape; `code` (K, s) tells them apart for queries and keys."""
        u, v, base = F.silu(self.uv(self.ln(tokens))).split([self.inner, self.inner, self.width], dim=-1)
        mixed = self.shares(base, code).to(v.dtype) @ v
        return tokens * self.shortcut + self.o(u * mixed)

    def shares(self, base: Tensor, code: Tensor | None = None) -> Tensor:
        """How much each token takes of each other one: (B, K, s) to (B, K, K)."""
        with torch.autocast(base.device.type, enabled=False):
            both = base.float()[..., None, :] * self.gamma.float() + self.beta.float()
            q, k = (both if code is None else both + code.float()[:, None]).unbind(dim=-2)
            return (q @ k.mT / self.width**0.5).relu().square()
