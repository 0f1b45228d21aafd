"""Frames Labeled In Cinema, from the official `examples.mat` (Sapp & Taskar, CVPR 2013).

Its struct array `examples` has one person per record. `coords` (2, 29) counts pixels from 1 and is NaN for keypoints
that are not labeled: eleven columns remain, always in the order of `_LABELED_COLUMNS`. `torsobox` is x, y of two
corners. Left and right are made consistent for the observer, as in CPM's released code: where the right shoulder is to
the right of the left one, left and right exchange their names, as if the person faced the camera.
"""

from __future__ import annotations

__all__ = ['FLICSource']

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.data.sources.base import Source, SourceReport, locate_dataset_folder
from poseplug.files.image_folder import find_existing_images
from poseplug.files.json_file import MAX_COORDINATE_PX
from poseplug.files.matlab import read_matlab_structs
from poseplug.registry import SOURCES
from poseplug.skeletons.flic import FLIC

_LABELED_COLUMNS = (
    'left_shoulder', 'left_elbow', 'left_wrist', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_hip',
    'right_hip', 'left_eye', 'right_eye', 'head',
)  # fmt: skip
_SCALE_PER_TORSO_PX = 0.0110  # scale (person height / 200 px) per px of the torso box's height, as in CPM's code
_REQUIRED_FIELDS = ('coords', 'filepath', 'torsobox', 'istrain', 'istest')


@SOURCES.register_module()
class FLICSource(Source):
    """FLIC: upper bodies from films, 9 keypoints, with one record per image.

    A record's center is the middle of the torso box across, and 30 % down from its top.

    Args:
        data_root: the data set's folder; None looks for it in POSEPLUG_DATA and the default folders.
        split: 'train', 'test' or 'all'.
        ann_file: another annotation file, absolute or below `data_root`.
        array_name: the struct array in it; 'flic_anno' in releases of the keypoints without the images.
        image_folder: another folder of images, absolute or below `data_root`.
        missing_images: 'error' refuses a missing image, 'drop' leaves its people out and counts them.

    Raises:
        AnnotationError: the split is unknown.
    """

    name = 'flic'
    download_hint = "Get 'FLIC' of Sapp & Taskar (5,003 examples: examples.mat and images/), and unpack it"
    skeleton = FLIC

    def __init__(
        self,
        data_root: str | Path | None = None,
        split: Literal['train', 'test', 'all'] = 'all',
        ann_file: str | Path = 'examples.mat',
        array_name: str = 'examples',
        image_folder: str | Path = 'images',
        missing_images: Literal['error', 'drop'] = 'error',
    ):
        if split not in ('train', 'test', 'all'):
            raise AnnotationError(f"{self.name}: split is 'train', 'test' or 'all'; got {split!r}")
        self.data_root, self.split, self.missing_images = data_root, split, missing_images
        self.ann_file, self.array_name, self.image_folder = str(ann_file), array_name, str(image_folder)

    def load(self) -> tuple[list[Record], SourceReport]:
        folder = locate_dataset_folder(self.data_root, self.name, self.ann_file, self.download_hint)
        file, image_folder = folder / self.ann_file, folder / self.image_folder
        structs = read_matlab_structs(file, self.array_name)
        examples = [_FLICExample(file, i + 1, fields) for i, fields in enumerate(structs)]
        if self.split != 'all':
            examples = [e for e in examples if e.read_flag(f'is{self.split}')]
        exists = find_existing_images(image_folder, [e.image_name for e in examples], self.missing_images, file)
        report = SourceReport(file, kept=int(exists.sum()))
        report.drop_invalid(np.ones(len(examples), dtype=bool), exists, 'with a missing image')
        records = [e.to_record(image_folder, self.name) for e, ok in zip(examples, exists, strict=True) if ok]
        return _merge_by_image(records), report


class _FLICExample:
    """One struct of the file; a bad value is an error that names the file, the record and the field."""

    def __init__(self, file: Path, record_number: int, fields: Mapping[str, Any]):
        self.file, self.record_number, self.fields = file, record_number, fields
        absent = [n for n in _REQUIRED_FIELDS if n not in fields]
        if absent:
            raise AnnotationError(
                f"{file}: the examples have no field '{absent[0]}'; they have {', '.join(fields)}. This is another file"
            )
        self.image_name = fields['filepath']
        if not isinstance(self.image_name, str) or not self.image_name or Path(self.image_name).name != self.image_name:
            raise self.value_error('filepath', 'the name of an image')

    def value_error(self, field: str, expected: str) -> AnnotationError:
        """Return the error for a field's value that is not what is expected."""
        return AnnotationError(
            f'{self.file}: record {self.record_number} ({self.fields["filepath"]}): {field} is {expected}; found '
            f'{_describe_value(self.fields[field])}. Correct the file or take it anew from its archive'
        )

    def read_flag(self, field: str) -> bool:
        value = np.asarray(self.fields[field])
        if value.size != 1 or value.item() not in (0, 1):
            raise self.value_error(field, '0 or 1')
        return bool(value.item())

    def read_keypoints(self) -> np.ndarray:
        """Return (9, 2) keypoints of the skeleton in px counted from 0, left and right as the observer sees them."""
        coords = self.fields['coords']
        labeled: Any = np.zeros(0, dtype=bool)
        if isinstance(coords, np.ndarray) and coords.ndim == 2:
            # NaN compares as False, so that this finds the labeled columns, too.
            labeled = _is_valid_position(coords).all(axis=0)
        if np.shape(coords)[:1] != (2,) or labeled.sum() != len(_LABELED_COLUMNS):
            raise self.value_error('coords', f'(2, 29) with {len(_LABELED_COLUMNS)} labeled columns, the others NaN')
        # The skeleton leaves out the eyes.
        columns = [_LABELED_COLUMNS.index(name) for name in FLIC.keypoints]
        keypoints = coords[:, labeled].T[columns] - 1
        return keypoints if _faces_camera(keypoints) else keypoints[FLIC.flip_indices]

    def read_torso_box(self) -> np.ndarray:
        """Return the box around the torso as (4,) xyxy in px counted from 0."""
        box = self.fields['torsobox']
        valid = isinstance(box, np.ndarray) and box.size == 4 and _is_valid_position(box).all()
        if not valid or not box.ravel()[3] > box.ravel()[1]:
            raise self.value_error('torsobox', 'x1, y1, x2, y2 with y2 over y1')
        return np.ravel(box) - 1

    def to_record(self, folder: Path, source: str) -> Record:
        x1, y1, x2, y2 = self.read_torso_box()
        # Position and scale are those of CPM's released code.
        # FLIC has no scales and no positions: the torso box stands in for both.
        center = [(x1 + x2) / 2, 0.7 * y1 + 0.3 * y2]
        scale = _SCALE_PER_TORSO_PX * (y2 - y1)
        keypoints = self.read_keypoints()[None].astype(np.float32)
        visible = np.full((1, len(FLIC)), 2, np.uint8)
        instances = Instances.from_annotations(
            keypoints, visible, centers=np.array([center]), scales=np.array([scale], dtype=np.float32)
        )
        return Record(folder / self.image_name, self.image_name, instances, source)


def _is_valid_position(values: np.ndarray) -> np.ndarray:
    """Return which numbers can be positions in an image."""
    return np.abs(values) <= MAX_COORDINATE_PX


def _faces_camera(keypoints: np.ndarray) -> bool:
    """Return whether the right shoulder of (9, 2) keypoints is not to the right of the left one."""
    return bool(keypoints[FLIC.index('right_shoulder'), 0] <= keypoints[FLIC.index('left_shoulder'), 0])


def _merge_by_image(records: list[Record]) -> list[Record]:
    """Merge the records of one image, in the order of the first of each."""
    # FLIC has one example per person, so that an image of two comes twice.
    by_image: dict[Path, list[Record]] = {}
    for record in records:
        by_image.setdefault(record.path, []).append(record)
    return [replace(g[0], instances=Instances.concatenate([r.instances for r in g])) for g in by_image.values()]


def _describe_value(value: Any) -> str:
    """Describe a value for an error message, in a few words."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f'an array {value.shape} with {np.isfinite(value).sum()} finite numbers'
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
