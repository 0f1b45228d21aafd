"""The interface of a label format, and labels in the one form that all formats are read into: COCO's.

COCO's object has `images` (id, file_name, width, height), `annotations` (id, image_id, category_id, bbox as x, y,
width, height, keypoints as x, y, flag) and `categories` (id, name, keypoints, skeleton). Values of a format that COCO
has no key for are kept under other keys, so that writing the same format again does not lose them.
"""

from __future__ import annotations

__all__ = [
    'DroppedLabel',
    'LabelFormat',
    'LabeledImages',
    'WriteReport',
    'count_causes',
    'list_flip_indices',
]

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.core.skeleton_checks import infer_flip_pairs


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
        """Return the number of keypoints of the annotations of a category that does not name them."""
        # Exporters leave the names out, while annotations tell how many keypoints they have; objects have a box alone.
        annotations = (a for a in self.content['annotations'] if a.get('category_id') == category_id)
        return max((len(annotation.get('keypoints') or ()) // 3 for annotation in annotations), default=0)

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
    """The files that were written, and what their format could not hold.

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
