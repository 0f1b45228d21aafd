"""What the codecs of several people have in common: who draws their joints, and whom a crop is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.base import Codec, MapCodec
from poseplug.codecs.cpn import CPNHeatmap
from poseplug.codecs.heatmap import Heatmap
from poseplug.errors import ConfigError
from poseplug.grouping.paf import Parsed
from poseplug.grouping.peaks import Peaks
from poseplug.poses import Poses
from poseplug.registry import CODECS


def peak_codec(owner: MapCodec, spec: Any, people: str, drawn: Mapping[str, Any]) -> Heatmap:
    """The codec of the joints of another one, `owner`, whose skeleton, input size and stride it gets.

    `spec` is a config, which may say otherwise than `drawn`, or a codec already built. `people` is how several of them
    share a map.
    """
    name = type(owner).__name__
    wired = dict(skeleton=owner.skeleton, input_size=owner.input_size, stride=owner.stride, people=people)
    if isinstance(spec, Codec):
        codec: Any = spec
        unlike = [n for n in ('skeleton', 'stride', 'people') if getattr(codec, n, None) != wired[n]]
        if unlike:
            raise ConfigError(f'{name}: peaks is built with another {unlike[0]}; give it as a config')
        codec = replace(codec, input_size=owner.input_size)
    else:
        codec = CODECS.build({**drawn, **spec}, **wired)
    if not isinstance(codec, Heatmap) or isinstance(codec, CPNHeatmap):
        raise ConfigError(
            f'{name}: peaks is a codec of one Gaussian a joint, such as CPMHeatmap, DARKHeatmap or UDPHeatmap; got '
            f'{type(codec).__name__}'
        )
    return codec


def subjects(found: list[Poses], maps: Tensor, codec: Heatmap) -> Poses:
    """Of the people of every picture the one nearest to its middle, completed from the largest peaks of the maps."""
    middle = (np.array(codec.input_size, np.float32) - 1) / 2
    largest = codec.decode({'heatmap': maps.float()})
    points, scores = torch.as_tensor(largest.keypoints).clone(), torch.as_tensor(largest.scores).clone()
    for i, poses in enumerate(found):
        for person in nearest(poses, middle):
            seen = torch.as_tensor(np.asarray(poses.visibility)[person] > 0).to(points.device)
            points[i, seen] = torch.as_tensor(poses.keypoints[person]).to(points)[seen]
            scores[i, seen] = torch.as_tensor(poses.scores[person]).to(scores)[seen]
    return replace(largest, keypoints=points, scores=scores, person_scores=scores.mean(dim=1))


def nearest(poses: Poses, middle: np.ndarray) -> list[int]:
    """The place of the person whose box is centred nearest to a point, or none."""
    boxes = np.asarray(poses.boxes)
    return np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, axis=1).argsort(kind='stable')[:1].tolist()


def together(found: list[Poses], joints: int, device: torch.device) -> Poses:
    """The people of pictures (NumPy), as those of a batch on a device."""
    images = np.repeat(np.arange(len(found)), [len(poses) for poses in found])
    peaks = Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    nobody = Parsed(np.zeros((0, joints), int), np.zeros(0), peaks).poses()
    names = ('keypoints', 'scores', 'person_scores', 'visibility', 'boxes')
    columns = {n: np.concatenate([getattr(p, n) for p in (nobody, *found)]) for n in names}
    return Poses(
        **{n: torch.from_numpy(a).to(device) for n, a in columns.items()}, images=torch.from_numpy(images).to(device)
    )
