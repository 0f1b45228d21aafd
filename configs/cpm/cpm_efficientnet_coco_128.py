"""Three-stage CPM on EfficientNet-Lite0 at 128 px, from the installed weights: for small data sets of any keypoints.

Run: python tools/train.py configs/cpm/cpm_efficientnet_coco_128.py
AP on COCO val2017, flip test: not trained yet
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adamw_6000.py', '../_base_/models/cpm_efficientnet.py']

init = 'cpm_efficientnet_lsp'
# Up to stride 4, where most of the time would go.
freeze = [r'^backbone\.features\.[0-3]\.']
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_dataloader = dict(batch_size=16)
