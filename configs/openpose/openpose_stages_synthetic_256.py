"""Two limb stages and two keypoint stages, for the synthetic images of several people (Cao et al. 2019, 1812.08008).

Data: poseplug dataset prepare synthetic --format coco --out data/synthetic_people
Analysis: poseplug analyze paf-stages configs/openpose/openpose_stages_synthetic_256.py --out work_dirs/paf_stages
Run: python tools/train.py configs/openpose/openpose_stages_synthetic_256.py
AP on its 200 test images: not trained yet
"""

_base_ = ['./openpose_tiny_synthetic_256.py']

model = dict(
    head=dict(
        type='PAFStagesHead',
        num_limb_stages=2,
        num_keypoint_stages=2,
        first_channels=(32, 64),
        later_channels=(32, 64),
        num_blocks=3,
    )
)
