"""Leeds Sports Pose: 14 keypoints in the order of `joints.mat` (Johnson & Everingham 2010)."""

__all__ = ['LSP', 'LSP_OBSERVER']

from dataclasses import replace

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton

_KEYPOINTS = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'head_top',
)
# 13 limbs of 14 keypoints: a tree, by which bottom-up models group, too
_LIMBS = (
    ('head_top', 'neck'),
    ('neck', 'right_shoulder'),
    ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'),
    ('neck', 'left_shoulder'),
    ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'),
    ('neck', 'right_hip'),
    ('right_hip', 'right_knee'),
    ('right_knee', 'right_ankle'),
    ('neck', 'left_hip'),
    ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'),
)
_FLIP_PAIRS = (
    ('right_ankle', 'left_ankle'),
    ('right_knee', 'left_knee'),
    ('right_hip', 'left_hip'),
    ('right_wrist', 'left_wrist'),
    ('right_elbow', 'left_elbow'),
    ('right_shoulder', 'left_shoulder'),
)
# the columns of published tables, in which both sides count as one part
_GROUPS = {
    'head': ('neck', 'head_top'),
    'shoulder': ('right_shoulder', 'left_shoulder'),
    'elbow': ('right_elbow', 'left_elbow'),
    'wrist': ('right_wrist', 'left_wrist'),
    'hip': ('right_hip', 'left_hip'),
    'knee': ('right_knee', 'left_knee'),
    'ankle': ('right_ankle', 'left_ankle'),
}

LSP = register_skeleton(
    Skeleton(
        name='lsp',
        keypoints=_KEYPOINTS,
        limbs=_LIMBS,
        flip_pairs=_FLIP_PAIRS,
        # the diagonal by which PCK divides
        torso=('right_hip', 'left_shoulder'),
        head=('neck', 'head_top'),
        groups=_GROUPS,
    ),
    __name__,
)

# left is the left of the image here, and not that of the person
LSP_OBSERVER = register_skeleton(replace(LSP, name='lsp_observer', centric='observer'), __name__)
