"""The reader of keypoints in COCO's JSON format (cocodataset.org, format-data), for every data set that uses it.

A file has `images` (id, file_name, width, height), `annotations` (id, image_id, bbox as x, y, width, height, keypoints
as x, y, flag, area, iscrowd) and `categories`. docs/reference/messages.md lists what becomes of each kind of defect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.boxes import AREA_FRACTION_OF_BOX, box_areas, clip_boxes, enclose_keypoints, has_extent, xywh_to_xyxy
from poseplug.core.errors import AnnotationError, ImageError
from poseplug.core.instances import NO_STATED_COUNT, IgnoredRegions, Instances, estimate_areas
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.masks import parse_segmentation
from poseplug.data.sources.base import SourceReport
from poseplug.data.sources.box_files import check_box_format
from poseplug.data.sources.coco_categories import SelectedCategories, match_keypoints, select_categories
from poseplug.data.sources.coco_repairs import describe_keypoint_form, repair_annotations, repair_images
from poseplug.files.collector_pause import pause_garbage_collector
from poseplug.files.image_folder import find_images
from poseplug.files.images import LazyImage
from poseplug.files.json_file import (
    FIX_FILE_HINT,
    JsonRows,
    check_image_names,
    describe_json_value,
    read_json,
)
from poseplug.files.stated_size import describe_size_difference

_MAX_AREA_PX2 = 1e14  # of an area: the square of the largest coordinate that is accepted
_MIN_JUDGED_KEYPOINTS = 8  # whether fewer are fractions of the image is not judged
_MIN_PIXEL_EXTENT = 8.0  # px: boxes of less may hold keypoints that all lie within 2 px


@dataclass(frozen=True)
class CocoReader:
    """How one data set uses COCO's format.

    Attributes:
        skeleton: the keypoints of an annotation, in the file's order.
        source_name: name of the data set, for records and messages.
        missing_images: 'error' refuses a missing image, 'drop' leaves its instances out and counts them.
        min_keypoints: instances with fewer labeled keypoints are dropped, and their boxes become ignored regions.
        keep_empty: also return records of images without instances.
        use_file_areas: use the areas of the file; else 0.53 of the box is the area (CrowdPose's rule).
        use_box_areas: the whole box is the area, whatever the file says (AI Challenger's rule).
        use_file_counts: the file's num_keypoints says which instances count in evaluation (CrowdPose's rule); else
            those with a labeled keypoint do, and contradicting numbers are reported.
        num_size_checks: number of images, spread evenly, whose size is compared with the stated one already here;
            every other image is compared when it is read.
        segmentations: also read the segmentations of instances and of ignored regions.
        file_keypoint_names: name in `skeleton` of keypoints that the file calls otherwise.
        part_sizes: number of keypoints in further lists of an annotation, by key, which follow those of `keypoints`;
            their third number is a confidence, above 0 for a labeled keypoint, which counts as visible.
        category: name of the category, or several; None for all that name the same keypoints.
        require_boxes: drop instances without a box; else the box around the labeled keypoints is taken.
        follow_links: whether images may be links that lead out of their folder.
    """

    skeleton: Skeleton
    source_name: str
    missing_images: str = 'error'
    min_keypoints: int = 1
    keep_empty: bool = False
    use_file_areas: bool = True
    use_box_areas: bool = False
    use_file_counts: bool = False
    num_size_checks: int = 64
    segmentations: bool = False
    file_keypoint_names: Mapping[str, str] = field(default_factory=dict)
    part_sizes: Mapping[str, int] = field(default_factory=dict)
    category: str | Sequence[str] | None = 'person'
    require_boxes: bool = True
    follow_links: bool = False

    def read(self, file: Path, image_folder: Path) -> tuple[list[Record], SourceReport]:
        """Read the records of a file.

        Args:
            file: the annotation file.
            image_folder: the folder of its images.

        Returns:
            One record per image, in the file's order, and the number of annotations kept and dropped.

        Raises:
            AnnotationError: the file as a whole is not what it seems; the message names the annotation and the field.
        """
        records, report, _ = self.read_with_sizes(file, image_folder)
        return records, report

    def read_with_sizes(
        self, file: Path, image_folder: Path
    ) -> tuple[list[Record], SourceReport, dict[int, tuple[int, int]]]:
        """Read the records of a file, and the size of every image that it lists.

        Args:
            file: the annotation file.
            image_folder: the folder of its images.

        Returns:
            One record per image, the number of annotations kept and dropped, and (width, height) in px by image id.

        Raises:
            AnnotationError: the file as a whole is not what it seems; the message names the annotation and the field.
        """
        return self.read_content(file, read_coco_object(file), image_folder)

    @pause_garbage_collector()
    def read_content(
        self, file: Path, content: dict[str, Any], image_folder: Path
    ) -> tuple[list[Record], SourceReport, dict[int, tuple[int, int]]]:
        """Read the records of the content of a file; arguments and result as for `read_with_sizes`."""
        if self.min_keypoints < 1:
            raise AnnotationError(f'{self.source_name}: min_keypoints is 1 or more; got {self.min_keypoints}')
        report = SourceReport(file)
        rows = JsonRows.from_list(file, content['annotations'], 'annotation')
        categories = self._select_categories(file, content.get('categories'), rows, report)
        rows = _leave_out_keypoints(rows, categories)
        images = self._read_images(JsonRows.from_list(file, content['images'], 'image'), image_folder, report)
        rows, annotations = _read_annotations(rows, images, self.skeleton, categories, report)
        segmentations = _read_segmentations(rows) if self.segmentations else None
        report.notes += _check_image_sizes(images, image_folder, self.num_size_checks, file)
        selected, ignored = self._select_annotations(annotations, images, categories.ids, report)
        self._add_notes(annotations, images, selected, report)
        records = self._build_records(annotations, images, selected, ignored, image_folder, segmentations)
        return records, report, images.sizes_by_id()

    def _select_categories(self, file: Path, content: Any, rows: JsonRows, report: SourceReport) -> SelectedCategories:
        """Return the categories to read, all of which name the skeleton's keypoints."""
        keypoints = self.skeleton.keypoints[: len(self.skeleton) - sum(self.part_sizes.values())]
        count = len(keypoints)
        if content is None:
            report.notes.append(f'no categories: the keypoints are taken for those of {self.skeleton.name!r} in order')
            return SelectedCategories(None, np.arange(count), count, self.part_sizes)
        selected = select_categories(file, content, self.category, require_keypoints=True)
        category_rows, _ = repair_images(JsonRows.from_list(file, selected, 'category'))
        ids = category_rows.read_integers('id').tolist()
        num_columns = _count_columns(rows, ids)
        orders, notes = [], []
        for category in selected:
            order, num_names, lines = match_keypoints(file, category, keypoints, self.file_keypoint_names, num_columns)
            orders.append((num_names, *order.tolist()))
            notes += lines
        if len(set(orders)) > 1:
            raise AnnotationError(
                f'{file}: its categories have their keypoints in different orders; read one at a time'
            )
        report.notes += list(dict.fromkeys(notes))
        return SelectedCategories(tuple(ids), np.array(orders[0][1:], dtype=int), orders[0][0], self.part_sizes)

    def _read_images(self, rows: JsonRows, folder: Path, report: SourceReport) -> CocoImages:
        """Read the images of a file; values in another form than COCO's are looked at only where there are any."""
        try:
            return CocoImages.from_rows(rows, folder, self.missing_images, self.follow_links)
        except AnnotationError:
            repaired, notes = repair_images(rows)
            images = CocoImages.from_rows(repaired, folder, self.missing_images, self.follow_links)
            report.notes += notes
            return images

    def _select_annotations(
        self,
        annotations: CocoAnnotations,
        images: CocoImages,
        category_ids: tuple[int, ...] | None,
        report: SourceReport,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) which annotations are instances, and (N,) which are ignored regions; drops are counted."""
        selected = np.ones(len(annotations.ids), dtype=bool)
        if category_ids is not None:
            is_chosen = np.isin(annotations.category_ids, category_ids)
            selected = report.drop_invalid(selected, is_chosen, 'of another category')
        listed = annotations.image_indices >= 0
        selected = report.drop_invalid(selected, listed, 'of images that are not listed')
        # An index of -1 is replaced by any other: the line above has dropped those annotations.
        indices = np.maximum(annotations.image_indices, 0)
        exists = images.exists[indices] if len(images.ids) else np.zeros(len(annotations.ids), dtype=bool)
        in_images = selected = report.drop_invalid(selected, exists, 'with a missing image')
        # What the checks below drop has a known position: it must not be trained as background.
        num_labeled, min_keypoints = annotations.num_labeled, self.min_keypoints
        few = f'with fewer than {min_keypoints} labeled keypoints (ignored regions)'
        box_sizes = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
        selected = report.drop_invalid(selected, ~annotations.is_crowd, 'crowds (ignored regions)')
        selected = report.drop_invalid(selected, num_labeled > 0, 'without labeled keypoints (ignored regions)')
        selected = report.drop_invalid(selected, num_labeled >= min_keypoints, few)
        if self.require_boxes:
            selected = report.drop_invalid(selected, annotations.has_box, 'without a box')
        selected = report.drop_invalid(selected, (box_sizes > 0).all(axis=1), 'with a box of no extent')
        selected = report.drop_invalid(selected, has_extent(annotations.clipped_boxes), 'with a box outside the image')
        report.kept = int(selected.sum())
        return selected, in_images & ~selected

    def _add_notes(
        self, annotations: CocoAnnotations, images: CocoImages, selected: np.ndarray, report: SourceReport
    ) -> None:
        """Count what was kept although something about it is odd."""
        sizes = images.sizes[annotations.image_indices[selected]]
        keypoints = annotations.keypoints[selected]
        labeled = annotations.visible[selected] > 0
        # The border of an image is half a pixel beyond the centers of its outermost pixels.
        outside = ((keypoints < -0.5) | (keypoints > sizes[:, None] - 0.5)).any(axis=-1) & labeled
        notes = [(outside.sum(), 'keypoints outside the image, counted as not labeled')]
        if not self.use_file_counts and not self.part_sizes:
            stated = annotations.stated_counts[selected]
            contradicted = (stated != NO_STATED_COUNT) & (stated != annotations.num_labeled[selected])
            notes.append((contradicted.sum(), 'instances whose num_keypoints contradicts their keypoints'))
        if self.use_file_areas and not self.use_box_areas:
            without_area = selected & (annotations.areas <= 0)
            note = f'instances without an area, for which {AREA_FRACTION_OF_BOX} of the box counts'
            notes.append((without_area.sum(), note))
        report.notes += [f'{count:,} {note}' for count, note in notes if count]
        if not len(annotations.ids):
            report.notes.append('no instances are annotated')

    def _build_records(
        self,
        annotations: CocoAnnotations,
        images: CocoImages,
        selected: np.ndarray,
        ignored: np.ndarray,
        image_folder: Path,
        segmentations: np.ndarray | None = None,
    ) -> list[Record]:
        """Build one record per image that has instances, or per image with `keep_empty`, in the file's order."""
        instances = self._build_instances(annotations, segmentations)
        regions, region_is_known = annotations.compute_regions()
        region_areas = np.where(instances.areas > 0, instances.areas, box_areas(regions))
        ignored_regions = IgnoredRegions.from_annotations(
            regions,
            region_areas,
            annotations.is_crowd,
            segmentations,
            annotations.list_crowd_keypoints(),
            annotations.ids,
        )
        instances_by_image = group_by_image(annotations.image_indices, selected, len(images.ids))
        ignored_by_image = group_by_image(annotations.image_indices, ignored & region_is_known, len(images.ids))
        annotated_keypoints, no_regions = np.ones(len(self.skeleton), dtype=bool), IgnoredRegions.empty()
        stated_sizes = images.list_sizes()
        crowd_index = [None if np.isnan(index) else float(index) for index in images.crowd_index]
        records = []
        for i in np.flatnonzero(images.exists):
            rows, ignored_rows = instances_by_image[i], ignored_by_image[i]
            if not len(rows) and not self.keep_empty:
                continue
            record = Record(
                path=image_folder / images.file_names[i],
                id=str(images.ids[i]),
                instances=instances[rows],
                source=self.source_name,
                ignored=ignored_regions[ignored_rows] if len(ignored_rows) else no_regions,
                annotated_keypoints=annotated_keypoints,
                crowd_index=crowd_index[i],
                stated_size=stated_sizes[i],
            )
            records.append(record)
        return records

    def _build_instances(self, annotations: CocoAnnotations, segmentations: np.ndarray | None) -> Instances:
        """Return all annotations of the file as instances."""
        instances = Instances.from_annotations(
            annotations.keypoints.astype(np.float32),
            annotations.visible,
            boxes=np.where(annotations.has_box[:, None], annotations.clipped_boxes, np.nan),
            annotation_ids=annotations.ids,
            segmentations=segmentations,
            stated_counts=annotations.stated_counts if self.use_file_counts else None,
        )
        has_area = (annotations.areas > 0) & self.use_file_areas | self.use_box_areas
        return replace(instances, areas=self._compute_areas(annotations), has_area=has_area)

    def _compute_areas(self, annotations: CocoAnnotations) -> np.ndarray:
        """Return (N,) px²: the file's areas, or areas of the boxes as they are in the file, not clipped."""
        # The boxes of the file, not the clipped ones, as in the data sets' own evaluations.
        if self.use_box_areas:
            return box_areas(annotations.boxes)
        from_boxes = estimate_areas(annotations.boxes)
        if not self.use_file_areas:
            return from_boxes
        return np.where(annotations.areas > 0, annotations.areas, from_boxes)


def read_coco_object(file: Path) -> dict[str, Any]:
    """Read a file that must be an object with images and annotations."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise AnnotationError(
            f"{file}: COCO's format is an object with images, annotations and categories; found "
            f'{describe_json_value(content)}. This is another file'
        )
    for key in ('images', 'annotations'):
        if key not in content:
            present = ', '.join(content) or 'nothing'
            raise AnnotationError(f"{file}: it has no '{key}', only {present}. {FIX_FILE_HINT}")
    return content


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
        crowd_index = rows.read_numbers('crowdIndex', 'a finite number', default=-1.0)
        crowd_index[~rows.has_key('crowdIndex')] = np.nan  # only CrowdPose has it
        exists = find_images(folder, names, missing_images, rows.file, follow_links)
        return cls(ids, names, sizes, crowd_index, exists)

    def sizes_by_id(self) -> dict[int, tuple[int, int]]:
        """Return (width, height) in px by image id."""
        return dict(zip(self.ids.tolist(), self.list_sizes(), strict=True))

    def list_sizes(self) -> list[tuple[int, int]]:
        """Return (width, height) in px of every image."""
        return [(w, h) for w, h in self.sizes.astype(int).tolist()]


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
        _check_pixels(rows.file, keypoints[visible > 0], areas, boxes[judged])
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
            stated_counts=np.maximum(rows.read_integers('num_keypoints', default=NO_STATED_COUNT), NO_STATED_COUNT),
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


def _count_columns(rows: JsonRows, category_ids: list[int]) -> int | None:
    """Count the keypoints of the first annotation of the categories that has a flat list of them."""
    for item in rows.items:
        values = item.get('keypoints')
        if item.get('category_id', category_ids[0]) in category_ids and isinstance(values, list) and values:
            return len(values) // 3 if isinstance(values[0], int | float) else None
    return None


def _leave_out_keypoints(rows: JsonRows, categories: SelectedCategories) -> JsonRows:
    """Return the rows without the keypoints of categories that are not read: these may have another number of them."""
    if categories.ids is None:
        return rows
    ids = set(categories.ids)
    default = categories.ids[0]
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


def _read_annotations(
    rows: JsonRows, images: CocoImages, skeleton: Skeleton, categories: SelectedCategories, report: SourceReport
) -> tuple[JsonRows, CocoAnnotations]:
    """Read the annotations; values in another form than COCO's are looked at only where there are any."""
    try:
        return rows, CocoAnnotations.from_rows(rows, images, skeleton, categories)
    except AnnotationError:
        repaired, notes, num_repeated = repair_annotations(rows, categories.num_columns)
        annotations = CocoAnnotations.from_rows(repaired, images, skeleton, categories)
        report.notes += notes
        if num_repeated:
            report.dropped['that repeat another annotation of their id'] += num_repeated
        return repaired, annotations


def _check_pixels(file: Path, labeled: np.ndarray, areas: np.ndarray, boxes: np.ndarray) -> None:
    """Refuse keypoints (P, 2) or areas (N,) that are fractions of the image beside boxes (M, 4) in px."""
    extents = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    extent = float(np.median(extents)) if len(extents) else 0.0
    if extent < _MIN_PIXEL_EXTENT:
        return
    if len(labeled) >= _MIN_JUDGED_KEYPOINTS and np.abs(labeled).max() <= 2:
        raise AnnotationError(
            f'{file}: its {len(labeled):,} labeled keypoints all lie within 2 px, and its boxes are {extent:.0f} px '
            f'large: the keypoints are fractions of the image, not pixels. Multiply them by the size of their images'
        )
    stated = areas[areas > 0]
    if len(stated) and stated.max() <= 1:
        raise AnnotationError(
            f'{file}: its areas are all at most 1 px², and its boxes are {extent:.0f} px large: the areas are '
            f'fractions of the image. Multiply them by width and height of their images, or leave them out'
        )


def _read_all_keypoints(
    rows: JsonRows, names: Sequence[str], categories: SelectedCategories
) -> tuple[np.ndarray, np.ndarray]:
    """Read `keypoints` and the lists of further parts: keypoints (N, K, 2), 0 if not labeled, and flags (N, K)."""
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
    visible = values[..., 2].astype(np.uint8)
    return np.where(visible[..., None] > 0, values[..., :2], 0.0), visible


def _read_segmentations(rows: JsonRows) -> np.ndarray:
    """Read the segmentations of all annotations as (N,) objects, None where there is none."""
    segmentations = np.full(len(rows), None, dtype=object)
    for i, item in enumerate(rows.items):
        try:
            segmentations[i] = parse_segmentation(item.get('segmentation'))
        except ValueError as error:
            raise rows.value_error(i, 'segmentation', str(error)) from None
    return segmentations


def _read_binary_flags(rows: JsonRows, key: str) -> np.ndarray:
    """Read a column of 0 and 1 as (N,) bool; absent is 0."""
    values = rows.read_integers(key, '0 or 1', default=0)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise rows.value_error(int(np.argmax(wrong)), key, '0 or 1')
    return values == 1


def group_by_image(image_indices: np.ndarray, mask: np.ndarray, num_images: int) -> list[np.ndarray]:
    """Group the rows of annotations by image.

    Args:
        image_indices: (N,) index of each row's image.
        mask: (N,) bool, the rows to group.
        num_images: number of images.

    Returns:
        For every image the indices of its rows, in the file's order.
    """
    if not num_images:
        return []
    # Sorted once for all images: a search per image would be quadratic. The sort is stable to keep the file's order.
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(image_indices[rows], kind='stable')]
    num_rows = np.bincount(image_indices[rows], minlength=num_images)
    return np.split(rows, np.cumsum(num_rows)[:-1])


def _check_image_sizes(images: CocoImages, folder: Path, num_checks: int, file: Path) -> list[str]:
    """Refuses a file that states another size than one of `num_checks` images, spread evenly, has; returns notes."""
    existing = np.flatnonzero(images.exists)
    checked = np.unique(np.linspace(0, len(existing) - 1, min(num_checks, len(existing))).round().astype(int))
    stated_sizes, num_oriented = images.list_sizes(), 0
    for i in existing[checked]:
        try:
            image = LazyImage(folder / images.file_names[i])
            difference = describe_size_difference(image, stated_sizes[i])
        except ImageError:
            continue  # reported when it is decoded, and by the command that verifies data sets
        if difference:
            raise AnnotationError(
                f'{file}: image {images.file_names[i]} in {folder}: {difference}: its keypoints would be at wrong '
                f'positions. Fetch the images that belong to the annotations'
            )
        num_oriented += image.orientation != 1
    if not num_oriented:
        return []
    return [
        f'{num_oriented} of {len(checked)} images that were looked at have an EXIF orientation other than 1; they are '
        f'read as stored, and poseplug dataset verify names them'
    ]
