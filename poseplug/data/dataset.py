"""The data set of a loader: records of one or more sources, each turned into a sample by the transform pipeline."""

from __future__ import annotations

__all__ = ['PoseDataset', 'mask_outside_keypoints']

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.core.geometry import CropRule, Size
from poseplug.core.sample import Record, Sample, SampleKey
from poseplug.core.setting_checks import check_counts, check_sizes
from poseplug.core.skeleton import Skeleton
from poseplug.data.main_instances import select_center_instances
from poseplug.data.record_sequences import IndexedRecords, SampleRecords, check_image_ids, count_instances
from poseplug.data.sources.base import Source, SourceReport
from poseplug.data.transforms.base import (
    PIPELINE_SLOT,
    Transform,
    build_pipeline,
    check_crop,
    check_whole_image_crop,
    find_pipeline_problems,
)
from poseplug.files.images import ImageCache
from poseplug.files.stated_size import check_min_image_size, check_stated_size
from poseplug.registry import DATASETS, SOURCES
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot

_DATA_MODES = ('topdown', 'bottomup', 'bottomup_centered')


@DATASETS.register_module()
class PoseDataset:
    """Samples of annotated instances or of whole images, from one or more sources.

    A sample is requested by `SampleKey(epoch, index)`. Its random numbers follow from (seed, epoch, index) alone, so
    batches do not depend on the number of workers. Requested by a whole number, as a plain loader of torch does, it is
    that of the next epoch each time, in any worker: the first time of epoch 0, then of epoch 1. Keypoints of every
    source are mapped to `skeleton` by name.

    Args:
        sources: one source or several, built or as config dicts; their records follow each other in this order.
        pipeline: the transforms of a sample, in order; those that take an `input_size` or a `crop_rule` receive those
            of the data set.
        skeleton: the keypoints of every sample: a skeleton, its registered name, or a dict of its fields.
        input_size: (width, height) of the network's input in px.
        data_mode: 'topdown': one sample per instance, which is instance 0 of the sample. 'bottomup': one sample per
            image. 'bottomup_centered': one sample per instance that an image may be centered on
            (`poseplug.data.main_instances.select_center_instances`), with all instances of the image.
        seed: with the epoch and the index, the key of a sample's random numbers.
        limit: use only this many samples, from the front; None for all.
        image_cache_size: number of decoded images kept in memory. Useful where instances of one image follow each
            other, as in testing; a shuffled training set rarely asks for the same image again in time.
        max_skipped: number of samples with an unreadable image that are skipped; one more is an error. The next
            readable sample replaces a skipped one, and all other samples keep their index. For training only.
        min_instances: leave out images with fewer annotated instances.
        crop_rule: how the box of an instance meets the input, see `poseplug.core.geometry.fit_matrix`; provided by the
            codec.

    Attributes:
        records: a sequence of one `Record` per sample, its subject first.
        reports: one `SourceReport` per source.
        undetected_records: images whose annotated instances give no sample, because a detector found nothing there.
            Metrics count these instances as missed.
        image_cache: the decoded images.

    Raises:
        ConfigError: `data_mode` is unknown, `limit` is not between 1 and the number of samples, another number is out
            of range, or two transforms stand in the wrong order.
        AnnotationError: no instances are left, or a source labels left and right from another point of view
            (person-centric or observer-centric) than `skeleton`.
    """

    needs = ('skeleton', 'input_size', 'crop_rule', 'seed')
    slots: ClassVar = {'sources': Slot('source'), 'pipeline': PIPELINE_SLOT}

    def __init__(
        self,
        sources: Source | Mapping[str, Any] | Sequence[Source | Mapping[str, Any]],
        pipeline: Sequence[Transform | Mapping[str, Any]],
        skeleton: Skeleton | str | Mapping[str, Any],
        input_size: Size = (256, 256),
        data_mode: str = 'topdown',
        seed: int = 0,
        limit: int | None = None,
        image_cache_size: int = 0,
        max_skipped: int = 0,
        min_instances: int = 0,
        crop_rule: CropRule = 'pixels',
    ):
        if data_mode not in _DATA_MODES:
            raise ConfigError(
                f"PoseDataset: data_mode is 'topdown', 'bottomup' or 'bottomup_centered'; got {data_mode!r}"
            )
        check_sizes('PoseDataset', input_size=input_size)
        counts = dict(
            seed=seed, image_cache_size=image_cache_size, max_skipped=max_skipped, min_instances=min_instances
        )
        check_counts('PoseDataset', min_count=0, **counts)
        self.skeleton, self.seed, self.min_instances = get_skeleton(skeleton), seed, min_instances
        self.pipeline = build_pipeline(pipeline, input_size=input_size, crop_rule=crop_rule)
        check_crop(self.pipeline)
        if data_mode == 'bottomup':
            check_whole_image_crop(self.pipeline)
        self.records = SampleRecords()
        self.reports: list[SourceReport] = []
        undetected: list[tuple[int, Record]] = []  # with the number of samples before each
        for spec in sources if isinstance(sources, Sequence) else [sources]:
            undetected += self._add_source(SOURCES.build(spec), data_mode)
            logging.getLogger('poseplug').info('%s', self.reports[-1])
        self._apply_limit(limit, undetected)
        self.image_cache = ImageCache(image_cache_size)
        self.max_skipped = max_skipped
        # Shared memory: a plain loader starts new workers in each epoch, which must know how often a sample was used.
        self._num_requests = torch.zeros(len(self.records), dtype=torch.int32).share_memory_()
        self._unreadable_flags: torch.Tensor | None = None
        if max_skipped:
            # Shared memory: every loader worker marks samples here, so that all of them count together.
            self._unreadable_flags = torch.zeros(len(self.records), dtype=torch.uint8).share_memory_()

    def _add_source(self, source: Source, data_mode: str) -> list[tuple[int, Record]]:
        """Add a source's samples; returns images without detections, each with the number of samples before it."""
        self._check_centric(source)
        records, report = source.load()
        self.reports.append(report)
        counts = count_instances(records)
        selected = np.flatnonzero(counts >= self.min_instances)
        num_left_out = len(records) - len(selected)
        if num_left_out:
            report.notes.append(f'{num_left_out:,} images with fewer than {self.min_instances} instances left out')
        source_index = len(self.reports) - 1
        convert = partial(_convert_record, source.skeleton, self.skeleton, source_index)
        converted: Sequence[Record]
        if isinstance(records, IndexedRecords):  # millions, each built when its sample is
            converted = replace(records.select(selected), convert=convert)
        else:
            check_image_ids(records, report.file)
            converted = [convert(records[i]) for i in selected.tolist()]
        if data_mode == 'bottomup':
            self.records.add_samples(converted, np.arange(len(converted)), np.zeros(len(converted), dtype=np.int64))
            return []
        if data_mode == 'bottomup_centered':
            # Every selected instance is the center of a sample once per epoch.
            self._add_centered_images(converted, report)
            return []
        return self._add_instances(converted, counts[selected])

    def _add_instances(self, records: Sequence[Record], counts: np.ndarray) -> list[tuple[int, Record]]:
        """Add one sample per instance; returns images without detections, each with the number of samples before it."""
        num_before, starts = len(self.records), np.cumsum(counts) - counts
        images = np.repeat(np.arange(len(records), dtype=np.int32), counts)
        subjects = np.arange(len(images), dtype=np.int32) - np.repeat(starts.astype(np.int32), counts)
        self.records.add_samples(records, images, subjects)
        if isinstance(records, IndexedRecords):
            return []
        # Only a record of detections can lack instances that its ground truth has.
        undetected = []
        for i in np.flatnonzero(counts == 0).tolist():
            truth = records[i].ground_truth
            if truth is not None and len(truth.instances):
                undetected.append((num_before + int(starts[i]), records[i]))
        return undetected

    def _check_centric(self, source: Source) -> None:
        """Refuse a source whose left and right mean something else than the skeleton's."""
        if source.skeleton.centric != self.skeleton.centric:
            raise AnnotationError(
                f"{type(source).__name__} labels are {source.skeleton.centric}-centric but the model's skeleton "
                f'{self.skeleton.name!r} is {self.skeleton.centric}-centric: left and right mean different things. '
                f'Choose the skeleton or the labels of the other kind'
            )

    def _add_centered_images(self, records: Sequence[Record], report: SourceReport) -> None:
        """Add one sample per instance that an image may be centered on, and count images without one."""
        # one pass over all records, which are not kept where they are built when asked for
        subjects = [select_center_instances(record) for record in records]
        pairs = [(image, subject) for image, selected in enumerate(subjects) for subject in selected]
        images, first = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        self.records.add_samples(records, images, first)
        num_without_center = sum(not selected for selected in subjects)
        if num_without_center:
            report.notes.append(f'{num_without_center:,} images without an instance to be centered on')

    def _apply_limit(self, limit: int | None, undetected: list[tuple[int, Record]]) -> None:
        """Keep the first `limit` samples, and the images without detections that come before their end."""
        if not self.reports:
            raise ConfigError('PoseDataset: sources is an empty list; name at least one')
        if not self.records:
            reports = '; '.join(map(str, self.reports))
            raise AnnotationError(f'no instances are left to train on or test: {reports}')
        if limit is not None and not (isinstance(limit, int) and 1 <= limit <= len(self.records)):
            raise ConfigError(
                f'{limit} samples were requested, but the data set has {len(self.records)}; '
                f'request 1 to {len(self.records)}'
            )
        self.undetected_records = [record for index, record in undetected if limit is None or index < limit]
        if limit is not None:
            self.records.truncate(limit)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Return the sample of a key, or of an index in its next epoch; the next readable one if its image is skipped.

        Raises:
            IndexError: there is no sample of that index, as loops over a sequence expect.
            ImageError: an image cannot be read and `max_skipped` allows no further one, or no image can be read.
        """
        first = SampleKey(*key) if isinstance(key, tuple) else self._count_request(key)
        # Every request returns a sample, so batches keep their size and the other samples their keys.
        for offset in range(len(self)):
            index = (first.sample_index + offset) % len(self)
            try:
                # The key of the replacement, not of the skipped sample: it is the sample that it would be anyway.
                return self._apply_pipeline(first._replace(sample_index=index))
            except ImageError as error:
                self._skip_sample(index, error)
        raise ImageError(f'none of {len(self):,} samples has an image that can be read; check the folder of the images')

    def _count_request(self, index: int) -> SampleKey:
        """Return the key of a sample that is requested by its index: in epoch n, if it was n times before."""
        if not -len(self) <= index < len(self):
            raise IndexError(f'sample {index} of a data set of {len(self):,} samples')
        # Negative indices count from the end, as in every sequence.
        index %= len(self)
        epoch = int(self._num_requests[index])
        self._num_requests[index] += 1
        return SampleKey(epoch, index)

    def _apply_pipeline(self, key: SampleKey) -> Sample:
        sample = self.load_raw_sample(key)
        for transform in self.pipeline:
            sample = transform(sample)
        return sample

    def find_run_problems(self, num_epochs: float) -> list[str]:
        """Return what transforms would never do in a run of that many epochs, a sentence each."""
        return find_pipeline_problems(self.pipeline, num_epochs)

    @property
    def skipped_samples(self) -> list[int]:
        """Indices of the samples that any worker skipped because their image cannot be read."""
        return [] if self._unreadable_flags is None else self._unreadable_flags.nonzero().flatten().tolist()

    def _skip_sample(self, index: int, error: ImageError) -> None:
        """Count a sample whose image cannot be read, once; raises if there are more than `max_skipped`."""
        if self._unreadable_flags is None:
            raise error
        if self._unreadable_flags[index]:
            return  # counted and reported in an earlier epoch
        self._unreadable_flags[index] = 1
        count = len(self.skipped_samples)
        if count > self.max_skipped:
            raise ImageError(
                f'{error} (sample {count} that cannot be read; max_skipped={self.max_skipped} allows no more)'
            ) from error
        logging.getLogger('poseplug').warning(
            'skipped sample %d, %d of at most %d: %s', index, count, self.max_skipped, error
        )

    def load_raw_sample(self, key: SampleKey) -> Sample:
        """Return the sample of a key before its transforms.

        Args:
            key: epoch and index of the sample.

        Raises:
            ImageError: the image cannot be read, is only one pixel wide or high, or has another size than stated.
        """
        record = self.records[key.sample_index]
        image = self.image_cache.get_image(record.path, record.byte_range)
        # Sources compare a sample of the sizes; what it misses would be trained with keypoints at wrong positions.
        check_stated_size(image, record.stated_size)
        # A counter-based generator: any (seed, epoch, index) starts a stream, without drawing what comes before it.
        # 40 bits are left for the index, 24 for the epoch.
        rng = np.random.Generator(np.random.Philox(key=[self.seed, key.epoch << 40 | key.sample_index]))
        return Sample(
            record,
            self.skeleton,
            image,
            rng,
            SampleKey(*key),
            record.instances.keypoints,
            mask_outside_keypoints(record, image.size),
            draw_sample=partial(self._draw_sample, key.epoch),
        )

    def _draw_sample(self, epoch: int, rng: np.random.Generator) -> Sample:
        """Draw a sample before its transforms, for mosaics and mixtures."""
        return self.load_raw_sample(SampleKey(epoch, int(rng.integers(len(self)))))


def _convert_record(source: Skeleton, target: Skeleton, source_index: int, record: Record) -> Record:
    """Map a record to the data set's skeleton, with the index of its source, by which metrics tell equal ids apart."""
    mapped = record.map_to_skeleton(source, target)
    if mapped.source_index == source_index:
        return mapped
    ground_truth = mapped.ground_truth and replace(mapped.ground_truth, source_index=source_index)
    return replace(mapped, source_index=source_index, ground_truth=ground_truth)


def mask_outside_keypoints(record: Record, image_size: Size) -> np.ndarray:
    """Return the visibility of a record's keypoints, with those outside the image set to 0 (not labeled).

    Keypoints of a crop from a pack stay as they are: a crop ends before its image does, and its keypoints were
    checked against the whole image when the pack was written.

    Args:
        record: N instances of K keypoints.
        image_size: (width, height) of the image in px.

    Returns:
        (N, K) 0 not labeled, 1 occluded, 2 visible.

    Raises:
        ImageError: the image is only one pixel wide or high.
    """
    check_min_image_size(record.path, image_size)
    if record.is_crop:
        return record.instances.visible
    # The border of an image is half a pixel beyond the centers of its outermost pixels.
    keypoints = record.instances.keypoints
    within = ((keypoints >= -0.5) & (keypoints <= np.array(image_size) - 0.5)).all(axis=-1)
    return np.where(within, record.instances.visible, 0)
