"""OpenPose's BODY_25 network, limb before keypoint stages, on COCO at 368 px (Cao et al. 2019, arXiv:1812.08008).

COCO annotates no feet: their fields have no weight unless a source with feet is added. All parts have the same rate;
biases and slopes are not decayed. The released network starts from VGG-19's weights for ImageNet; give them by --init.
Run: python tools/train.py configs/openpose/openpose_body25_368.py
AP on COCO val2017, one scale: not trained yet (published: AP 65.2 of these stages, with 18 keypoints)
"""

_base_ = ['./openpose_vgg19_coco18_368.py']

skeleton = 'body25'
model = dict(
    codec=dict(parser='openpose'),
    backbone=dict(num_prelu=3),
    head=dict(_delete_=True, type='PAFStagesHead', num_limb_stages=4, num_keypoint_stages=2),
)
train_dataloader = dict(dataset=dict(pipeline=dict(affine=dict(scale_factor=(1 / 3, 1.5), degrees=45))))
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(_delete_=True, no_weight_decay='vectors'))
