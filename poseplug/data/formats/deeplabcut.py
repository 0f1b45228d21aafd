"""DeepLabCut projects: a config.yaml, and per video a folder of images with a table of positions (CSV or HDF5).

The columns of a table have three levels, scorer, bodypart and x or y; several animals add a level of individuals, where
the individual 'single' has the bodyparts that occur once in an image.
"""

from __future__ import annotations

__all__ = ['DeepLabCutFormat']

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.files.pandas_table import read_pandas_table
from poseplug.files.text_file import read_text_file
from poseplug.files.yaml_file import read_yaml
from poseplug.registry import LABEL_FORMATS

_UNIQUE_INDIVIDUAL = 'single'  # DeepLabCut's name for bodyparts that belong to no animal
_DEFAULT_CATEGORY = 'animal'
_LABELED_FOLDER = 'labeled-data'  # of a project, with a folder for each video
_TRAINING_FOLDER = 'training-datasets'  # of a project
_HEADERS = ('scorer', 'individuals', 'bodyparts', 'coords')


@dataclass(frozen=True)
class _Table:
    """A table of positions.

    Attributes:
        file: the file.
        columns: (individual, bodypart) of each pair of columns; the individual is '' with one animal.
        names: of the image of each row.
        values: (N, number of pairs, 2) px, NaN where not labeled.
        first_line: the line of the first row in the file, counted from 1.
    """

    file: Path
    columns: list[tuple[str, str]]
    names: list[str]
    values: np.ndarray
    first_line: int


@LABEL_FORMATS.register_module(name='deeplabcut')
class DeepLabCutFormat(LabelFormat):
    """DeepLabCut: a project, a folder of labeled images, or one table (CSV or HDF5).

    A table that exists in both kinds is read from its CSV file. DeepLabCut does not say whether a keypoint is occluded.
    """

    name = 'deeplabcut'
    title = 'DeepLabCut project'

    def matches(self, path: Path) -> bool:
        return bool(_list_table_files(path))

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        files = _list_table_files(path)
        if not files:
            raise AnnotationError(f'{path}: no CollectedData_*.csv or .h5, which a DeepLabCut project has')
        tables = [_read_table(file) for file in files]
        project = _find_project(files[0])
        config = _read_config(project)
        collector = LabelCollector(self.title, path, image_folder or project)
        _DeepLabCutReader(collector, tables, config).add_all()
        return collector.finish_labels()


def _list_table_files(path: Path) -> list[Path]:
    """The tables of a project or folder, without an HDF5 file that has a CSV file beside it."""
    if _is_project_config(path):
        path = path.parent
    if path.is_file():
        # Other formats also are CSV files, while HDF5 files are told by the name that DeepLabCut gives them.
        is_csv = path.suffix == '.csv' and _starts_with_scorer(path)
        return [path] if is_csv or (path.suffix == '.h5' and path.name.startswith('CollectedData')) else []
    # Lightning Pose has one such table for all videos, without the name of who labeled.
    candidates = [f for f in path.rglob('CollectedData*') if f.suffix in ('.csv', '.h5')]
    # DeepLabCut copies the labels of all videos to where it trains; both together would be every animal twice.
    labeled = [f for f in candidates if _TRAINING_FOLDER not in f.relative_to(path).parts]
    candidates = labeled or candidates
    tables = [f for f in candidates if f.suffix == '.csv' or f.with_suffix('.csv') not in candidates]
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(tables):
        by_folder[file.parent].append(file)
    for folder, files in by_folder.items():
        # Several people labeled the same images: to merge them would be to have every animal twice.
        if len(files) > 1:
            listed = ', '.join(file.name for file in files)
            raise AnnotationError(f'{folder}: tables of several scorers ({listed}); name the one to read')
    return [file for files in by_folder.values() for file in files]


def _is_project_config(path: Path) -> bool:
    """Whether a file is the config.yaml of a project, by whose name DeepLabCut's own functions call it."""
    return path.name == 'config.yaml' and (path.parent / _LABELED_FOLDER).is_dir()


def _starts_with_scorer(file: Path) -> bool:
    with open(file, 'rb') as opened:
        return opened.read(6) == b'scorer'


def _find_project(file: Path) -> Path:
    """The folder of a table's project: the one above 'labeled-data', from which the names of images start."""
    parents = [parent.parent for parent in file.parents if parent.name == _LABELED_FOLDER]
    return parents[0] if parents else file.parent


def _read_config(project: Path) -> dict[str, Any]:
    """The project's config.yaml; empty without one."""
    file = project / 'config.yaml'
    if not file.is_file():
        return {}
    content = read_yaml(file)
    return content if isinstance(content, dict) else {}


def _read_table(file: Path) -> _Table:
    """Read a table of either kind."""
    if file.suffix == '.h5':
        columns, names, values = read_pandas_table(file)
        levels = [list(level) for level in zip(*columns, strict=True)]
        return _build_table(file, levels[1:], [str(name) for name in names], values, 1)
    rows = [row for row in csv.reader(io.StringIO(read_text_file(file), newline='')) if row]
    # Only tables of several animals have a line of individuals, and some programs leave out the scorer.
    num_headers = next((i for i, row in enumerate(rows) if row[0] not in _HEADERS), len(rows))
    heads = {row[0]: row for row in rows[:num_headers]}
    if 'bodyparts' not in heads or 'coords' not in heads:
        raise AnnotationError(f'{file}: the first lines name scorer, bodyparts and coords; found {rows[:1]}')
    # The name of an image takes one column, or three: labeled-data, video, file.
    num_index = next((i for i, value in enumerate(heads['coords'][1:], 1) if value), 1)
    levels = [heads[name][num_index:] for name in ('individuals', 'bodyparts', 'coords') if name in heads]
    body = rows[num_headers:]
    names = ['/'.join(row[:num_index]) for row in body]
    cells = [_parse_row(file, num_headers + i, row[num_index:], len(levels[0])) for i, row in enumerate(body, 1)]
    return _build_table(file, levels, names, np.array(cells).reshape(len(body), -1), num_headers + 1)


def _parse_row(file: Path, line: int, cells: Sequence[str], expected: int) -> list[float]:
    """Parse the numbers of a line; an empty cell is NaN."""
    if len(cells) < expected and not any(map(str.strip, cells)):
        cells = [''] * expected  # some programs cut off the end of a row without labels
    if len(cells) != expected:
        raise AnnotationError(f'{file}, line {line}: {len(cells)} values; the header has {expected} columns')
    try:
        return [float(cell) if cell.strip() else np.nan for cell in cells]
    except ValueError as error:
        raise AnnotationError(f'{file}, line {line}: {error}; correct that cell') from error


def _build_table(file: Path, levels: list[list[str]], names: list[str], values: np.ndarray, first_line: int) -> _Table:
    """Check the columns and return the table."""
    individuals = levels[0] if len(levels) == 3 else [''] * len(levels[0])
    bodyparts, coords = levels[-2], levels[-1]
    # Everything below takes x and y by their place, so their order is checked first.
    pairs = list(zip(individuals, bodyparts, strict=True))
    if coords[0::2] != ['x'] * (len(coords) // 2) or coords[1::2] != ['y'] * (len(coords) // 2) or len(coords) % 2:
        raise AnnotationError(f'{file}: the columns are x and y of each bodypart in turn; found {coords[:4]}')
    if pairs[0::2] != pairs[1::2] or len(set(pairs[0::2])) != len(pairs) // 2:
        raise AnnotationError(f'{file}: a bodypart comes twice, or its x and y are not side by side')
    # Which of two rows of an image counts is not known.
    name, count = Counter(names).most_common(1)[0] if names else ('', 0)
    if count > 1:
        lines = [str(first_line + i) for i, each in enumerate(names) if each == name]
        raise AnnotationError(f'{file}: image {name} has {count} rows, {" and ".join(lines)}; leave one of them')
    return _Table(file, pairs[0::2], names, values.reshape(len(names), -1, 2), first_line)


class _DeepLabCutReader:
    """Adds the rows of all tables of a project."""

    def __init__(self, collector: LabelCollector, tables: list[_Table], config: dict[str, Any]):
        self.collector, self.tables = collector, tables
        # Videos of one project may have different bodyparts when the config was changed between them.
        columns = [column for table in tables for column in table.columns]
        self.bodyparts = {
            False: list(dict.fromkeys(part for individual, part in columns if individual != _UNIQUE_INDIVIDUAL)),
            True: list(dict.fromkeys(part for individual, part in columns if individual == _UNIQUE_INDIVIDUAL)),
        }
        category = str(config.get('Task') or _DEFAULT_CATEGORY)
        names = {False: category, True: f'{category}_{_UNIQUE_INDIVIDUAL}'}
        limbs = config.get('skeleton') or []
        self.category_ids = {
            is_unique: collector.add_category(names[is_unique], parts, _index_limbs(limbs, parts))
            for is_unique, parts in self.bodyparts.items()
            if parts
        }

    def add_all(self) -> None:
        """Add all rows."""
        num_unlabeled = 0
        for table in self.tables:
            for row, name in enumerate(table.names):
                # Windows writes its own separators.
                path = self._locate_image(table, PureWindowsPath(name).as_posix())
                position = f'line {table.first_line + row}' if table.file.suffix == '.csv' else f'row {row + 1}'
                # DeepLabCut has a row for every extracted frame, also those without labels.
                if np.isnan(table.values[row]).all():
                    num_unlabeled += 1
                    continue
                instances = list(self._read_instances(table, row))
                positions = [position, *(f'{position}, {individual}' for individual, _ in instances[1:])]
                image_id = self.collector.add_image(path, table.file, positions)
                if image_id is None:
                    continue
                for individual, keypoints in instances:
                    # The individual is the same animal throughout a video.
                    values = {'individual': individual} if individual else {}
                    category_id = self.category_ids[individual == _UNIQUE_INDIVIDUAL]
                    self.collector.add_instance(image_id, category_id, keypoints, values=values)
        if num_unlabeled:
            self.collector.add_note(f'{num_unlabeled:,} images without labels')

    def _locate_image(self, table: _Table, name: str) -> str:
        """The name of a row's image below the folder of the images: as the table says, or beside the table."""
        folder = self.collector.labels.image_folder
        # Copied or renamed folders: the names in the table still start from the old project.
        beside = table.file.parent / Path(name).name
        if not (folder / name).is_file() and beside.is_file() and beside.is_relative_to(folder):
            return str(beside.relative_to(folder))
        return name

    def _read_instances(self, table: _Table, row: int) -> Iterator[tuple[str, np.ndarray]]:
        """The labeled individuals of one row with their keypoints (K, 3)."""
        for individual in dict.fromkeys(individual for individual, _ in table.columns):
            parts = self.bodyparts[individual == _UNIQUE_INDIVIDUAL]
            keypoints = np.zeros((len(parts), 3))
            for column, (owner, part) in enumerate(table.columns):
                xy = table.values[row, column]
                if owner == individual and np.isfinite(xy).all():
                    keypoints[parts.index(part)] = [*xy, 2]
            if keypoints[:, 2].any():
                yield individual, keypoints


def _index_limbs(limbs: Iterable[Any], parts: list[str]) -> list[tuple[int, int]]:
    """The limbs between these bodyparts, as indices."""
    # New projects have example limbs in their config whose bodyparts do not exist.
    pairs = [tuple(limb) for limb in limbs if isinstance(limb, list) and len(limb) == 2]
    return [(parts.index(a), parts.index(b)) for a, b in pairs if a in parts and b in parts]
