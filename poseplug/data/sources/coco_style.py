"""Data sets whose files, as MMPose's documentation offers them, are in COCO's format with keypoints of their own.

Folders and file names are those of MMPose's configs, so that data that is prepared for it is read as it stands. Other
sets in this format need no class: `CocoSource(data_root=, ann_file=, image_folder=, skeleton=)` reads them.
"""

from __future__ import annotations

__all__ = [
    'AFLWSource',
    'AP10KSource',
    'AnimalPoseSource',
    'COFWSource',
    'DeepFashionSource',
    'Face300WSource',
    'FreiHandSource',
    'OneHand10KSource',
    'PoseTrack18Source',
    'RHDSource',
    'WFLWSource',
    'ZebraSource',
]

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry import SOURCES
from poseplug.registry.skeletons import get_skeleton


def _create_reader(skeleton: str, name: str) -> CocoReader:
    """The reader of a set with one list of keypoints, whatever its categories are called."""
    return CocoReader(get_skeleton(skeleton), name, category=None, require_boxes=False)


def _describe_download(title: str) -> str:
    """How to get a set whose annotations MMPose's documentation of data sets links to."""
    return f"Get the images of {title}, and put the JSON files of MMPose's documentation into annotations/"


@SOURCES.register_module()
class AP10KSource(CocoFormatSource):
    """AP-10K: 54 kinds of animals, 17 keypoints (Yu et al. 2021, arXiv:2108.12617).

    `split` is 'train', 'val' or 'test', of the first of its three splits; `ann_file` names another one's file. The
    other settings are those of `CocoFormatSource`.
    """

    name = 'ap10k'
    download_hint = 'Get AP-10K, and unpack it'
    splits = {split: (f'annotations/ap10k-{split}-split1.json', 'data') for split in ('train', 'val', 'test')}
    reader = _create_reader('ap10k', name)


@SOURCES.register_module()
class AnimalPoseSource(CocoFormatSource):
    """Animal Pose: five kinds of animals, 20 keypoints (Cao et al. 2019, arXiv:1908.05806).

    `split` is 'train' or 'val'. The other settings are those of `CocoFormatSource`.
    """

    name = 'animalpose'
    download_hint = _describe_download('Animal Pose and of PASCAL VOC 2012')
    splits = {split: (f'annotations/animalpose_{split}.json', '') for split in ('train', 'val')}
    reader = _create_reader('animalpose', name)


@SOURCES.register_module()
class ZebraSource(CocoFormatSource):
    """Grévy's zebra from the air, 9 keypoints (Graving et al. 2019, doi:10.7554/eLife.47994).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'zebra'
    download_hint = _describe_download("Grévy's zebra")
    splits = {split: (f'annotations/zebra_{split}.json', 'images') for split in ('train', 'test')}
    reader = _create_reader('zebra9', name)


@SOURCES.register_module()
class PoseTrack18Source(CocoFormatSource):
    """PoseTrack 2018: people in videos, 17 keypoints (Andriluka et al. 2018, arXiv:1710.10000).

    `split` is 'train' or 'val'. The other settings are those of `CocoFormatSource`.
    """

    name = 'posetrack18'
    download_hint = _describe_download('PoseTrack 2018')
    splits = {split: (f'annotations/posetrack18_{split}.json', '') for split in ('train', 'val')}
    reader = _create_reader('posetrack18', name)


@SOURCES.register_module()
class OneHand10KSource(CocoFormatSource):
    """OneHand10K: one hand an image, 21 keypoints (Wang et al. 2018, doi:10.1109/TCSVT.2018.2879980).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'onehand10k'
    download_hint = _describe_download('OneHand10K')
    splits = {split: (f'annotations/onehand10k_{split}.json', '') for split in ('train', 'test')}
    reader = _create_reader('hand21', name)


@SOURCES.register_module()
class FreiHandSource(CocoFormatSource):
    """FreiHAND: one hand an image of 224 px, 21 keypoints (Zimmermann et al. 2019, arXiv:1909.04349).

    `split` is 'train', 'val' or 'test'; the published evaluation images have no keypoints, so that MMPose divided the
    training images. The other settings are those of `CocoFormatSource`.
    """

    name = 'freihand'
    download_hint = _describe_download('FreiHAND')
    splits = {split: (f'annotations/freihand_{split}.json', '') for split in ('train', 'val', 'test')}
    reader = _create_reader('hand21', name)


@SOURCES.register_module()
class RHDSource(CocoFormatSource):
    """Rendered Hand Dataset, 21 keypoints from the tips on (Zimmermann & Brox 2017, arXiv:1705.01389).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'rhd'
    download_hint = _describe_download('the Rendered Hand Dataset')
    splits = {split: (f'annotations/rhd_{split}.json', '') for split in ('train', 'test')}
    reader = _create_reader('rhd21', name)


@SOURCES.register_module()
class DeepFashionSource(CocoFormatSource):
    """Fashion landmarks of DeepFashion, full clothes: 8 keypoints (Liu et al. 2016, arXiv:1608.03049).

    `split` is 'train', 'val' or 'test'. For the upper or lower clothes name `ann_file` and `skeleton`. The other
    settings are those of `CocoFormatSource`.
    """

    name = 'fld'
    download_hint = _describe_download("DeepFashion's landmark benchmark")
    splits = {split: (f'annotations/fld_full_{split}.json', 'img') for split in ('train', 'val', 'test')}
    reader = _create_reader('deepfashion_full', 'deepfashion')


@SOURCES.register_module()
class WFLWSource(CocoFormatSource):
    """WFLW: faces, 98 keypoints (Wu et al. 2018, arXiv:1805.10483).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'wflw'
    download_hint = _describe_download('WFLW')
    splits = {split: (f'annotations/face_landmarks_wflw_{split}.json', 'images') for split in ('train', 'test')}
    reader = _create_reader('face98', name)


@SOURCES.register_module()
class Face300WSource(CocoFormatSource):
    """300-W: faces, 68 keypoints (Sagonas et al. 2016, doi:10.1016/j.imavis.2016.01.002).

    `split` is 'train', 'valid' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = '300w'
    download_hint = _describe_download('300-W')
    splits = {
        split: (f'annotations/face_landmarks_300w_{split}.json', 'images') for split in ('train', 'valid', 'test')
    }
    reader = _create_reader('face68', name)


@SOURCES.register_module()
class AFLWSource(CocoFormatSource):
    """AFLW: faces, 19 keypoints (Koestinger et al. 2011, doi:10.1109/ICCVW.2011.6130513).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'aflw'
    download_hint = _describe_download('AFLW')
    splits = {split: (f'annotations/face_landmarks_aflw_{split}.json', 'images') for split in ('train', 'test')}
    reader = _create_reader('aflw19', name)


@SOURCES.register_module()
class COFWSource(CocoFormatSource):
    """COFW: occluded faces, 29 keypoints (Burgos-Artizzu et al. 2013, doi:10.1109/ICCV.2013.191).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'cofw'
    download_hint = _describe_download('COFW')
    splits = {split: (f'annotations/cofw_{split}.json', 'images') for split in ('train', 'test')}
    reader = _create_reader('cofw29', name)
