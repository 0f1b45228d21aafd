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

from poseplug.core.boxes import AREA_FRACTION_OF_BOX, box_areas, has_extent
from poseplug.core.errors import AnnotationError
from poseplug.core.instances import NO_STATED_COUNT, IgnoredRegions, Instances, estimate_areas
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.base import SourceReport
from poseplug.data.sources.coco_categories import SelectedCategories, match_keypoints, select_categories
from poseplug.data.sources.coco_columns import (
    CocoAnnotations,
    CocoImages,
    count_columns,
    leave_out_keypoints,
    read_annotation_columns,
    read_segmentations,
)
from poseplug.data.sources.coco_repairs import repair_images
from poseplug.data.sources.coco_sizes import check_coco_sizes
from poseplug.data.sources.coco_units import count_unit_oddities
from poseplug.files.collector_pause import pause_garbage_collector
from poseplug.files.json_file import (
    FIX_FILE_HINT,
    JsonRows,
    describe_json_value,
    read_json,
)


@dataclass(frozen=True)
class CocoReader:
    """The rules by which one data set uses COCO's format.

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
        # First, since they say which annotations are read, and in which order their keypoints are.
        categories = self._select_categories(file, content.get('categories'), rows, report)
        rows = leave_out_keypoints(rows, categories)
        images = self._read_images(JsonRows.from_list(file, content['images'], 'image'), image_folder, report)
        report.notes += images.note_repeated_files()
        rows, annotations = read_annotation_columns(rows, images, self.skeleton, categories, report)
        segmentations = read_segmentations(rows) if self.segmentations else None
        report.notes += check_coco_sizes(images, image_folder, self.num_size_checks, file)
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
        num_columns = count_columns(rows, ids)
        orders, notes = [], []
        for category in selected:
            order, num_names, lines = match_keypoints(file, category, keypoints, self.file_keypoint_names, num_columns)
            orders.append((num_names, *order.tolist()))
            notes += lines
        # All annotations are read as columns of one table.
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
            # Repairs look at every value: files in COCO's form do not pay for them.
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
        notes = [(int(outside.sum()), 'keypoints outside the image, counted as not labeled')]
        notes += count_unit_oddities(keypoints, annotations.visible[selected], annotations.boxes[selected])
        stated, num_labeled = annotations.stated_counts[selected], annotations.num_labeled[selected]
        # CrowdPose counts without head and neck, so that there fewer than the labeled ones are right.
        contradicted = stated > num_labeled if self.use_file_counts else stated != num_labeled
        contradicted &= stated != NO_STATED_COUNT
        if not self.part_sizes:
            notes.append((int(contradicted.sum()), 'instances whose num_keypoints contradicts their keypoints'))
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
        # Shared by all records, which do not change them.
        annotated_keypoints, no_regions = np.ones(len(self.skeleton), dtype=bool), IgnoredRegions.empty()
        stated_sizes = images.list_sizes()
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
                crowd_index=float(images.crowd_index[i]),
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
