"""What the sources share whose files, as MMPose's documentation offers them, are in COCO's format.

Folders and file names are those of MMPose's configs, so that data that is prepared for it is read as it stands. Other
sets in this format need no class: `CocoSource(data_root=, ann_file=, image_folder=, skeleton=)` reads them.
"""

from __future__ import annotations

__all__ = ['create_set_reader', 'describe_set_download', 'list_split_files']

from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry.skeletons import get_skeleton


def create_set_reader(skeleton: str, name: str) -> CocoReader:
    """Return the reader of a set with one list of keypoints, whatever its categories are called.

    Args:
        skeleton: name of its skeleton.
        name: of the data set.
    """
    return CocoReader(get_skeleton(skeleton), name, category=None, require_boxes=False)


def list_split_files(file: str, image_folder: str, *splits: str) -> dict[str, tuple[str, str]]:
    """Return the annotation file and the image folder of each split, below the folder of a set.

    Args:
        file: the annotation file, in which `{split}` stands for the split.
        image_folder: the folder of the images, likewise.
        splits: as the set's files call them.

    Example:
        >>> list_split_files('annotations/atrw_{split}.json', 'images/{split}', 'train')
        {'train': ('annotations/atrw_train.json', 'images/train')}
    """
    return {split: (file.format(split=split), image_folder.format(split=split)) for split in splits}


def describe_set_download(title: str) -> str:
    """Return how to get a set whose annotations MMPose's documentation of data sets links to.

    Args:
        title: of the data set.
    """
    return f"Get the images of {title}, and put the JSON files of MMPose's documentation into annotations/"
