"""CrowdPose, from its official files in COCO's format (Li et al. 2019, arXiv:1812.00324).

Its images carry `crowdIndex`, from 0 (alone) to 1 (in a crowd), by which the benchmark splits them into easy, medium
and hard. Its annotations carry no area: 0.53 of the box is the area, as in its evaluation. Their `num_keypoints` counts
the labeled keypoints without head and neck, visible or not, and people for whom it is 0 are ignored there.
"""

from __future__ import annotations

__all__ = ['CrowdPoseSource']

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry import SOURCES
from poseplug.skeletons.crowdpose import CROWDPOSE

_FILE_KEYPOINT_NAMES = {'head': 'head_top', 'top_head': 'head_top'}  # depending on the release of the file
_SPLITS = ('train', 'val', 'trainval', 'test')


@SOURCES.register_module()
class CrowdPoseSource(CocoFormatSource):
    """CrowdPose, 14 keypoints; `split` is 'train', 'val', 'trainval' or 'test', and all share one folder of images.

    The settings are those of `CocoFormatSource`. Some of its training images are test images of other data sets: do
    not compare a model that was trained on it there.
    """

    name = 'crowdpose'
    download_hint = (
        "Get CrowdPose's images and its crowdpose_{train,val,trainval,test}.json, and put these into annotations/"
    )
    splits = {split: (f'annotations/crowdpose_{split}.json', 'images') for split in _SPLITS}
    reader = CocoReader(
        CROWDPOSE, 'crowdpose', use_file_areas=False, use_file_counts=True, file_keypoint_names=_FILE_KEYPOINT_NAMES
    )
