"""AI Challenger's keypoints, from the official files or from files in COCO's format (Wu et al. 2017, arXiv:1711.06475).

The official file is a list of images: `image_id` (the file name without .jpg), `human_annotations` (a box per person,
x, y of two corners) and `keypoint_annotations` (14 times x, y, flag), both by the person's name. Its flags are 1
visible, 2 not visible, 3 not in the image or impossible to guess; in the records these are 2, 1 and 0. It has no
areas: its evaluation takes the box's, and so do the records of both kinds of file.
"""

from __future__ import annotations

__all__ = ['AICSource']

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.boxes import box_areas, has_extent
from poseplug.core.errors import AnnotationError
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.sample import Record
from poseplug.data.sources.base import Source, SourceReport, locate_dataset_folder
from poseplug.data.sources.coco_format import CocoReader, group_by_image
from poseplug.files.image_folder import find_images
from poseplug.files.json_file import FIX_FILE_HINT, JsonRows, check_image_names, read_json
from poseplug.registry import SOURCES
from poseplug.skeletons.aic import AIC

_SPLIT_FILES = {
    'train': ('keypoint_train_annotations_20170909.json', 'keypoint_train_images_20170902'),
    'val': ('keypoint_validation_annotations_20170911.json', 'keypoint_validation_images_20170911'),
}
_VISIBILITY_BY_FLAG = np.array([0, 2, 1, 0], dtype=np.uint8)  # the file's flags are 1, 2 and 3


@SOURCES.register_module()
class AICSource(Source):
    """AI Challenger, 14 keypoints, with one record per image.

    People without labeled keypoints or without a box are counted as dropped; their boxes become ignored regions. A
    file in COCO's format (an object, not a list) is read as such.

    Args:
        data_root: the data set's folder; None looks for it in POSEPLUG_DATA and the default folders.
        split: 'train' or 'val', which of the official files to read.
        ann_file: another annotation file, absolute or below `data_root`.
        image_folder: another folder of images, absolute or below `data_root`.
        missing_images: 'error' refuses a missing image, 'drop' leaves its people out and counts them.
        follow_links: also read images that are links which lead out of the folder.

    Raises:
        AnnotationError: the split is unknown.
    """

    name = 'aic'
    download_hint = "Get AI Challenger's keypoint set (train and validation, 2017-09), and unpack it"
    skeleton = AIC

    def __init__(
        self,
        data_root: str | Path | None = None,
        split: Literal['train', 'val'] = 'train',
        ann_file: str | Path | None = None,
        image_folder: str | Path | None = None,
        missing_images: Literal['error', 'drop'] = 'error',
        follow_links: bool = False,
    ):
        if split not in _SPLIT_FILES:
            raise AnnotationError(f'{self.name}: split is one of {", ".join(_SPLIT_FILES)}; got {split!r}')
        official_file, official_folder = _SPLIT_FILES[split]
        self.data_root, self.missing_images, self.follow_links = data_root, missing_images, follow_links
        self.ann_file, self.image_folder = str(ann_file or official_file), str(image_folder or official_folder)

    def load(self) -> tuple[list[Record], SourceReport]:
        folder = locate_dataset_folder(self.data_root, self.name, self.ann_file, self.download_hint)
        file, image_folder = folder / self.ann_file, folder / self.image_folder
        content = read_json(file)
        if isinstance(content, dict):
            reader = CocoReader(
                AIC,
                self.name,
                missing_images=self.missing_images,
                follow_links=self.follow_links,
                use_box_areas=True,
            )
            return reader.read(file, image_folder)
        images = JsonRows.from_list(file, content, 'image', id_key='image_id')
        image_ids = check_image_names(images, 'image_id')
        images.check_unique('image_id', image_ids)
        annotations = _AICAnnotations.from_rows(images)
        # Official ids are file names without their suffix.
        names = [name if name.endswith('.jpg') else f'{name}.jpg' for name in image_ids]
        exists = find_images(image_folder, names, self.missing_images, file, self.follow_links)
        paths = [image_folder / name for name in names]
        return self._build_records(annotations, image_ids, paths, exists, SourceReport(file))

    def _build_records(
        self,
        annotations: _AICAnnotations,
        image_ids: list[str],
        paths: list[Path],
        exists: np.ndarray,
        report: SourceReport,
    ) -> tuple[list[Record], SourceReport]:
        """Build one record per image that has people to learn from; the others are counted as dropped."""
        image_indices, boxes = annotations.image_indices, annotations.boxes
        selected = np.ones(len(image_indices), dtype=bool)
        # A file without images has no flags to index.
        image_exists = exists[image_indices] if len(image_ids) else selected
        labeled = (annotations.visible > 0).any(axis=1)
        selected = report.drop_invalid(selected, image_exists, 'with a missing image')
        selected = report.drop_invalid(selected, labeled, 'without labeled keypoints (ignored regions)')
        selected = report.drop_invalid(selected, has_extent(boxes), 'with a box of no extent')
        report.kept = int(selected.sum())
        # Persons without labeled keypoints are on the image: they must not be trained as background.
        ignored = image_exists & ~selected & has_extent(boxes)
        rows_by_image = group_by_image(image_indices, selected, len(image_ids))
        ignored_by_image = group_by_image(image_indices, ignored, len(image_ids))
        return [
            annotations.build_record(rows, ignored_rows, paths[i], image_ids[i], self.name)
            for i, (rows, ignored_rows) in enumerate(zip(rows_by_image, ignored_by_image, strict=True))
            if len(rows)
        ], report


@dataclass(frozen=True)
class _AICAnnotations:
    """The people of a file.

    Attributes:
        image_indices: (N,) index of each person's image.
        boxes: (N, 4) xyxy in px, not below 0.
        areas: (N,) px² of the boxes as they are in the file.
        keypoints: (N, 14, 2) in px, 0 where not labeled.
        visible: (N, 14) 0 not labeled, 1 occluded, 2 visible.
    """

    image_indices: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray

    @classmethod
    def from_rows(cls, images: JsonRows) -> _AICAnnotations:
        """Read and check the people of all images."""
        items: list[dict[str, Any]] = []
        image_indices: list[int] = []
        for i, image in enumerate(images.items):
            for key in ('human_annotations', 'keypoint_annotations'):
                if not isinstance(image.get(key), dict):
                    raise images.value_error(i, key, 'an object with one entry per person')
            boxes, keypoints = image['human_annotations'], image['keypoint_annotations']
            # Both objects are keyed by the person's name, in different orders.
            if boxes.keys() != keypoints.keys():
                expected = f'of the persons in keypoint_annotations, {[*keypoints]}'
                raise images.value_error(i, 'human_annotations', expected)
            for name in keypoints:
                person = f'{images.describe_row(i)}, {name}'
                items.append(dict(person=person, bbox=boxes[name], keypoints=keypoints[name]))
            image_indices += [i] * len(keypoints)
        rows = JsonRows(images.file, 'person', items, id_key='person')
        count = len(AIC)
        expected = f'{3 * count} finite numbers, x, y and flag of {count} keypoints'
        xyxy = rows.read_lists('bbox', 4, '4 finite numbers, x, y of two corners')
        values = rows.read_lists('keypoints', 3 * count, expected).reshape(-1, count, 3)
        visible = _convert_flags(rows, values[..., 2])
        points = np.where(visible[..., None] > 0, values[..., :2], 0.0)
        indices = np.array(image_indices, dtype=np.int64)
        # Not below 0; the areas stay those of the file's boxes, by which the official evaluation goes.
        return cls(indices, np.maximum(xyxy, 0), box_areas(xyxy), points, visible)

    def build_record(self, rows: np.ndarray, ignored_rows: np.ndarray, path: Path, name: str, source: str) -> Record:
        """Build the record of one image from the rows of its people and of its ignored regions."""
        boxes, ignored_boxes = self.boxes[rows], self.boxes[ignored_rows]
        instances = Instances.from_annotations(
            self.keypoints[rows].astype(np.float32),
            self.visible[rows],
            boxes=boxes,
            areas=self.areas[rows],
            annotation_ids=rows + 1,  # the file has none: the number of the person in it
        )
        no_crowds = np.zeros(len(ignored_rows), dtype=bool)
        ignored = IgnoredRegions.from_annotations(ignored_boxes, crowds=no_crowds)
        return Record(path, name, instances, source, ignored)


def _convert_flags(rows: JsonRows, flags: np.ndarray) -> np.ndarray:
    """Convert the file's flags (N, 14) to 0 not labeled, 1 occluded, 2 visible."""
    wrong = ~np.isin(flags, (1, 2, 3))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{rows.file}: {rows.items[i]["person"]}: the flag of keypoint {AIC.keypoints[k]!r} is 1, 2 or 3; found '
            f'{flags[i, k]:g}. {FIX_FILE_HINT}'
        )
    return _VISIBILITY_BY_FLAG[flags.astype(int)]
