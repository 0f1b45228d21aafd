"""OpenPose's BODY_25 network, limbs before joints, on COCO at 368 px (Cao et al. 2019, arXiv:1812.08008).

COCO annotates no feet, whose fields therefore have no weight until a source that does is added. One rate for all parts,
biases and slopes undecayed. The released network starts from VGG-19's weights for ImageNet; give them by --init.
Run: python tools/train.py configs/openpose/openpose_body25_368.py
AP on COCO val2017, one scale: not trained yet (published: AP 65.2 of these stages, with 18 joints)
"""

_base_ = ['./openpose_vgg19_coco18_368.py']

skeleton = 'body25'
model = dict(
    codec=dict(parser='cpp'),
    backbone=dict(prelu=3),
    head=dict(_delete_=True, type='PAFStagesHead', limb_stages=4, joint_stages=2),
)
training = [
    dict(type='PlaceOnPerson', height=0.6),
    dict(type='RandomScaleRotate', scale=(1 / 3, 1.5), degrees=45),
    dict(type='RandomShift', share=40 / 368),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp'),
]
train_dataloader = dict(dataset=dict(pipeline=training))
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(_delete_=True, undecayed='vectors'))
