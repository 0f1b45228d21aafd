"""The columns of COCO's JSON format: the images and the annotations of a file as arrays, checked value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseplug.core.boxes import clip_boxes, enclose_keypoints, has_extent, xywh_to_xyxy
from poseplug.core.errors import AnnotationError
from poseplug.core.instances import NO_STATED_COUNT
from poseplug.core.skeleton import Skeleton
from poseplug.data.masks import parse_segmentation
from poseplug.data.sources.base import SourceReport
from poseplug.data.sources.box_files import check_box_format
from poseplug.data.sources.coco_categories import SelectedCategories
from poseplug.data.sources.coco_repairs import describe_keypoint_form, repair_annotations
from poseplug.data.sources.coco_units import check_pixel_units
from poseplug.files.image_folder import find_images
from poseplug.files.json_file import FIX_FILE_HINT, JsonRows, check_image_names

_MAX_AREA_PX2 = 1e14  # of an area: the square of the largest coordinate that is accepted


@dataclass
class CocoImages:
    """The images that a file lists.

    Attributes:
        ids: (P,) image ids.
        file_names: P names in the folder of the images.
        sizes: (P, 2) width and height in px, as the file states them.
        crowd_index: (P,) CrowdPose's crowdIndex, NaN where there is none.
        exists: (P,) bool, which images are in the folder.
    """

    ids: np.ndarray
    file_names: list[str]
    sizes: np.ndarray
    crowd_index: np.ndarray
    exists: np.ndarray

    @classmethod
    def from_rows(cls, rows: JsonRows, folder: Path, missing_images: str, follow_links: bool = False) -> CocoImages:
        """Read and check the images of a file.

        Args:
            rows: the entries of `images`.
            folder: the folder of the images.
            missing_images: 'error' refuses a missing image, 'drop' leaves it out.
            follow_links: whether images may be links that lead out of the folder.

        Raises:
            AnnotationError: a value is not what it should be, an id comes twice, or an image is missing.
        """
        ids = rows.read_integers('id')
        rows.check_unique('id', ids.tolist())
        names = check_image_names(rows, 'file_name')
        sizes = np.stack([rows.read_numbers(key, 'a number of pixels') for key in ('width', 'height')], axis=1)
        if not (sizes >= 1).all():
            i, j = np.argwhere(~(sizes >= 1))[0]
            raise rows.value_error(int(i), ('width', 'height')[j], 'at least 1 pixel')
        crowd_index = _read_crowd_indices(rows)
        exists = find_images(folder, names, missing_images, rows.file, follow_links)
        return cls(ids, names, sizes, crowd_index, exists)

    def sizes_by_id(self) -> dict[int, tuple[int, int]]:
        """Return (width, height) in px by image id."""
        return dict(zip(self.ids.tolist(), self.list_sizes(), strict=True))

    def list_sizes(self) -> list[tuple[int, int]]:
        """Return (width, height) in px of every image."""
        return [(w, h) for w, h in self.sizes.astype(int).tolist()]

    def note_repeated_files(self) -> list[str]:
        """Return a note on images that are listed under several ids, as in merged exports; none if there are none."""
        num_repeated = len(self.file_names) - len(set(self.file_names))
        if not num_repeated:
            return []
        name = next(name for name, count in Counter(self.file_names).items() if count > 1)
        return [
            f'{num_repeated:,} images are listed again under another id, such as {name}; each id is read as an image'
        ]


@dataclass
class CocoAnnotations:
    """The annotations of a file, as N rows.

    Attributes:
        ids: (N,) annotation ids.
        image_indices: (N,) index of the image in `CocoImages`, -1 if it is not listed.
        category_ids: (N,) ids of the categories.
        is_crowd: (N,) bool, regions of several instances that are not told apart.
        boxes: (N, 4) xyxy in px, as in the file.
        clipped_boxes: (N, 4) xyxy in px, clipped to the image.
        has_box: (N,) bool, which annotations have a box in the file.
        keypoints: (N, K, 2) in px, 0 where not labeled.
        visible: (N, K) 0 not labeled, 1 occluded, 2 visible.
        num_labeled: (N,) number of labeled keypoints.
        stated_counts: (N,) num_keypoints as the file states it, `NO_STATED_COUNT` where absent.
        areas: (N,) px² as in the file, 0 where absent.
    """

    ids: np.ndarray
    image_indices: np.ndarray
    category_ids: np.ndarray
    is_crowd: np.ndarray
    boxes: np.ndarray
    clipped_boxes: np.ndarray
    has_box: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    num_labeled: np.ndarray
    stated_counts: np.ndarray
    areas: np.ndarray

    @classmethod
    def from_rows(
        cls, rows: JsonRows, images: CocoImages, skeleton: Skeleton, categories: SelectedCategories
    ) -> CocoAnnotations:
        """Read and check the annotations of a file.

        Args:
            rows: the entries of `annotations`.
            images: the images that the file lists.
            skeleton: the keypoints of an instance.
            categories: where these stand in the file.

        Raises:
            AnnotationError: a value is not what it should be, an id comes twice, or the boxes are not x, y, width,
                height.
        """
        ids = rows.read_integers('id')
        rows.check_unique('id', ids.tolist())
        index_by_id = {n: i for i, n in enumerate(images.ids.tolist())}
        image_ids = rows.read_integers('image_id').tolist()
        image_indices = np.array([index_by_id.get(n, -1) for n in image_ids], dtype=np.int64)
        xywh = rows.read_lists('bbox', 4, '4 finite numbers, x, y, width and height', [0] * 4)
        boxes = xywh_to_xyxy(xywh)
        sizes = images.sizes[image_indices] if len(images.ids) else np.zeros((len(ids), 2))
        has_box = rows.has_key('bbox')
        # Only boxes whose image has a known size can show their format.
        judged = has_box & (image_indices >= 0)
        check_box_format(boxes[judged], sizes[judged], 'xywh', rows.file)
        keypoints, visible = _read_all_keypoints(rows, skeleton.keypoints, categories)
        areas = rows.read_numbers('area', 'a finite number', default=0.0, max_abs=_MAX_AREA_PX2)
        # Boxes that are not judged are given without an extent.
        check_pixel_units(rows, keypoints, visible, areas, np.where(judged[:, None], boxes, 0.0), sizes)
        if not has_box.all():
            # Instances without a box are kept or dropped by rule; kept ones have that around their keypoints.
            around = enclose_keypoints(keypoints, visible > 0)
            boxes = np.where(has_box[:, None], boxes, around)
        return cls(
            ids=ids,
            image_indices=image_indices,
            category_ids=rows.read_integers('category_id', default=1),
            is_crowd=_read_binary_flags(rows, 'iscrowd'),
            boxes=boxes,
            clipped_boxes=clip_boxes(boxes, sizes),
            has_box=has_box,
            keypoints=keypoints,
            visible=visible,
            num_labeled=(visible > 0).sum(axis=1),
            stated_counts=_read_stated_counts(rows),
            areas=areas,
        )

    def compute_regions(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the region of every annotation: its box, or the box around its labeled keypoints.

        Boxes are those of the file, not clipped: COCO's evaluation doubles them where predictions are ignored.

        Returns:
            (N, 4) xyxy in px, and (N,) bool, which regions are not empty.
        """
        keypoint_boxes = enclose_keypoints(self.keypoints, self.visible > 0)
        regions = np.where(has_extent(self.clipped_boxes)[:, None], self.boxes, keypoint_boxes)
        return regions, has_extent(regions)

    def list_crowd_keypoints(self) -> np.ndarray:
        """Return (N,) objects, (K, 3) x, y and visibility of crowds with labeled keypoints; None for all others."""
        keypoints = np.full(len(self.ids), None, dtype=object)
        for i in np.flatnonzero(self.is_crowd & (self.num_labeled > 0)):
            keypoints[i] = np.concatenate([self.keypoints[i], self.visible[i, :, None]], axis=1)
        return keypoints


def count_columns(rows: JsonRows, category_ids: list[int]) -> int | None:
    """Count the keypoints of the first annotation of the categories that has a flat list of them."""
    for item in rows.items:
        values = item.get('keypoints')
        if item.get('category_id', category_ids[0]) in category_ids and isinstance(values, list) and values:
            # Only a flat list shows their number: lists of lists are another form, which repairs read.
            return len(values) // 3 if isinstance(values[0], int | float) else None
    return None


def leave_out_keypoints(rows: JsonRows, categories: SelectedCategories) -> JsonRows:
    """Return the rows without the keypoints of categories that are not read: these may have another number of them."""
    if categories.ids is None:
        return rows
    ids = set(categories.ids)
    default = categories.ids[0]
    # An id of another type stays, so that reading it names the row and its value.
    is_read = [
        not isinstance(number := item.get('category_id', default), int | float) or number in ids for item in rows.items
    ]
    if all(is_read):
        return rows
    items = [
        item if ok else {k: v for k, v in item.items() if k != 'keypoints'}
        for item, ok in zip(rows.items, is_read, strict=True)
    ]
    return JsonRows(rows.file, rows.item_noun, items, rows.id_key)


def read_annotation_columns(
    rows: JsonRows, images: CocoImages, skeleton: Skeleton, categories: SelectedCategories, report: SourceReport
) -> tuple[JsonRows, CocoAnnotations]:
    """Read the annotations; values in another form than COCO's are looked at only where there are any."""
    try:
        return rows, CocoAnnotations.from_rows(rows, images, skeleton, categories)
    except AnnotationError:
        # Repairs look at every value: files in COCO's form do not pay for them.
        repaired, notes, num_repeated = repair_annotations(rows, categories.num_columns)
        annotations = CocoAnnotations.from_rows(repaired, images, skeleton, categories)
        report.notes += notes
        if num_repeated:
            report.dropped['that repeat another annotation of their id'] += num_repeated
        return repaired, annotations


def _read_all_keypoints(
    rows: JsonRows, names: Sequence[str], categories: SelectedCategories
) -> tuple[np.ndarray, np.ndarray]:
    """Read `keypoints` and the lists of further parts: keypoints (N, K, 2), 0 if not labeled, and flags (N, K)."""
    # The further parts follow the body in the skeleton.
    num_first = len(names) - sum(categories.part_sizes.values())
    parts = [_read_keypoints(rows, names[:num_first], categories)]
    parts += [_read_part_keypoints(rows, key, count) for key, count in categories.part_sizes.items()]
    keypoints, visible = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    return keypoints, visible


def _read_part_keypoints(rows: JsonRows, key: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the keypoints of a part, whose third number is a confidence, as `_read_all_keypoints` returns them."""
    expected = f'{3 * count} finite numbers, x, y and confidence of {count} keypoints'
    values = rows.read_lists(key, 3 * count, expected, [0] * (3 * count)).reshape(-1, count, 3)
    labeled = values[..., 2] > 0
    return np.where(labeled[..., None], values[..., :2], 0.0), np.where(labeled, 2, 0).astype(np.uint8)


def _read_keypoints(
    rows: JsonRows, names: Sequence[str], categories: SelectedCategories
) -> tuple[np.ndarray, np.ndarray]:
    """Read `keypoints`, whose third number is a flag: 0 not labeled, 1 occluded, 2 visible."""
    count = categories.num_columns
    expected = f'{3 * count} finite numbers, x, y and flag of {count} keypoints'
    try:
        values = rows.read_lists('keypoints', 3 * count, expected, [0] * (3 * count)).reshape(-1, count, 3)
    except AnnotationError as error:
        # The reader's message tells the numbers, the form what the exporter wrote instead.
        forms = (describe_keypoint_form(item.get('keypoints', []), count) for item in rows.items)
        form = next(filter(None, forms), '')
        raise AnnotationError(f'{error}; {form}' if form else str(error)) from None
    values = values[:, categories.column_order]
    wrong = ~np.isin(values[..., 2], (0, 1, 2))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{rows.file}: {rows.describe_row(int(i))}: the flag of keypoint {names[k]!r} is 0, 1 or 2; found '
            f'{values[i, k, 2]:g}. {FIX_FILE_HINT}'
        )
    # Positions of keypoints that are not labeled may be anything; 0 is what COCO writes.
    visible = values[..., 2].astype(np.uint8)
    return np.where(visible[..., None] > 0, values[..., :2], 0.0), visible


def read_segmentations(rows: JsonRows) -> np.ndarray:
    """Read the segmentations of all annotations as (N,) objects, None where there is none."""
    segmentations = np.full(len(rows), None, dtype=object)
    for i, item in enumerate(rows.items):
        try:
            segmentations[i] = parse_segmentation(item.get('segmentation'))
        except ValueError as error:
            raise rows.value_error(i, 'segmentation', str(error)) from None
    return segmentations


def _read_stated_counts(rows: JsonRows) -> np.ndarray:
    """Read `num_keypoints` as (N,), `NO_STATED_COUNT` where absent."""
    counts = rows.read_integers('num_keypoints', default=NO_STATED_COUNT)
    wrong = (counts < 0) & rows.has_key('num_keypoints')
    if wrong.any():
        raise rows.value_error(int(np.argmax(wrong)), 'num_keypoints', 'a whole number from 0 on')
    return counts


def _read_crowd_indices(rows: JsonRows) -> np.ndarray:
    """Read `crowdIndex` of images as (P,), NaN where there is none; only CrowdPose has it."""
    crowd_index = rows.read_numbers('crowdIndex', 'a finite number', default=0.0)
    stated = rows.has_key('crowdIndex')
    is_negative = stated & (crowd_index < 0)
    if is_negative.any():
        raise rows.value_error(int(np.argmax(is_negative)), 'crowdIndex', 'a number from 0 on')
    # Single images of the official files reach 3, where people have few keypoints; of a percent the median is above 1.
    if stated.any() and np.median(crowd_index[stated]) > 1:
        raise AnnotationError(
            f'{rows.file}: crowdIndex is above 1 in most images, but it is 0 where people stand alone and 1 in a '
            f'crowd: divide percents by 100'
        )
    crowd_index[~stated] = np.nan
    return crowd_index


def _read_binary_flags(rows: JsonRows, key: str) -> np.ndarray:
    """Read a column of 0 and 1 as (N,) bool; absent is 0."""
    values = rows.read_integers(key, '0 or 1', default=0)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise rows.value_error(int(np.argmax(wrong)), key, '0 or 1')
    return values == 1
