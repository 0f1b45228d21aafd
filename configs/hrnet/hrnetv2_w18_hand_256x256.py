"""HRNetV2-W18 on the hands of OneHand10K, FreiHAND and the Rendered Hand Dataset at 256x256, 21 keypoints.

The feature maps of all branches are joined at the finest (Sun et al. 2019, arXiv:1904.04514). MMPose has a model of
each of these data sets, and of faces, with the same network.

Run: python tools/train.py configs/hrnet/hrnetv2_w18_hand_256x256.py
PCK@0.2 on OneHand10K test, flip test: not trained yet
"""

_base_ = ['../rtmpose/rtmpose_m_hand_256x256.py']

model = dict(
    codec=dict(_delete_=True, type='MSRAHeatmap', input_size=(256, 256), sigma_px=8.0),
    backbone=dict(_delete_=True, type='HRNet', width=18, out_strides=(4, 8, 16, 32), upsample_mode='bilinear'),
    neck=dict(type='ConcatMaps'),
    head=dict(_delete_=True, type='HeatmapHead', conv_layers=((1, 270),)),
    loss=dict(_delete_=True, type='MeanSquaredError', loss_weight=0.5),
)
