"""Records that are built when they are asked for, and the records of the samples of a data set."""

from __future__ import annotations

__all__ = ['IndexedRecords', 'SampleRecords', 'check_image_ids', 'count_instances']

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Self, overload

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record


# eq=False: comparing arrays gives an array, which has no single truth value.
@dataclass(frozen=True, eq=False)
class IndexedRecords(Sequence[Record]):
    """Records that are built when they are asked for, so that millions of them are opened at once.

    The ids of the records differ, and none of them holds detected instances.

    Attributes:
        build_record: builds the record of an index; it can be pickled, for loader workers that are not forked.
        indices: (N,) of the records.
        num_instances: (N,) of each record.
        file_numbers: (N,) positions of their files in `files`.
        files: that hold the images.
        source_numbers: (N,) positions of their sources in `sources`.
        sources: names of the data sets.
        convert: changes each record after it was built.

    Example:
        >>> from poseplug.core.instances import Instances
        >>> from pathlib import Path
        >>> def build(index):
        ...     return Record(Path('a.tar'), str(index), Instances.empty(num_keypoints=2))
        >>> zeros = np.zeros(1000, dtype=int)
        >>> records = IndexedRecords(build, np.arange(1000), zeros, zeros, (Path('a.tar'),), zeros, ('a',))
        >>> len(records), records[-1].id, [record.id for record in records[2:4]]
        (1000, '999', ['2', '3'])
    """

    build_record: Callable[[int], Record]
    indices: np.ndarray
    num_instances: np.ndarray
    file_numbers: np.ndarray
    files: tuple[Path, ...]
    source_numbers: np.ndarray
    sources: tuple[str, ...]
    convert: Callable[[Record], Record] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Record | Self:
        """Build the record of an index, or return the sequence of a slice."""
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        record = self.build_record(int(self.indices[index]))
        return record if self.convert is None else self.convert(record)

    def select(self, positions: np.ndarray) -> Self:
        """Return the records at some positions, in their order.

        Args:
            positions: (M,) in this sequence.
        """
        columns = {name: getattr(self, name)[positions] for name in ('indices', 'num_instances')}
        numbers = {name: getattr(self, name)[positions] for name in ('file_numbers', 'source_numbers')}
        return replace(self, **columns, **numbers)


def count_instances(records: Sequence[Record]) -> np.ndarray:
    """Return the number of instances of every record (N,), without building records."""
    if isinstance(records, IndexedRecords):
        return records.num_instances
    return np.array([len(record.instances) for record in records], dtype=np.int64)


def check_image_ids(records: Sequence[Record], file: Path) -> None:
    """Refuse records two of which have one id: their instances would be measured as those of one image.

    Args:
        records: of one source.
        file: for the message.

    Raises:
        AnnotationError: two records have one id.
    """
    if len({record.id for record in records}) < len(records):
        name, count = Counter(record.id for record in records).most_common(1)[0]
        raise AnnotationError(f'{file}: {count} images have the id {name!r}; a source needs one id per image')


@dataclass(frozen=True, eq=False)
class _SourceSamples:
    """The samples of one source: which image each shows, and which of its instances is the subject."""

    records: Sequence[Record]
    images: np.ndarray
    subjects: np.ndarray

    def get_record(self, index: int) -> Record:
        return self.records[int(self.images[index])].put_first(int(self.subjects[index]))

    def number_files(self, numbers: dict[Path, int]) -> np.ndarray:
        """(N,) the number of each sample's file; new files are added to `numbers`."""
        records = self.records
        if isinstance(records, IndexedRecords):
            # by files, which are few, not by records
            file_numbers = [numbers.setdefault(file, len(numbers)) for file in records.files]
            return np.array(file_numbers, dtype=np.int32)[records.file_numbers[self.images]]
        file_numbers = [numbers.setdefault(record.path, len(numbers)) for record in records]
        return np.array(file_numbers, dtype=np.int32)[self.images]

    def list_sources(self) -> np.ndarray:
        """(N,) the data set of each sample."""
        records = self.records
        if isinstance(records, IndexedRecords):
            return np.array(records.sources, dtype=str)[records.source_numbers[self.images]]
        return np.array([record.source for record in records], dtype=str)[self.images]


@dataclass
class SampleRecords(Sequence[Record]):
    """The records of all samples of a data set, the subject of each first.

    A record is that of its image until it is asked for: an image of many instances is held once.

    Example:
        >>> from poseplug.core.instances import Instances
        >>> from pathlib import Path
        >>> points = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
        >>> image = Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.ones((2, 1))))
        >>> records = SampleRecords()
        >>> records.add_samples([image], images=np.array([0, 0]), subjects=np.array([0, 1]))
        >>> [record.instances.keypoints[0, 0].tolist() for record in records]
        [[1.0, 2.0], [3.0, 4.0]]
    """

    sources: list[_SourceSamples] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add_samples(self, records: Sequence[Record], images: np.ndarray, subjects: np.ndarray) -> None:
        """Add the samples of a source.

        Args:
            records: of its images.
            images: (M,) positions in `records`, one per sample.
            subjects: (M,) the instance that comes first in each.
        """
        self.sources.append(_SourceSamples(records, images, subjects))
        self._update_ends()

    def truncate(self, num_samples: int) -> None:
        """Keep the first samples alone."""
        starts = [0, *self.ends]
        lengths = [max(0, num_samples - start) for start in starts]
        self.sources = [
            replace(each, images=each.images[:length], subjects=each.subjects[:length])
            for each, length in zip(self.sources, lengths, strict=False)
        ]
        self._update_ends()

    def _update_ends(self) -> None:
        self.ends = list(accumulate(len(each.images) for each in self.sources))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        """Return the record of a sample, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f'record {index} of {len(self):,} samples')
        index %= len(self)
        number = bisect_right(self.ends, index)
        return self.sources[number].get_record(index - (self.ends[number - 1] if number else 0))

    def number_files(self) -> np.ndarray:
        """Return the number of the file of every sample's image (M,); images of one file have one number."""
        numbers: dict[Path, int] = {}
        return np.concatenate([each.number_files(numbers) for each in self.sources])

    def list_sources(self) -> np.ndarray:
        """Return the name of the data set of every sample (M,)."""
        return np.concatenate([each.list_sources() for each in self.sources])
