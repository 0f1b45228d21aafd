"""What the codecs of several instances have in common: the codec of their heatmaps, and the subject of a crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, MapCodec
from poseplug.codecs.cpn import CPNHeatmap
from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_grouping import ParseResult
from poseplug.registry import CODECS
from poseplug.registry.wiring import Slot

HEATMAP_CODEC_SLOT = Slot('codec', ('skeleton', 'input_size', 'stride', 'instances'))


def build_heatmap_codec(owner: MapCodec, spec: Any, instances: str, defaults: Mapping[str, Any]) -> Heatmap:
    """Build the codec that draws and reads the keypoints of another one.

    Args:
        owner: the other codec, which provides the skeleton, input size and stride.
        spec: a config, or a codec already built.
        instances: how several instances share a heatmap, 'max' or 'add'.
        defaults: settings where the config has none.

    Raises:
        ConfigError: if it does not draw one Gaussian per keypoint, or was built with other settings than `owner` has.
    """
    owner_name = type(owner).__name__
    provided = dict(skeleton=owner.skeleton, input_size=owner.input_size, stride=owner.stride, instances=instances)
    if isinstance(spec, Codec):
        codec: Any = spec
        for name in ('skeleton', 'stride', 'instances'):
            if getattr(codec, name, None) != provided[name]:
                raise ConfigError(
                    f'{owner_name}: heatmap_codec is built with another {name}; set it to a config, which gets that of '
                    f'{owner_name}'
                )
        # The size may differ, since the owner follows inputs of any size (`PAF.with_input_size`).
        codec = replace(codec, input_size=owner.input_size)
    else:
        codec = CODECS.build({**defaults, **spec}, **provided)
    # CPN's blurred cells have a peak of 255, which no threshold of a parser is meant for.
    if not isinstance(codec, Heatmap) or isinstance(codec, CPNHeatmap):
        raise ConfigError(
            f'{owner_name}: heatmap_codec draws one Gaussian per keypoint, as CPMHeatmap, DARKHeatmap or UDPHeatmap; '
            f'got {type(codec).__name__}'
        )
    return codec


def weight_annotated_heatmaps(
    annotated_keypoints: Tensor, num_channels: int, weights: Mapping[str, Tensor] | None = None
) -> Tensor:
    """Compute the weights of heatmaps of several data sets, some of which do not annotate every keypoint.

    Args:
        annotated_keypoints: (B, K) bool, which keypoints the data set of each image annotates.
        num_channels: C, with what follows the keypoints: background or centers, which always count.
        weights: of the heatmap codec, whose 'heatmap' (B, C) counts too, if it has any.

    Returns:
        (B, C), 0 for a keypoint that is not annotated.
    """
    num_further = num_channels - annotated_keypoints.shape[1]
    is_annotated = F.pad(annotated_keypoints.float(), (0, num_further), value=1.0)
    return is_annotated * weights['heatmap'] if weights and 'heatmap' in weights else is_annotated


def select_central_instances(poses_per_image: list[Poses], heatmaps: Tensor, heatmap_codec: Heatmap) -> Poses:
    """Select the instance nearest to the middle of every image; its missing keypoints are the highest peaks.

    Args:
        poses_per_image: the instances of each image.
        heatmaps: (B, C, H, W) whose highest peaks are taken for keypoints that no instance has.
        heatmap_codec: which decodes the heatmaps.

    Returns:
        One instance per image, in input pixels.
    """
    center = (np.array(heatmap_codec.input_size, np.float32) - 1) / 2
    highest = heatmap_codec.decode({'heatmap': heatmaps.float()})
    keypoints = torch.as_tensor(highest.keypoints).clone()
    scores = torch.as_tensor(highest.keypoint_scores).clone()
    for i, poses in enumerate(poses_per_image):
        for nearest in _nearest_instance(poses, center):
            mask = torch.as_tensor(np.asarray(poses.visibility)[nearest] > 0).to(keypoints.device)
            keypoints[i, mask] = torch.as_tensor(poses.keypoints[nearest]).to(keypoints)[mask]
            scores[i, mask] = torch.as_tensor(poses.keypoint_scores[nearest]).to(scores)[mask]
    return replace(highest, keypoints=keypoints, keypoint_scores=scores, instance_scores=scores.mean(dim=1))


def _nearest_instance(poses: Poses, center: np.ndarray) -> list[int]:
    """The index of the instance whose box center is nearest to a point, or none."""
    boxes = np.asarray(poses.boxes)
    distances = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - center, axis=1)
    nearest: list[int] = distances.argsort(kind='stable')[:1].tolist()
    return nearest


def concat_image_poses(poses_per_image: list[Poses], num_keypoints: int, device: torch.device) -> Poses:
    """Concatenate the instances (NumPy) of several images to those of a batch (tensors) on a device."""
    image_indices = np.repeat(np.arange(len(poses_per_image)), [len(poses) for poses in poses_per_image])
    no_peaks = Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    # In front, so that a batch without instances has arrays of the right types and shapes, too.
    empty = ParseResult(np.zeros((0, num_keypoints), int), np.zeros(0), no_peaks).to_poses()
    names = ('keypoints', 'keypoint_scores', 'instance_scores', 'visibility', 'boxes')
    arrays = {name: np.concatenate([getattr(p, name) for p in (empty, *poses_per_image)]) for name in names}
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    return Poses(**tensors, image_indices=torch.from_numpy(image_indices).to(device))
