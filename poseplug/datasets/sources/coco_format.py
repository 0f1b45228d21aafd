"""The one reader of keypoints in COCO's JSON format (cocodataset.org, format-data), for every data set that uses it.

`images` (id, file_name, width, height), `annotations` (id, image_id, bbox x, y, width, height, keypoints x, y, flag,
area, iscrowd) and `categories`. What it does with every kind of defect is told in docs/bad_input.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.datasets.images import Picture
from poseplug.datasets.outlines import read_outline
from poseplug.datasets.sources.base import Report
from poseplug.datasets.sources.boxes import check_format, clipped, corners, has_extent
from poseplug.datasets.sources.json_file import ANEW, Rows, check_names, find_pictures, read_json, told
from poseplug.errors import AnnotationError, ImageError
from poseplug.grouping.nms import box_areas
from poseplug.sample import AREA_OF_BOX, Record
from poseplug.skeleton import Skeleton

LARGEST_AREA = 1e14  # px²
PERSON = 'person'


@dataclass(frozen=True)
class CocoFormat:
    """How a data set uses COCO's format.

    `file_joints` are the joints' names in the file where they differ from the skeleton's. `areas=False`: the file's
    areas are not believed, 0.53 of the box counts (CrowdPose's rule). `min_joints`: people with fewer labelled ones are
    no targets; they are counted, and their boxes join the ignored ones. `empty`: pictures without people are records,
    too. `sizes`: of how many pictures, spread evenly, the size that the file states is compared with the picture's.
    `outlines`: the shapes of people and of ignored regions are kept.
    """

    skeleton: Skeleton
    source: str
    missing: str = 'error'
    min_joints: int = 1
    empty: bool = False
    areas: bool = True
    sizes: int = 64
    outlines: bool = False
    file_joints: Mapping[str, str] = field(default_factory=dict)

    def read(self, file: Path, images: Path) -> tuple[list[Record], Report]:
        """The records of a file whose pictures lie in the folder `images`; kept + dropped = all its annotations."""
        records, report, _ = self.read_with_sizes(file, images)
        return records, report

    def read_with_sizes(self, file: Path, images: Path) -> tuple[list[Record], Report, dict[int, tuple[int, int]]]:
        """Records and report, and (width, height) of every picture in the file by its id."""
        if self.min_joints < 1:
            raise AnnotationError(f'{self.source}: min_joints is 1 or more; got {self.min_joints}')
        content = read_json(file)
        if not isinstance(content, dict):
            raise AnnotationError(
                f"{file}: COCO's format is an object with images, annotations and categories; found {told(content)}. "
                f'This is another file'
            )
        for key in ('images', 'annotations'):
            if key not in content:
                raise AnnotationError(f"{file}: it has no '{key}', only {', '.join(content) or 'nothing'}. {ANEW}")
        report = Report(file)
        category = self._category(file, content.get('categories'), report)
        pictures = Pictures.read(Rows.of(file, content['images'], 'picture'), images, self.missing)
        annotations = Rows.of(file, content['annotations'], 'annotation')
        people = People.read(annotations, pictures, self.skeleton)
        outlines = outlines_of(annotations) if self.outlines else None
        check_sizes(pictures, images, self.sizes, file)
        kept, ignored = self._chosen(people, pictures, category, report)
        self._note(people, pictures, kept, report)
        records = self._records(people, pictures, kept, ignored, images, outlines)
        return records, report, pictures.size_by_id()

    def _category(self, file: Path, categories: Any, report: Report) -> int | None:
        """The id of people among the categories, whose joints must be the skeleton's; None where nothing is said."""
        if categories is None:
            report.notes.append(f'no categories: the joints are taken for those of {self.skeleton.name!r} in order')
            return None
        rows = Rows.of(file, categories, 'category')
        names = [item.get('name') for item in rows.items]
        if PERSON not in names:
            raise AnnotationError(f'{file}: no category is {PERSON!r}; it has {told(names)}. This is another file')
        place = names.index(PERSON)
        joints = rows.items[place].get('keypoints')
        if joints is not None and self._named(joints) != list(self.skeleton.joints):
            raise rows.wrong(place, 'keypoints', f'the {len(self.skeleton)} joints {", ".join(self.skeleton.joints)}')
        return int(rows.wholes('id')[place])

    def _named(self, joints: Any) -> list[Any]:
        """The joints of a file by the names that the skeleton has for them."""
        known = joints if isinstance(joints, list) else []
        return [self.file_joints.get(j, j) if isinstance(j, str) else None for j in known]

    def _chosen(
        self, people: People, pictures: Pictures, category: int | None, report: Report
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which annotations are people to learn from, and which are regions to ignore; every drop is counted."""
        at = np.maximum(people.picture, 0)
        there = pictures.there[at] if len(pictures.ids) else np.zeros(len(people.ids), dtype=bool)
        size = people.boxes[:, 2:] - people.boxes[:, :2]
        kept = seen = np.ones(len(people.ids), dtype=bool)
        few = f'with fewer than {self.min_joints} labelled joints (ignored regions)'
        for good, cause in (
            ((people.category == category) if category is not None else kept.copy(), 'of another category'),
            (people.picture >= 0, 'of pictures that the file does not list'),
            (there, 'with their picture missing'),
            (~people.crowd, 'that are crowds (ignored regions)'),
            (people.labelled > 0, 'without a labelled joint (ignored regions)'),
            (people.labelled >= self.min_joints, few),
            (people.boxed, 'without a box'),
            ((size > 0).all(axis=1), 'with a box of no extent'),
            (has_extent(people.clipped), 'with a box outside their picture'),
        ):
            report.dropped.update({cause: n} if (n := int((kept & ~good).sum())) else {})
            kept = kept & good
            seen = kept if cause == 'with their picture missing' else seen
        report.kept = int(kept.sum())
        return kept, seen & ~kept

    def _note(self, people: People, pictures: Pictures, kept: np.ndarray, report: Report) -> None:
        """What was kept although something about it is odd."""
        size = pictures.sizes[people.picture[kept]]
        points = people.keypoints[kept]
        beyond = ((points < -0.5) | (points > size[:, None] - 0.5)).any(axis=-1) & (people.visible[kept] > 0)
        lying = people.stated[kept] != people.labelled[kept]
        guessed = kept & (people.areas <= 0)
        for count, note in (
            (beyond.sum(), 'joints outside their picture, which a dataset counts as not labelled'),
            (lying.sum(), 'people whose num_keypoints contradicts their joints, which count'),
            (guessed.sum() if self.areas else 0, f'people without an area, for whom {AREA_OF_BOX} of the box counts'),
        ):
            report.notes += [f'{count:,} {note}'] if count else []
        report.notes += [] if len(people.ids) else ['nobody is annotated']

    def _records(
        self,
        people: People,
        pictures: Pictures,
        kept: np.ndarray,
        ignored: np.ndarray,
        images: Path,
        outlines: np.ndarray | None = None,
    ) -> list[Record]:
        """One record a picture that has somebody, in the order of the file."""
        believed = people.areas > 0 if self.areas else np.zeros(len(people.ids), dtype=bool)
        areas = np.where(believed, people.areas, AREA_OF_BOX * box_areas(people.boxes))
        of_kept, of_ignored = (by_picture(people.picture, mask, len(pictures.ids)) for mask in (kept, ignored))
        regions, real = people.regions()
        of_regions = np.where(areas > 0, areas, box_areas(regions))
        records = []
        for i in np.flatnonzero(pictures.there):
            rows, region = of_kept[i], of_ignored[i][real[of_ignored[i]]]
            if not len(rows) and not self.empty:
                continue
            crowd_index = pictures.crowd_index[i]
            records.append(
                Record(
                    path=images / pictures.names[i],
                    id=str(pictures.ids[i]),
                    keypoints=people.keypoints[rows].astype(np.float32),
                    visible=people.visible[rows],
                    source=self.source,
                    boxes=people.clipped[rows],
                    areas=areas[rows],
                    numbers=people.ids[rows],
                    ignore=regions[region],
                    ignore_areas=of_regions[region],
                    ignore_crowds=people.crowd[region],
                    outlines=None if outlines is None else outlines[rows],
                    ignore_outlines=None if outlines is None else outlines[region],
                    crowd_index=None if np.isnan(crowd_index) else float(crowd_index),
                )
            )
        return records


@dataclass
class Pictures:
    """The pictures of a file: `ids` (P,), `names`, `sizes` (P, 2), `crowd_index` (P,; NaN: none), `there` (P,)."""

    ids: np.ndarray
    names: list[str]
    sizes: np.ndarray
    crowd_index: np.ndarray
    there: np.ndarray

    @classmethod
    def read(cls, rows: Rows, folder: Path, missing: str) -> Pictures:
        ids = rows.wholes('id')
        rows.distinct('id', ids.tolist())
        names = check_names(rows, 'file_name')
        sizes = np.stack([rows.numbers(key, 'a number of pixels') for key in ('width', 'height')], axis=1)
        if not (sizes >= 1).all():
            i, j = np.argwhere(~(sizes >= 1))[0]
            raise rows.wrong(int(i), ('width', 'height')[j], '1 pixel at least')
        crowd_index = rows.numbers('crowdIndex', 'a finite number', default=-1.0)
        crowd_index[~rows.has('crowdIndex')] = np.nan
        return cls(ids, names, sizes, crowd_index, find_pictures(folder, names, missing, rows.file))

    def size_by_id(self) -> dict[int, tuple[int, int]]:
        """(width, height) by id."""
        return {i: (w, h) for i, (w, h) in zip(self.ids.tolist(), self.sizes.astype(int).tolist(), strict=True)}


@dataclass
class People:
    """The annotations of a file: `picture` (N,) is a place among the pictures, or -1 for one that is not listed.

    `boxes` (N, 4) two corners as in the file, `clipped` inside the picture; `boxed` which have one at all; `labelled`
    (N,) numbers of joints, `stated` as the file says.
    """

    ids: np.ndarray
    picture: np.ndarray
    category: np.ndarray
    crowd: np.ndarray
    boxes: np.ndarray
    clipped: np.ndarray
    boxed: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray
    labelled: np.ndarray
    stated: np.ndarray
    areas: np.ndarray

    @classmethod
    def read(cls, rows: Rows, pictures: Pictures, skeleton: Skeleton) -> People:
        ids = rows.wholes('id')
        rows.distinct('id', ids.tolist())
        places = {n: i for i, n in enumerate(pictures.ids.tolist())}
        picture = np.array([places.get(n, -1) for n in rows.wholes('image_id').tolist()], dtype=np.int64)
        boxes = corners(rows.lists('bbox', 4, '4 finite numbers, x, y, width and height', [0] * 4), 'xywh')
        sizes = pictures.sizes[picture] if len(pictures.ids) else np.zeros((len(ids), 2))
        boxed = rows.has('bbox')
        check_format(boxes[boxed & (picture >= 0)], sizes[boxed & (picture >= 0)], 'xywh', rows.file)
        points, visible = joints_of(rows, skeleton)
        labelled = (visible > 0).sum(axis=1)
        stated = rows.wholes('num_keypoints', default=-1)
        return cls(
            ids=ids,
            picture=picture,
            category=rows.wholes('category_id', default=1),
            crowd=flags_of(rows, 'iscrowd'),
            boxes=boxes,
            clipped=clipped(boxes, sizes),
            boxed=boxed,
            keypoints=points,
            visible=visible,
            labelled=labelled,
            stated=np.where(stated < 0, labelled, stated),
            areas=rows.numbers('area', 'a finite number', default=0.0, most=LARGEST_AREA),
        )

    def regions(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, 4) where everybody is: the box, or the hull of the joints; and (N,) for whom that holds anything."""
        known = self.visible[..., None] > 0
        low = np.where(known, self.keypoints, np.inf).min(axis=1)
        high = np.where(known, self.keypoints, -np.inf).max(axis=1)
        hull = np.concatenate([low, high], axis=1)
        regions = np.where(has_extent(self.clipped)[:, None], self.clipped, hull)
        return regions, has_extent(regions) & np.isfinite(regions).all(axis=1)


def joints_of(rows: Rows, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, K, 2), 0 where not labelled, and their flags (N, K): 0 not labelled, 1 occluded, 2 visible."""
    count = len(skeleton)
    wanted = f'{3 * count} finite numbers, x, y and flag of {count} joints'
    values = rows.lists('keypoints', 3 * count, wanted, [0] * (3 * count)).reshape(-1, count, 3)
    wrong = ~np.isin(values[..., 2], (0, 1, 2))
    if wrong.any():
        i, joint = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{rows.file}: {rows.name(int(i))}: the flag of joint {skeleton.joints[joint]!r} is 0, 1 or 2; found '
            f'{values[i, joint, 2]:g}. {ANEW}'
        )
    visible = values[..., 2].astype(np.uint8)
    return np.where(visible[..., None] > 0, values[..., :2], 0.0), visible


def outlines_of(rows: Rows) -> np.ndarray:
    """(N,) the shapes of the annotations, None where one has none."""
    outlines = np.full(len(rows), None, dtype=object)
    for i, item in enumerate(rows.items):
        try:
            outlines[i] = read_outline(item.get('segmentation'))
        except ValueError as error:
            raise rows.wrong(i, 'segmentation', str(error)) from None
    return outlines


def flags_of(rows: Rows, key: str) -> np.ndarray:
    """(N,) a column of 0 and 1, absent being 0."""
    values = rows.wholes(key, '0 or 1', default=0)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise rows.wrong(int(np.argmax(wrong)), key, '0 or 1')
    return values == 1


def by_picture(picture: np.ndarray, mask: np.ndarray, count: int) -> list[np.ndarray]:
    """For each of `count` pictures, the places of its annotations in the mask, in the order of the file."""
    chosen = np.flatnonzero(mask)
    chosen = chosen[np.argsort(picture[chosen], kind='stable')]
    return np.split(chosen, np.cumsum(np.bincount(picture[chosen], minlength=count))[:-1]) if count else []


def check_sizes(pictures: Pictures, folder: Path, count: int, file: Path) -> None:
    """An error where one of `count` pictures, spread evenly, has another size than the file says."""
    there = np.flatnonzero(pictures.there)
    chosen = np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int))
    for i in there[chosen]:
        stated = tuple(int(v) for v in pictures.sizes[i])
        try:
            size = Picture(folder / pictures.names[i]).size
        except ImageError:
            continue  # told when it is decoded, and by tools/dataset.py verify
        if size != stated:
            turned = ' (turned?)' if size == stated[::-1] else ''
            raise AnnotationError(
                f'{file}: picture {pictures.names[i]} is {stated[0]} x {stated[1]} px but the file in {folder} has '
                f'{size[0]} x {size[1]}{turned}: its joints would lie elsewhere. Fetch the pictures that belong to the '
                f'annotations'
            )
