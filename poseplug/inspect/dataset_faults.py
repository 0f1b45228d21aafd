"""Faults of annotated instances and of data sets, each with a remedy, and a page with the worst instances drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

import numpy as np

from poseplug.core.boxes import box_areas
from poseplug.core.errors import ImageError
from poseplug.core.geometry import bounding_corners
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.files.images import read_image
from poseplug.inspect.dataset_reading import (
    SourceStatistics,
    abbreviate_names,
    describe_image_problems,
    format_orientations,
    format_percent,
)
from poseplug.inspect.environment import Finding
from poseplug.inspect.keypoint_checks import (
    find_crossed_limbs,
    find_crossed_torsos,
    find_duplicates,
    find_outside_keypoints,
    has_single_position,
)
from poseplug.report.draw import draw_poses
from poseplug.report.html_parts import render_bullet_list, render_html_page, render_image_grid, render_section

_BOX_MARGIN = 0.1  # fraction of a box's size by which keypoints may lie outside it
_MIN_SIDE_DIFFERENCE = 0.15  # fraction of the torso's length by which left and right must differ
_LIMB_CROSSING_RATIO = 1.5  # length of a pair of limbs, relative to that with exchanged ends
_MIN_AREA_RATIO, _MAX_AREA_RATIO = 0.02, 1.0  # of an instance's area to that of its box
_CROP_PADDING = 0.25  # fraction of an instance's size that is drawn around it
_MAX_COUNTED_FAULTS = 5  # more faults of one kind make an instance no worse
_CHECK_LABEL = 'CHECK'  # label of findings about data: what looks wrong may be right
_CHECKED_LIMBS = (('shoulder', 'elbow'), ('elbow', 'wrist'), ('hip', 'knee'), ('knee', 'ankle'))

# Every kind of fault with its severity and its remedy
FAULT_KINDS = {
    'left and right of the torso crossed': (3.0, 'Check the image; exchange left and right of the shoulders or hips'),
    'left and right limbs crossed': (2.0, 'Check the image; keypoints may be exchanged, or the limbs really cross'),
    'keypoints outside the image': (1.0, 'They count as not labeled; correct them, or fetch the image again'),
    'keypoints outside the box': (1.0, 'Draw the box around the keypoints, or check which instance they belong to'),
    'labeled keypoint at 0, 0': (2.0, 'Set its visibility to 0, not labeled'),
    'all keypoints at one position': (3.0, 'Annotate the instance again, or remove it'),
    'box outside the image': (1.0, 'Clip it to the image, and check that boxes are x, y, width, height'),
    'area larger than the box': (1.0, 'Use the area of the segmentation, or 0.53 of the box'),
    'area close to zero': (1.0, 'Use the area of the segmentation, or 0.53 of the box'),
    'duplicate of another instance': (3.0, 'Remove one of the two'),
}


@dataclass
class SuspectInstance:
    """An annotated instance that looks wrong.

    Attributes:
        record: The annotations of its image.
        instance_index: Its index in the record.
        fault_counts: Number of faults of each kind, a key of `FAULT_KINDS`.
    """

    record: Record
    instance_index: int
    fault_counts: Counter[str] = field(default_factory=Counter)

    @property
    def severity(self) -> float:
        """The severity of all its faults together."""
        return sum(FAULT_KINDS[kind][0] * min(n, _MAX_COUNTED_FAULTS) for kind, n in self.fault_counts.items())

    @property
    def label(self) -> str:
        """The image with the annotation id, or with the number of the instance if there are no ids."""
        instances = self.record.instances
        if not instances.has_annotation_id[self.instance_index]:
            return f'{self.record.id} (instance {self.instance_index + 1})'
        return f'{self.record.id} (id {instances.annotation_ids[self.instance_index]})'


# --- instances --------------------------------------------------------------------------------------------------------


def find_suspect_instances(statistics: SourceStatistics) -> list[SuspectInstance]:
    """Find all instances of a source that look wrong, the most severe first."""
    suspects: dict[tuple[int, int], SuspectInstance] = {}
    for record_index, record in enumerate(statistics.records):
        image_size = statistics.image_sizes.get(record.location)
        for instance_index, kind in _find_record_faults(record, statistics.skeleton, image_size):
            key = record_index, instance_index
            suspects.setdefault(key, SuspectInstance(record, instance_index)).fault_counts[kind] += 1
    return sorted(suspects.values(), key=lambda suspect: -suspect.severity)


def _find_record_faults(
    record: Record, skeleton: Skeleton, image_size: tuple[int, int] | None
) -> Iterator[tuple[int, str]]:
    """Instance index and kind of every fault in one image; without its size the border is not checked."""
    labeled = record.instances.visible > 0
    keypoint_faults = _find_keypoint_faults(record.instances.keypoints.astype(float), labeled, skeleton)
    for index, kinds in enumerate(keypoint_faults):
        yield from ((index, kind) for kind in kinds)
        if image_size is not None:
            outside = find_outside_keypoints(record.instances.keypoints[index], labeled[index], image_size)
            yield from [(index, 'keypoints outside the image')] * int(outside.sum())
        if record.instances.has_box[index]:
            keypoints = record.instances.keypoints[index][labeled[index]].astype(float)
            yield from ((index, kind) for kind in _find_box_faults(record, index, keypoints, image_size))
    for index in find_duplicates(record.instances.keypoints, labeled):
        yield index, 'duplicate of another instance'


def _find_keypoint_faults(keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton) -> Iterator[list[str]]:
    """What is wrong with the keypoints (N, K, 2) themselves, for each instance."""
    torso_crossed = find_crossed_torsos(keypoints, labeled, skeleton, _MIN_SIDE_DIFFERENCE)
    limbs_crossed = [
        find_crossed_limbs(keypoints, labeled, skeleton, limb, _LIMB_CROSSING_RATIO) for limb in _CHECKED_LIMBS
    ]
    num_limbs_crossed = np.sum(limbs_crossed, axis=0)
    # many tools write 0, 0 for a keypoint that they forgot to mark as not labeled
    num_at_origin = ((np.abs(keypoints) < 1e-6).all(axis=-1) & labeled).sum(axis=1)
    for index in range(len(keypoints)):
        # other faults would only follow from this one
        if has_single_position(keypoints[index], labeled[index]):
            yield ['all keypoints at one position']
            continue
        yield [
            *['labeled keypoint at 0, 0'] * int(num_at_origin[index]),
            *['left and right of the torso crossed'] * int(torso_crossed[index]),
            *['left and right limbs crossed'] * int(num_limbs_crossed[index]),
        ]


def _find_box_faults(
    record: Record, instance_index: int, keypoints: np.ndarray, image_size: tuple[int, int] | None
) -> Iterator[str]:
    """What is wrong with the box and the area of one instance with labeled keypoints (M, 2)."""
    box = np.asarray(record.instances.boxes[instance_index], dtype=float)
    margin = _BOX_MARGIN * (box[2:] - box[:2])
    is_outside = ((keypoints < box[:2] - margin) | (keypoints > box[2:] + margin)).any(axis=1)
    yield from ['keypoints outside the box'] * int(np.count_nonzero(is_outside))
    # boxes are from edge to edge (0 to the width); half a pixel is left to files that count pixel centers
    if image_size is not None and ((box[:2] < -0.5) | (box[2:] > np.array(image_size) + 0.5)).any():
        yield 'box outside the image'
    if not record.instances.has_area[instance_index]:
        return
    area_ratio = float(record.instances.areas[instance_index] / max(box_areas(box[None])[0], 1e-9))
    if area_ratio > _MAX_AREA_RATIO + 1e-6:
        yield 'area larger than the box'
    elif area_ratio < _MIN_AREA_RATIO:
        yield 'area close to zero'


# --- the data set as a whole ------------------------------------------------------------------------------------------


def collect_dataset_findings(statistics: SourceStatistics, suspects: Sequence[SuspectInstance]) -> Iterator[Finding]:
    """Collect everything to report about a source: faults by kind, then images, ids and visibility flags.

    Args:
        statistics: What was read.
        suspects: What `find_suspect_instances` returns for it.
    """
    yield Finding(str(statistics.report))
    for kind, (_, remedy) in FAULT_KINDS.items():
        labels = [suspect.label for suspect in suspects if suspect.fault_counts[kind]]
        if labels:
            percent = format_percent(len(labels) / max(statistics.num_instances, 1))
            message = f'{kind}: {len(labels):,} instances ({percent}): {abbreviate_names(labels)}'
            yield Finding(message, remedy, _CHECK_LABEL)
    unreadable = statistics.unreadable_images
    if unreadable:
        message = f'{len(unreadable)} images cannot be read: {abbreviate_names(unreadable)}'
        yield Finding(message, 'Fetch them again', _CHECK_LABEL)
    for message, remedy in describe_image_problems(statistics):
        yield Finding(message, remedy, _CHECK_LABEL)
    if statistics.orientations:
        yield Finding(format_orientations(statistics))
    yield from _find_duplicates(statistics)
    yield from _check_visibility_flags(statistics)


def _find_duplicates(statistics: SourceStatistics) -> Iterator[Finding]:
    """Images with the same pixels, and annotation ids that several instances have."""
    names_by_digest: defaultdict[bytes, list[str]] = defaultdict(list)
    for location, digest in statistics.pixel_digests.items():
        names_by_digest[digest].append(location.name)
    equal_images = [' = '.join(names) for names in names_by_digest.values() if len(names) > 1]
    if equal_images:
        message = f'{len(equal_images)} images occur more than once: {abbreviate_names(equal_images)}'
        yield Finding(message, 'Keep one of each, with all its instances', _CHECK_LABEL)
    id_arrays = [r.instances.annotation_ids[r.instances.has_annotation_id] for r in statistics.records]
    id_counts = Counter(int(annotation_id) for ids in id_arrays for annotation_id in ids)
    repeated_ids = [str(annotation_id) for annotation_id, count in id_counts.items() if count > 1]
    if repeated_ids:
        message = f'{len(repeated_ids)} annotation ids occur more than once: {abbreviate_names(repeated_ids)}'
        yield Finding(message, 'Give each instance its own id', _CHECK_LABEL)


def _check_visibility_flags(statistics: SourceStatistics) -> Iterator[Finding]:
    """Fractions of the visibility flags, and keypoints that no instance has."""
    records = statistics.records
    flags = np.concatenate([np.zeros(0, np.uint8), *(record.instances.visible.ravel() for record in records)])
    counts = np.bincount(flags, minlength=3)
    total = max(int(counts.sum()), 1)
    names = ('not labeled', 'occluded', 'visible')
    fractions = [f'{format_percent(count / total)} {name}' for count, name in zip(counts, names, strict=True)]
    yield Finding(f'keypoints: {", ".join(fractions)}')
    never_labeled = [
        keypoint
        for k, keypoint in enumerate(statistics.skeleton.keypoints)
        if records and not any((record.instances.visible[:, k] > 0).any() for record in records)
    ]
    if never_labeled:
        message = f'never labeled: {", ".join(never_labeled)}'
        yield Finding(message, 'Check that the skeleton is the one of this data set', _CHECK_LABEL)


# --- the page ---------------------------------------------------------------------------------------------------------


def write_doctor_page(
    out: Path,
    environment_findings: Iterable[Finding],
    datasets: Sequence[tuple[SourceStatistics, list[SuspectInstance]]],
    max_drawn: int,
) -> None:
    """Write a self-contained HTML page with every finding and the most severe instances drawn.

    Args:
        out: The HTML file; its folder is created.
        environment_findings: What `check_environment` returns.
        datasets: What was read of each source, and its suspect instances.
        max_drawn: Number of instances drawn of each source.
    """
    body = render_section('Environment', _render_findings(environment_findings))
    for statistics, suspects in datasets:
        findings = _render_findings(collect_dataset_findings(statistics, suspects))
        drawn = suspects[:max_drawn]
        title = f'The worst {len(drawn)} of {len(suspects)}'
        images = [(_format_suspect_caption(s), draw_suspect_instance(s, statistics.skeleton)) for s in drawn]
        body += render_section(statistics.title, f'{findings}<h3>{title}</h3>{render_image_grid(images)}')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render_html_page('What looks wrong', body), encoding='utf-8')


def _render_findings(findings: Iterable[Finding]) -> str:
    return render_bullet_list([str(finding).strip() for finding in findings])


def _format_suspect_caption(suspect: SuspectInstance) -> str:
    """Label and faults of an instance, as HTML."""
    faults = [f'{kind} ({n})' if n > 1 else kind for kind, n in suspect.fault_counts.most_common()]
    return escape(f'{suspect.label}: {", ".join(faults)}')


def draw_suspect_instance(suspect: SuspectInstance, skeleton: Skeleton) -> np.ndarray:
    """Draw keypoints and box of an instance on a crop of its image, or on gray if the image cannot be read.

    Args:
        suspect: The instance.
        skeleton: The skeleton of its keypoints.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    record, index = suspect.record, suspect.instance_index
    try:
        # labels mean the pixels as stored
        image = read_image(record.path, apply_exif=False, byte_range=record.byte_range)
    except ImageError:
        image = np.full((64, 64, 3), 128, np.uint8)
    poses = Poses.from_annotations(record.instances.keypoints[[index]].astype(float), record.instances.visible[[index]])
    low, high = _find_crop_corners(record, index, image.shape[1::-1])
    moved = poses.transform(np.array([[1.0, 0, -low[0]], [0, 1.0, -low[1]], [0, 0, 1.0]]))
    boxes = None
    if record.instances.has_box[index]:
        boxes = np.asarray(record.instances.boxes[[index]], dtype=float) - np.tile(low, 2)
    crop = image[low[1] : high[1], low[0] : high[0]]
    return draw_poses(crop, replace(moved, boxes=boxes), skeleton, threshold=0.5)


def _find_crop_corners(
    record: Record, instance_index: int, image_size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Integer corners (2,) of the crop around keypoints and box, with padding and within the image."""
    points = record.instances.keypoints[instance_index][record.instances.visible[instance_index] > 0]
    if record.instances.has_box[instance_index]:
        points = np.concatenate([points, np.asarray(record.instances.boxes[instance_index]).reshape(2, 2)])
    if not len(points):
        return np.zeros(2, int), np.array(image_size)
    low, high = bounding_corners(points)
    padding = _CROP_PADDING * max(float((high - low).max()), 16.0)
    size = np.array(image_size)
    # the crop has at least two pixels in each direction, also of an instance outside its image
    first = np.clip(np.floor(low - padding), 0, size - 2).astype(int)
    return first, np.maximum(np.clip(np.ceil(high + padding), 0, size).astype(int), first + 2)
