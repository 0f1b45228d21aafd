"""SimpleBaseline with VGG-16 on COCO at 256x192 (Simonyan and Zisserman 2015, arXiv:1409.1556).

Run: python tools/train.py configs/simple_baseline/simple_baseline_vgg16_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 69.9 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='VGG', depth=16))
