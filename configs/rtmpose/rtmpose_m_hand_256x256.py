"""RTMPose-m on the hands of OneHand10K, FreiHAND and the Rendered Hand Dataset at 256x256, 21 keypoints.

MMPose's model of this size (Jiang et al. 2023, arXiv:2303.07399) also takes the hands of COCO-WholeBody and Halpe. A
hand may be turned by any angle. Augmentation is weaker in the last 10 of 210 epochs.

Run: python tools/train.py configs/rtmpose/rtmpose_m_hand_256x256.py
PCK@0.2 on OneHand10K test, flip test: not trained yet
"""

_base_ = ['./rtmpose_m_coco_256x192.py']

skeleton = 'hand21'
model = dict(codec=dict(input_size=(256, 256), sigma=(5.66, 5.66)))
wide_affine = [dict(type='NormalScaleRotate', scale_factor=0.5, degrees=180, shift_factor=0.08)]
steps = dict(
    half_body=None,
    affine=dict(switch_epoch=200 / 210, first_transforms=wide_affine),
    erase=dict(switch_epoch=200 / 210),
)
hands = [dict(type=f'{name}Source', split='train') for name in ('OneHand10K', 'FreiHand', 'RHD')]
train_dataloader = dict(batch_size=256, dataset=dict(sources=hands, pipeline=steps))
val_dataloader = test_dataloader = dict(dataset=dict(sources=[dict(type='OneHand10KSource', split='test')]))
val_evaluator = test_evaluator = [
    dict(type='PCK', _delete_=True, normalizer='box'),
    dict(type='AUC', normalizer=30),
    dict(type='EPE'),
]
train_cfg = dict(max_epochs=210)
