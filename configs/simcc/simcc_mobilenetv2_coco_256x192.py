"""SimCC with MobileNetV2, without deconvolutions on COCO at 256x192 (Li et al. 2022, arXiv:2107.03332).

Run: python tools/train.py configs/simcc/simcc_mobilenetv2_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 62.0 with boxes of person AP 56.4)
"""

_base_ = ['./simcc_r50_coco_256x192.py']

model = dict(
    backbone=dict(_delete_=True, type='MobileNetV2', last_channels=1280),
    head=dict(deconv_out_channels=()),
)
