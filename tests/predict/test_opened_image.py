"""What predicting without torch needs, and the results that come of an image."""

import subprocess
import sys

import numpy as np

from poseplug.core.poses import Poses
from poseplug.predict.opened_image import attach_boxes

# What a runtime without torch uses of the package.
MODULES = (
    'poseplug.predict.opened_image',
    'poseplug.predict.detectors',
    'poseplug.predict.video',
    'poseplug.predict.smoothing',
    'poseplug.predict.gap_filling',
    'poseplug.grouping.tag_groups',
    'poseplug.grouping.limb_grouping',
    'poseplug.grouping.image_instances',
    'poseplug.skeletons.coco',
)


def test_images_detectors_tracking_grouping_and_skeletons_load_neither_torch_nor_mmengine():
    lines = [
        'import sys',
        *(f'import {module}' for module in MODULES),
        'from poseplug.predict.image_input import find_image_form',
        'from poseplug.registry.skeletons import get_skeleton',
        'find_image_form("a.jpg"), get_skeleton("body25")',
        'print(*sys.modules)',
    ]
    code = '\n'.join(lines)
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition('.')[0] for name in loaded} & {'torch', 'mmengine', 'scipy', 'matplotlib'}


def test_detected_boxes_multiply_the_scores_and_given_ones_do_not():
    """The keypoint scores above 0.2 have the mean 0.6."""
    poses = Poses(np.zeros((1, 3, 2)), np.array([[0.8, 0.4, 0.1]]), np.array([0.5]))
    boxes = np.array([[0.0, 0, 10, 10]])
    assert attach_boxes(poses, boxes).instance_scores.tolist() == [0.5]
    detected = attach_boxes(poses, boxes, np.array([0.5]))
    np.testing.assert_allclose(detected.instance_scores, [0.3], rtol=1e-6)
    assert detected.boxes.tolist() == boxes.tolist()
