"""Eight stacked hourglasses on MPII by the text of the paper (Newell et al. 2016, arXiv:1603.06937, section 4.1).

The text draws angles of up to 30 degrees and scales from 0.75 to 1.25, and divides the rate by 5 where the accuracy
stalls; the released code, and hourglass8_mpii_256.py, draw normal ones and keep the rate.
Run: python tools/train.py configs/hourglass/hourglass8_mpii_256_paper.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (published: 88.1; on the test set 90.9)
"""

_base_ = ['hourglass8_mpii_256.py']

affine = dict(_delete_=True, type='RandomScaleRotate', scale_factor=(0.75, 1.25), degrees=30)
train_dataloader = dict(dataset=dict(pipeline=dict(affine=affine)))
param_scheduler = dict(type='ReduceOnPlateauLR', monitor='PCKh@0.5', rule='greater', factor=0.2, patience=5)
