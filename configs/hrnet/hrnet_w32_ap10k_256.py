"""HRNet-W32 on AP-10K at 256x256, 17 keypoints of 54 kinds of animals (Yu et al. 2021, arXiv:2108.12617).

Run: python tools/train.py configs/hrnet/hrnet_w32_ap10k_256.py
AP on AP-10K test, flip test, annotated boxes: not trained yet (published by MMPose: AP 72.2, part not said)
"""

_base_ = ['./hrnet_w32_coco_256x192.py']

skeleton = 'ap10k'
model = dict(codec=dict(input_size=(256, 256)))
affine = dict(scale_factor=0.5, degrees=40, shift_factor=0.08)
train_sources = [dict(type='AP10KSource', split='train')]
train_dataloader = dict(batch_size=64, dataset=dict(sources=train_sources, pipeline=dict(affine=affine)))
val_dataloader = dict(dataset=dict(sources=[dict(type='AP10KSource', split='val')]))
test_dataloader = dict(dataset=dict(sources=[dict(type='AP10KSource', split='test')]))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
