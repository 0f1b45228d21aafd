"""What the sources share whose files, as MMPose's documentation offers them, are in COCO's format.

Folders and file names are those of MMPose's configs, so that data that is prepared for it is read as it stands. Other
sets in this format need no class: `CocoSource(data_root=, ann_file=, image_folder=, skeleton=)` reads them.
"""

from __future__ import annotations

from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry.skeletons import get_skeleton


def create_set_reader(skeleton: str, name: str) -> CocoReader:
    """Return the reader of a set with one list of keypoints, whatever its categories are called.

    Args:
        skeleton: name of its skeleton.
        name: of the data set.
    """
    return CocoReader(get_skeleton(skeleton), name, category=None, require_boxes=False)


def describe_set_download(title: str) -> str:
    """Return how to get a set whose annotations MMPose's documentation of data sets links to.

    Args:
        title: of the data set.
    """
    return f"Get the images of {title}, and put the JSON files of MMPose's documentation into annotations/"
