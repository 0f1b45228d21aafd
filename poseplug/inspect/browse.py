"""A sheet of a data set's samples with their skeletons, as the network receives them or as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.config.build import build_dataset, require_setting
from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.geometry import transform_points
from poseplug.core.poses import Poses
from poseplug.core.sample import Sample, SampleKey
from poseplug.report.draw import draw_contact_sheet, draw_poses

_MASK_DIMMING = 4  # pixels outside a sample's mask are divided by this


def build_contact_sheet(
    cfg: Mapping[str, Any], split: str, num_samples: int, raw: bool = False, epoch: int = 0, num_columns: int = 8
) -> np.ndarray:
    """Draw samples that are spread evenly over a split.

    Args:
        cfg: The config.
        split: 'train', 'val' or 'test'.
        num_samples: Number of samples; all of them if there are fewer.
        raw: Whether the samples are drawn as stored, before the transforms.
        epoch: Selects the random numbers of the transforms.
        num_columns: Number of samples in a row.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ConfigError: No sample was requested, or the config has no such split.
    """
    if num_samples < 1:
        raise ConfigError(f'a sheet shows at least one sample; got {num_samples}')
    loader = require_setting(cfg, f'{split}_dataloader')
    dataset = build_dataset(cfg, require_setting(loader, 'dataset'), seed=cfg.get('seed', 0))
    # spread over the split, since neighbors in a data set often come from one video
    indices = np.linspace(0, len(dataset) - 1, min(num_samples, len(dataset))).round().astype(int)
    keys = [SampleKey(epoch, int(index)) for index in np.unique(indices)]
    captioned = list(_iter_captioned_images(dataset, keys, raw))
    return draw_contact_sheet([image for image, _ in captioned], num_columns, [caption for _, caption in captioned])


def _iter_captioned_images(dataset: Any, keys: list[SampleKey], raw: bool) -> Iterator[tuple[np.ndarray, str]]:
    """Each sample drawn, with its source and id."""
    for key in keys:
        sample = dataset.load_raw_sample(key) if raw else dataset[key]
        yield draw_sample_image(sample), f'{sample.record.source} {sample.record.id}'


def draw_sample_image(sample: Sample) -> np.ndarray:
    """Draw all instances of a sample on its first view, or on its image if it has no view yet.

    Pixels outside the mask, which do not count in training, are dark.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    image = sample.inputs[0] if sample.is_warped else sample.pixels
    # crops have no mask; an array of no size stands for none
    if sample.mask.size:
        image = np.where(sample.mask[..., None] > 0, image, image // _MASK_DIMMING)
    matrix = sample.image_to_input if sample.is_warped else np.eye(3)
    poses = Poses.from_annotations(transform_points(matrix, sample.keypoints.astype(float)), sample.visible)
    return draw_poses(image, poses, sample.skeleton, threshold=0.5)


def write_contact_sheet(sheet: np.ndarray, out: Path) -> None:
    """Write a sheet as an image file, in the format of its suffix.

    Raises:
        ImageError: The suffix is no image format, or the file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        # an unknown suffix raises, a folder without write permission returns False
        is_written = cv2.imwrite(str(out), sheet)
    except cv2.error as error:
        raise ImageError(f'{out}: the suffix {out.suffix!r} is not an image format; use .jpg or .png') from error
    if not is_written:
        raise ImageError(f'{out}: cannot be written; choose another folder')
