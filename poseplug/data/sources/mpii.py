"""MPII Human Pose, from the JSON files of the usual split or from the official MATLAB file (Andriluka et al. 2014).

All these files count pixels from 1, as MATLAB does; in the records, keypoints and centers count from 0. Centers and
scales (person height / 200 px) are otherwise those of the file. The recipes of the hourglass and of HRNet move the
center down by 15 px times the scale and enlarge the scale by 1.25; that belongs to the transforms.
"""

from __future__ import annotations

__all__ = ['MPIISource']

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.data.sources.base import Source, SourceReport, find_dataset_folder, locate_dataset_folder
from poseplug.data.sources.coco_format import group_by_image
from poseplug.files.image_folder import find_images
from poseplug.files.json_file import FIX_FILE_HINT, JsonRows, check_image_names, flatten_pairs, read_json
from poseplug.files.matlab import MatlabArray, convert_matlab_array, read_matlab_array
from poseplug.registry import SOURCES
from poseplug.skeletons.mpii import MPII

_StructFields = Mapping[str, MatlabArray]  # the fields of one struct in the official file
_NUM_KEYPOINTS = len(MPII)
_HEAD_SIZE_FRACTION = 0.6  # PCKh's head size is this fraction of the diagonal of the head box
_PIXEL_ORIGIN = 1.0  # coordinate in the files of the first pixel's center
_MAX_MEDIAN_DISTANCE_PX = 5.0  # if keypoints of two files are farther apart, the files have other people or order
MPII_OFFICIAL_FILE = 'mpii_human_pose_v1_u12_1.mat'
_SPLIT_FILES = {
    'train': ('annotations/mpii_train.json', 'annot/train.json'),
    'val': ('annotations/mpii_val.json', 'annot/valid.json'),
    'trainval': (
        'annotations/mpii_trainval.json',
        'annot/trainval.json',
        MPII_OFFICIAL_FILE,
        f'annotations/{MPII_OFFICIAL_FILE}',
    ),
}
_HEADBOX_FILES = {'val': ('annotations/mpii_gt_val.mat', 'annot/gt_valid.mat')}


@SOURCES.register_module()
class MPIISource(Source):
    """MPII, 16 keypoints, with one record per image.

    An annotation file is JSON (a list of image, center, scale, joints, joints_vis), or the official .mat, of which all
    annotated people are read.

    Args:
        data_root: the data set's folder; None looks for it in POSEPLUG_DATA and the default folders.
        split: 'train', 'val' (the split of Tompson et al. 2014) or 'trainval'.
        ann_file: another annotation file, absolute or below `data_root`.
        image_folder: the folder of the images, absolute or below `data_root`.
        headbox_file: a .mat with the head boxes of the file's people in their order (`headboxes_src`), which PCKh
            needs; None for the usual one of 'val'. The official file has its own.
        missing_images: 'error' refuses a missing image, 'drop' leaves its people out and counts them.
        follow_links: also read images that are links which lead out of the folder.

    Raises:
        AnnotationError: the split is unknown.
    """

    name = 'mpii'
    download_hint = (
        "Get 'MPII Human Pose' (images/ and mpii_human_pose_v1_u12_1.mat), and for the usual split the JSON files and "
        'gt_valid.mat of the hourglass or of HRNet, into annot/'
    )
    skeleton = MPII

    def __init__(
        self,
        data_root: str | Path | None = None,
        split: Literal['train', 'val', 'trainval'] = 'train',
        ann_file: str | Path | None = None,
        image_folder: str | Path = 'images',
        headbox_file: str | Path | None = None,
        missing_images: Literal['error', 'drop'] = 'error',
        follow_links: bool = False,
    ):
        if split not in _SPLIT_FILES:
            raise AnnotationError(f'{self.name}: split is one of {", ".join(_SPLIT_FILES)}; got {split!r}')
        self.data_root, self.image_folder = data_root, image_folder
        self.missing_images, self.follow_links = missing_images, follow_links
        self.ann_files: tuple[str, ...] = _SPLIT_FILES[split]
        self.headbox_files: tuple[str, ...] = _HEADBOX_FILES.get(split, ())
        if ann_file:
            # The usual head boxes belong to the usual annotations only.
            self.ann_files, self.headbox_files = (str(ann_file),), ()
        if headbox_file:
            self.headbox_files = (str(headbox_file),)

    def load(self) -> tuple[list[Record], SourceReport]:
        # The JSON files of HRNet and of the hourglass have the same content under other names.
        existing = [f for f in self.ann_files if (find_dataset_folder(self.data_root, self.name, f) / f).is_file()]
        ann_file = (existing or self.ann_files)[0]
        folder = locate_dataset_folder(self.data_root, self.name, ann_file, self.download_hint)
        file, report = folder / ann_file, SourceReport(folder / ann_file)
        is_official = file.suffix == '.mat'
        content = _read_official_file(file) if is_official else read_json(file)
        rows = JsonRows.from_list(file, content, 'person', id_key='image')
        keypoints, visible = _read_keypoints(rows)
        if is_official:
            head_sizes: np.ndarray | None = _read_head_sizes(rows)
        else:
            head_sizes = self._find_head_sizes(folder, keypoints, visible, report)
        return self._build_records(folder / self.image_folder, rows, keypoints, visible, head_sizes, report), report

    def _find_head_sizes(
        self, folder: Path, keypoints: np.ndarray, visible: np.ndarray, report: SourceReport
    ) -> np.ndarray | None:
        """Read (N,) head sizes in px from the file beside the annotations; None, and a note, where there is none."""
        existing = [folder / f for f in self.headbox_files if (folder / f).is_file()]
        if existing:
            return _read_headbox_file(existing[0], keypoints, visible, report.file)
        if self.headbox_files:
            report.notes.append(f'no head sizes, which PCKh needs: there is no {" or ".join(self.headbox_files)}')
        return None

    def _build_records(
        self,
        image_folder: Path,
        persons: JsonRows,
        keypoints: np.ndarray,
        visible: np.ndarray,
        head_sizes: np.ndarray | None,
        report: SourceReport,
    ) -> list[Record]:
        """Build one record per image, in the order of its first person; dropped people are counted."""
        names = check_image_names(persons, 'image')
        centers = persons.read_lists('center', 2, '2 finite numbers, x and y')
        scales = persons.read_numbers('scale', 'a finite number')
        # One record per image: its people are listed one after the other, but not always.
        image_names = list(dict.fromkeys(names))
        index_by_name = {name: i for i, name in enumerate(image_names)}
        image_indices = np.array([index_by_name[n] for n in names], dtype=np.int64)
        exists = find_images(image_folder, image_names, self.missing_images, persons.file, self.follow_links)
        # -1 and 0 stand for a person without a position or a scale.
        has_position = (centers >= 0).all(axis=1) & (scales > 0)
        selected = np.ones(len(persons), dtype=bool)
        selected = report.drop_invalid(selected, exists[image_indices], 'with a missing image')
        selected = report.drop_invalid(selected, (visible > 0).any(axis=1), 'without labeled keypoints')
        selected = report.drop_invalid(selected, has_position, 'without a position or a scale')
        report.kept = int(selected.sum())
        instances = Instances.from_annotations(
            keypoints.astype(np.float32),
            visible,
            centers=centers - _PIXEL_ORIGIN,
            scales=scales.astype(np.float32),
            head_sizes=None if head_sizes is None else head_sizes.astype(np.float32),
            annotation_ids=np.arange(len(persons)) + 1,  # the files have none: the number of the person in them
        )
        rows_by_image = group_by_image(image_indices, selected, len(image_names))
        return [
            Record(image_folder / name, name, instances[rows], self.name)
            for name, rows in zip(image_names, rows_by_image, strict=True)
            if len(rows)
        ]


def _read_keypoints(rows: JsonRows) -> tuple[np.ndarray, np.ndarray]:
    """Read keypoints (N, 16, 2) in px from 0, 0 where not labeled, and visibility (N, 16).

    `joints_vis` of the JSON files is 1 for a labeled keypoint, visible or occluded; here it becomes 2. The official
    file's flags come as `visibility`.
    """
    flat = [{**p, 'joints': flatten_pairs(p.get('joints'))} for p in rows.items]
    expected = f'{2 * _NUM_KEYPOINTS} finite numbers, x and y of {_NUM_KEYPOINTS} keypoints'
    flat_rows = JsonRows(rows.file, rows.item_noun, flat, rows.id_key)
    positions = flat_rows.read_lists('joints', 2 * _NUM_KEYPOINTS, expected).reshape(-1, _NUM_KEYPOINTS, 2)
    # The JSON files know labeled and not labeled only; the official file also says which keypoints are occluded.
    flag_key = 'visibility' if rows.has_key('visibility').any() else 'joints_vis'
    flags = rows.read_lists(flag_key, _NUM_KEYPOINTS, f'{_NUM_KEYPOINTS} flags, one per keypoint')
    wrong = ~np.isin(flags, (0, 1, 2) if flag_key == 'visibility' else (0, 1))
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{rows.file}: {rows.describe_row(int(i))}: the flag of keypoint {MPII.keypoints[k]!r} is 0 or 1; found '
            f'{flags[i, k]:g}. {FIX_FILE_HINT}'
        )
    visible = np.where(flags > 0, 2, 0) if flag_key == 'joints_vis' else flags
    keypoints = np.where(visible[..., None] > 0, positions - _PIXEL_ORIGIN, 0.0)
    return keypoints, visible.astype(np.uint8)


# --- head sizes -------------------------------------------------------------------------------------------------------


def _read_head_sizes(rows: JsonRows) -> np.ndarray:
    """Read (N,) head sizes in px from the head boxes of the official file."""
    boxes = rows.read_lists('head_box', 4, '4 finite numbers, x1, y1, x2 and y2 of the head')
    return _boxes_to_head_sizes(boxes, rows.file)


def _read_headbox_file(file: Path, keypoints: np.ndarray, visible: np.ndarray, ann_file: Path) -> np.ndarray:
    """Read (N,) head sizes in px from `headboxes_src` (2, 2, N), whose people must be those of the annotations."""
    boxes = read_matlab_array(file, 'headboxes_src')
    if boxes.shape != (2, 2, len(keypoints)):
        raise AnnotationError(
            f'{file}: headboxes_src has shape {boxes.shape}, but {ann_file} has {len(keypoints):,} people, which makes '
            f'(2, 2, {len(keypoints)}). Take both from one archive'
        )
    positions = read_matlab_array(file, 'pos_gt_src')
    # Compared before any arithmetic: arrays of other shapes would fail, or broadcast to a wrong result.
    same_shape = positions.shape == (_NUM_KEYPOINTS, 2, len(keypoints))
    # The boxes carry no names: only their keypoints show that the two files have the same people in the same order.
    if not same_shape or _keypoints_differ(positions.transpose(2, 0, 1) - _PIXEL_ORIGIN, keypoints, visible):
        raise AnnotationError(
            f'{file}: its keypoints, pos_gt_src, are not those of {ann_file}: other people, or in another order. Take '
            f'both from one archive'
        )
    # (2, 2, N) is (corner, axis, N) here, so that the flattened four are x1, y1, x2, y2.
    return _boxes_to_head_sizes(boxes.reshape(4, -1).T, file)


def _keypoints_differ(points: np.ndarray, keypoints: np.ndarray, visible: np.ndarray) -> bool:
    """Return whether two sets of keypoints (N, 16, 2) differ, by the median distance of the labeled ones."""
    distances = np.linalg.norm(points - keypoints, axis=-1)[visible > 0]
    # `not <=` instead of `>`, so that NaN counts as a difference.
    return bool(len(distances)) and not np.median(distances) <= _MAX_MEDIAN_DISTANCE_PX


def _boxes_to_head_sizes(boxes: np.ndarray, file: Path) -> np.ndarray:
    """Return 0.6 of the diagonals of boxes (N, 4), xyxy."""
    sizes = _HEAD_SIZE_FRACTION * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    if not (sizes > 0).all():
        first = int(np.argmin(sizes > 0))
        raise AnnotationError(
            f'{file}: the head box of person {first + 1} has no extent: {boxes[first].tolist()}. {FIX_FILE_HINT}'
        )
    return np.asarray(sizes)


# --- the official file ------------------------------------------------------------------------------------------------


def _read_official_file(file: Path) -> list[dict[str, Any]]:
    """Read RELEASE.annolist as the list of the JSON files, with `head_box` and `visibility` added."""
    return convert_matlab_array(file, 'RELEASE', _list_annotated_persons)


def _list_annotated_persons(release: MatlabArray) -> list[dict[str, Any]]:
    """List the people with keypoints in the training images."""
    (fields,) = release.to_structs()
    is_train = _get_numbers(fields, 'img_train').ravel()
    images = _get_structs(fields, 'annolist')
    if len(is_train) != len(images):
        raise ValueError(f"its 'annolist' has {len(images):,} images, its 'img_train' {len(is_train):,}")
    return [person for image, flag in zip(images, is_train, strict=True) if flag for person in _list_persons(image)]


def _list_persons(image_entry: _StructFields) -> list[dict[str, Any]]:
    """List the people of one entry of annolist; those without keypoints are left out."""
    (image,) = _get_structs(image_entry, 'image')
    name = image['name'].to_text() if 'name' in image else ''
    persons = []
    for person in _get_structs(image_entry, 'annorect'):
        points = [p for a in _get_structs(person, 'annopoints') for p in _get_structs(a, 'point')]
        if not points:
            continue
        positions, visibility = _order_keypoints_by_id(points)
        centers = [[_get_number(o, 'x'), _get_number(o, 'y')] for o in _get_structs(person, 'objpos')[:1]]
        row = dict(
            image=name,
            joints=positions,
            visibility=visibility,
            center=centers[0] if centers else [-1.0, -1.0],
            scale=_get_number(person, 'scale', 0.0),
            head_box=[_get_number(person, key) for key in ('x1', 'y1', 'x2', 'y2')],
        )
        persons.append(row)
    return persons


def _order_keypoints_by_id(points: Sequence[_StructFields]) -> tuple[list[list[float]], list[int]]:
    """Return positions and visibility in the order of keypoint ids; an empty flag counts as visible."""
    positions, visibility = [[0.0, 0.0] for _ in range(_NUM_KEYPOINTS)], [0] * _NUM_KEYPOINTS
    for point in points:
        number = _get_number(point, 'id', -1.0)
        # A float is in a range of ints if it is a whole number.
        if number not in range(_NUM_KEYPOINTS):
            raise ValueError(f'a keypoint of id {number:g}')
        # Keypoints that are not labeled are missing in the list, so that its order alone says nothing.
        positions[int(number)] = [_get_number(point, 'x'), _get_number(point, 'y')]
        visibility[int(number)] = 1 if _read_visibility_flag(point) == 0 else 2
    return positions, visibility


def _read_visibility_flag(point: _StructFields) -> float | None:
    """Read `is_visible`, which is a number, a digit as text, or empty."""
    if 'is_visible' not in point:
        return None
    flag = point['is_visible'].to_python()
    if isinstance(flag, str):
        return float(flag or 1)
    return _get_number(point, 'is_visible', 1.0)


def _get_structs(parent: _StructFields, field: str) -> list[dict[str, MatlabArray]]:
    """Return the structs in a field; none if the field is absent or empty."""
    return parent[field].to_structs() if field in parent else []


def _get_numbers(parent: _StructFields, field: str) -> np.ndarray:
    """Return the array of numbers in a field; an empty one if the field is absent."""
    return parent[field].to_numbers() if field in parent else np.zeros(0)


def _get_number(parent: _StructFields, field: str, default: float | None = None) -> float:
    """Return the only number in a field, or the default if the field is absent or empty."""
    values = _get_numbers(parent, field).ravel()
    if len(values) > 1 or (not len(values) and default is None):
        raise ValueError(f'{len(values)} numbers for {field!r}')
    return float(values[0]) if len(values) else float(default or 0)
