"""What poseplug has for the data sets of MMPose: skeletons, and how a model is tested on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmpose_models import PublishedModel
from translated_parts import NotTranslatedError

from poseplug.config.load import load_config


@dataclass(frozen=True)
class DataSettings:
    """A data set.

    Attributes:
        skeleton: name of the skeleton.
        mmpose_names: the file of MMPose that has its keypoints.
        source: type and split of the data that MMPose tests on; None where poseplug does not read them.
        metrics: that MMPose computes on them.
        template: a shipped config whose test pipeline crops instances as the data set needs.
        box_padding: by which boxes are enlarged for the test; None for that of the template.
    """

    skeleton: str
    mmpose_names: str
    source: tuple[str, str] | None = None
    metrics: tuple[dict[str, Any], ...] = ()
    template: str = 'hrnet_w32_coco_256x192'
    box_padding: float | None = None


_AP = (dict(type='OKSAP'),)
# MMPose's three metrics of hands and animals, with its normalizers: the box, 30 px, and none.
_BOX_METRICS = (dict(type='PCK', normalizer='box'), dict(type='AUC', normalizer=30), dict(type='EPE'))
_COCO = DataSettings('coco', 'coco', ('CocoSource', 'val'), _AP)
_WHOLEBODY_AP = (dict(type='WholeBodyAP'),)
_WHOLEBODY = DataSettings('coco_wholebody', 'coco_wholebody', ('CocoWholeBodySource', 'val'), _WHOLEBODY_AP)
_HAND = DataSettings('hand21', 'onehand10k', ('OneHand10KSource', 'test'), _BOX_METRICS)


def _measure_eyes(*keypoints: int, prefix: str = 'keypoint_') -> tuple[dict[str, Any], ...]:
    """NME in units of the distance between the outer corners of the eyes."""
    return (dict(type='NME', normalizer=tuple(f'{prefix}{index}' for index in keypoints)),)


# By the folder of the config in MMPose, which names the data set.
_BY_FOLDER = {
    'coco': _COCO,
    # Cocktails of data sets are tested on the one whose keypoints they predict.
    'body7': _COCO,
    'body8': _COCO,
    'humanart': DataSettings('coco', 'coco', ('HumanArtSource', 'val'), _AP),
    'aic': DataSettings('aic', 'aic', ('AICSource', 'val'), _AP),
    'crowdpose': DataSettings('crowdpose', 'crowdpose', ('CrowdPoseSource', 'test'), (dict(type='CrowdPoseAP'),)),
    'mpii': DataSettings('mpii', 'mpii', ('MPIISource', 'val'), (dict(type='PCKh'),), 'hrnet_w32_mpii_256'),
    'jhmdb': DataSettings('jhmdb15', 'jhmdb'),
    'posetrack18': DataSettings('posetrack18', 'posetrack18', ('PoseTrack18Source', 'val'), _AP),
    'exlpose': DataSettings('exlpose14', 'exlpose'),
    'ap10k': DataSettings('ap10k', 'ap10k', ('AP10KSource', 'test'), _AP),
    'ak': DataSettings('animalkingdom23', 'ak', metrics=_BOX_METRICS),
    'animalpose': DataSettings('animalpose', 'animalpose', ('AnimalPoseSource', 'val'), _AP),
    'locust': DataSettings('locust35', 'locust', ('LocustSource', 'test'), _BOX_METRICS, box_padding=0.8),
    'zebra': DataSettings('zebra9', 'zebra', ('ZebraSource', 'test'), _BOX_METRICS, box_padding=0.8),
    'coco-wholebody': _WHOLEBODY,
    'cocktail14': _WHOLEBODY,
    'ubody2d': _WHOLEBODY,
    'coco_wholebody_face': DataSettings(
        'coco_wholebody_face',
        'coco_wholebody_face',
        ('CocoWholeBodyFaceSource', 'val'),
        _measure_eyes(36, 45, prefix='face_'),
    ),
    'coco_wholebody_hand': DataSettings(
        'coco_wholebody_hand', 'coco_wholebody_hand', ('CocoWholeBodyHandSource', 'val'), _BOX_METRICS
    ),
    # MMPose tests models of six data sets of faces on LaPa.
    'face6': DataSettings('face106', 'lapa', ('LaPaSource', 'test'), _measure_eyes(66, 79)),
    'lapa': DataSettings('face106', 'lapa', ('LaPaSource', 'test'), _measure_eyes(66, 79)),
    'wflw': DataSettings('face98', 'wflw', ('WFLWSource', 'test'), _measure_eyes(60, 72)),
    '300w': DataSettings('face68', '300w', ('Face300WSource', 'test'), _measure_eyes(36, 45)),
    '300wlp': DataSettings('face68', '300wlp'),
    'aflw': DataSettings('aflw19', 'aflw'),
    'cofw': DataSettings('cofw29', 'cofw', ('COFWSource', 'test'), _measure_eyes(8, 9)),
    'onehand10k': _HAND,
    'freihand2d': DataSettings('hand21', 'freihand2d', ('FreiHandSource', 'test'), _BOX_METRICS, box_padding=0.8),
    'hand5': _HAND,
    'rhd2d': DataSettings('rhd21', 'rhd2d', ('RHDSource', 'test'), _BOX_METRICS),
    'deepfashion2': DataSettings('deepfashion2', 'deepfashion2', metrics=_BOX_METRICS),
}
# Where one folder has models of several skeletons; these count before the folders.
_BY_PART_OF_NAME = {
    'halpe26': DataSettings('halpe26', 'halpe26'),
    'cspnext-tiny_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-s_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-m_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-l_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    '256x192-combine': DataSettings('coco_aic19', 'coco_aic'),
    'deepfashion_lower': DataSettings('deepfashion_lower', 'deepfashion_lower', metrics=_BOX_METRICS),
    'deepfashion_upper': DataSettings('deepfashion_upper', 'deepfashion_upper', metrics=_BOX_METRICS),
    'deepfashion_full': DataSettings(
        'deepfashion_full', 'deepfashion_full', ('DeepFashionSource', 'test'), _BOX_METRICS
    ),
}


def list_test_settings(data: DataSettings, is_top_down: bool) -> dict[str, Any]:
    """List the settings by which a model is tested on a data set.

    A data set that is not read here leaves no source, which `poseplug test` refuses; predictions need none.

    Args:
        data: the data set.
        is_top_down: whether the model crops instances; else its pipeline stays as it is.

    Returns:
        Settings by dotted keys.
    """
    # The shipped configs of bottom-up and one-stage models test on COCO already.
    if data == _COCO and not is_top_down:
        return {}
    sources: list[dict[str, Any]] = []
    if data.source is not None:
        # A model that finds instances is also measured on images without any.
        keep_empty = {} if is_top_down else dict(keep_empty=True)
        sources.append(dict(type=data.source[0], split=data.source[1], **keep_empty))
    settings: dict[str, Any] = {'test_dataloader.dataset.sources': sources}
    if data.metrics:
        settings['test_evaluator'] = list(data.metrics)
    if is_top_down:
        pipeline = load_config(data.template)['test_dataloader']['dataset']['pipeline']
        padding = {} if data.box_padding is None else dict(padding=data.box_padding)
        steps = [{**step, **(padding if step['type'] == 'CropBox' else {})} for step in pipeline]
        settings['test_dataloader.dataset.pipeline'] = steps
    return settings


def get_data_settings(model: PublishedModel) -> DataSettings:
    """Return what poseplug has for the data set of a model.

    Raises:
        NotTranslatedError: it has no skeleton for it.
    """
    for text, settings in _BY_PART_OF_NAME.items():
        if text in model.name:
            return settings
    if model.dataset not in _BY_FOLDER:
        raise NotTranslatedError(f'no skeleton for {model.dataset}')
    return _BY_FOLDER[model.dataset]


def list_data_settings() -> list[DataSettings]:
    """List all data sets."""
    return [*_BY_FOLDER.values(), *_BY_PART_OF_NAME.values()]
