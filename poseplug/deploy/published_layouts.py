"""ONNX files in the layouts in which RTMPose, RTMO and ViTPose are published, recognized by their outputs.

These are the layouts that MMDeploy writes and rtmlib reads: the input `input` (B, 3, H, W) of normalized numbers, and
the outputs `simcc_x` and `simcc_y` (RTMPose), `dets` and `keypoints` (RTMO), or `output`, heatmaps (ViTPose, HRNet).
"""

from __future__ import annotations

__all__ = ['PublishedLayout', 'decode_published_outputs', 'find_published_layout', 'normalize_images']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_probabilities
from poseplug.core.skeleton import Skeleton
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.grouping.nms import nms
from poseplug.registry.skeletons import get_skeleton

_SKELETON_NAMES = {17: 'coco', 26: 'halpe26', 133: 'coco_wholebody'}  # by number of keypoints
_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_LETTERBOX_COLOR = [114, 114, 114]
_UDP_KERNEL_SIZE, _UDP_EPS = 11, float(np.finfo(np.float32).eps)
_OUTPUT_NAMES = {'simcc': ('simcc_x', 'simcc_y'), 'dets': ('dets', 'keypoints'), 'heatmaps': ('output',)}


@dataclass(frozen=True)
class PublishedLayout:
    """Facts about a published file that it does not state itself.

    Attributes:
        channel_order: 'rgb' or 'bgr', of the input. The models are trained with RGB; rtmlib passes BGR.
        refine: of heatmaps: 'quarter' (SimpleBaseline, HRNet) or 'udp' (ViTPose), whose crops differ, too.
        score_threshold: an instance of `dets` has a higher score.
        nms_threshold: a box of `dets` is suppressed if its IoU with a higher-scoring one is above this.
        skeleton: a name, a skeleton or its settings; None for that of 17 (COCO) or 133 keypoints (COCO-WholeBody).
    """

    channel_order: Literal['rgb', 'bgr'] = 'rgb'
    refine: Literal['quarter', 'udp'] = 'udp'
    score_threshold: float = 0.3
    nms_threshold: float = 0.65
    skeleton: Skeleton | str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.channel_order not in ('rgb', 'bgr') or self.refine not in ('quarter', 'udp'):
            raise ConfigError(
                f"PublishedLayout: channel_order is 'rgb' or 'bgr' and refine 'quarter' or 'udp'; got "
                f'{self.channel_order!r} and {self.refine!r}'
            )
        thresholds = {name: getattr(self, name) for name in ('score_threshold', 'nms_threshold')}
        check_probabilities('PublishedLayout', **thresholds)


def find_published_layout(graph: OnnxGraphInfo, layout: PublishedLayout | None = None) -> dict[str, Any] | None:
    """Recognize a published layout.

    Args:
        graph: what the file says about its inputs and outputs.
        layout: what it does not say; None for the defaults.

    Returns:
        The settings of an exported model, with `kind` 'simcc', 'dets' or 'heatmaps'; None if the file has another
        layout.

    Raises:
        CheckpointError: the file has such outputs, but does not state the size of its input.
        ConfigError: the skeleton is not known by the number of keypoints, and none is given.
    """
    layout = layout or PublishedLayout()
    outputs = {value.name: value for value in graph.outputs}
    kind = next((kind for kind, names in _OUTPUT_NAMES.items() if outputs.keys() == set(names)), None)
    if kind is None or len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
        return None
    image, first = graph.inputs[0], outputs[_OUTPUT_NAMES[kind][-1]]
    height, width = image.shape[2:]
    if not height or not width:
        raise CheckpointError(
            f'its input {image.name!r} {image.shape} has no fixed height and width; export it with these'
        )
    num_keypoints = first.shape[2] if kind == 'dets' else first.shape[1]
    skeleton = _choose_skeleton(num_keypoints, layout)
    uses_udp = kind == 'heatmaps' and layout.refine == 'udp'
    # 1.25 is the padding of MMPose's top-down configs
    box = {'padding': 1.25, 'crop_rule': 'released_udp' if uses_udp else 'released_hrnet'}
    image_crop = {'type': 'top_left', 'side': 'longer'} if kind == 'dets' else {'type': 'box'}
    return {
        'kind': kind,
        'input_name': image.name,
        'input_size': [width, height],
        'fixed_batch': image.shape[0],
        # RTMO's preprocessing has mean 0 and std 1, and leaves the channels in BGR order
        'mean': None if kind == 'dets' else list(_IMAGENET_MEAN),
        'std': None if kind == 'dets' else list(_IMAGENET_STD),
        'channel_order': 'bgr' if kind == 'dets' else layout.channel_order,
        'skeleton': skeleton,
        'keypoint_names': list(skeleton.keypoints),
        'crop': {
            'box': None if kind == 'dets' else box,
            'image': image_crop,
            'interpolation': 'linear',
            'fill_color': _LETTERBOX_COLOR if kind == 'dets' else [0, 0, 0],
        },
        'refine': layout.refine,
        'score_threshold': layout.score_threshold,
        'nms_threshold': layout.nms_threshold,
        'score_meaning': 'as the published model predicts it',
        'output_names': _OUTPUT_NAMES[kind],
        'num_keypoints': num_keypoints,
    }


def _choose_skeleton(num_keypoints: int, layout: PublishedLayout) -> Skeleton:
    """The skeleton of a number of keypoints; 0 where the file does not state it."""
    spec = layout.skeleton or _SKELETON_NAMES.get(num_keypoints)
    if spec is None:
        raise ConfigError(
            f'no skeleton of {num_keypoints} keypoints (0: the file does not state their number) is known; name one: '
            f'PublishedLayout(skeleton=...)'
        )
    skeleton = get_skeleton(spec)
    if num_keypoints and len(skeleton) != num_keypoints:
        raise ConfigError(
            f'the skeleton {skeleton.name!r} has {len(skeleton)} keypoints, and the file predicts {num_keypoints}'
        )
    return skeleton


def normalize_images(images: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """Return the input (B, 3, H, W) float32 of images (B, H, W, 3) uint8, BGR."""
    tables = _list_normalized_values(settings['mean'], settings['std'])
    channels = (2, 1, 0) if settings['channel_order'] == 'rgb' else (0, 1, 2)
    normalized = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    for image, planes in zip(images, normalized, strict=True):
        pixels = cv2.split(image)
        for table, plane, channel in zip(tables, planes, channels, strict=True):
            cv2.LUT(pixels[channel], table, plane)
    return normalized


def _list_normalized_values(mean: Sequence[float] | None, std: Sequence[float] | None) -> np.ndarray:
    """What every value of a byte becomes, (3, 256) float32 by channel."""
    # Looking values up takes a tenth of the time of computing them (0.1 instead of 1.1 ms an input of 192x256 px).
    values = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    if mean is None or std is None:
        return values
    return (values - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]


def decode_published_outputs(outputs: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Poses:
    """Return the instances of a batch, in px of the input.

    Args:
        outputs: of the graph, by name.
        settings: of `find_published_layout`.
    """
    if settings['kind'] == 'dets':
        return _decode_dets(outputs['dets'], outputs['keypoints'], settings)
    width, height = settings['input_size']
    if settings['kind'] == 'simcc':
        keypoints, scores = _decode_simcc(outputs['simcc_x'], outputs['simcc_y'], (width, height))
    else:
        keypoints, scores = _decode_heatmaps(outputs['output'], (width, height), settings['refine'])
    indices = np.arange(len(keypoints))
    return Poses(keypoints.astype(np.float32), scores, scores.mean(axis=1), image_indices=indices)


def _decode_simcc(
    simcc_x: np.ndarray, simcc_y: np.ndarray, input_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The bins of the maxima as px (B, K, 2), and the smaller maximum (B, K); bin -1 where none is positive."""
    lines = (simcc_x, simcc_y)
    bins = np.stack([line.argmax(axis=-1) for line in lines], axis=-1)
    scores = np.minimum(*(line.max(axis=-1) for line in lines))
    bins_per_px = [line.shape[-1] / size for line, size in zip(lines, input_size, strict=True)]
    # MMPose marks by -1 a keypoint without a positive maximum
    return np.where((scores > 0)[..., None], bins, -1) / bins_per_px, scores


def _decode_heatmaps(heatmaps: np.ndarray, input_size: tuple[int, int], refine: str) -> tuple[np.ndarray, np.ndarray]:
    """The peaks (B, K, 2) in px and their heights (B, K); cell -1 where no cell is positive."""
    batch, num_keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(batch, num_keypoints, -1)
    indices, scores = flat.argmax(axis=-1), flat.max(axis=-1)
    cells = np.stack([indices % width, indices // width], axis=-1)
    step = _quarter_step if refine == 'quarter' else _udp_step
    steps = [[step(maps[k], *cells[i, k]) for k in range(num_keypoints)] for i, maps in enumerate(heatmaps)]
    refined = cells + np.array(steps).reshape(cells.shape)
    refined = np.where((scores > 0)[..., None], refined, -1.0)
    size = np.array(input_size)
    # UDP's grid reaches from pixel center to pixel center, the other one from edge to edge
    strides = (size - 1) / np.array([width - 1, height - 1]) if refine == 'udp' else size / np.array([width, height])
    return refined * strides, scores


def _quarter_step(heatmap: np.ndarray, x: int, y: int) -> np.ndarray:
    """A quarter of a cell towards the higher neighbor, where MMPose makes such a step: not near the border."""
    height, width = heatmap.shape
    if not (1 < x < width - 1 and 1 < y < height - 1):
        return np.zeros(2)
    dx = heatmap[y, x + 1] - heatmap[y, x - 1]
    dy = heatmap[y + 1, x] - heatmap[y - 1, x]
    return np.sign([dx, dy]) * 0.25


def _udp_step(heatmap: np.ndarray, x: int, y: int) -> np.ndarray:
    """UDP's offset: a Newton step of the logarithm of the blurred heatmap (Huang et al. 2020, arXiv:1911.07524)."""
    size = (_UDP_KERNEL_SIZE, _UDP_KERNEL_SIZE)
    blurred = cv2.GaussianBlur(heatmap.astype(float), size, 0, borderType=cv2.BORDER_CONSTANT)
    # the blur lowers the maximum, which is restored; the bounds are those of MMPose
    blurred = np.log(np.clip(blurred * (heatmap.max() / max(blurred.max(), 1e-12)), 1e-3, 50.0))
    # padded by one cell, so that a peak at the border has neighbors
    square = np.pad(blurred, 1, mode='edge')[y : y + 3, x : x + 3]
    (top_left, top, _), (left, middle, right), (_, bottom, bottom_right) = square
    gradient = np.array([right - left, bottom - top]) / 2
    dxx, dyy = right - 2 * middle + left, bottom - 2 * middle + top
    dxy = (bottom_right + top_left + 2 * middle - top - left - right - bottom) / 2
    # `eps` keeps a flat heatmap from a singular matrix
    hessian = np.array([[dxx + _UDP_EPS, dxy], [dxy, dyy + _UDP_EPS]])
    return np.zeros(2) if np.linalg.det(hessian) == 0 else -np.linalg.solve(hessian, gradient)


def _decode_dets(dets: np.ndarray, keypoints: np.ndarray, settings: Mapping[str, Any]) -> Poses:
    """The instances of boxes and scores (B, N, 5) and keypoints with scores (B, N, K, 3), after suppression."""
    rows, images = [], []
    for i, image_dets in enumerate(dets):
        confident = np.flatnonzero(image_dets[:, 4] > settings['score_threshold'])
        boxes, scores = image_dets[confident, :4].astype(float), image_dets[confident, 4]
        rows.append(confident[nms(boxes, scores, settings['nms_threshold'])])
        images.append(np.full(len(rows[-1]), i))
    image_indices = np.concatenate([np.zeros(0, int), *images])
    selected = (image_indices, np.concatenate([np.zeros(0, int), *rows]))
    return Poses(
        keypoints=keypoints[selected][..., :2].astype(np.float32),
        keypoint_scores=keypoints[selected][..., 2],
        instance_scores=dets[selected][:, 4],
        image_indices=image_indices,
        boxes=dets[selected][:, :4],
    )
