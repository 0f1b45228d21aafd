"""Data sets of people and clothes whose files are in COCO's format."""

from __future__ import annotations

__all__ = [
    'DeepFashion2Source',
    'DeepFashionSource',
    'HalpeSource',
    'HumanArtSource',
    'JHMDBSource',
    'OCHumanSource',
    'PoseTrack18Source',
]

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_style import create_set_reader, describe_set_download, list_split_files
from poseplug.registry import SOURCES


@SOURCES.register_module()
class DeepFashionSource(CocoFormatSource):
    """Fashion landmarks of DeepFashion, full clothes: 8 keypoints (Liu et al. 2016, arXiv:1608.03049).

    `split` is 'train', 'val' or 'test'. For the upper or lower clothes name `ann_file` and `skeleton`. The other
    settings are those of `CocoFormatSource`.
    """

    name = 'fld'
    download_hint = describe_set_download("DeepFashion's landmark benchmark")
    splits = list_split_files('annotations/fld_full_{split}.json', 'img', 'train', 'val', 'test')
    reader = create_set_reader('deepfashion_full', 'deepfashion')


@SOURCES.register_module()
class DeepFashion2Source(CocoFormatSource):
    """DeepFashion2: 13 kinds of clothes with keypoints of their own, 294 in all (Ge et al. 2019, arXiv:1901.07973).

    `split` is 'train' or 'val', of short-sleeved shirts; `ann_file` names the file of another kind. The other
    settings are those of `CocoFormatSource`.
    """

    name = 'deepfashion2'
    download_hint = describe_set_download('DeepFashion2')
    splits = {
        split: (f'{folder}/deepfashion2_short_sleeved_shirt_{folder}.json', f'{folder}/image')
        for split, folder in (('train', 'train'), ('val', 'validation'))
    }
    reader = create_set_reader('deepfashion2', name)


@SOURCES.register_module()
class HalpeSource(CocoFormatSource):
    """Halpe Full-Body, 136 keypoints (Li et al. 2020, arXiv:2004.00945).

    `split` is 'train' (images of HICO-DET) or 'val' (images of COCO). Its first 26 keypoints are the skeleton
    `halpe26`: name it as the model's. The other settings are those of `CocoFormatSource`.
    """

    name = 'halpe'
    download_hint = describe_set_download('Halpe Full-Body, HICO-DET and COCO val2017')
    splits = {
        'train': ('annotations/halpe_train_v1.json', 'hico_20160224_det/images/train2015'),
        'val': ('annotations/halpe_val_v1.json', 'val2017'),
    }
    reader = create_set_reader('halpe136', name)


@SOURCES.register_module()
class HumanArtSource(CocoFormatSource):
    """Human-Art: people in photographs and in art, 17 keypoints (Ju et al. 2023, arXiv:2303.02760).

    `split` is 'train' or 'val'. Image names start in the folder that contains `HumanArt`, as in its files. The
    other settings are those of `CocoFormatSource`.
    """

    name = 'HumanArt'
    download_hint = describe_set_download('Human-Art')
    splits = {
        'train': ('annotations/training_humanart_coco.json', '..'),
        'val': ('annotations/validation_humanart.json', '..'),
    }
    reader = create_set_reader('coco', 'humanart')


@SOURCES.register_module()
class JHMDBSource(CocoFormatSource):
    """sub-JHMDB: people in videos, 15 keypoints (Jhuang et al. 2013, doi:10.1109/ICCV.2013.396).

    `split` is 'train' or 'test', of the first of its three splits; `ann_file` names another one's file. The other
    settings are those of `CocoFormatSource`.
    """

    name = 'jhmdb'
    download_hint = describe_set_download('sub-JHMDB')
    splits = list_split_files('annotations/Sub1_{split}.json', '', 'train', 'test')
    reader = create_set_reader('jhmdb15', name)


@SOURCES.register_module()
class OCHumanSource(CocoFormatSource):
    """OCHuman: people who cover each other, 17 keypoints; only to test (Zhang et al. 2019, arXiv:1803.10683).

    `split` is 'val' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'ochuman'
    download_hint = describe_set_download('OCHuman')
    splits = list_split_files('annotations/ochuman_coco_format_{split}_range_0.00_1.00.json', 'images', 'val', 'test')
    reader = create_set_reader('coco', name)


@SOURCES.register_module()
class PoseTrack18Source(CocoFormatSource):
    """PoseTrack 2018: people in videos, 17 keypoints (Andriluka et al. 2018, arXiv:1710.10000).

    `split` is 'train' or 'val'. The other settings are those of `CocoFormatSource`.
    """

    name = 'posetrack18'
    download_hint = describe_set_download('PoseTrack 2018')
    splits = list_split_files('annotations/posetrack18_{split}.json', '', 'train', 'val')
    reader = create_set_reader('posetrack18', name)
