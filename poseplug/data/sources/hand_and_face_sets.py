"""Data sets of hands and faces whose files are in COCO's format."""

from __future__ import annotations

__all__ = [
    'AFLWSource',
    'COFWSource',
    'Face300WLPSource',
    'Face300WSource',
    'FreiHandSource',
    'LaPaSource',
    'OneHand10KSource',
    'PanopticHandSource',
    'RHDSource',
    'WFLWSource',
]

from poseplug.data.sources.coco import CocoFormatSource
from poseplug.data.sources.coco_style import create_set_reader, describe_set_download, list_split_files
from poseplug.registry import SOURCES


@SOURCES.register_module()
class FreiHandSource(CocoFormatSource):
    """FreiHAND: one hand an image of 224 px, 21 keypoints (Zimmermann et al. 2019, arXiv:1909.04349).

    `split` is 'train', 'val' or 'test'; the published evaluation images have no keypoints, so that MMPose divided the
    training images. The other settings are those of `CocoFormatSource`.
    """

    name = 'freihand'
    download_hint = describe_set_download('FreiHAND')
    splits = list_split_files('annotations/freihand_{split}.json', '', 'train', 'val', 'test')
    reader = create_set_reader('hand21', name)


@SOURCES.register_module()
class OneHand10KSource(CocoFormatSource):
    """OneHand10K: one hand an image, 21 keypoints (Wang et al. 2018, doi:10.1109/TCSVT.2018.2879980).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'onehand10k'
    download_hint = describe_set_download('OneHand10K')
    splits = list_split_files('annotations/onehand10k_{split}.json', '', 'train', 'test')
    reader = create_set_reader('hand21', name)


@SOURCES.register_module()
class PanopticHandSource(CocoFormatSource):
    """CMU Panoptic HandDB, 21 keypoints (Simon et al. 2017, arXiv:1704.07809).

    `split` is 'train' (panoptic images, and the manual labels for training) or 'test' (the manual ones for tests).
    The other settings are those of `CocoFormatSource`.
    """

    name = 'panoptic'
    download_hint = describe_set_download('CMU Panoptic HandDB')
    splits = list_split_files('annotations/panoptic_{split}.json', '', 'train', 'test')
    reader = create_set_reader('hand21', name)


@SOURCES.register_module()
class RHDSource(CocoFormatSource):
    """Rendered Hand Dataset, 21 keypoints from the tips on (Zimmermann & Brox 2017, arXiv:1705.01389).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'rhd'
    download_hint = describe_set_download('the Rendered Hand Dataset')
    splits = list_split_files('annotations/rhd_{split}.json', '', 'train', 'test')
    reader = create_set_reader('rhd21', name)


@SOURCES.register_module()
class AFLWSource(CocoFormatSource):
    """AFLW: faces, 19 keypoints (Koestinger et al. 2011, doi:10.1109/ICCVW.2011.6130513).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'aflw'
    download_hint = describe_set_download('AFLW')
    splits = list_split_files('annotations/face_landmarks_aflw_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('aflw19', name)


@SOURCES.register_module()
class COFWSource(CocoFormatSource):
    """COFW: occluded faces, 29 keypoints (Burgos-Artizzu et al. 2013, doi:10.1109/ICCV.2013.191).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'cofw'
    download_hint = describe_set_download('COFW')
    splits = list_split_files('annotations/cofw_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('cofw29', name)


@SOURCES.register_module()
class Face300WSource(CocoFormatSource):
    """300-W: faces, 68 keypoints (Sagonas et al. 2016, doi:10.1016/j.imavis.2016.01.002).

    `split` is 'train', 'valid' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = '300w'
    download_hint = describe_set_download('300-W')
    splits = list_split_files('annotations/face_landmarks_300w_{split}.json', 'images', 'train', 'valid', 'test')
    reader = create_set_reader('face68', name)


@SOURCES.register_module()
class Face300WLPSource(CocoFormatSource):
    """300W-LP: faces turned by a 3-D model, 68 keypoints (Zhu et al. 2016, arXiv:1511.07212).

    `split` is 'train' or 'valid'. The other settings are those of `CocoFormatSource`.
    """

    name = '300wlp'
    download_hint = describe_set_download('300W-LP')
    splits = {
        split: (f'annotations/face_landmarks_300wlp_{split}.json', folder)
        for split, folder in (('train', 'train'), ('valid', 'val'))
    }
    reader = create_set_reader('face68', name)


@SOURCES.register_module()
class LaPaSource(CocoFormatSource):
    """LaPa: faces, 106 keypoints (Liu et al. 2020, doi:10.1609/aaai.v34i07.6832).

    `split` is 'train', 'val', 'trainval' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'LaPa'
    download_hint = describe_set_download('LaPa')
    splits = list_split_files('annotations/lapa_{split}.json', '', 'train', 'val', 'trainval', 'test')
    reader = create_set_reader('face106', name)


@SOURCES.register_module()
class WFLWSource(CocoFormatSource):
    """WFLW: faces, 98 keypoints (Wu et al. 2018, arXiv:1805.10483).

    `split` is 'train' or 'test'. The other settings are those of `CocoFormatSource`.
    """

    name = 'wflw'
    download_hint = describe_set_download('WFLW')
    splits = list_split_files('annotations/face_landmarks_wflw_{split}.json', 'images', 'train', 'test')
    reader = create_set_reader('face98', name)
