"""A small CPN on Leeds Sports Pose at 128 px, for the analysis of hard keypoints (Chen et al. 2018, arXiv:1711.07319).

Analysis: poseplug analyze hard-keypoints configs/cpn/cpn_r18_lsp_128.py --out work_dirs/hard_keypoints
Run: python tools/train.py configs/cpn/cpn_r18_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['../_base_/datasets/lsp_128.py', '../_base_/schedules/adamw_2400.py']

level_loss = dict(type='MeanSquaredError', loss_weight=0.125)  # half of the mean over the four levels
model = dict(
    type='TopDown',
    codec=dict(type='CPNHeatmap', input_size=(128, 128)),
    backbone=dict(type='ResNet', depth=18, base_channels=32),
    head=dict(type='CPNHead', channels=64),
    loss=[level_loss, level_loss, level_loss, level_loss, dict(type='OHKMLoss', topk=8)],
    flip_test=True,
    channels_last=True,
)
