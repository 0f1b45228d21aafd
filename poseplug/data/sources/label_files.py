"""A source for the files of labeling tools, as they are: YOLO-pose, LabelMe, CVAT, Label Studio, DeepLabCut, ..."""

from __future__ import annotations

__all__ = ['LabelSource', 'find_label_refusal']

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.formats.base import LabeledImages
from poseplug.data.formats.convert import read_labels
from poseplug.data.formats.label_choice import choose_labels
from poseplug.data.formats.label_skeleton import build_label_skeleton, reorder_skeleton
from poseplug.data.formats.stated_split import find_split_word
from poseplug.data.sources.base import Source, SourceReport
from poseplug.data.sources.coco_categories import FILE_SKELETON, load_skeleton_spec
from poseplug.data.sources.coco_format import CocoReader
from poseplug.registry import SOURCES


@SOURCES.register_module()
class LabelSource(Source):
    """Labels of any format that `poseplug dataset verify` reads, without converting them.

    Args:
        data_root: the file or folder of the labels.
        split: 'train', 'val' or 'test', of labels that state a split, as YOLO-pose folders do; None for all images.
        label_format: name of the format, as in 'yolo'; None finds it by what the files contain.
        image_folder: the folder of the images; None looks where the format has them.
        category: name of the category to read, or several, compared without case, blanks and hyphens; None for all
            that have instances.
        skeleton: 'file' takes names, limbs and flip pairs from the labels, those of a registered skeleton where the
            names are its; else a registered name, a JSON or YAML file of the fields, or the fields.
        min_keypoints: instances with fewer labeled keypoints become ignored regions.
        keep_empty: also return records of images without instances, to test models that take whole images.

    Attributes:
        notes: where the fields of a skeleton from the labels come from.

    Raises:
        AnnotationError: the labels cannot be read, no image of the split is there, or the categories have keypoints of
            their own.

    Example:
        >>> import tempfile
        >>> from poseplug.data.formats.convert import convert_labels
        >>> from poseplug.data.synthetic import write_coco
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_coco(Path(folder) / 'coco', 2, 1) / 'annotations/person_keypoints_train2017.json'
        ...     _ = convert_labels(file, Path(folder) / 'yolo', 'yolo')
        ...     source = LabelSource(Path(folder) / 'yolo')
        ...     records, report = source.load()
        >>> source.skeleton.name, report.kept == sum(len(record.instances) for record in records)
        ('coco', True)
    """

    def __init__(
        self,
        data_root: str | Path,
        split: str | None = None,
        label_format: str | None = None,
        image_folder: str | Path | None = None,
        category: str | Sequence[str] | None = None,
        skeleton: Skeleton | str | Mapping[str, Any] = FILE_SKELETON,
        min_keypoints: int = 1,
        keep_empty: bool = False,
    ):
        self.path, self.split, self.label_format = Path(data_root), split, label_format
        self.image_folder = None if image_folder is None else Path(image_folder)
        self.categories = [category] if isinstance(category, str) else list(category or ())
        self._labels: LabeledImages | None = None
        self.notes: list[str] = []
        self.skeleton = self._find_skeleton(skeleton)
        self.reader = _build_reader(self.path, self.skeleton, min_keypoints, keep_empty)

    def load(self) -> tuple[list[Record], SourceReport]:
        # Kept from the construction, which has read the labels for their skeleton, and forgotten after one use.
        labels, self._labels = self._labels or self._read_labels(), None
        records, report, _ = self.reader.read_content(self.path, labels.content, labels.image_folder)
        # What the format dropped and what the reader dropped are one report: kept and dropped add up.
        report.dropped += Counter(label.cause for label in labels.dropped)
        report.notes = [*self.notes, *labels.notes, *report.notes]
        return records, report

    def _find_skeleton(self, spec: Any) -> Skeleton:
        """The skeleton of a setting; labels that are read for it are kept for `load`."""
        if spec != FILE_SKELETON:
            return load_skeleton_spec(spec, self.path.parent)
        self._labels = self._read_labels()
        skeleton, self.notes = _describe_skeleton(self.path, self._labels)
        return skeleton

    def _read_labels(self) -> LabeledImages:
        """The labels to learn: of the categories and of the split."""
        labels = choose_labels(read_labels(self.path, self.label_format, self.image_folder), self.categories)
        return labels if self.split is None else _select_split(labels, self.split)


def _build_reader(path: Path, skeleton: Skeleton, min_keypoints: int = 1, keep_empty: bool = False) -> CocoReader:
    """The reader of labels that were chosen, whose formats may have no boxes."""
    name = path.stem or path.resolve().name
    return CocoReader(
        skeleton, name, min_keypoints=min_keypoints, keep_empty=keep_empty, category=None, require_boxes=False
    )


def _describe_skeleton(path: Path, labels: LabeledImages) -> tuple[Skeleton, list[str]]:
    """The skeleton of labels that were chosen, and lines on where it comes from."""
    category = labels.content['categories'][0]
    described = build_label_skeleton(path, category)
    # A registered skeleton has sigmas and flip pairs that a file does not state.
    if described.registered_name is None:
        return described.skeleton, described.lines
    return reorder_skeleton(described.skeleton, category['keypoints']), described.lines


def find_label_refusal(labels: LabeledImages) -> str:
    """Find why training would refuse labels: what a file says may be right value by value, and wrong as a whole.

    Args:
        labels: as read from any format. Categories with keypoints of their own are tried one by one.

    Returns:
        The message of the error that training would end with; '' if it reads the labels.
    """
    instances = [a for a in labels.content['annotations'] if any(a.get('keypoints') or ())]
    ids = {annotation.get('category_id') for annotation in instances}
    groups: dict[tuple[str, ...], list[str]] = {}
    for category in labels.content['categories']:
        if category.get('id') in ids:
            groups.setdefault(tuple(category.get('keypoints') or ()), []).append(str(category.get('name')))
    for names in groups.values():
        try:
            chosen = choose_labels(labels, names)
            reader = _build_reader(labels.path, _describe_skeleton(labels.path, chosen)[0])
            reader.read_content(labels.path, chosen.content, chosen.image_folder)
        except AnnotationError as error:
            return str(error)
    return ''


def _select_split(labels: LabeledImages, split: str) -> LabeledImages:
    """The labels of the images of one split."""
    words = [find_split_word(str(image.get('split', ''))) for image in labels.content['images']]
    images = [image for image, word in zip(labels.content['images'], words, strict=True) if word == split]
    if not images:
        stated = ', '.join(sorted({word for word in words if word})) or 'none'
        raise AnnotationError(f'{labels.path}: no image is of split {split!r}; splits that the labels state: {stated}')
    ids = {image['id'] for image in images}
    annotations = [annotation for annotation in labels.content['annotations'] if annotation['image_id'] in ids]
    return replace(labels, content={**labels.content, 'images': images, 'annotations': annotations})
