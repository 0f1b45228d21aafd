"""CrowdPose, from its official files in COCO's format (Li et al. 2019, arXiv:1812.00324).

Its pictures carry `crowdIndex` (0 alone to 1 in a crowd; the benchmark's easy, medium and hard), its annotations no
area: 0.53 of the box counts, as in its evaluation.
"""

from __future__ import annotations

from poseplug.datasets.sources.coco import CocoFormatSource
from poseplug.datasets.sources.coco_format import CocoFormat
from poseplug.registry import SOURCES
from poseplug.skeletons.crowdpose import CROWDPOSE

FILE_JOINTS = {'head': 'head_top', 'top_head': 'head_top'}


@SOURCES.register_module()
class CrowdPoseSource(CocoFormatSource):
    """CrowdPose, 14 joints: `half` is 'train', 'val', 'trainval' or 'test'. The pictures share one folder.

    Its training pictures are partly those that other data sets test on: what is trained on it is not to be compared
    there.
    """

    name = 'crowdpose'
    how = "Get CrowdPose's images and its crowdpose_{train,val,trainval,test}.json, and put these into annotations/"
    halves = {half: (f'annotations/crowdpose_{half}.json', 'images') for half in ('train', 'val', 'trainval', 'test')}
    form = CocoFormat(CROWDPOSE, 'crowdpose', areas=False, file_joints=FILE_JOINTS)
