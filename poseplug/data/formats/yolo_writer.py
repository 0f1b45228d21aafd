"""Writes labels as a YOLO-pose folder: data.yaml, label files, and copies of the images."""

from __future__ import annotations

__all__ = ['write_yolo_folder']

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, WriteReport, list_flip_indices
from poseplug.data.formats.coco import copy_image, index_annotations
from poseplug.data.formats.keypoint_labels import select_keypoint_labels
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import NameSet


def write_yolo_folder(labels: LabeledImages, folder: Path) -> WriteReport:
    """Write labels as a YOLO-pose folder.

    Args:
        labels: what to write.
        folder: to create; it must be new or empty.

    Returns:
        What was written, and what YOLO-pose cannot hold.

    Raises:
        AnnotationError: the folder has files, the categories have different keypoints, or an image cannot be read.
    """
    return _YoloWriter(labels, folder).write_files()


class _YoloWriter:
    """Writes labels as a YOLO-pose folder; the images are copied."""

    def __init__(self, labels: LabeledImages, folder: Path):
        self.folder, self.report, self.names = folder, WriteReport(folder), NameSet()
        self.labels = select_keypoint_labels(labels, self.report)
        self.categories = self.labels.content['categories']
        self.class_numbers = {category['id']: i for i, category in enumerate(self.categories)}

    def write_files(self) -> WriteReport:
        """Write data.yaml, the label files and the images."""
        # Label files of an earlier conversion would be read as labels of images that are not in this one.
        if self.folder.exists() and any(self.folder.iterdir()):
            raise AnnotationError(f'{self.folder} is not empty; name a new folder')
        keypoints = self.categories[0]['keypoints']
        if any(category['keypoints'] != keypoints for category in self.categories):
            raise AnnotationError(
                'YOLO-pose has one list of keypoints for all classes, but these categories have different ones; write '
                'one category at a time'
            )
        annotations = index_annotations(self.labels.content)
        splits = []
        for image in self.labels.content['images']:
            splits.append(image.get('split', 'train'))
            self._write_image(image, splits[-1], annotations[image['id']])
        self._write_description(keypoints, splits)
        return self.report

    def _write_description(self, keypoints: list[str], splits: list[str]) -> None:
        """Write data.yaml."""
        flip_indices = list_flip_indices(self.categories[0])
        if self.categories[0].get('skeleton'):
            self.report.lost['limbs of the skeleton'] += len(self.categories[0]['skeleton'])
        # Ultralytics needs both train and val; without a split of its own, a set is validated on itself.
        named = {split: f'images/{split}' for split in dict.fromkeys(splits)}
        named = {'train': next(iter(named.values()), 'images/train'), **named}
        named.setdefault('val', named['train'])
        lines = [f'{split}: {folder}' for split, folder in named.items()]
        names = [f'  {i}: {_quote_yaml(category["name"])}' for i, category in enumerate(self.categories)]
        keypoint_names = ', '.join(map(_quote_yaml, keypoints))
        per_class = [f'  {i}: [{keypoint_names}]' for i in range(len(self.categories))]
        text = [
            *lines,
            f'kpt_shape: [{len(keypoints)}, 3]',
            f'flip_idx: {flip_indices}',
            'names:',
            *names,
            'kpt_names:',
            *per_class,
        ]
        write_atomically(self.folder / 'data.yaml', '\n'.join([*text, '']).encode())

    def _write_image(self, image: Mapping[str, Any], split: str, annotations: list[dict[str, Any]]) -> None:
        """Copy an image and write its labels."""
        name = Path(image['file_name'])
        # A folder 'images' in the name would be taken for the one that 'labels' replaces.
        folders = [part for part in name.parts[:-1] if part != 'images']
        stem = Path(*folders[folders[:1] == [split] :], name.stem).as_posix()
        # One label file serves all images of a name, whatever their suffix or letters' case.
        unique_stem = self.names.add_name(f'{split}/{stem}').removeprefix(f'{split}/')
        if unique_stem != stem:
            self.report.lost['names of images whose label files would be one; they got a number'] += 1
        relative = Path(f'{unique_stem}{name.suffix}')
        copy_image(self.labels.image_folder / name, self.folder / 'images' / split / relative)
        lines = [line for annotation in annotations if (line := self._format_line(image, annotation))]
        label_file = self.folder / 'labels' / split / f'{unique_stem}.txt'
        write_atomically(label_file, ''.join(f'{line}\n' for line in lines).encode())

    def _format_line(self, image: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
        """Format one instance; '' if the format cannot hold it."""
        if annotation.get('iscrowd'):
            self.report.lost['crowds'] += 1
            return ''
        for key in ('area', 'segmentation'):
            if annotation.get(key):
                self.report.lost[f'values of {key!r}'] += 1
        size = np.array([image['width'], image['height']], dtype=float)
        table = np.asarray(annotation['keypoints'], dtype=float).reshape(-1, 3)
        labeled = table[:, 2] > 0
        inside = labeled & (table[:, :2] >= 0).all(axis=1) & (table[:, :2] <= size).all(axis=1)
        if inside.sum() < labeled.sum():
            self.report.lost['keypoints outside their image'] += int(labeled.sum() - inside.sum())
        x, y, width, height = annotation['bbox']
        corners = np.clip(np.array([[x, y], [x + width, y + height]]), 0, size) / size
        center, extent = corners.mean(axis=0), corners[1] - corners[0]
        self.report.num_instances += 1
        points = np.where(inside[:, None], table[:, :2] / size, 0.0)
        # Readers refuse a line with a position beyond 1, so a keypoint outside is written as not labeled.
        flags = np.where(inside, table[:, 2], 0).astype(int)
        # Nine digits keep a position to less than a thousandth of a pixel and do not write noise of the division.
        keypoints = [f'{px:.9g} {py:.9g} {flag}' for (px, py), flag in zip(points, flags, strict=True)]
        box = ' '.join(f'{value:.9g}' for value in (*center, *extent))
        return f'{self.class_numbers[annotation["category_id"]]} {box} {" ".join(keypoints)}'


def _quote_yaml(text: str) -> str:
    """Quote a string for YAML."""
    return "'" + text.replace("'", "''") + "'"
