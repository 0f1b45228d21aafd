"""MPII Human Pose, from the JSON files of the usual split or from the official MATLAB file (Andriluka et al. 2014).

Everything in these files counts pixels from 1, as MATLAB does, and from 0 in the records: joints and position are one
less. Position and scale (person height / 200 px) are otherwise the file's own. The recipes of the hourglass and of
HRNet move the position down by 15 px times the scale and enlarge the scale by 1.25; that is theirs to do, not the
reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.datasets.sources.base import Report, Source, folder_of, locate
from poseplug.datasets.sources.coco_format import by_picture
from poseplug.datasets.sources.json_file import ANEW, Rows, check_names, find_pictures, flattened, read_json
from poseplug.datasets.sources.matlab import Array, read_array, read_as
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeletons.mpii import MPII

Fields = Mapping[str, Array]  # of a struct in the official file
K = len(MPII)
HEAD_OF_DIAGONAL = 0.6  # PCKh's head size is this share of the diagonal of the head's rectangle
ORIGIN = 1.0  # the files count from 1
CLOSE = 5.0  # px: the median distance from which on two files do not hold the same people
OFFICIAL = 'mpii_human_pose_v1_u12_1.mat'
FILES = {
    'train': ('annotations/mpii_train.json', 'annot/train.json'),
    'val': ('annotations/mpii_val.json', 'annot/valid.json'),
    'trainval': ('annotations/mpii_trainval.json', 'annot/trainval.json', OFFICIAL, f'annotations/{OFFICIAL}'),
}
HEADS = {'val': ('annotations/mpii_gt_val.mat', 'annot/gt_valid.mat')}


@SOURCES.register_module()
class MPIISource(Source):
    """MPII, 16 joints, one record a picture: `half` is 'train', 'val' (the split of Tompson et al. 2014) or 'trainval'.

    `annotations` names a file below `root`: JSON (a list of image, center, scale, joints, joints_vis) or the official
    .mat, of which all annotated people are read. `heads` names the .mat with the head rectangles of the file's people
    in their order (`headboxes_src`), by default the usual one of 'val'; the official file has its own. A missing
    picture is an error, or a counted drop with `missing='drop'`.
    """

    name = 'mpii'
    how = (
        "Get 'MPII Human Pose' (images/ and mpii_human_pose_v1_u12_1.mat), and for the usual split the JSON files and "
        'gt_valid.mat of the hourglass or of HRNet, into annot/'
    )
    skeleton = MPII

    def __init__(
        self,
        root: str | Path | None = None,
        half: Literal['train', 'val', 'trainval'] = 'train',
        annotations: str | Path | None = None,
        images: str | Path = 'images',
        heads: str | Path | None = None,
        missing: Literal['error', 'drop'] = 'error',
    ):
        if half not in FILES:
            raise AnnotationError(f'{self.name}: half is one of {", ".join(FILES)}; got {half!r}')
        self.root, self.images, self.missing = root, images, missing
        self.files = (str(annotations),) if annotations else FILES[half]
        self.heads = (str(heads),) if heads else () if annotations else HEADS.get(half, ())

    def load(self) -> tuple[list[Record], Report]:
        there = [f for f in self.files if (folder_of(self.root, self.name, f) / f).is_file()]
        wanted = (there or self.files)[0]
        folder = locate(self.root, self.name, wanted, self.how)
        file, report = folder / wanted, Report(folder / wanted)
        official = file.suffix == '.mat'
        content = read_official(file) if official else read_json(file)
        people = Rows.of(file, content, 'person', known_by='image')
        joints, visible = joints_of(people)
        heads = head_sizes(people) if official else self._heads(folder, joints, visible, report)
        return self._records(folder / self.images, people, joints, visible, heads, report), report

    def _heads(self, folder: Path, joints: np.ndarray, visible: np.ndarray, report: Report) -> np.ndarray | None:
        """(N,) head sizes in px out of the file beside the annotations; None, and a note, where there is none."""
        there = [folder / f for f in self.heads if (folder / f).is_file()]
        if there:
            return read_heads(there[0], joints, visible, report.file)
        if self.heads:
            report.notes.append(f'no head sizes, which PCKh needs: there is no {" or ".join(self.heads)}')
        return None

    def _records(
        self,
        images: Path,
        people: Rows,
        joints: np.ndarray,
        visible: np.ndarray,
        heads: np.ndarray | None,
        report: Report,
    ) -> list[Record]:
        """One record a picture, in the order of the first of its people; every person left out is counted."""
        names = check_names(people, 'image')
        centers = people.lists('center', 2, '2 finite numbers, x and y')
        scales = people.numbers('scale', 'a finite number')
        pictures = list(dict.fromkeys(names))
        place = np.array([{n: i for i, n in enumerate(pictures)}[n] for n in names] if names else [], dtype=np.int64)
        there = find_pictures(images, pictures, self.missing, people.file)
        kept = np.ones(len(people), dtype=bool)
        for good, cause in (
            (there[place], 'with their picture missing'),
            ((visible > 0).any(axis=1), 'without a labelled joint'),
            ((centers >= 0).all(axis=1) & (scales > 0), 'without a position or a scale'),
        ):
            report.dropped.update({cause: n} if (n := int((kept & ~good).sum())) else {})
            kept = kept & good
        report.kept = int(kept.sum())
        return [
            Record(
                path=images / pictures[i],
                id=pictures[i],
                keypoints=joints[rows].astype(np.float32),
                visible=visible[rows],
                source=self.name,
                centers=centers[rows] - ORIGIN,
                scales=scales[rows].astype(np.float32),
                heads=None if heads is None else heads[rows].astype(np.float32),
                numbers=rows + 1,
            )
            for i, rows in enumerate(by_picture(place, kept, len(pictures)))
            if len(rows)
        ]


def joints_of(people: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 16, 2) in pixels from 0, 0 where not labelled, and visibility (N, 16).

    `joints_vis` of the JSON files is 1 for a labelled joint and tells nothing of occlusion, which becomes 2.
    The official file's flags come as `visibility`.
    """
    flat = [{**p, 'joints': flattened(p.get('joints'))} for p in people.items]
    points = Rows(people.file, people.what, flat, people.known_by).lists(
        'joints', 2 * K, f'{2 * K} finite numbers, x and y of {K} joints'
    )
    given = 'visibility' if people.has('visibility').any() else 'joints_vis'
    flags = people.lists(given, K, f'{K} flags, one a joint')
    known = (0, 1, 2) if given == 'visibility' else (0, 1)
    if not np.isin(flags, known).all():
        i, joint = np.argwhere(~np.isin(flags, known))[0]
        raise AnnotationError(
            f'{people.file}: {people.name(int(i))}: the flag of joint {MPII.joints[joint]!r} is 0 or 1; found '
            f'{flags[i, joint]:g}. {ANEW}'
        )
    visible = np.where(flags > 0, 2, 0) if given == 'joints_vis' else flags
    return np.where(visible[..., None] > 0, points.reshape(-1, K, 2) - ORIGIN, 0.0), visible.astype(np.uint8)


# --- head sizes -------------------------------------------------------------------------------------------------------


def head_sizes(people: Rows) -> np.ndarray:
    """(N,) px: 0.6 of the diagonal of every person's head rectangle."""
    return diagonals(people.lists('head', 4, '4 finite numbers, x1, y1, x2 and y2 of the head'), people.file)


def read_heads(file: Path, joints: np.ndarray, visible: np.ndarray, annotations: Path) -> np.ndarray:
    """(N,) head sizes in px from `headboxes_src` (2, 2, N), whose people must be those of the annotations."""
    boxes = read_array(file, 'headboxes_src')
    if boxes.shape != (2, 2, len(joints)):
        raise AnnotationError(
            f'{file}: headboxes_src has shape {boxes.shape}, but {annotations} has {len(joints):,} people, which makes '
            f'(2, 2, {len(joints)}). Take both from one archive'
        )
    points = read_array(file, 'pos_gt_src')
    if points.shape != (K, 2, len(joints)) or far(points.transpose(2, 0, 1) - ORIGIN, joints, visible):
        raise AnnotationError(
            f'{file}: its joints, pos_gt_src, are not those of {annotations}: other people, or in another order. Take '
            f'both from one archive'
        )
    return diagonals(boxes.reshape(4, -1).T, file)


def far(points: np.ndarray, joints: np.ndarray, visible: np.ndarray) -> bool:
    """Whether two sets of joints (N, 16, 2) are not the same, by the median distance of the labelled ones."""
    away = np.linalg.norm(points - joints, axis=-1)[visible > 0]
    return bool(len(away)) and not np.median(away) <= CLOSE


def diagonals(boxes: np.ndarray, file: Path) -> np.ndarray:
    """0.6 of the diagonals of rectangles (N, 4), x1, y1, x2, y2."""
    sizes = HEAD_OF_DIAGONAL * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    if not (sizes > 0).all():
        first = int(np.argmin(sizes > 0))
        raise AnnotationError(
            f'{file}: the head rectangle of person {first + 1} has no extent: {boxes[first].tolist()}. {ANEW}'
        )
    return np.asarray(sizes)


# --- the official file ------------------------------------------------------------------------------------------------


def read_official(file: Path) -> list[dict[str, Any]]:
    """The annotated people of RELEASE.annolist, as the JSON files have them, with `head` and `visibility`."""
    return read_as(file, 'RELEASE', annotated)


def annotated(release: Array) -> list[dict[str, Any]]:
    """Everybody in the pictures for training who has joints."""
    (whole,) = release.structs()
    train = numbers(whole, 'img_train').ravel()
    pictures = structs(whole, 'annolist')
    if len(train) != len(pictures):
        raise ValueError(f"its 'annolist' has {len(pictures):,} pictures, its 'img_train' {len(train):,}")
    return [person for picture, flag in zip(pictures, train, strict=True) if flag for person in people_of(picture)]


def people_of(picture: Fields) -> list[dict[str, Any]]:
    """The people of one entry of annolist, without those who have no joints."""
    (image,) = structs(picture, 'image')
    name = image['name'].text() if 'name' in image else ''
    found = []
    for person in structs(picture, 'annorect'):
        points = [p for a in structs(person, 'annopoints') for p in structs(a, 'point')]
        if points:
            joints, visibility = joints_by_id(points)
            found.append(
                dict(
                    image=name,
                    joints=joints,
                    visibility=visibility,
                    center=next(([single(o, 'x'), single(o, 'y')] for o in
                                 structs(person, 'objpos')), [-1.0, -1.0]),
                    scale=single(person, 'scale', 0.0),
                    head=[single(person, key) for key in ('x1', 'y1', 'x2', 'y2')],
                )
            )  # fmt: skip
    return found


def joints_by_id(points: Sequence[Fields]) -> tuple[list[list[float]], list[int]]:
    """Joints in the order of their ids and how visible each is; one whose flag is empty counts as visible."""
    joints, visibility = [[0.0, 0.0] for _ in range(K)], [0] * K
    for point in points:
        number = single(point, 'id', -1.0)
        if number not in range(K):
            raise ValueError(f'a joint of id {number:g}')
        place = int(number)
        joints[place] = [single(point, 'x'), single(point, 'y')]
        visibility[place] = 1 if flag_of(point) == 0 else 2
    return joints, visibility


def flag_of(point: Fields) -> float | None:
    """`is_visible`, which is a number, a digit or empty."""
    if 'is_visible' not in point:
        return None
    flag = point['is_visible'].plain()
    if isinstance(flag, str):
        return float(flag or 1)
    return single(point, 'is_visible', 1.0)


def structs(parent: Fields, field: str) -> list[dict[str, Array]]:
    """The structs in a field; none where the field is absent or empty."""
    return parent[field].structs() if field in parent else []


def numbers(parent: Fields, field: str) -> np.ndarray:
    """The array of numbers in a field; an empty one where the field is absent."""
    return parent[field].numbers() if field in parent else np.zeros(0)


def single(parent: Fields, field: str, default: float | None = None) -> float:
    """The one number in a field, or the default where it is absent or empty."""
    values = numbers(parent, field).ravel()
    if len(values) > 1 or (not len(values) and default is None):
        raise ValueError(f'{len(values)} numbers for {field!r}')
    return float(values[0]) if len(values) else float(default or 0)
