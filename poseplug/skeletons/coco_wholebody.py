"""COCO-WholeBody: body, feet, face and hands, 133 keypoints in its files' order (Jin et al. 2020, arXiv:2007.11858).

The sigmas are those of its evaluation, one list per part; both hands have the same. The face has the 68 points of the
300-W scheme, counted from 0, which have no names of their own.
"""

__all__ = ['COCO_WHOLEBODY', 'WHOLEBODY_PARTS']

from poseplug.core.skeleton import Skeleton
from poseplug.registry.skeletons import register_skeleton
from poseplug.skeletons.coco import COCO

_SIDES = ('left', 'right')
_FOOT_POINTS = ('big_toe', 'small_toe', 'heel')
_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
_HAND_POINTS = ('hand_root', *(f'{finger}{n}' for finger in _FINGERS for n in (1, 2, 3, 4)))
_NUM_FACE_POINTS = 68

# The parts in the order of the files, with the names of their keypoints.
WHOLEBODY_PARTS = {
    'body': COCO.keypoints,
    'foot': tuple(f'{side}_{point}' for side in _SIDES for point in _FOOT_POINTS),
    'face': tuple(f'face_{n}' for n in range(_NUM_FACE_POINTS)),
    'left_hand': tuple(f'left_{point}' for point in _HAND_POINTS),
    'right_hand': tuple(f'right_{point}' for point in _HAND_POINTS),
}

_FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041),
    *(0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012),
    *(0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034),
    *(0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008),
    *(0.008, 0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)

# Points of the face that a flip exchanges: both indices of a pair add up to the same number within a region.
_FACE_REGIONS = {
    16: range(8),  # jaw
    43: range(17, 22),  # eyebrows
    66: (31, 32),  # nostrils
    81: (36, 37, 38, 39),  # corners and upper lids of the eyes
    87: (40, 41),  # lower lids
    102: (48, 49, 50),  # outer upper lip
    114: (58, 59),  # outer lower lip
    124: (60, 61),  # inner upper lip
    132: (67,),  # inner lower lip
}


def _list_flip_pairs() -> tuple[tuple[str, str], ...]:
    """The pairs of all parts."""
    feet_and_hands = [(f'left_{point}', f'right_{point}') for point in (*_FOOT_POINTS, *_HAND_POINTS)]
    face = [(f'face_{n}', f'face_{total - n}') for total, points in _FACE_REGIONS.items() for n in points]
    return (*COCO.flip_pairs, *feet_and_hands, *face)


def _list_limbs() -> tuple[tuple[str, str], ...]:
    """The limbs of the body, from the ankles to the feet, and from the wrists along the fingers."""
    limbs = list(COCO.limbs)
    for side in _SIDES:
        limbs += [(f'{side}_ankle', f'{side}_{point}') for point in _FOOT_POINTS]
        limbs.append((f'{side}_wrist', f'{side}_hand_root'))
        for finger in _FINGERS:
            chain = [f'{side}_hand_root', *(f'{side}_{finger}{n}' for n in (1, 2, 3, 4))]
            limbs += zip(chain, chain[1:], strict=False)
    return tuple(limbs)


COCO_WHOLEBODY = register_skeleton(
    Skeleton(
        name='coco_wholebody',
        keypoints=tuple(name for names in WHOLEBODY_PARTS.values() for name in names),
        limbs=_list_limbs(),
        flip_pairs=_list_flip_pairs(),
        torso=COCO.torso,
        sigmas=(*(COCO.sigmas or ()), *_FOOT_SIGMAS, *_FACE_SIGMAS, *_HAND_SIGMAS, *_HAND_SIGMAS),
        groups=WHOLEBODY_PARTS,
    ),
    __name__,
)
