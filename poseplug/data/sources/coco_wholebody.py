"""COCO-WholeBody, from its official files in COCO's format (Jin et al. 2020, arXiv:2007.11858).

An annotation has the 17 keypoints of COCO and lists of its own for feet, face and hands, whose third number is a
confidence: above 0 the keypoint is labeled, and visible in the records.
"""

from __future__ import annotations

__all__ = ['CocoWholeBodySource']

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry import SOURCES
from poseplug.skeletons.coco_wholebody import COCO_WHOLEBODY

_PART_SIZES = dict(foot_kpts=6, face_kpts=68, lefthand_kpts=21, righthand_kpts=21)


@SOURCES.register_module()
class CocoWholeBodySource(CocoFormatSource):
    """COCO-WholeBody, 133 keypoints on COCO's images; `split` is 'train' or 'val'.

    The settings are those of `CocoFormatSource`. An instance without a labeled keypoint of a part is ignored where that
    part is measured.
    """

    name = 'coco_wholebody'
    download_hint = (
        "Get '2017 Train images' and '2017 Val images' of COCO, and put coco_wholebody_{train,val}_v1.0.json of "
        'COCO-WholeBody into annotations/'
    )
    splits = {split: (f'annotations/coco_wholebody_{split}_v1.0.json', f'{split}2017') for split in ('train', 'val')}
    reader = CocoReader(COCO_WHOLEBODY, 'coco_wholebody', part_sizes=_PART_SIZES)
