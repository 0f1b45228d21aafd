"""What poseplug has for the data sets of MMPose: skeletons, and how a model is tested on them."""

from __future__ import annotations

from dataclasses import dataclass

from mmpose_models import PublishedModel
from translation import NotTranslatedError


@dataclass(frozen=True)
class DataSettings:
    """A data set.

    Attributes:
        skeleton: name of the skeleton.
        mmpose_names: the file of MMPose that has its keypoints.
        template: a shipped config that is tested on it, '' if none is.
    """

    skeleton: str
    mmpose_names: str
    template: str = ''


_COCO = DataSettings('coco', 'coco', 'hrnet_w32_coco_256x192')
_WHOLEBODY = DataSettings('coco_wholebody', 'coco_wholebody', 'rtmpose_m_coco_wholebody_256x192')
_HAND = DataSettings('hand21', 'onehand10k', 'rtmpose_m_hand_256x256')
_BY_FOLDER = {
    'coco': _COCO,
    'body7': _COCO,
    'body8': _COCO,
    'humanart': _COCO,
    'aic': DataSettings('aic', 'aic'),
    'crowdpose': DataSettings('crowdpose', 'crowdpose', 'rtmo_s_crowdpose_640'),
    'mpii': DataSettings('mpii', 'mpii', 'hrnet_w32_mpii_256'),
    'jhmdb': DataSettings('jhmdb15', 'jhmdb'),
    'posetrack18': DataSettings('posetrack18', 'posetrack18'),
    'exlpose': DataSettings('exlpose14', 'exlpose'),
    'ap10k': DataSettings('ap10k', 'ap10k', 'hrnet_w32_ap10k_256'),
    'ak': DataSettings('animalkingdom23', 'ak'),
    'animalpose': DataSettings('animalpose', 'animalpose'),
    'locust': DataSettings('locust35', 'locust'),
    'zebra': DataSettings('zebra9', 'zebra'),
    'coco-wholebody': _WHOLEBODY,
    'cocktail14': _WHOLEBODY,
    'ubody2d': _WHOLEBODY,
    'coco_wholebody_face': DataSettings('coco_wholebody_face', 'coco_wholebody_face'),
    'coco_wholebody_hand': DataSettings('coco_wholebody_hand', 'coco_wholebody_hand'),
    'face6': DataSettings('face106', 'lapa'),
    'lapa': DataSettings('face106', 'lapa'),
    'wflw': DataSettings('face98', 'wflw'),
    '300w': DataSettings('face68', '300w'),
    '300wlp': DataSettings('face68', '300wlp'),
    'aflw': DataSettings('aflw19', 'aflw'),
    'cofw': DataSettings('cofw29', 'cofw'),
    'onehand10k': _HAND,
    'freihand2d': _HAND,
    'hand5': _HAND,
    'rhd2d': DataSettings('rhd21', 'rhd2d'),
    'deepfashion2': DataSettings('deepfashion2', 'deepfashion2'),
}
_BY_PART_OF_NAME = {
    'halpe26': DataSettings('halpe26', 'halpe26'),
    'cspnext-tiny_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-s_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-m_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    'cspnext-l_udp_8xb256-210e_aic-coco': DataSettings('coco_aic19', 'coco_aic'),
    '256x192-combine': DataSettings('coco_aic19', 'coco_aic'),
    'deepfashion_lower': DataSettings('deepfashion_lower', 'deepfashion_lower'),
    'deepfashion_upper': DataSettings('deepfashion_upper', 'deepfashion_upper'),
    'deepfashion_full': DataSettings('deepfashion_full', 'deepfashion_full'),
}


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
