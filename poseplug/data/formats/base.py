"""The interface of a label format, and labels in the one form that all formats are read into: COCO's.

COCO's object has `images` (id, file_name, width, height), `annotations` (id, image_id, category_id, bbox as x, y,
width, height, keypoints as x, y, flag) and `categories` (id, name, keypoints, skeleton). Values of a format that COCO
has no key for are kept under other keys, so that writing the same format again does not lose them.
"""

from __future__ import annotations

__all__ = [
    'DroppedLabel',
    'LabelCollector',
    'LabelFormat',
    'LabeledImages',
    'WriteReport',
    'count_causes',
    'list_flip_indices',
]

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.boxes import enclose_keypoints
from poseplug.core.errors import AnnotationError, ImageError
from poseplug.core.skeleton_checks import infer_flip_pairs
from poseplug.files.images import LazyImage

# A box around keypoints alone cuts off the body beyond them; this fraction of its larger side is added on each side.
BOX_PADDING_FRACTION = 0.1
_MIN_BOX_PADDING_PX = 2.0  # one keypoint alone encloses nothing


@dataclass(frozen=True)
class DroppedLabel:
    """A label that was not read.

    Attributes:
        file: the file that contains it.
        position: where in the file, as in 'line 12' or 'shape 3'.
        cause: what is wrong with it.
    """

    file: Path
    position: str
    cause: str

    def __str__(self) -> str:
        return f'{self.file}, {self.position}: {self.cause}'


@dataclass
class LabeledImages:
    """The labels of a file or folder, in COCO's form.

    Attributes:
        format_name: of the format that was read.
        path: the file or folder.
        image_folder: the folder that the images' names start from.
        content: COCO's object.
        dropped: labels that were not read.
        notes: remarks on labels that were read although something about them is odd.
    """

    format_name: str
    path: Path
    image_folder: Path
    content: dict[str, Any]
    dropped: list[DroppedLabel] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def num_instances(self) -> int:
        """Number of instances that were read."""
        return len(self.content['annotations'])

    @property
    def num_labels(self) -> int:
        """Number of labels of the files: instances that were read, and dropped labels."""
        return self.num_instances + len(self.dropped)

    def _count_keypoints(self, category_id: int) -> int:
        """Return the number of keypoints of the first annotation of a category that does not name them."""
        # Exporters leave the names out, while every annotation tells how many keypoints it has.
        counts = (len(a['keypoints']) // 3 for a in self.content['annotations'] if a.get('category_id') == category_id)
        return next(counts, 0)

    def describe(self) -> list[str]:
        """Describe what was read: the format, images, instances and keypoints by category, dropped labels, notes."""
        categories = {category['id']: category for category in self.content['categories']}
        counts = Counter(annotation.get('category_id') for annotation in self.content['annotations'])
        num_images = len(self.content['images'])
        lines = [f'{self.path}: {self.format_name}, {num_images:,} images, {self.num_instances:,} instances']
        for number, category in categories.items():
            # Exports list every class of a project; the empty ones are counted in one line below.
            if not counts[number]:
                continue
            names = ', '.join(category.get('keypoints') or []) or 'without names'
            num_keypoints = len(category.get('keypoints') or []) or self._count_keypoints(number)
            lines.append(f'  {category["name"]}: {counts[number]:,} instances, {num_keypoints} keypoints: {names}')
        num_empty = sum(not counts[number] for number in categories)
        if num_empty:
            lines.append(f'  {num_empty:,} other categories without instances')
        lines += [f'  {note}' for note in self.notes]
        lines += [f'  dropped: {count:,} {cause}' for cause, count in count_causes(self.dropped)]
        return lines


def count_causes(dropped: Iterable[DroppedLabel]) -> list[tuple[str, int]]:
    """Count dropped labels by cause, the most frequent first."""
    return Counter(label.cause for label in dropped).most_common()


@dataclass
class WriteReport:
    """What writing labels in a format did.

    Attributes:
        path: the file or folder that was written.
        num_instances: number of instances that were written.
        lost: what the format cannot hold, by cause, with the number of times.
        problems: what is wrong with the labels that were written, a line each.
    """

    path: Path
    num_instances: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Describe what was written and what was lost."""
        lines = [f'written: {self.path}, {self.num_instances:,} instances']
        return lines + [f'  not in this format: {count:,} {cause}' for cause, count in self.lost.most_common()]


class LabelFormat(ABC):
    """Reads, and possibly writes, the files of one labeling tool.

    Attributes:
        name: as commands take it, as in 'yolo'.
        title: of the format, as in 'YOLO-pose folder'.
    """

    name: str
    title: str

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Return whether a file or folder is in this format, by what it contains.

        Args:
            path: an existing file or folder.
        """

    def list_parts(self, path: Path) -> list[Path]:
        """Return what can be read one by one: the files of a folder that has several sets of labels.

        Args:
            path: the file or folder.
        """
        return [path]

    @abstractmethod
    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        """Read all labels.

        Args:
            path: the file or folder.
            image_folder: the folder of the images; None looks where the format has them.

        Raises:
            AnnotationError: the files are damaged, or contradict each other.
        """

    def extract_images(self, path: Path, folder: Path) -> int:
        """Write the images that are frames of videos or parts of the label file, so that `read` finds them.

        Args:
            path: the file or folder of the labels.
            folder: where to write them.

        Returns:
            The number of images that were written; 0 for a format whose images are files.
        """
        return 0

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        """Write labels in this format.

        Args:
            labels: what to write.
            path: the file or folder to create.

        Raises:
            AnnotationError: the format cannot be written.
        """
        raise AnnotationError(f'{self.title} can be read but not written; write coco, yolo or csv')


class LabelCollector:
    """Collects images and instances into COCO's object while the files of a format are read.

    Args:
        format_name: of the format.
        path: the file or folder that is read.
        image_folder: the folder that the images' names start from.

    Example:
        >>> collector = LabelCollector('example', Path('labels'), Path('images'))
        >>> category = collector.add_category('cat', ['nose', 'tail'])
        >>> image = collector.add_sized_image('a.jpg', (100, 80))
        >>> collector.add_instance(image, category, [[10, 20, 2], [0, 0, 0]], box=[5, 5, 30, 40])
        >>> collector.finish_labels().describe()[0]
        'labels: example, 1 images, 1 instances'
    """

    def __init__(self, format_name: str, path: Path, image_folder: Path):
        self.labels = LabeledImages(format_name, path, image_folder, dict(images=[], annotations=[], categories=[]))
        self._image_ids: dict[str, int] = {}
        self._num_enclosed = 0
        self._first_missing_image: Path | None = None

    def add_category(
        self,
        name: str,
        keypoints: Sequence[str],
        limbs: Iterable[tuple[int, int]] = (),
        flip_indices: Sequence[int] | None = None,
    ) -> int:
        """Add a category.

        Args:
            name: of the category.
            keypoints: names of its K keypoints.
            limbs: pairs of indices, counted from 0.
            flip_indices: K indices of the keypoints after a flip; None if the format does not say.

        Returns:
            The id of the category.
        """
        categories = self.labels.content['categories']
        category = dict(
            id=len(categories) + 1,
            name=name,
            keypoints=list(keypoints),
            skeleton=[[a + 1, b + 1] for a, b in limbs],  # COCO counts from 1
        )
        if flip_indices is not None:
            category['flip_indices'] = list(flip_indices)
        categories.append(category)
        return len(categories)

    def add_sized_image(self, name: str, size: tuple[int, int], **values: Any) -> int:
        """Add an image of known size, or find the one of this name.

        Args:
            name: of the image file, below the folder of the images.
            size: (width, height) in px.
            values: other keys of the image.

        Returns:
            The id of the image.

        Raises:
            AnnotationError: the image was added with another size or other values.
        """
        width, height = map(int, size)
        stated = dict(file_name=name, width=width, height=height, **values)
        # Tools list an image once per label or per track; the first of them adds it.
        if name not in self._image_ids:
            self._image_ids[name] = len(self._image_ids) + 1
            self.labels.content['images'].append(dict(id=self._image_ids[name], **stated))
        image = self.labels.content['images'][self._image_ids[name] - 1]
        # If two files disagree on an image, one is wrong, and normalized positions would go wrong unnoticed.
        different = [key for key, value in stated.items() if image.get(key) != value]
        if different:
            key = different[0]
            raise AnnotationError(f'{name} has {key} {stated[key]} here and {image.get(key)} before')
        return self._image_ids[name]

    def add_image(self, name: str, file: Path, position: str) -> int | None:
        """Add an image whose size is in its file, or count the label that needs it as dropped.

        Args:
            name: of the image file, below the folder of the images.
            file: the file of the label, for the report.
            position: of the label in the file.

        Returns:
            The id of the image; None if its file is missing or unreadable.
        """
        # Its size was read before: files are opened once, however many labels they have.
        if name in self._image_ids:
            return self._image_ids[name]
        path = self.labels.image_folder / name
        # Labels are often moved without their images, so this is no error before all of them are counted.
        if not path.is_file():
            self.note_missing_image(name)
            self.drop_label(file, position, 'whose image is not in its folder')
            return None
        try:
            return self.add_sized_image(name, LazyImage(path).size)
        except ImageError:
            self.drop_label(file, position, 'whose image cannot be read')
            return None

    def add_instance(
        self,
        image_id: int,
        category_id: int,
        keypoints: Sequence[Sequence[float]] | np.ndarray,
        box: Sequence[float] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an instance.

        Args:
            image_id: of its image.
            category_id: of its category.
            keypoints: (K, 3), x and y in px, and 0 not labeled, 1 occluded, 2 visible.
            box: x, y, width and height in px; None encloses the labeled keypoints, with a margin.
            values: other keys of the annotation.
        """
        table = np.asarray(keypoints, dtype=float).reshape(-1, 3)
        labeled = table[:, 2] > 0
        # COCO writes zeros for keypoints that are not labeled; tools leave any position there.
        table = np.where(labeled[:, None], table, 0.0)
        if box is None:
            box = self._enclose(image_id, table[None, :, :2], labeled[None])
        annotation = dict(
            id=len(self.labels.content['annotations']) + 1,
            image_id=image_id,
            category_id=category_id,
            bbox=[float(v) for v in box],
            # None of these tools has crowds.
            iscrowd=0,
            num_keypoints=int(labeled.sum()),
            keypoints=[float(v) for v in table.ravel()],
            **(values or {}),
        )
        self.labels.content['annotations'].append(annotation)

    def _enclose(self, image_id: int, points: np.ndarray, labeled: np.ndarray) -> list[float]:
        """Return the box x, y, width, height around labeled keypoints, with a margin, within the image."""
        self._num_enclosed += 1
        left, top, right, bottom = enclose_keypoints(points, labeled)[0].tolist()
        padding = max(BOX_PADDING_FRACTION * max(right - left, bottom - top), _MIN_BOX_PADDING_PX)
        image = self.labels.content['images'][image_id - 1]
        # The margin ends at the image's edge, as boxes that people draw do.
        left, top = max(left - padding, 0.0), max(top - padding, 0.0)
        right, bottom = min(right + padding, image['width']), min(bottom + padding, image['height'])
        return [left, top, right - left, bottom - top]

    def drop_label(self, file: Path, position: str, cause: str) -> None:
        """Count a label that is not read.

        Args:
            file: that contains it.
            position: where in the file, as in 'line 12'.
            cause: what is wrong with it, as in 'of an unknown class'.
        """
        self.labels.dropped.append(DroppedLabel(file, position, cause))

    def note_missing_image(self, name: str) -> None:
        """Remember where the first missing image was expected, for a note.

        Args:
            name: of the image file, below the folder of the images.
        """
        self._first_missing_image = self._first_missing_image or self.labels.image_folder / name

    def add_note(self, text: str) -> None:
        """Add a remark."""
        self.labels.notes.append(text)

    def finish_labels(self) -> LabeledImages:
        """Return what was collected; no name of an image leads out of the folder of the images."""
        self._rebase_images()
        if self._first_missing_image is not None:
            self.add_note(
                f'images are missing, the first is {self._first_missing_image}; is their folder another one (--images)?'
            )
        if self._num_enclosed:
            self.add_note(f'{self._num_enclosed:,} instances without a box: it encloses their keypoints, with a margin')
        return self.labels

    def _rebase_images(self) -> None:
        """Let names that start with .. start from the folder that contains all images."""
        images, folder = self.labels.content['images'], self.labels.image_folder.resolve()
        if not any('..' in Path(image['file_name']).parts for image in images):
            return
        # A copy of such an image would be written outside the folder of the copies.
        paths = [Path(os.path.normpath(folder / image['file_name'])) for image in images]
        self.labels.image_folder = Path(os.path.commonpath([path.parent for path in paths]))
        for image, path in zip(images, paths, strict=True):
            image['file_name'] = path.relative_to(self.labels.image_folder).as_posix()


def list_flip_indices(category: Mapping[str, Any]) -> list[int]:
    """Return the indices of a category's keypoints after a flip: stated, or by left and right in their names.

    Args:
        category: of COCO's object; `flip_indices` is kept by formats that state it.
    """
    # What the file states counts more than a guess from the names.
    if 'flip_indices' in category:
        return list(category['flip_indices'])
    names = list(category['keypoints'])
    indices = list(range(len(names)))
    for left, right in infer_flip_pairs(names):
        i, j = names.index(left), names.index(right)
        indices[i], indices[j] = j, i
    return indices
