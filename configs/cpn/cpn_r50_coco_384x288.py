"""CPN with ResNet-50 on COCO at 384x288 (Chen et al. 2018, arXiv:1711.07319).

Run: python tools/train.py configs/cpn/cpn_r50_coco_384x288.py
AP on COCO minival, flip test: not trained yet (published code: AP 72.3 with boxes of person AP 55.3)
"""

_base_ = ['./cpn_r50_coco_256x192.py']

model = dict(codec=dict(input_size=(288, 384), kernel_sizes=(23, 17, 13, 9)))
train_dataloader = dict(batch_size=24)
