"""COCO keypoints, from the official `person_keypoints_*.json` (Lin et al. 2014, arXiv:1405.0312)."""

from __future__ import annotations

__all__ = ['CocoSource']

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.boxes import BoxFormat, DetectedBoxes
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.core.setting_checks import check_counts, check_probabilities
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.base import Source, SourceReport, find_dataset_folder, locate_dataset_folder
from poseplug.data.sources.box_files import read_detected_boxes
from poseplug.data.sources.coco_categories import (
    FILE_SKELETON,
    describe_skeleton_of_category,
    load_skeleton_spec,
    select_categories,
)
from poseplug.data.sources.coco_format import CocoReader, read_coco_object
from poseplug.registry import SOURCES
from poseplug.skeletons.coco import COCO

_NO_BOXES = DetectedBoxes(np.zeros((0, 4)), np.zeros(0))


class CocoFormatSource(Source):
    """A data set in COCO's format, with one record per image.

    Crowds, instances without labeled keypoints and instances with fewer than `min_keypoints` are counted as dropped,
    and become ignored regions of their image: they are neither trained as background nor tested.

    With `bbox_file` the boxes of a detector are tested: every record then holds the detected instances with
    `box_scores` and without keypoints, and the annotated ones as `ground_truth`. An image with annotated instances but
    without detections becomes a record without instances, so that metrics count them as missed.

    Args:
        data_root: the data set's folder; None looks for it in POSEPLUG_DATA and the default folders.
        split: which of the official files to read.
        ann_file: another annotation file, absolute or below `data_root`.
        image_folder: another folder of images, absolute or below `data_root`.
        missing_images: 'error' refuses a missing image, 'drop' leaves its instances out and counts them.
        min_keypoints: instances with fewer labeled keypoints become ignored regions.
        keep_empty: also return records of images without instances, to test models that take whole images.
        num_size_checks: number of images, spread evenly, whose size is compared with the stated one already when the
            file is loaded; every other image is compared when it is read.
        bbox_file: a detector's result file, absolute or below `data_root`.
        bbox_format: 'xywh' or 'xyxy', the format of boxes in `bbox_file`.
        bbox_score_thr: detections with a lower score are dropped.
        category: name of the category to read, or several, compared without case, blanks and hyphens; None for
            people, or with `skeleton` for all categories that name the same keypoints.
        skeleton: the keypoints of the file, if they are of your own: 'file' takes names and limbs from its categories,
            else a registered name, a JSON or YAML file of the fields (also below `data_root`), or the fields. With
            `category` alone it is 'file'. Instances without a box then have the one around their keypoints.
        follow_links: also read images that are links which lead out of the folder.
        segmentations: also read segmentations, to train models that take whole images; without them, and where the
            file has none, boxes mark the ignored regions.

    Attributes:
        name: the data set's name and folder.
        download_hint: how to get the data set.
        splits: (annotation file, image folder) by split, below the data set's folder.
        reader: how the data set uses the format.

    Raises:
        AnnotationError: the split is unknown.
        ConfigError: a number is out of range, or `bbox_format` is another one.
    """

    name: str
    download_hint: str
    splits: dict[str, tuple[str, str]]
    reader: CocoReader

    def __init__(
        self,
        data_root: str | Path | None = None,
        split: str = 'train',
        ann_file: str | Path | None = None,
        image_folder: str | Path | None = None,
        missing_images: Literal['error', 'drop'] = 'error',
        min_keypoints: int = 1,
        keep_empty: bool = False,
        num_size_checks: int = 64,
        bbox_file: str | Path | None = None,
        bbox_format: BoxFormat = 'xywh',
        bbox_score_thr: float = 0.0,
        segmentations: bool = False,
        category: str | Sequence[str] | None = None,
        skeleton: Skeleton | str | Mapping[str, Any] | None = None,
        follow_links: bool = False,
    ):
        if split not in self.splits:
            raise AnnotationError(f'{self.name}: split is one of {", ".join(self.splits)}; got {split!r}')
        check_counts(self.name, min_count=0, min_keypoints=min_keypoints, num_size_checks=num_size_checks)
        check_probabilities(self.name, bbox_score_thr=bbox_score_thr)
        if bbox_format not in ('xywh', 'xyxy'):
            raise ConfigError(f"{self.name}: bbox_format is 'xywh' or 'xyxy'; got {bbox_format!r}")
        official_file, official_folder = self.splits[split]
        self.data_root = data_root
        self.ann_file, self.image_folder = str(ann_file or official_file), str(image_folder or official_folder)
        self.bbox_file, self.bbox_format, self.bbox_score_thr = bbox_file, bbox_format, bbox_score_thr
        # A copy: `reader` belongs to the class, and so to all of its instances.
        self.reader = replace(
            self.reader,
            missing_images=missing_images,
            min_keypoints=min_keypoints,
            keep_empty=keep_empty,
            num_size_checks=num_size_checks,
            segmentations=segmentations,
            follow_links=follow_links,
        )
        self._content: dict[str, Any] | None = None
        self._notes: list[str] = []
        if skeleton is not None or category is not None:
            # Own keypoints have their own rules: any category, boxes that may be missing, names as in the file.
            file_skeleton = self._load_skeleton('file' if skeleton is None else skeleton, category)
            self.reader = replace(
                self.reader, skeleton=file_skeleton, category=category, require_boxes=False, file_keypoint_names={}
            )
        self.skeleton = self.reader.skeleton

    def _load_skeleton(self, spec: Any, category: str | Sequence[str] | None) -> Skeleton:
        """Load the skeleton of a setting, if asked from the annotation file."""
        if spec != FILE_SKELETON:
            return load_skeleton_spec(spec, find_dataset_folder(self.data_root, self.name, self.ann_file))
        folder = locate_dataset_folder(self.data_root, self.name, self.ann_file, self.download_hint)
        file = folder / self.ann_file
        self._content = read_coco_object(file)  # kept for `load`: a large file takes seconds
        selected = select_categories(file, self._content.get('categories'), category, require_keypoints=True)
        skeleton, self._notes = describe_skeleton_of_category(file, selected[0])
        return skeleton

    def load(self) -> tuple[list[Record], SourceReport]:
        folder = locate_dataset_folder(self.data_root, self.name, self.ann_file, self.download_hint)
        file, image_folder = folder / self.ann_file, folder / self.image_folder
        if self.bbox_file is None:
            records, report, _ = self._read_annotated(self.reader, file, image_folder)
            return records, report
        return self._load_detections(file, image_folder, folder / self.bbox_file)

    def _read_annotated(
        self, reader: CocoReader, file: Path, image_folder: Path
    ) -> tuple[list[Record], SourceReport, dict[int, tuple[int, int]]]:
        """Read the records of the annotation file with its report, and the size of every image by id."""
        # Used once and let go, because the objects of a large file take much memory.
        content, self._content = self._content or read_coco_object(file), None
        records, report, sizes = reader.read_content(file, content, image_folder)
        report.notes = [*self._notes, *report.notes]
        return records, report, sizes

    def _load_detections(self, file: Path, image_folder: Path, bbox_file: Path) -> tuple[list[Record], SourceReport]:
        """Read the boxes of a detector for the images of an annotation file."""
        # Images without annotations, too: what a detector finds there is a false positive.
        reader = replace(self.reader, keep_empty=True)
        annotated, annotation_report, sizes = self._read_annotated(reader, file, image_folder)
        detected, report = read_detected_boxes(bbox_file, sizes, self.bbox_format, self.bbox_score_thr)
        records = [_replace_with_detections(r, detected.get(int(r.id), _NO_BOXES)) for r in annotated]
        # They give no sample but count as missed in every metric, so the report says so.
        num_missed = sum(
            len(truth.instances) for r, truth in zip(records, annotated, strict=True) if not len(r.instances)
        )
        if num_missed:
            report.notes.append(f'{num_missed} annotated instances on images without a box are missed')
        # Two files were read, and what either dropped belongs into the report.
        report.notes.append(f'annotations: {annotation_report}')
        if self.reader.keep_empty:
            return records, report
        # Images with annotations but without detections stay: their instances are missed, not unknown.
        has_instances = [len(r.instances) + len(truth.instances) for r, truth in zip(records, annotated, strict=True)]
        return [r for r, count in zip(records, has_instances, strict=True) if count], report


def _replace_with_detections(ground_truth: Record, detected: DetectedBoxes) -> Record:
    """Return the record of an image with the detected instances in place of the annotated ones."""
    num_keypoints = ground_truth.instances.keypoints.shape[1]
    instances = Instances.from_detections(detected.boxes, detected.scores, num_keypoints)
    return replace(ground_truth, instances=instances, ground_truth=ground_truth)


@SOURCES.register_module()
class CocoSource(CocoFormatSource):
    """COCO 2017, 17 keypoints; `split` is 'train' or 'val'. The settings are those of `CocoFormatSource`.

    Example:
        >>> import tempfile
        >>> from poseplug.data.synthetic import write_coco
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     records, report = CocoSource(write_coco(Path(folder) / 'coco', num_train=1, num_val=1)).load()
        >>> records[0].instances.keypoints.shape[1:], report.total == report.kept
        ((17, 2), True)
    """

    name = 'coco'
    download_hint = (
        "Get '2017 Train images', '2017 Val images' and '2017 Train/Val annotations' of COCO, and unpack them"
    )
    splits = {split: (f'annotations/person_keypoints_{split}2017.json', f'{split}2017') for split in ('train', 'val')}
    reader = CocoReader(COCO, 'coco')
