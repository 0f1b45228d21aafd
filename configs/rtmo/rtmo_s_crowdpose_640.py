"""RTMO-s on CrowdPose at 640 px for 700 epochs (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_s_crowdpose_640.py
AP on the CrowdPose test set: not trained yet (paper: 67.3)
"""

_base_ = ['./rtmo_s_coco_640.py']

skeleton = 'crowdpose'
train_dataloader = dict(dataset=dict(sources=[dict(type='CrowdPoseSource', split='trainval')]))
val_dataloader = test_dataloader = dict(
    dataset=dict(sources=[dict(type='CrowdPoseSource', split='test', keep_empty=True)])
)
val_evaluator = test_evaluator = dict(_delete_=True, type='CrowdPoseAP')
train_cfg = dict(max_epochs=700)
