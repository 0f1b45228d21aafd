"""How MMPose names the weights of bottom-up heads: DEKR."""

from __future__ import annotations

__all__ = ['DEKR_IGNORED_NAMES', 'DEKR_RULES']

DEKR_IGNORED_NAMES: tuple[tuple[str, str], ...] = (
    (r'head\.displacement_conv_layers\.\d\.regular_matrix', 'computed from the size of the kernel'),
    (r'head\.rescore_net\..+', 'instances score the mean of their keypoints, without a network that rescores them'),
)

_BRANCH = r'head\.displacement_conv_layers\.(\d)\.'
DEKR_RULES: tuple[tuple[str, str], ...] = (
    # MMPose keeps a branch as one list of layers: two hidden ones, then the prediction.
    (r'head\.heatmap_conv_layers\.([01])\.(.+)', r'head.hidden.\1.\2'),
    (r'head\.heatmap_conv_layers\.2\.(.+)', r'head.predict.heatmap.\1'),
    (_BRANCH + r'transform_matrix_conv\.(.+)', r'head.branches.\1.transformation.\2'),
    (_BRANCH + r'adapt_conv\.(.+)', r'head.branches.\1.adaptive.\2'),
    # Last, since the first rule that matches counts: norms, and the convolutions around the adaptive ones.
    (_BRANCH + r'(.+)', r'head.branches.\1.\2'),
)
