"""The interface of a source, its report, and where data sets are looked for."""

from __future__ import annotations

__all__ = ['Source', 'SourceReport', 'find_dataset_folder', 'locate_dataset_folder']

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.files.data_roots import list_data_roots

_SYNTHETIC_HINT = 'the synthetic set needs no download: bash demo/quickstart.sh, or poseplug dataset prepare synthetic'


@dataclass
class SourceReport:
    """Counts of the annotated instances of a file: kept ones, and dropped ones by cause, which add up to all.

    Attributes:
        file: the annotation file.
        kept: number of instances in the records.
        dropped: number of instances left out, by cause.
        notes: remarks on instances that were kept although something about them is odd.

    Example:
        >>> report = SourceReport(Path('annotations.json'), kept=2)
        >>> has_box = np.array([True, False, True])
        >>> report.drop_invalid(np.ones(3, dtype=bool), has_box, 'without a box').tolist()
        [True, False, True]
        >>> str(report)
        'annotations.json: 2 of 3 instances kept; dropped: 1 without a box'
    """

    file: Path
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of instances in the file."""
        return self.kept + sum(self.dropped.values())

    def drop_invalid(self, selected: np.ndarray, valid: np.ndarray | np.bool_, cause: str) -> np.ndarray:
        """Count the selected instances that are not valid as dropped.

        Args:
            selected: (N,) bool, instances that no earlier check dropped.
            valid: (N,) bool, instances that pass this check.
            cause: what the dropped ones have in common, as in 'without a box'.

        Returns:
            (N,) bool, the selected instances that are valid.
        """
        count = int((selected & ~valid).sum())
        if count:
            # Counted only where it is not 0: reports list the causes that occurred.
            self.dropped[cause] += count
        return selected & valid

    def __str__(self) -> str:
        # Sorted, so that reports of two runs compare word by word.
        causes = ', '.join(f'{n} {cause}' for cause, n in sorted(self.dropped.items())) or 'none'
        notes = ''.join(f'; {n}' for n in self.notes)
        return f'{self.file}: {self.kept} of {self.total} instances kept; dropped: {causes}{notes}'


class Source(ABC):
    """Reads the annotations of one data set; it knows a file format, but neither models nor codecs.

    Attributes:
        skeleton: the keypoints of the records, in their order.

    Example:
        >>> from poseplug.core.instances import Instances
        >>> class OnePoint(Source):
        ...     skeleton = Skeleton('nose', ('nose',))
        ...     def load(self):
        ...         instances = Instances.from_annotations(np.array([[[10.0, 20.0]]]), np.array([[2]]))
        ...         return [Record(Path('a.jpg'), 'a', instances)], SourceReport(Path('points.json'), kept=1)
        >>> records, report = OnePoint().load()
        >>> print(report)
        points.json: 1 of 1 instances kept; dropped: none
    """

    skeleton: Skeleton

    @abstractmethod
    def load(self) -> tuple[Sequence[Record], SourceReport]:
        """Read the annotation file.

        Returns:
            The records, in a list or built when they are asked for (`poseplug.data.record_sequences.IndexedRecords`),
            and the number of instances kept and dropped.

        Raises:
            AnnotationError: the data set is absent or its annotations are damaged.
        """


def _list_dataset_folders(root: str | Path | None, name: str) -> list[Path]:
    """Return the folders where a data set may be: its `root`, or its name in every data root."""
    return [Path(root)] if root is not None else [data_root / name for data_root in list_data_roots()]


def find_dataset_folder(root: str | Path | None, name: str, file: str) -> Path:
    """Find the folder of a data set.

    Args:
        root: the folder, absolute or below the current one; None looks for `name` in the data roots.
        name: the data set's name, which is that of its folder.
        file: a file that the folder contains.

    Returns:
        The first folder that contains the file; the first candidate if none does.
    """
    folders = _list_dataset_folders(root, name)
    # Without the file, the first candidate is the one that error messages and hints name.
    return next((folder for folder in folders if (folder / file).is_file()), folders[0])


def locate_dataset_folder(root: str | Path | None, name: str, file: str, download_hint: str) -> Path:
    """Find the folder of a data set, which must contain a file.

    Args:
        root: the folder, absolute or below the current one; None looks for `name` in the data roots.
        name: the data set's name, which is that of its folder.
        file: the annotation file in the folder.
        download_hint: how to get the data set, for the error message.

    Returns:
        The folder.

    Raises:
        AnnotationError: no folder contains the file.
    """
    folder = find_dataset_folder(root, name, file)
    if not (folder / file).is_file():
        searched = ' or '.join(str(path.absolute()) for path in _list_dataset_folders(root, name))
        raise AnnotationError(
            f'{name}: no {file} in {searched}. {download_hint}. Then name its folder: '
            f'POSEPLUG_DATA=FOLDER_ABOVE_{name} in the environment, or data_root of the source in the config. '
            f'Without the data, {_SYNTHETIC_HINT}'
        )
    return folder
