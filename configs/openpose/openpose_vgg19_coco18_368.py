"""OpenPose's two branches of six stages on whole pictures of COCO at 368 px (Cao et al. 2017, arXiv:1611.08050).

The published network starts from VGG-19's weights for ImageNet; give them by --init, or the trunk starts from noise of
He et al. 2015's deviation, which keeps it alive over ten layers.
Run: python tools/train.py configs/openpose/openpose_vgg19_coco18_368.py
AP on COCO val2017, one scale: not trained yet (published: AP 61.8 on test-dev)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/openpose.py']

model = dict(
    type='BottomUp',
    pixels=dict(mean=(128, 128, 128), std=(256, 256, 256), order='bgr'),
    codec=dict(type='PAF', input_size=(368, 368), parser='matlab'),
    backbone=dict(type='CPMVGGTrunk', extra=(256, 128), init_std=None),
    head=dict(type='OpenPoseHead', stages=6),
    loss=dict(type='SumSquaredError'),
)
