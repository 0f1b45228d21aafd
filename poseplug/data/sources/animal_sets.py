"""Data sets of animals whose files are in COCO's format."""

from __future__ import annotations

__all__ = [
    'AP10KSource',
    'ATRWSource',
    'AnimalPoseSource',
    'FlySource',
    'Horse10Source',
    'LocustSource',
    'MacaqueSource',
    'ZebraSource',
]

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_style import create_set_reader, describe_set_download, list_split_files
from poseplug.registry import SOURCES


@SOURCES.register_module()
class AP10KSource(CocoFormatSource):
    """AP-10K: 54 kinds of animals, 17 keypoints (Yu et al. 2021, arXiv:2108.12617).

    `split` is 'train', 'val' or 'test', of the first of its three splits; `ann_file` names another one's file. The
    other settings are those of `CocoFormatSource`.
    """

    name = 'ap10k'
    download_hint = 'Get AP-10K, and unpack it'
    splits = list_split_files('annotations/ap10k-{split}-split1.json', 'data', 'train', 'val', 'test')
    reader = create_set_reader('ap10k', name)


@SOURCES.register_module()
class AnimalPoseSource(CocoFormatSource):
    """Animal Pose: five kinds of animals, 20 keypoints (Cao et al. 2019, arXiv:1908.05806).

    `split` is 'train' or 'val'. The other settings are those of `CocoFormatSource`.
    """

    name = 'animalpose'
    download_hint = describe_set_download('Animal Pose and of PASCAL VOC 2012')
    splits = list_split_files('annotations/animalpose_{split}.json', '', 'train', 'val')
    reader = create_set_reader('animalpose', name)


@SOURCES.register_module()
class ATRWSource(CocoFormatSource):
    """ATRW: Amur tigers, 15 keypoints (Li et al. 2020, arXiv:1906.05586).

    `split` is 'train' or 'val'. The other settings are those of `CocoFormatSource`.
    """

    name = 'atrw'
    download_hint = describe_set_download('ATRW')
    splits = list_split_files('annotations/keypoint_{split}.json', 'images/{split}', 'train', 'val')
    reader = create_set_reader('atrw15', name)


@SOURCES.register_module()
class FlySource(CocoFormatSource):
    """Vinegar flies, 32 keypoints (Pereira et al. 2019, doi:10.1038/s41592-018-0234-5).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'fly'
    download_hint = describe_set_download('the vinegar fly')
    splits = list_split_files('annotations/fly_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('fly32', name)


@SOURCES.register_module()
class Horse10Source(CocoFormatSource):
    """Horse-10: horses from one side, 22 keypoints (Mathis et al. 2021, arXiv:1909.11229).

    `split` is 'train' or 'test', of the first of its three splits; `ann_file` names another one's file. The other
    settings are those of `CocoFormatSource`.
    """

    name = 'horse10'
    download_hint = describe_set_download('Horse-10')
    splits = list_split_files('annotations/horse10-{split}-split1.json', '', 'train', 'test')
    reader = create_set_reader('horse10', name)


@SOURCES.register_module()
class LocustSource(CocoFormatSource):
    """Desert locusts, 35 keypoints (Graving et al. 2019, doi:10.7554/eLife.47994).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'locust'
    download_hint = describe_set_download('the desert locust')
    splits = list_split_files('annotations/locust_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('locust35', name)


@SOURCES.register_module()
class MacaqueSource(CocoFormatSource):
    """MacaquePose: macaques, 17 keypoints (Labuguen et al. 2020, doi:10.3389/fnbeh.2020.581154).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'macaque'
    download_hint = describe_set_download('MacaquePose')
    splits = list_split_files('annotations/macaque_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('macaque', name)


@SOURCES.register_module()
class ZebraSource(CocoFormatSource):
    """Grévy's zebra from the air, 9 keypoints (Graving et al. 2019, doi:10.7554/eLife.47994).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'zebra'
    download_hint = describe_set_download("Grévy's zebra")
    splits = list_split_files('annotations/zebra_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('zebra9', name)
