"""OpenPose's two branches of six stages on whole pictures of MPII at 368 px (Cao et al. 2017, arXiv:1611.08050).

MPII has no outlines, and its files leave out who is not labelled: every pixel counts. Joints are measured by the heads
of all people, each with the predicted person nearest to them; the paper's mAP pairs and ranks people otherwise.
Run: python tools/train.py configs/openpose/openpose_vgg19_mpii15_368.py
PCKh@0.5 on the MPII validation set, everybody, one scale: not trained yet (published: mAP 75.6 on its full test set)
"""

_base_ = ['./openpose_vgg19_coco18_368.py']

skeleton = 'mpii15'
model = dict(codec=dict(parser='matlab_mpi'))
training = [
    dict(type='PlaceOnPerson', height=0.6),
    dict(type='RandomScaleRotate', scale=(0.5, 1.1), degrees=40),
    dict(type='RandomShift', share=40 / 368),
    dict(type='RandomFlip'),
    dict(type='Warp'),
]
train_dataloader = dict(dataset=dict(sources=[dict(type='MPIISource', half='train')], pipeline=training))
val_dataloader = test_dataloader = dict(dataset=dict(sources=[dict(type='MPIISource', half='val')]))
val_evaluator = test_evaluator = dict(_delete_=True, type='PCKh', people='all', excluded=('chest',))
