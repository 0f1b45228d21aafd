"""A sheet of a data set's people, as the network gets them or as they are stored, with their skeletons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.build import build_dataset, need
from poseplug.errors import ConfigError, ImageError
from poseplug.geometry import apply
from poseplug.poses import Poses
from poseplug.sample import Draw, Sample
from poseplug.visualization.draw import contact_sheet, draw_poses

UNSEEN = 4  # the share of its light that what a mask leaves out keeps


def browse(
    cfg: Mapping[str, Any], split: str, count: int, raw: bool = False, epoch: int = 0, columns: int = 8
) -> np.ndarray:
    """The sheet of `count` samples spread evenly over a split; `epoch` chooses the random numbers of the transforms."""
    if count < 1:
        raise ConfigError(f'a sheet shows at least one sample; got {count}')
    loader = need(cfg, f'{split}_dataloader')
    dataset = build_dataset(cfg, need(loader, 'dataset'), seed=cfg.get('seed', 0))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    shown = list(pictures(dataset, [Draw(epoch, int(i)) for i in chosen], raw))
    return contact_sheet([picture for picture, _ in shown], columns, [caption for _, caption in shown])


def pictures(dataset: Any, draws: list[Draw], raw: bool) -> Iterator[tuple[np.ndarray, str]]:
    """Each sample drawn, with its name."""
    for draw in draws:
        sample = dataset.raw(draw) if raw else dataset[draw]
        yield drawn(sample), f'{sample.record.source} {sample.record.id}'


def drawn(sample: Sample) -> np.ndarray:
    """A sample's first view, or its picture where it has none yet, with everybody in it; dark where nothing counts."""
    image = sample.pixels if sample.inputs is None else sample.inputs[0]
    if sample.mask is not None:
        image = np.where(sample.mask[..., None] > 0, image, image // UNSEEN)
    matrix = np.eye(3) if sample.inputs is None else sample.matrix
    poses = Poses.of_record(apply(matrix, sample.keypoints.astype(float)), sample.visible)
    return draw_poses(image, poses, sample.skeleton, threshold=0.5)


def write(sheet: np.ndarray, out: Path) -> None:
    """A sheet as a picture file of the kind that its name says."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(out), sheet)
    except cv2.error as error:
        raise ImageError(f'{out}: no picture format of that name; use .jpg or .png') from error
    if not written:
        raise ImageError(f'{out}: cannot be written; choose another folder')
