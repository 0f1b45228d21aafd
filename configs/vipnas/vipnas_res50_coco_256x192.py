"""ViPNAS's residual network on COCO at 256x192 (Xu et al. 2021, arXiv:2105.10154).

Run: python tools/train.py configs/vipnas/vipnas_res50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 71.1 with boxes of person AP 56.4)
"""

_base_ = ['../simple_baseline/simple_baseline_r50_coco_256x192.py']

model = dict(
    backbone=dict(_delete_=True, type='ViPNASResNet'),
    head=dict(deconv_out_channels=144, deconv_groups=16),
)
