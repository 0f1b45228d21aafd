"""The gated attention unit (Hua et al. 2022, arXiv:2202.10447), as RTMPose uses it (arXiv:2303.07399)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaleNorm(nn.Module):
    """Divide vectors by their root mean square and multiply them by one learned number.

    Nguyen and Salazar 2019, arXiv:1910.05895. Computed in single precision.

    Args:
        channels: Length of the vectors.
        eps: Smallest divisor.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.scale, self.eps = channels**-0.5, eps
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized vectors of `x` (..., C), in its precision."""
        root_mean_square = torch.linalg.vector_norm(x.float(), dim=-1, keepdim=True) * self.scale
        return (x.float() / root_mean_square.clamp(min=self.eps) * self.g).to(x.dtype)


class GatedAttention(nn.Module):
    """Gated attention unit: attention between tokens and a gate on each token, in one layer, beside a scaled shortcut.

    One linear layer with SiLU computes u and v, of e = `expansion_factor` x C channels, and a base of s = `query_dims`.
    Queries and keys are the base times `gamma` plus `beta`, with a pair of these for each. Token i receives v of token
    j with the weight max(0, q_i · k_j / √s)², is multiplied by its u, and is projected back to C channels.

    Args:
        channels: Channels C of the tokens.
        query_dims: Channels s of queries and keys.
        expansion_factor: Channels of u and v, as a multiple of C.
    """

    def __init__(self, channels: int, query_dims: int = 128, expansion_factor: float = 2.0):
        super().__init__()
        self.inner_channels, self.query_dims = int(channels * expansion_factor), query_dims
        self.ln = ScaleNorm(channels)
        self.uv = nn.Linear(channels, 2 * self.inner_channels + query_dims, bias=False)
        # Between 0 and 1, so that hardly any attention weight starts at 0, where it would have no gradient.
        self.gamma = nn.Parameter(torch.rand(2, query_dims))
        self.beta = nn.Parameter(torch.rand(2, query_dims))
        self.o = nn.Linear(self.inner_channels, channels, bias=False)
        self.shortcut = nn.Parameter(torch.ones(channels))
        for layer in (self.uv, self.o):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, tokens: Tensor, pos_enc: Tensor | None = None) -> Tensor:
        """Let every token attend to all tokens.

        Args:
            tokens: (B, K, C).
            pos_enc: (K, s), added to queries and keys to tell the tokens apart.

        Returns:
            (B, K, C).
        """
        sizes = [self.inner_channels, self.inner_channels, self.query_dims]
        # (B, K, e), (B, K, e) and (B, K, s)
        u, v, base = F.silu(self.uv(self.ln(tokens))).split(sizes, dim=-1)
        mixed = self.attention_weights(base, pos_enc).to(v.dtype) @ v
        return tokens * self.shortcut + self.o(u * mixed)

    def attention_weights(self, base: Tensor, pos_enc: Tensor | None = None) -> Tensor:
        """Return how much every token receives of every other token.

        Args:
            base: (B, K, s), from which queries and keys follow.
            pos_enc: (K, s), added to both.

        Returns:
            (B, K, K), computed in single precision.
        """
        # Squares of products overflow halves, the more channels the sooner.
        with torch.autocast(base.device.type, enabled=False):
            queries_keys = base.float()[..., None, :] * self.gamma.float() + self.beta.float()  # (B, K, 2, s)
            if pos_enc is not None:
                queries_keys = queries_keys + pos_enc.float()[:, None]
            q, k = queries_keys.unbind(dim=-2)
            return (q @ k.mT / self.query_dims**0.5).relu().square()
