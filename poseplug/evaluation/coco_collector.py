"""Collects annotated and predicted instances image by image, in the layout that COCO's evaluators read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from poseplug.core.boxes import box_areas
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.instances import NO_ANNOTATION_ID, NO_STATED_COUNT, estimate_areas
from poseplug.core.keypoint_scores import average_confident_scores
from poseplug.core.poses import Poses
from poseplug.core.sample import ImageKey, Record
from poseplug.core.setting_checks import check_number
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import check_choice, check_keypoint_count
from poseplug.evaluation.oks_evaluators import MAX_DETECTIONS
from poseplug.grouping.oks import oks_nms, soft_oks_nms

ScoreMode = Literal['instance', 'bbox_keypoint']
NmsMode = Literal['none', 'oks_nms', 'soft_oks_nms']
AreaSource = Literal['annotated', 'box']


@dataclass(frozen=True)
class PredictedInstances:
    """The predicted instances of an image.

    Attributes:
        keypoints: (N, K, 2) px.
        keypoint_scores: (N, K).
        instance_scores: (N,).
        areas: (N,) px² of their boxes.
    """

    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    instance_scores: np.ndarray
    areas: np.ndarray

    def __getitem__(self, index: Any) -> PredictedInstances:
        return PredictedInstances(**{name: array[index] for name, array in vars(self).items()})


class CocoCollector:
    """The instances of all images; the predicted ones are rescored and suppressed, dropped ones are counted.

    The annotated instances of an image come from its first record (from `record.ground_truth` where a detector supplied
    the boxes).

    Args:
        skeleton: The keypoints that are measured; it must have sigmas.
        score_mode: 'instance' ranks by `Poses.instance_scores`, 'bbox_keypoint' by the box score times the mean of the
            confident keypoint scores.
        nms_mode: 'none', 'oks_nms' or 'soft_oks_nms'.
        nms_threshold: OKS above which one instance suppresses another.
        area_source: 'annotated', or 'box' for a fixed fraction of the annotated box.
        metric_name: The metric that error messages name.

    Raises:
        ConfigError: The skeleton has no sigmas, or a setting has a value that is not allowed.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        score_mode: ScoreMode = 'instance',
        nms_mode: NmsMode = 'none',
        nms_threshold: float = 0.9,
        area_source: AreaSource = 'annotated',
        metric_name: str = 'OKSAP',
    ):
        if skeleton.sigmas is None:
            raise ConfigError(f'skeleton {skeleton.name!r} has no sigmas, which OKS needs; give it one per keypoint')
        check_choice(metric_name, 'score_mode', score_mode, ('instance', 'bbox_keypoint'))
        check_choice(metric_name, 'nms_mode', nms_mode, ('none', 'oks_nms', 'soft_oks_nms'))
        check_number(metric_name, 'nms_threshold', nms_threshold, 0, 1, above=True)
        self.skeleton, self.sigmas = skeleton, np.array(skeleton.sigmas)
        self.score_mode, self.nms_mode, self.nms_threshold = score_mode, nms_mode, nms_threshold
        # COCO counts labeled keypoints; CrowdPose has numbers of its own, see `count_stated_keypoints`.
        self.area_source, self.uses_stated_counts = area_source, False
        self.counted_mask = np.ones(len(skeleton), dtype=bool)
        self.records: dict[ImageKey, Record] = {}
        self.predictions: dict[ImageKey, list[PredictedInstances]] = {}
        self.predicted_subjects: set[tuple[ImageKey, int]] = set()
        self.drop_counts: Counter[str] = Counter()

    def count_stated_keypoints(self, uncounted_keypoints: Collection[str]) -> None:
        """Ignore instances by the number of keypoints that the file states, not by that of all labeled ones.

        Args:
            uncounted_keypoints: Names of keypoints that do not count where the file states no number
                (`Instances.stated_counts`).
        """
        self.uses_stated_counts = True
        self.counted_mask = np.array([name not in uncounted_keypoints for name in self.skeleton.keypoints])

    def update(self, predictions: Poses, record: Record) -> None:
        """Add the instances predicted for an image, or for the subject of one of its crops."""
        check_keypoint_count(self.skeleton, predictions, record)
        annotations = record.ground_truth or record
        # The annotations of an image are those of its first crop: all crops bring the same.
        self.records.setdefault(annotations.key, annotations)
        predicted = self.predictions.setdefault(annotations.key, [])
        if self._is_repeated_subject(predictions, record):
            self.drop_counts['of an annotated instance that was predicted before'] += 1
        elif len(predictions):
            predicted.append(self._remove_non_finite(self._score_instances(predictions.numpy(), record)))

    def _is_repeated_subject(self, predictions: Poses, record: Record) -> bool:
        """Whether this crop's subject was predicted before, as where a sampler pads its last batch."""
        # A record of a whole image has no subject, and may bring several instances.
        if len(predictions) != 1 or not record.instances.has_annotation_id[:1].any():
            return False
        subject = (record.key, int(record.instances.annotation_ids[0]))
        repeated = subject in self.predicted_subjects
        self.predicted_subjects.add(subject)
        return repeated

    def _score_instances(self, predictions: Poses, record: Record) -> PredictedInstances:
        """The instances with the scores that rank them and the areas of their boxes, or of their keypoints' extent."""
        keypoints, scores = np.asarray(predictions.keypoints, float), np.asarray(predictions.instance_scores, float)
        has_detections = record.ground_truth is not None or bool(record.instances.is_detected.any())
        if self.score_mode == 'bbox_keypoint':
            scores = average_confident_scores(predictions.keypoint_scores)
            if has_detections:
                # Without detections boxes are annotated, and their score counts as 1.
                scores = _select_predicted(record.instances.box_scores, predictions, record) * scores
        # The area by which suppression compares: the box around the keypoints, the box of the detector if there is
        # one, or better that which the model predicts.
        boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
        if has_detections:
            boxes = _select_predicted(record.instances.boxes, predictions, record)
        if predictions.boxes is not None:
            boxes = np.asarray(predictions.boxes, float)
        return PredictedInstances(keypoints, np.asarray(predictions.keypoint_scores, float), scores, box_areas(boxes))

    def _remove_non_finite(self, instances: PredictedInstances) -> PredictedInstances:
        """Remove and count instances with a coordinate or a score that is not finite."""
        # A NaN would compare as neither similar nor dissimilar, and sort anywhere.
        finite = np.isfinite(instances.keypoints).all(axis=(1, 2)) & np.isfinite(instances.instance_scores)
        num_dropped = int((~finite).sum())
        if num_dropped:
            self.drop_counts['with a coordinate or a score that is not a finite number'] += num_dropped
        return instances[finite]

    @property
    def image_ids(self) -> dict[ImageKey, int]:
        """The COCO image id of every image: 1, 2, ... in an order that does not depend on that of the updates."""
        keys = sorted(self.records, key=lambda key: (key.source_index, len(key.id), key))  # so that numbers ascend
        return {key: image_id for image_id, key in enumerate(keys, start=1)}

    def to_coco_dataset(self, keys: Collection[ImageKey] | None = None) -> dict[str, Any]:
        """Build the annotations in COCO's layout.

        Args:
            keys: The images to include; all by default.
        """
        image_ids = self._select_image_ids(keys)
        annotations: list[dict[str, Any]] = []
        for key, image_id in image_ids.items():
            annotations += self._build_annotations(self.records[key], image_id)
        return {
            'info': {},
            'images': [{'id': image_id} for image_id in image_ids.values()],
            # Ids from 1: the evaluators take a match with id 0 for none.
            'annotations': [{**annotation, 'id': n} for n, annotation in enumerate(annotations, start=1)],
            'categories': [{'id': 1, 'name': 'person', 'keypoints': list(self.skeleton.keypoints)}],
        }

    def _select_image_ids(self, keys: Collection[ImageKey] | None) -> dict[ImageKey, int]:
        """The image ids of some images, or of all."""
        if keys is None:
            return self.image_ids
        selected = set(keys)
        return {key: image_id for key, image_id in self.image_ids.items() if key in selected}

    def _build_annotations(self, record: Record, image_id: int) -> list[dict[str, Any]]:
        """An image's instances and ignored regions, by annotation id, or else by box and the regions last.

        Sorted, so that scores do not depend on the order of a record's instances. Where several ignored annotations fit
        a prediction, the evaluators take the first, so that the order decides; that of ids is the files' own.
        """
        instances = record.instances
        keypoints = np.concatenate([instances.keypoints, instances.visible[..., None]], axis=-1).astype(float)
        boxes, areas, counts = instances.boxes, self._instance_areas(record), self.count_keypoints(record)
        order = sorted(range(len(keypoints)), key=lambda n: (*boxes[n], *keypoints[n].ravel()))
        annotations = [
            _build_coco_annotation(image_id, boxes[n], float(areas[n]), keypoints[n], int(counts[n])) for n in order
        ]
        no_keypoints = np.zeros((len(self.skeleton), 3))
        for box, area, is_crowd, region_keypoints in zip(*self.list_ignored_regions(record), strict=True):
            # A crowd with keypoints is compared by these, as in the data sets' own evaluations.
            values = no_keypoints if region_keypoints is None else region_keypoints.astype(float)
            region = _build_coco_annotation(image_id, box, float(area), values, 0)
            annotations.append({**region, 'iscrowd': int(is_crowd)})
        ids = [*instances.annotation_ids[order].tolist(), *record.ignored.annotation_ids.tolist()]
        if NO_ANNOTATION_ID in ids:
            return annotations
        # All have an id: the order of the file, which the data set's own evaluation sees.
        return [annotations[n] for n in sorted(range(len(ids)), key=ids.__getitem__)]

    def list_ignored_regions(self, record: Record) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (M, 4) and areas (M,) of ignored regions, which are crowds (M,), and their keypoints (M,)."""
        ignored = record.ignored
        areas = estimate_areas(ignored.boxes) if self.area_source == 'box' else ignored.areas
        return ignored.boxes, areas, ignored.crowds, ignored.keypoints

    def count_keypoints(self, record: Record) -> np.ndarray:
        """Return the number (N,) of keypoints of each instance that count; one without any is ignored."""
        labeled_counts = (record.instances.visible[:, self.counted_mask] > 0).sum(axis=1)
        if not self.uses_stated_counts:
            return labeled_counts
        stated_counts = record.instances.stated_counts
        return np.where(stated_counts == NO_STATED_COUNT, labeled_counts, stated_counts)

    def _instance_areas(self, record: Record) -> np.ndarray:
        """(N,) px², estimated from the box where none is annotated."""
        instances = record.instances
        if self.area_source == 'annotated':
            return instances.areas
        # A source without areas has estimated them from the file's boxes, which may reach beyond the image.
        return np.where(instances.has_area, estimate_areas(instances.boxes), instances.areas)

    def to_coco_results(
        self, keys: Collection[ImageKey] | None = None, keypoint_scores: bool = False
    ) -> list[dict[str, Any]]:
        """Build the predictions in COCO's layout, sorted by score within an image, without suppressed ones.

        Args:
            keys: The images to include; all by default.
            keypoint_scores: Include the scores of keypoints; by default they are 1, since OKS does not use them and one
                of the evaluators drops instances whose scores are 0.
        """
        results: list[dict[str, Any]] = []
        for key, image_id in self._select_image_ids(keys).items():
            instances = self.select_predictions(key)
            scores = instances.keypoint_scores if keypoint_scores else np.ones(instances.keypoints.shape[:2])
            # Not rounded: files are, and evaluations of files may differ in the last digit.
            results += Poses(instances.keypoints, scores, instances.instance_scores).to_coco(image_id, digits=None)
        return results

    def select_predictions(self, key: ImageKey) -> PredictedInstances:
        """Return an image's predicted instances after non-maximum suppression, highest score first."""
        parts = self.predictions[key]
        if not parts:
            no_scores = np.zeros((0, len(self.skeleton)))
            return PredictedInstances(np.zeros((0, len(self.skeleton), 2)), no_scores, np.zeros(0), np.zeros(0))
        names = vars(parts[0])
        instances = PredictedInstances(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

        def sort_key(n: int) -> tuple[float, ...]:  # keypoints break ties, whatever the order of updates
            return (-instances.instance_scores[n], *instances.keypoints[n].ravel())

        return self._apply_nms(instances[sorted(range(len(instances.instance_scores)), key=sort_key)])

    def _apply_nms(self, instances: PredictedInstances) -> PredictedInstances:
        """Suppress instances; the soft variant selects instances as well, and does not change their scores."""
        arguments = (instances.keypoints, instances.instance_scores, instances.areas, self.sigmas, self.nms_threshold)
        if self.nms_mode == 'oks_nms':
            return instances[oks_nms(*arguments)]
        if self.nms_mode == 'soft_oks_nms':
            # Back to the order of their scores, which soft suppression leaves as they were.
            return instances[np.sort(soft_oks_nms(*arguments, max_instances=MAX_DETECTIONS))]
        return instances

    def count_annotated(self) -> int:
        """Return the number of annotated instances that count."""
        return sum(int((self.count_keypoints(record) > 0).sum()) for record in self.records.values())


def _select_predicted(values: np.ndarray, predictions: Poses, record: Record) -> np.ndarray:
    """A record's values of the box of each predicted instance: of its subject, or of all boxes in their order."""
    # One prediction is that of the subject, which is the first instance of a crop's record.
    if len(predictions) not in (1, len(values)):
        raise MismatchError(
            f'{record.id}: {len(predictions)} instances are predicted for {len(values)} boxes; a metric with box '
            f"scores needs one prediction per box. Set score_mode='instance' for models that find instances themselves"
        )
    return np.asarray(values[: len(predictions)], float)


def _build_coco_annotation(
    image_id: int, box: np.ndarray, area: float, keypoints: np.ndarray, num_keypoints: int
) -> dict[str, Any]:
    """One instance with keypoints (K, 3) in COCO's layout; the evaluators ignore one whose `num_keypoints` is 0."""
    return {
        'image_id': image_id,
        'category_id': 1,
        'iscrowd': 0,
        'area': area,
        'bbox': [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
        'num_keypoints': num_keypoints,
        'keypoints': keypoints.ravel().tolist(),
    }
