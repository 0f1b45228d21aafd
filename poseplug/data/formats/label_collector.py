"""Collects what the files of a format contain into labels in COCO's form."""

from __future__ import annotations

__all__ = ['LabelCollector', 'enclose_labeled_keypoints', 'rebase_images']

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.boxes import enclose_keypoints
from poseplug.core.errors import AnnotationError, ImageError
from poseplug.data.formats.base import DroppedLabel, LabeledImages
from poseplug.data.formats.image_names import describe_other_names, locate_image
from poseplug.data.formats.spellings import merge_spellings
from poseplug.files.images import LazyImage

# A box around keypoints alone cuts off the body beyond them; this fraction of its larger side is added on each side.
BOX_PADDING_FRACTION = 0.1
_MAX_NAME_CHARS = 200  # of an image, in a message
_MIN_BOX_PADDING_PX = 2.0  # one keypoint alone encloses nothing


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
        self._located_names: dict[str, str | None] = {}  # on the disk, by the names in the labels
        self._stated_names: dict[str, tuple[str, bool]] = {}  # the other way, and whether the two names are equal
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

    def add_image(self, name: str, file: Path, positions: Sequence[str], is_located: bool = False) -> int | None:
        """Add an image whose size is in its file, or count the labels that need it as dropped.

        Args:
            name: of the image file, below the folder of the images.
            file: the file of the labels, for the report.
            positions: of the labels in the file.
            is_located: whether `find_image` returned the name.

        Returns:
            The id of the image; None if its file is missing or unreadable.
        """
        # Its size was read before: files are opened once, however many labels they have.
        located = name if is_located else self.find_image(name) or name
        if located in self._image_ids:
            return self._image_ids[located]
        path = self.labels.image_folder / located
        # Labels are often moved without their images, so this is no error before all of them are counted.
        if not path.is_file():
            self.note_missing_image(name)
            cause = 'whose image is not in its folder'
        else:
            try:
                return self.add_sized_image(located, LazyImage(path).size)
            except ImageError:
                cause = 'whose image cannot be read'
        for position in positions:
            self.drop_label(file, position, cause)
        return None

    def find_image(self, name: str, aliases: Sequence[str] = (), subfolders: Sequence[str] = ('',)) -> str | None:
        """Find an image that labels name, possibly in another case or with the folders of another machine.

        Args:
            name: in the labels, by which notes and errors call the image.
            aliases: names that the image may have instead; empty for the name itself.
            subfolders: where below the folder of the images it may be.

        Returns:
            The name below the folder, as it is on the disk; None if there is none.

        Raises:
            AnnotationError: an image of this name was taken before for another one, which is missing.
        """
        if name not in self._located_names:
            names = aliases or (name,)
            located = locate_image(self.labels.image_folder, names, subfolders)
            is_stated = located in {Path(folder, each).as_posix() for each in names for folder in subfolders}
            other = self._stated_names.setdefault(located, (name, is_stated)) if located else (name, is_stated)
            # Two images of one name, in folders that are not there, must not become one.
            if other[0] != name and not is_stated:
                located = None
            elif other[0] != name and not other[1]:
                raise AnnotationError(
                    f'{self.labels.path}: image {other[0]} is missing, and {located} is another one; restore it, or '
                    f'remove its labels'
                )
            self._located_names[name] = located
        return self._located_names[name]

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
            self._num_enclosed += 1
            box = enclose_labeled_keypoints(table, self.labels.content['images'][image_id - 1])
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
        # Names of missing images may be addresses or texts of any length.
        path = Path(os.path.normpath(self.labels.image_folder / name[:_MAX_NAME_CHARS]))
        self._first_missing_image = self._first_missing_image or path

    def add_note(self, text: str) -> None:
        """Add a remark."""
        self.labels.notes.append(text)

    def finish_labels(self) -> LabeledImages:
        """Return what was collected; no name of an image leads out of the folder of the images."""
        # Only now are all names known, whose common folder is needed.
        rebase_images(self.labels)
        self.labels.notes += merge_spellings(self.labels.content)
        if self._first_missing_image is not None:
            self.add_note(
                f'images are missing, the first is {self._first_missing_image}; is their folder another one (--images)?'
            )
        others = [(name, located) for located, (name, is_stated) in self._stated_names.items() if not is_stated]
        if others:
            self.add_note(describe_other_names(others))
        if self._num_enclosed:
            self.add_note(f'{self._num_enclosed:,} instances without a box: it encloses their keypoints, with a margin')
        return self.labels


def enclose_labeled_keypoints(table: np.ndarray, image: Mapping[str, Any]) -> list[float]:
    """Return the box around the labeled keypoints of an instance, with a margin, within the image.

    Args:
        table: (K, 3), x and y in px, and 0 for a keypoint that is not labeled.
        image: of COCO's object, with its width and height.

    Returns:
        x, y, width and height in px.
    """
    left, top, right, bottom = enclose_keypoints(table[None, :, :2], table[None, :, 2] > 0)[0].tolist()
    padding = max(BOX_PADDING_FRACTION * max(right - left, bottom - top), _MIN_BOX_PADDING_PX)
    # The margin ends at the image's edge, as boxes that people draw do.
    left, top = max(left - padding, 0.0), max(top - padding, 0.0)
    right, bottom = min(right + padding, image['width']), min(bottom + padding, image['height'])
    return [left, top, right - left, bottom - top]


def rebase_images(labels: LabeledImages) -> None:
    """Let names of images that lead out of their folder start from the folder that contains all images.

    Args:
        labels: are changed, if a name leads out. Their files are read, but a copy of such an image would be written
            outside the folder of the copies.
    """
    images, folder = labels.content['images'], labels.image_folder.resolve()
    names = [Path(str(image['file_name'])) for image in images]
    # Usual data sets keep their names, which other files (detected boxes, lists of splits) refer to.
    if not any('..' in name.parts or name.is_absolute() for name in names):
        return
    paths = [Path(os.path.normpath(folder / name)) for name in names]
    labels.image_folder = Path(os.path.commonpath([path.parent for path in paths]))
    for image, path in zip(images, paths, strict=True):
        image['file_name'] = path.relative_to(labels.image_folder).as_posix()
