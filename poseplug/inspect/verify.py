"""What a config's data sets hold, and what looks wrong with them: counts, images, keypoints, sizes, left and right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.inspect.dataset_reading import (
    SourceStatistics,
    abbreviate_names,
    describe_image_problems,
    format_orientations,
    format_percent,
)
from poseplug.inspect.keypoint_checks import (
    compare_limb_sides,
    find_duplicates,
    find_outside_keypoints,
    has_single_position,
    measure_torso_sides,
)

_MAX_OUTSIDE_FRACTION = 0.05  # of the labeled keypoints, outside their images
_MIN_CLEAR_OFFSET = 0.1  # of the torso's length between left and right: less is seen from the side
_MIN_JUDGED_PERSONS = 20  # fewer tell nothing about left and right
_MAX_CROSSED_FRACTION = 0.2  # of the people, with shoulders and hips that disagree on left and right
_MIN_SAME_SIDE_FRACTION = 0.8  # of elbows and knees, nearer to the shoulder or hip of their own side
_MAX_MIXED_FRACTION = 0.1  # observer-centric: of the people, with left and right the other way around
_FRONT_FACING_RANGE = (0.2, 0.99)  # person-centric: fraction of people seen from the front


@dataclass(frozen=True)
class LeftRightStatistics:
    """Left and right of the people of a data set, judged in the frame of the torso; NaN where nothing can be judged.

    Attributes:
        num_persons: Number of people who are not seen from the side.
        front_facing_fraction: Fraction of them whose left shoulder lies to the right, as of a person who faces the
            camera.
        crossed_fraction: Fraction of them whose shoulders and hips disagree on left and right.
        same_side_fraction: Fraction of elbows and knees that lie nearer to the shoulder or hip of their own side.
    """

    num_persons: int
    front_facing_fraction: float
    crossed_fraction: float
    same_side_fraction: float


def measure_left_right(records: Iterable[Record], skeleton: Skeleton) -> LeftRightStatistics | None:
    """Measure how left and right of all instances lie; None for a skeleton without both shoulders and both hips."""
    records = list(records)
    keypoints = np.concatenate([np.zeros((0, len(skeleton), 2)), *(record.instances.keypoints for record in records)])
    keypoints = keypoints.astype(float)
    labeled = np.concatenate([np.zeros((0, len(skeleton))), *(record.instances.visible for record in records)]) > 0
    torsos = measure_torso_sides(keypoints, labeled, skeleton)
    if torsos is None:
        return None
    is_clear = torsos.is_clear(_MIN_CLEAR_OFFSET)
    return LeftRightStatistics(
        num_persons=int(is_clear.sum()),
        front_facing_fraction=_fraction_true(torsos.is_front_facing[is_clear]),
        crossed_fraction=_fraction_true(torsos.is_crossed[is_clear]),
        same_side_fraction=_fraction_true(compare_limb_sides(keypoints, labeled, skeleton)),
    )


def _fraction_true(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else float('nan')


def _list_outside_keypoints(statistics: SourceStatistics) -> list[str]:
    """Labeled keypoints outside their images, as `im0001.jpg left_ankle (3.0, -4.2)`."""
    names = []
    for record in statistics.records:
        if record.location in statistics.image_sizes:
            image_size = statistics.image_sizes[record.location]
            outside = find_outside_keypoints(record.instances.keypoints, record.instances.visible > 0, image_size)
            for instance, keypoint in np.argwhere(outside):
                x, y = record.instances.keypoints[instance, keypoint]
                names.append(f'{record.id} {statistics.skeleton.keypoints[keypoint]} ({x:.1f}, {y:.1f})')
    return names


def _measure_keypoint_extents(records: Iterable[Record]) -> np.ndarray:
    """(N,) px: the larger extent of the labeled keypoints of every instance with at least two of them."""
    extents = []
    for record in records:
        labeled = record.instances.visible > 0
        for keypoints, mask in zip(record.instances.keypoints, labeled, strict=True):
            if mask.sum() > 1:
                extents.append(np.ptp(keypoints[mask], axis=0).max())
    return np.array(extents, dtype=float)


# --- problems ---------------------------------------------------------------------------------------------------------


def find_problems(statistics: SourceStatistics) -> Iterator[str]:
    """Find what is wrong with one source, one line for each problem."""
    if not statistics.records:
        yield 'no instances are left'
    yield from (f'unreadable: {message}' for message in statistics.unreadable_images)
    yield from (f'{message}. {remedy}' for message, remedy in describe_image_problems(statistics))
    outside = _list_outside_keypoints(statistics)
    # single keypoints beyond the border are usual: some data sets label what a crop has cut off
    if len(outside) > _MAX_OUTSIDE_FRACTION * statistics.num_labeled:
        percent = format_percent(len(outside) / statistics.num_labeled)
        yield f'{percent} of the keypoints lie outside their image: {abbreviate_names(outside)}'
    single_positions = [
        record.id
        for record in statistics.records
        for keypoints, visible in zip(record.instances.keypoints, record.instances.visible, strict=True)
        if has_single_position(keypoints, visible > 0)
    ]
    if single_positions:
        names = abbreviate_names(single_positions)
        yield f'{len(single_positions)} instances have all their keypoints at one position: {names}'
    duplicates = _list_duplicates(statistics.records)
    if duplicates:
        yield f'{len(duplicates)} instances are annotated twice, and count twice: {abbreviate_names(duplicates)}'
    left_right = measure_left_right(statistics.records, statistics.skeleton)
    if left_right is not None and left_right.num_persons >= _MIN_JUDGED_PERSONS:
        yield from find_left_right_problems(left_right, statistics.skeleton.centric)


def _list_duplicates(records: Iterable[Record]) -> list[str]:
    """The images of instances with the keypoints of another one."""
    duplicates = ((r.id, find_duplicates(r.instances.keypoints, r.instances.visible > 0)) for r in records)
    return [f'image {image_id}' for image_id, indices in duplicates for _ in indices]


def find_left_right_problems(statistics: LeftRightStatistics, centric: str) -> Iterator[str]:
    """Find what is implausible about left and right.

    Args:
        statistics: Left and right of a data set.
        centric: 'person' or 'observer', whose left and right the labels should be.
    """
    if statistics.crossed_fraction > _MAX_CROSSED_FRACTION:
        percent = format_percent(statistics.crossed_fraction)
        yield f'shoulders and hips disagree on left and right in {percent} of the people'
    if statistics.same_side_fraction < _MIN_SAME_SIDE_FRACTION:
        percent = format_percent(statistics.same_side_fraction)
        yield f'only {percent} of elbows and knees lie nearer to the shoulder or hip of their own side'
    front_facing = statistics.front_facing_fraction
    # observer-centric labels put left on one side of every image
    minority = min(front_facing, 1 - front_facing)
    if centric == 'observer' and minority > _MAX_MIXED_FRACTION:
        yield (
            f'the labels should be observer-centric, but left and right lie the other way around in '
            f'{format_percent(minority)} of the people; is the skeleton person-centric?'
        )
    if centric == 'person' and not _FRONT_FACING_RANGE[0] <= front_facing <= _FRONT_FACING_RANGE[1]:
        yield (
            f'the labels should be person-centric, but {format_percent(front_facing)} of the people have their left '
            f'shoulder to the right, as seen from the front; are the labels observer-centric, or flipped?'
        )


def find_train_test_leaks(sources: Sequence[SourceStatistics]) -> list[str]:
    """Find images that are used both for training and for testing, by their pixels.

    Args:
        sources: What `read_datasets` returns.

    Returns:
        One line for each of them, naming both files.
    """
    # titles begin with the splits that use a source, in the order train, val, test
    train = {d: path for s in sources if s.title.startswith('train') for path, d in s.pixel_digests.items()}
    test_sources = [s for s in sources if 'test' in s.title.partition(':')[0]]
    test = {d: path for s in test_sources for path, d in s.pixel_digests.items()}
    return [f'{train[digest]} is {test[digest]}' for digest in train if digest in test]


# --- text -------------------------------------------------------------------------------------------------------------


def format_statistics(statistics: SourceStatistics) -> Iterator[str]:
    """Format what a source holds and its problems, one line for each fact."""
    yield statistics.title
    yield f'  {statistics.report}'
    if statistics.image_sizes:
        yield f'  images       {_format_image_sizes(list(statistics.image_sizes.values()))}'
    if statistics.orientations:
        yield f'  orientation  {format_orientations(statistics)}'
    if statistics.num_labeled:
        yield f'  keypoints    {_format_keypoint_counts(statistics)}'
    extents = _measure_keypoint_extents(statistics.records)
    if len(extents):
        quantiles = _format_quantiles(extents)
        yield f'  instances    {statistics.num_instances:,}; extent of the keypoints {quantiles}'
    scales = np.concatenate([np.zeros(0), *(record.instances.scales for record in statistics.records)])
    # MPII's scale is the height of a person over 200 px
    heights = 200 * scales[~np.isnan(scales)]
    if len(heights):
        yield f'  scale        as height: {_format_quantiles(heights)}'
    left_right = measure_left_right(statistics.records, statistics.skeleton)
    if left_right is not None:
        yield f'  left, right  {_format_left_right(left_right, statistics.skeleton.centric)}'
    yield from (f'  PROBLEM      {problem}' for problem in find_problems(statistics))


def _format_image_sizes(sizes: Sequence[tuple[int, int]]) -> str:
    array = np.array(sizes)
    (min_width, min_height), (max_width, max_height) = array.min(axis=0), array.max(axis=0)
    width, height = np.median(array, axis=0)
    widths, heights = f'{min_width} to {max_width} px wide', f'{min_height} to {max_height} px high'
    return f'{len(array):,}; {widths}, {heights}, median {width:.0f} x {height:.0f}'


def _format_keypoint_counts(statistics: SourceStatistics) -> str:
    outside = _list_outside_keypoints(statistics)
    occluded = format_percent(statistics.num_occluded / statistics.num_labeled)
    names = f': {abbreviate_names(outside)}' if outside else ''
    labeled = f'{statistics.num_labeled:,} labeled, {occluded} of them occluded'
    return f'{labeled}; {len(outside)} outside the image{names}'


def _format_left_right(statistics: LeftRightStatistics, centric: str) -> str:
    return (
        f'{centric}-centric; of {statistics.num_persons:,} people not seen from the side '
        f'{format_percent(statistics.front_facing_fraction)} have their left to the right, as seen from the front; '
        f'shoulders and hips disagree in {format_percent(statistics.crossed_fraction)}; '
        f'{format_percent(statistics.same_side_fraction)} of elbows and knees are nearer to their own side'
    )


def _format_quantiles(values: np.ndarray) -> str:
    """Five quantiles in px."""
    quantiles = ' - '.join(f'{value:.0f}' for value in np.quantile(values, (0, 0.05, 0.5, 0.95, 1)))
    return f'{quantiles} px (min, 5 %, median, 95 %, max)'
