"""YOLOX-Pose-s as MMPose publishes it, on COCO at 640 px (Maji et al. 2022, arXiv:2204.06806).

Run: python tools/train.py configs/yoloxpose/yoloxpose_pafpn_s_coco_640.py
AP on COCO val2017: not trained yet (published by MMPose: AP 64.1)
"""

_base_ = ['yoloxpose_s_coco_640.py']

model = dict(
    codec=dict(score_threshold=0.01),
    # Pixels as they are, as in the published weights.
    input_norm=dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order='bgr'),
    neck=dict(type='YOLOXPAFPN', out_channels=128),
    head=dict(project_inputs=False, pose_depth=4, has_objectness=True, cell_offset=0.0),
)
