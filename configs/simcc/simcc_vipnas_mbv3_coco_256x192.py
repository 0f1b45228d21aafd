"""SimCC with ViPNAS's mobile network on COCO at 256x192 (Li et al. 2022, arXiv:2107.03332).

Run: python tools/train.py configs/simcc/simcc_vipnas_mbv3_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 69.5 with boxes of person AP 56.4)
"""

_base_ = ['./simcc_r50_coco_256x192.py']

model = dict(
    backbone=dict(_delete_=True, type='ViPNASMobileNetV3'),
    head=dict(deconv_out_channels=160, deconv_groups=160),
)
