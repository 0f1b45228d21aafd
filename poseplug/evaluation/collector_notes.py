"""Notes on what a `CocoCollector` dropped, suppressed, ignored or estimated: why scores are what they are."""

from __future__ import annotations

from collections.abc import Iterator

from poseplug.core.boxes import AREA_FRACTION_OF_BOX
from poseplug.evaluation.coco_collector import CocoCollector
from poseplug.evaluation.oks_evaluators import MAX_DETECTIONS


def list_collector_notes(collector: CocoCollector) -> list[str]:
    """List sentences on what was dropped, suppressed, missed, ignored or estimated, and why."""
    notes = [f'{count} predicted instances {reason} are dropped' for reason, count in collector.drop_counts.items()]
    for count, note in (*_iter_prediction_notes(collector), *_iter_annotation_notes(collector)):
        # A note on nothing is left out, so that what remains is worth reading.
        if count:
            notes.append(note)
    return notes


def _iter_prediction_notes(collector: CocoCollector) -> Iterator[tuple[int, str]]:
    """The number of predicted instances or images that a note is about, and the note."""
    selected_counts = {key: len(collector.select_predictions(key).instance_scores) for key in collector.records}
    num_predicted = sum(len(part.instance_scores) for parts in collector.predictions.values() for part in parts)
    num_suppressed = num_predicted - sum(selected_counts.values())
    suppression = f'{collector.nms_mode} at threshold {collector.nms_threshold:g}'
    yield (
        num_suppressed,
        f'{num_suppressed} of {num_predicted} predicted instances are suppressed by {suppression}',
    )
    excesses = [count - MAX_DETECTIONS for count in selected_counts.values() if count > MAX_DETECTIONS]
    yield (
        len(excesses),
        f'{sum(excesses)} predicted instances beyond the {MAX_DETECTIONS} highest-scoring of an image do not count '
        f'({len(excesses)} images)',
    )
    empty = [key for key, count in selected_counts.items() if not count]
    num_missed = sum(int((collector.count_keypoints(collector.records[key]) > 0).sum()) for key in empty)
    yield (
        len(empty),
        f'{len(empty)} of {len(selected_counts)} images have no predicted instance: their {num_missed} annotated '
        f'instances are missed',
    )


def _iter_annotation_notes(collector: CocoCollector) -> Iterator[tuple[int, str]]:
    """The number of annotated instances, regions or images that a note is about, and the note."""
    records = list(collector.records.values())
    num_without_keypoints = sum(int((collector.count_keypoints(record) == 0).sum()) for record in records)
    kind = 'labeled keypoint' if collector.counted_mask.all() else 'labeled keypoint that counts'
    yield (
        num_without_keypoints,
        f'{num_without_keypoints} annotated instances without a {kind} are ignored',
    )
    crowds = [is_crowd for record in records for is_crowd in collector.list_ignored_regions(record)[2]]
    yield (
        len(crowds),
        f'{len(crowds)} ignored regions: predictions there are neither right nor wrong, any number in each of the '
        f'{sum(crowds)} crowds, one in each of the others',
    )
    without_area = [record for record in records if not record.instances.has_area.all()]
    if without_area and collector.area_source == 'annotated':
        source = without_area[0].source or 'the data set'
        yield (
            len(without_area),
            f'{source} has no area for instances of {len(without_area)} of {len(records)} images: '
            f'{AREA_FRACTION_OF_BOX} x box is used',
        )
