"""The embedded data set: rendered people whose keypoints are known, for training and tests without a download.

A kinematic body in meters (`body`) takes a pose of one of several families (`pose_families`), gets clothes
(`clothing`), and is drawn as tubes (`solids`) into a depth buffer (`rendering`), from which `visibility` reads which
keypoints are occluded. `person_sampling`, `background` and `occluders` fill a `scene`; `dataset_writers` writes
scenes in the layouts of Leeds Sports Pose and COCO.
"""

from poseplug.data.synthetic.body import ALL_KEYPOINTS, COCO_KEYPOINTS, LSP_KEYPOINTS
from poseplug.data.synthetic.dataset_writers import render_coco_scene, render_lsp_scene, write_coco, write_lsp
from poseplug.data.synthetic.scene import Person, Scene, render_scene

__all__ = [
    'ALL_KEYPOINTS',
    'COCO_KEYPOINTS',
    'LSP_KEYPOINTS',
    'Person',
    'Scene',
    'render_coco_scene',
    'render_lsp_scene',
    'render_scene',
    'write_coco',
    'write_lsp',
]
