"""RTMPose-m on COCO-WholeBody at 256x192, 133 keypoints (Jiang et al. 2023, arXiv:2303.07399).

The backbone starts from weights trained on AI Challenger and COCO: init=dict(backbone=FILE). Augmentation is weaker in
the last 30 of 270 epochs.

Run: python tools/train.py configs/rtmpose/rtmpose_m_coco_wholebody_256x192.py
AP on COCO-WholeBody val, flip test: not trained yet (published by MMPose: AP 58.2 with boxes of person AP 56.4)
"""

_base_ = ['./rtmpose_m_coco_256x192.py']

skeleton = 'coco_wholebody'
steps = dict(affine=dict(switch_epoch=240 / 270), erase=dict(switch_epoch=240 / 270))
sources = {split: [dict(type='CocoWholeBodySource', split=split)] for split in ('train', 'val')}
train_dataloader = dict(batch_size=512, dataset=dict(sources=sources['train'], pipeline=steps))
val_dataloader = test_dataloader = dict(dataset=dict(sources=sources['val']))
val_evaluator = test_evaluator = dict(_delete_=True, type='WholeBodyAP')
train_cfg = dict(max_epochs=270)
