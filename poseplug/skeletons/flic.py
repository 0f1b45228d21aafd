"""FLIC: the nine upper-body joints that CPM uses, observer-centric (Sapp & Taskar 2013; Wei et al. 2016)."""

from poseplug.skeleton import Skeleton, register_skeleton

FLIC = register_skeleton(
    Skeleton(
        name='flic',
        joints=(
            'left_shoulder',
            'left_elbow',
            'left_wrist',
            'right_shoulder',
            'right_elbow',
            'right_wrist',
            'left_hip',
            'right_hip',
            'head',
        ),
        limbs=(
            ('left_shoulder', 'left_elbow'),
            ('left_elbow', 'left_wrist'),
            ('right_shoulder', 'right_elbow'),
            ('right_elbow', 'right_wrist'),
            ('left_shoulder', 'right_shoulder'),
            ('left_shoulder', 'left_hip'),
            ('right_shoulder', 'right_hip'),
        ),
        swaps=(
            ('left_shoulder', 'right_shoulder'),
            ('left_elbow', 'right_elbow'),
            ('left_wrist', 'right_wrist'),
            ('left_hip', 'right_hip'),
        ),
        torso=('left_shoulder', 'right_hip'),
        centric='observer',
        groups={'elbow': ('left_elbow', 'right_elbow'), 'wrist': ('left_wrist', 'right_wrist')},
    )
)
