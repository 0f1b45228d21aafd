"""OpenPose's two branches of six stages on whole MPII images at 368 px (Cao et al. 2017, arXiv:1611.08050).

MPII has no segmentations, and its files omit people without labels: every pixel is trained. PCKh compares each
annotated person with the nearest predicted one; the paper's mAP matches and ranks people differently.
Run: python tools/train.py configs/openpose/openpose_vgg19_mpii15_368.py
PCKh@0.5 on the MPII validation set, all people, one scale: not trained yet (published: mAP 75.6 on its full test set)
"""

_base_ = ['./openpose_vgg19_coco18_368.py']

skeleton = 'mpii15'
model = dict(codec=dict(parser='matlab_mpi'))
train_dataloader = dict(dataset=dict(sources=[dict(type='MPIISource', split='train')], pipeline=dict(mask=None)))
val_dataloader = test_dataloader = dict(dataset=dict(sources=[dict(type='MPIISource', split='val')]))
val_evaluator = test_evaluator = dict(_delete_=True, type='PCKh', instances='all', excluded_keypoints=('chest',))
