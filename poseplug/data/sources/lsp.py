"""Leeds Sports Pose and its extended set, from the official `joints.mat` (Johnson & Everingham 2010, 2011).

Both are read as in CPM's released code, with pixels counted from 1; docs/lab/datasets.md has the measurements. The
flag of LSP is 1 for an occluded keypoint. The flag of LSPET is 1 for a labeled one; its other keypoints have no usable
position.
"""

from __future__ import annotations

__all__ = ['LSPETSource', 'LSPSource']

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.data.sources.base import Source, SourceReport, locate_dataset_folder
from poseplug.data.sources.limb_scale import estimate_limb_scales
from poseplug.files.image_folder import find_existing_images
from poseplug.files.json_file import MAX_COORDINATE_PX
from poseplug.files.matlab import read_matlab_array
from poseplug.registry import SOURCES
from poseplug.skeletons.lsp import LSP, LSP_OBSERVER

LSPSplit = Literal['train', 'test', 'all', 'val', 'train_without_val']
_NUM_KEYPOINTS = len(LSP)
_VALIDATION_FILE = Path(__file__).with_name('lsp_validation.json')  # by tools/lab/choose_validation.py


@SOURCES.register_module()
class LSPSource(Source):
    """Leeds Sports Pose, 14 keypoints: images cropped around one person each, with one record per image.

    The first half is for training, the second for testing, unless a `dataset.json` beside `joints.mat` gives another
    number of training images; that of the synthetic set does.

    Args:
        data_root: the data set's folder; None looks for `lsp` (or `lsp_observer`) in POSEPLUG_DATA and the default
            folders.
        split: 'train', 'test' or 'all'; 'val' for the images that docs/lab/datasets.md sets aside for validation, 200
            of LSP's training half and 800 of LSPET, and 'train_without_val' for the other training images.
        label_centric: 'person': left is the person's left, as in the official file. 'observer': the file has the
            observer-centric labels that others published.
        missing_images: 'error' refuses a missing image, 'drop' leaves it out and counts it.
        pixel_origin: coordinate in the file of the first pixel's center: 1 as CPM's released code reads it, 0 as was
            measured on LSP (docs/lab/datasets.md). It moves labels and predictions alike, so scores stay comparable.
        source_name: name of the records' source, by which decoders, source ratios and `TransformBySource` know them;
            None for the data set's name.

    Raises:
        AnnotationError: `split` or `label_centric` is unknown.

    Example:
        >>> import tempfile
        >>> from poseplug.data.synthetic import write_lsp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     folder = write_lsp(Path(folder) / 'lsp', num_images=2, num_train=1)
        ...     records, report = LSPSource(folder, split='train').load()
        >>> [record.id for record in records], report.kept
        (['im0001.jpg'], 1)
    """

    name = 'lsp'
    download_hint = "Get 'LSP dataset' of Johnson & Everingham (2,000 images and joints.mat), and unpack it"
    filename_template = 'im{:04d}.jpg'
    has_test_images = True  # behind the training images

    def __init__(
        self,
        data_root: str | Path | None = None,
        split: LSPSplit = 'all',
        label_centric: Literal['person', 'observer'] = 'person',
        missing_images: Literal['error', 'drop'] = 'error',
        pixel_origin: float = 1.0,
        source_name: str | None = None,
    ):
        if split not in get_args(LSPSplit):
            raise AnnotationError(f'{self.name}: split is one of {", ".join(get_args(LSPSplit))}; got {split!r}')
        if label_centric not in ('person', 'observer'):
            raise AnnotationError(f"{self.name}: label_centric is 'person' or 'observer'; got {label_centric!r}")
        self.data_root, self.split, self.missing_images = data_root, split, missing_images
        self.pixel_origin = pixel_origin
        self.skeleton = LSP if label_centric == 'person' else LSP_OBSERVER
        self.source_name = source_name or self.name
        self.folder_name = self.name if label_centric == 'person' else f'{self.name}_observer'

    def load(self) -> tuple[list[Record], SourceReport]:
        folder = locate_dataset_folder(self.data_root, self.folder_name, 'joints.mat', self.download_hint)
        file = folder / 'joints.mat'
        keypoints, flags = _split_points_and_flags(read_matlab_array(file, 'joints'), file)
        num_train = _read_num_train(folder, len(keypoints))
        indices = self._select_indices(num_train, len(keypoints))
        names = [self.filename_template.format(i + 1) for i in indices]  # files are numbered from 1
        exists = find_existing_images(folder / 'images', names, self.missing_images, file)
        visible = self.convert_flags(flags)
        report = SourceReport(file)
        selected = report.drop_invalid(np.ones(len(indices), dtype=bool), exists, 'with a missing image')
        selected = report.drop_invalid(selected, (visible[indices] > 0).any(axis=1), 'without labeled keypoints')
        records = self._build_records(folder, indices[selected], keypoints, visible)
        report.kept = len(records)
        return records, report

    def _select_indices(self, num_train: int, num_images: int) -> np.ndarray:
        """Return the indices of the split's images in the file."""
        slices = {'train': slice(num_train), 'test': slice(num_train, None), 'all': slice(None)}
        if self.split in slices:
            return np.arange(num_images)[slices[self.split]]
        numbers = json.loads(_VALIDATION_FILE.read_text())[self.name]  # from 1, as the files
        training = np.arange(num_train if self.has_test_images else num_images)
        is_val = np.isin(training, np.array(numbers) - 1)
        return training[is_val if self.split == 'val' else ~is_val]

    def convert_flags(self, flags: np.ndarray) -> np.ndarray:
        """Convert the file's flags to visibility; 1 is occluded in LSP.

        Args:
            flags: (N, K) of 0 and 1.

        Returns:
            (N, K) 0 not labeled, 1 occluded, 2 visible.
        """
        # Occluded keypoints have good positions, which are trained and tested like visible ones (docs/lab/datasets.md).
        return np.where(flags > 0, 1, 2)

    def compute_centers(self, instances: Instances) -> np.ndarray:
        """Return the centers (N, 2) of people in px; NaN where the person is at the center of the image, as in LSP.

        Args:
            instances: one person of each image.
        """
        return instances.centers

    def _build_records(
        self, folder: Path, indices: np.ndarray, points: np.ndarray, visible: np.ndarray
    ) -> list[Record]:
        """Build the records of the images at `indices`, from the points (N, K, 2) and visibilities (N, K) of all."""
        keypoints = np.zeros((len(indices), _NUM_KEYPOINTS, 2), dtype=np.float32)
        # One by one, because a bad position is reported with its record and keypoint.
        for row, i in enumerate(indices):
            keypoints[row] = self._read_positions(folder, i, points[i], visible[i])
        instances = Instances.from_annotations(keypoints, visible[indices].astype(np.uint8))
        # Its ratios are medians over the people of this split, which so does not depend on the other.
        scales = estimate_limb_scales(instances, self.skeleton)
        instances = replace(instances, scales=scales, centers=self.compute_centers(instances))
        names = [self.filename_template.format(i + 1) for i in indices]
        return [
            Record(folder / 'images' / name, name, instances[row : row + 1], self.source_name)
            for row, name in enumerate(names)
        ]

    def _read_positions(self, folder: Path, index: int, points: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Return the keypoints (K, 2) of one image in px counted from 0; unlabeled ones are at 0, 0."""
        name = self.filename_template.format(index + 1)
        # Positions of unlabeled keypoints mean nothing, and need not even be numbers.
        positions = np.where(visible[:, None] > 0, points, self.pixel_origin)
        valid = (np.abs(positions) <= MAX_COORDINATE_PX).all(axis=1)
        if not valid.all():
            k = int(np.argmin(valid))
            fault = f'beyond {MAX_COORDINATE_PX:,.0f} px' if np.isfinite(positions[k]).all() else 'not a finite number'
            raise AnnotationError(
                f'{folder / "joints.mat"}: record {index + 1} ({name}): keypoint {self.skeleton.keypoints[k]!r} has a '
                f'position that is {fault}; correct the file or take it anew from its archive'
            )
        return np.asarray(positions - self.pixel_origin)


@SOURCES.register_module()
class LSPETSource(LSPSource):
    """LSP extended, 14 keypoints: training images with noisier labels; the person may be anywhere in the image.

    The settings are those of `LSPSource`.
    """

    name = 'lspet'
    download_hint = (
        "Get 'LSP extended training dataset' of Johnson & Everingham (10,000 images and joints.mat), and unpack it"
    )
    filename_template = 'im{:05d}.jpg'
    has_test_images = False

    def convert_flags(self, flags: np.ndarray) -> np.ndarray:
        """Convert the file's flags to visibility; 1 is labeled in LSPET, visible and occluded alike.

        Args:
            flags: (N, K) of 0 and 1.

        Returns:
            (N, K) 0 not labeled, 2 visible.
        """
        # 99.3 % of the keypoints of flag 0 in the first 9,000 records have a negative coordinate: no position at all.
        return np.where(flags > 0, 2, 0)

    def compute_centers(self, instances: Instances) -> np.ndarray:
        """Return the centers (N, 2) of the boxes around the labeled keypoints, in px.

        Args:
            instances: one person of each image.
        """
        return instances.boxes.reshape(-1, 2, 2).mean(axis=1)


def _read_num_train(folder: Path, num_images: int) -> int:
    """Return the number of training images: that of `dataset.json` in the folder, or half of all."""
    file = folder / 'dataset.json'
    if not file.is_file():
        return num_images // 2
    try:
        num_train = json.loads(file.read_text())['train']
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        num_train = None
    if type(num_train) is not int or not 0 <= num_train <= num_images:
        raise AnnotationError(
            f"{file}: 'train' is a number of images, 0 to {num_images}; found {num_train!r}. Create the set anew"
        )
    return num_train


def _split_points_and_flags(values: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (N, 14, 2) and flags (N, 14) from (3, 14, N), LSP's axis order, or (14, 3, N), LSPET's."""
    # The two sets were published with different orders of the axes.
    if values.ndim == 3 and values.shape[:2] == (3, _NUM_KEYPOINTS):
        ordered = values.transpose(2, 1, 0)
    elif values.ndim == 3 and values.shape[:2] == (_NUM_KEYPOINTS, 3):
        ordered = values.transpose(2, 0, 1)
    else:
        raise AnnotationError(
            f'{file}: joints has shape {values.shape}, but LSP writes (3, {_NUM_KEYPOINTS}, images) and LSPET '
            f'({_NUM_KEYPOINTS}, 3, images); this is another file'
        )
    flags = ordered[..., 2]
    wrong = ~np.isin(flags, (0, 1))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{file}: record {i + 1}: the third number of keypoint {LSP.keypoints[k]!r} is a flag, 0 or 1; found '
            f'{flags[i, k]:g}. Correct the file or take it anew from its archive'
        )
    return ordered[..., :2], flags
