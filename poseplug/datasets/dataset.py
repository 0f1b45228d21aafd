"""Samples for a loader: the records of one or more sources through a pipeline, each with its own random numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from poseplug.datasets.images import Pictures
from poseplug.datasets.pictures import central
from poseplug.datasets.sources.base import Report, Source
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.geometry import Size
from poseplug.registry import DATASETS, SOURCES, TRANSFORMS
from poseplug.sample import Draw, Record, Sample
from poseplug.skeleton import Skeleton, get_skeleton


@DATASETS.register_module()
class PoseDataset:
    """One sample a person (`per='person'`) or a picture (`per='image'`), from one or more sources.

    With `per='center'` one a person whom a whole picture may be centred on (`poseplug.datasets.pictures.central`).
    Joints of every source are mapped to `skeleton` by name. An item is asked for by `Draw(epoch, index)`: its random
    numbers follow from (seed, epoch, index) alone, so batches do not depend on the workers. `input_size` is handed to
    the transforms that take one. `limit` takes that many samples from the front. `keep` decoded pictures stay in memory
    for their next person: worth it where the people of a picture come one after the other, as in testing.

    A picture that cannot be read is an error. In training, with `skip`, up to so many are left out, each counted in
    `skipped` and told once: the next sample that can be read takes the place of theirs, and no other moves.

    `unseen` are the pictures whose annotated people make no sample, since a detector found nobody there: a metric
    counts them as missed.
    """

    def __init__(
        self,
        sources: Source | Mapping[str, Any] | Sequence[Source | Mapping[str, Any]],
        pipeline: Sequence[Transform | Mapping[str, Any]],
        skeleton: Skeleton | str | Mapping[str, Any],
        input_size: Size = (256, 256),
        per: str = 'person',
        seed: int = 0,
        limit: int | None = None,
        keep: int = 0,
        skip: int = 0,
        people: int = 0,
    ):
        if per not in ('person', 'image', 'center'):
            raise ConfigError(f"PoseDataset: per is 'person', 'image' or 'center'; got {per!r}")
        self.skeleton, self.seed, self.people = get_skeleton(skeleton), seed, people
        self.pipeline = [TRANSFORMS.build(t, input_size=input_size) for t in pipeline]
        self.records: list[Record] = []
        self.reports: list[Report] = []
        unseen: list[tuple[int, Record]] = []  # after so many samples
        for spec in sources if isinstance(sources, Sequence) else [sources]:
            unseen += self._add(SOURCES.build(spec), per)
            logging.getLogger('poseplug').info('%s', self.reports[-1])
        if not self.records:
            raise AnnotationError('no person is left to train on or test: ' + '; '.join(map(str, self.reports)))
        if limit is not None and not 1 <= limit <= len(self.records):
            raise ConfigError(
                f'{limit} samples were asked for, of the {len(self.records)} that there are; ask for fewer'
            )
        self.unseen = [record for place, record in unseen if limit is None or place < limit]
        self.records = self.records[:limit]
        self.pictures = Pictures(keep)
        self.skip = skip
        self._bad = (
            torch.zeros(len(self.records), dtype=torch.uint8).share_memory_() if skip else None
        )  # by the workers

    def _add(self, source: Source, per: str) -> list[tuple[int, Record]]:
        """Add a source's samples; the pictures of missed people come back, each with the number of samples before."""
        if source.skeleton.centric != self.skeleton.centric:
            raise AnnotationError(
                f"{type(source).__name__} labels are {source.skeleton.centric}-centric but the model's skeleton "
                f'{self.skeleton.name!r} is {self.skeleton.centric}-centric: left and right mean different things. '
                f'Choose the skeleton or the labels of the other kind'
            )
        records, report = source.load()
        self.reports.append(report)
        crowded = [r for r in records if len(r.keypoints) >= self.people]
        few = len(records) - len(crowded)
        report.notes += [f'{few:,} pictures of fewer than {self.people} people'] if few else []
        mapped = [r.mapped_to(source.skeleton, self.skeleton) for r in crowded]
        if per == 'image':
            self.records += mapped
            return []
        if per == 'center':
            chosen = [(record, central(record)) for record in mapped]
            self.records += [record.led_by(n) for record, people in chosen for n in people]
            without = sum(not people for _, people in chosen)
            report.notes += [f'{without:,} pictures without a person to be centred on'] if without else []
            return []
        unseen = []
        for record in mapped:
            self.records += [record.led_by(n) for n in range(len(record.keypoints))]
            if not len(record.keypoints) and record.truth is not None and len(record.truth.keypoints):
                unseen.append((len(self.records), record))
        return unseen

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw | int) -> Sample:
        epoch, first = draw if isinstance(draw, tuple) else (0, draw)
        for place in range(first, first + len(self)):
            try:
                return self._made(Draw(epoch, place % len(self)))
            except ImageError as error:
                self._leave_out(place % len(self), error)
        raise ImageError(f'none of {len(self):,} samples has a picture that can be read')

    def _made(self, draw: Draw) -> Sample:
        """The sample of a draw itself."""
        sample = self.raw(draw)
        for transform in self.pipeline:
            sample = transform(sample)
        return sample

    @property
    def skipped(self) -> list[int]:
        """The samples that were left out since their picture cannot be read, in whichever worker."""
        return [] if self._bad is None else self._bad.nonzero().flatten().tolist()

    def _leave_out(self, place: int, error: ImageError) -> None:
        """Count a sample whose picture cannot be read; the error itself where there are too many of them."""
        if self._bad is None:
            raise error
        if self._bad[place]:
            return
        self._bad[place] = 1
        count = len(self.skipped)
        if count > self.skip:
            raise ImageError(
                f'{error} (sample {count} that cannot be read; skip={self.skip} allows no more)'
            ) from error
        logging.getLogger('poseplug').warning('skipped sample %d, %d of at most %d: %s', place, count, self.skip, error)

    def raw(self, draw: Draw) -> Sample:
        """The sample before its transforms."""
        record = self.records[draw.sample]
        image = self.pictures.get(record.path, record.span)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, draw.epoch << 40 | draw.sample]))
        keypoints, visible = record.keypoints, inside(record, image.size)
        another = partial(self._another, draw.epoch)
        return Sample(record, self.skeleton, image, rng, Draw(*draw), keypoints, visible, another=another)

    def _another(self, epoch: int, rng: np.random.Generator) -> Sample:
        """A sample that a generator draws, before its transforms."""
        return self.raw(Draw(epoch, int(rng.integers(len(self)))))


def inside(record: Record, size: Size) -> np.ndarray:
    """Visibility (N, K) with the joints beyond the border of a picture of (width, height) counted as not labelled.

    A crop of a pack ends before its picture does; its joints were looked at when it was cut.
    """
    if min(size) < 2:
        raise ImageError(f'{record.path}: a picture of {size[0]}x{size[1]} px')
    if record.span is not None:
        return record.visible
    within = ((record.keypoints >= -0.5) & (record.keypoints <= np.array(size) - 0.5)).all(axis=-1)
    return np.where(within, record.visible, 0)
