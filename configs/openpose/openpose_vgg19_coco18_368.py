"""OpenPose's two branches of six stages on whole COCO images at 368 px (Cao et al. 2017, arXiv:1611.08050).

The published network starts from VGG-19's weights for ImageNet; give them by --init. Otherwise the trunk is initialized
by He et al. 2015, which keeps the activations from vanishing over ten layers.
Run: python tools/train.py configs/openpose/openpose_vgg19_coco18_368.py
AP on COCO val2017, one scale: not trained yet (published: AP 61.8 on test-dev)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/openpose.py']

model = dict(
    type='BottomUp',
    input_norm=dict(mean=(128, 128, 128), std=(256, 256, 256), channel_order='bgr'),
    codec=dict(type='PAF', input_size=(368, 368), parser='matlab'),
    backbone=dict(type='CPMVGGTrunk', extra_channels=(256, 128), init_std=None),
    head=dict(type='OpenPoseHead', num_stages=6),
    loss=dict(type='SumSquaredError'),
)
