"""HRNet-W32 with DARK on MPII at 256 px (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w32_mpii_256_dark.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet
"""

_base_ = ['./hrnet_w32_mpii_256.py']

model = dict(codec=dict(_delete_=True, type='DARKHeatmap', aligned=True, input_size=(256, 256), sigma_px=8.0))
