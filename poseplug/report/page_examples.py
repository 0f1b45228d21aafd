"""The images of a report page: which are shown, their own scores, and how they are drawn."""

from __future__ import annotations

__all__ = [
    'ReportExample',
    'render_heatmap_strips',
    'render_prediction_grid',
    'score_image',
    'select_examples',
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.distance_collector import InstanceMode
from poseplug.evaluation.pck import PCK
from poseplug.files.images import read_image
from poseplug.report.draw import draw_poses, draw_side_by_side
from poseplug.report.drawing_style import SIDE_COLORS
from poseplug.report.heatmaps import draw_heatmap_strips
from poseplug.report.html_parts import format_report_score, render_image_grid, render_image_tag

if TYPE_CHECKING:
    from poseplug.fields.heatmap_stages import HeatmapStages

# Score of a single image: what its PCK is normalized by, and the threshold.
_TORSO_RULE = ('torso', 0.2)
_BOX_RULE = ('box', 0.1)
GROUP_TITLES = {'best': 'Highest PCK', 'median': 'Median PCK', 'worst': 'Lowest PCK', 'random': 'Random'}
_STRIP_HEIGHT_PX = 112


@dataclass(frozen=True)
class ReportExample:
    """One image of the page.

    Attributes:
        group: Why it is shown: 'best', 'median', 'worst' or 'random'.
        record: Its annotation.
        poses: Its prediction.
        score: Its own PCK, if it can be measured (`score_image`).
    """

    group: str
    record: Record
    poses: Poses
    score: float | None


def select_examples(
    predictions: Sequence[tuple[Record, Poses]], skeleton: Skeleton, num_examples: int = 6, seed: int = 0
) -> list[ReportExample]:
    """Select the best, median and worst images by their own score, and random ones among all others.

    Args:
        predictions: Annotation and prediction of each image, or of each crop.
        skeleton: The skeleton of both.
        num_examples: Number of images in each group; fewer if there are fewer images.
        seed: Seed of the random group.

    Returns:
        The images by group, each of them once.
    """
    is_whole_images = any(len(poses) > 1 for _, poses in predictions)  # rather than crops
    instances: InstanceMode = 'all' if is_whole_images else 'subject'
    scored = [(score_image(skeleton, record, poses, instances), record, poses) for record, poses in predictions]
    # by PCK, and by its area under the curve where that is equal, as it often is for one instance
    ranked = sorted((row for row in scored if row[0] is not None), key=lambda row: row[0] or (0, 0), reverse=True)
    groups = _group_by_rank(ranked, num_examples)
    # by identity: rows hold arrays, which do not compare to one truth value
    selected = {id(row) for rows in groups.values() for row in rows}
    others = [row for row in scored if id(row) not in selected]
    if ranked:
        # as many as the other groups have
        num_examples = min(num_examples, len(ranked) // 3)
    indices = np.random.default_rng(seed).permutation(len(others))[: max(num_examples, 1)]
    groups['random'] = [others[i] for i in sorted(indices)]
    return [
        ReportExample(group, record, poses, scores[0] if scores else None)
        for group, rows in groups.items()
        for scores, record, poses in rows
    ]


def _group_by_rank(ranked: list[Any], num_examples: int) -> dict[str, list[Any]]:
    """The first, middle and last rows; each of the groups holds at most a third of the rows."""
    count = min(num_examples, len(ranked) // 3)
    if not count:
        return {}
    middle = (len(ranked) - count) // 2
    return {
        'best': ranked[:count],
        'median': ranked[middle : middle + count],
        'worst': ranked[len(ranked) - count :],
    }


def score_image(
    skeleton: Skeleton, record: Record, poses: Poses, instances: InstanceMode = 'subject'
) -> tuple[float, float] | None:
    """Compute PCK and its area under the curve of one image, in percent.

    A skeleton with a torso has PCK@0.2 of it, another one PCK@0.1 of the longer side of the box.

    Args:
        skeleton: The skeleton of annotation and prediction.
        record: The annotation.
        poses: The prediction.
        instances: 'subject' for a crop, 'all' for a whole image.

    Returns:
        Both scores, or None where they cannot be measured: no predicted instance, no labeled torso, or no box.
    """
    if not len(poses):
        return None
    normalizer, threshold = _choose_image_rule(skeleton)
    metric = PCK(skeleton, (threshold,), max_threshold=threshold, normalizer=normalizer, instances=instances)
    metric.update(poses, record)
    values = metric.compute().values
    return (values[f'PCK@{threshold:g}'], values[f'AUC@{threshold:g}']) if values else None


def _choose_image_rule(skeleton: Skeleton) -> tuple[str, float]:
    """What the score of a single image is normalized by, and its threshold."""
    return _BOX_RULE if skeleton.torso is None else _TORSO_RULE


def render_prediction_grid(examples: Sequence[ReportExample], skeleton: Skeleton) -> str:
    """Render annotation (left) beside prediction (right), by group.

    Args:
        examples: the images.
        skeleton: of annotations and predictions.

    Returns:
        HTML; an empty string without examples.
    """
    if not examples:
        return ''
    normalizer, threshold = _choose_image_rule(skeleton)
    size = 'torso' if normalizer == 'torso' else "box's longer side"
    legend = ' '.join(f'<b style="background:rgb{color[::-1]}">{side}</b>' for side, color in SIDE_COLORS.items())
    content = (
        f'<p class="soft legend">In each pair the annotation is on the left and the prediction on the right, {legend}. '
        f'Each carries its own PCK@{threshold:g}: the percentage of its labeled keypoints within {threshold:g} of its '
        f'{size}.</p>'
    )
    for group, title in GROUP_TITLES.items():
        chosen = [example for example in examples if example.group == group]
        pairs = [(_render_caption(e, threshold), _draw_comparison(e, skeleton)) for e in chosen]
        if pairs:
            content += f'<h3>{title}</h3>{render_image_grid(pairs)}'
    return content


def _render_caption(example: ReportExample, threshold: float) -> str:
    """The name of an image with its own score, as HTML."""
    name = f'{example.record.source} {example.record.id}'.strip()  # ids of two sources may be equal
    score = 'not measured' if example.score is None else f'PCK@{threshold:g} {format_report_score(example.score)}'
    return f'{escape(example.group)}: <b>{score}</b> <span class="soft">{escape(name)}</span>'


def _draw_comparison(example: ReportExample, skeleton: Skeleton) -> np.ndarray:
    """Annotation and prediction of one image, side by side."""
    image = read_image(example.record.path, apply_exif=False, byte_range=example.record.byte_range)
    # a top-down test with detected boxes has its annotations in `ground_truth`
    instances = (example.record.ground_truth or example.record).instances
    annotated = Poses.from_annotations(instances.keypoints, instances.visible)
    return draw_side_by_side([draw_poses(image, poses, skeleton) for poses in (annotated, example.poses)])


def render_heatmap_strips(
    examples: Sequence[ReportExample], skeleton: Skeleton, predict_heatmaps: Callable[[Record], HeatmapStages]
) -> str:
    """Render the heatmaps of all keypoints stage by stage, for the first image of each group.

    Args:
        examples: the images.
        skeleton: of annotations and predictions.
        predict_heatmaps: returns the heatmaps of a record.

    Returns:
        HTML; an empty string without examples.
    """
    if not examples:
        return ''
    content = '<p class="soft">Rows are stages, columns are keypoints; each heatmap lies over the network input.</p>'
    first_examples: dict[str, ReportExample] = {}
    for example in examples:
        first_examples.setdefault(example.group, example)
    for example in first_examples.values():
        strips = draw_heatmap_strips(predict_heatmaps(example.record), height_px=_STRIP_HEIGHT_PX)
        strips_tag = render_image_tag(strips, example.record.id)
        caption = _render_caption(example, _choose_image_rule(skeleton)[1])
        content += f'<h3>{caption}</h3><div class="wide">{strips_tag}</div>'
    return content
