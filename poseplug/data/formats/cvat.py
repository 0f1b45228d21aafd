"""CVAT's own XML (version 1.1, for images and for videos): skeletons of named points, and loose points and boxes."""

from __future__ import annotations

__all__ = ['CvatFormat']

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.shape_groups import LabeledShape, ShapeGrouper
from poseplug.files.xml_file import XmlElement, read_xml
from poseplug.registry import LABEL_FORMATS

_FRAME_NAME = 'frame_{:06d}'  # CVAT's names of a video's frames, which it exports as .PNG or .jpg
_FRAME_SUFFIXES = ('.PNG', '.png', '.jpg', '.jpeg')
_IMAGE_FOLDERS = ('', 'images', 'images/train', 'images/default')
_UNUSABLE_SHAPES = ('polygon', 'polyline', 'ellipse', 'cuboid', 'mask', 'points', 'box')


@LABEL_FORMATS.register_module(name='cvat')
class CvatFormat(LabelFormat):
    """CVAT for images or for video, version 1.1: an annotations.xml, or the folder that contains it.

    A skeleton is an instance. Its points that are `outside` are not labeled, those that are `occluded` are occluded. In
    files without skeletons, shapes of one `group_id` are an instance, with points named by their label; or, where a
    shape has several points, each such shape is one, with numbered keypoints. CVAT's other export of keypoints, 'COCO
    Keypoints', is a COCO file.
    """

    name = 'cvat'
    title = 'CVAT XML'

    def matches(self, path: Path) -> bool:
        file = _find_file(path)
        return file is not None and read_xml(file).tag == 'annotations'

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = _find_file(path)
        if file is None:
            raise AnnotationError(f'{path}: no annotations.xml, which an export of CVAT has')
        root = read_xml(file)
        if root.tag != 'annotations':
            raise AnnotationError(f'{file}: CVAT writes an element <annotations>; found <{root.tag}>')
        collector = LabelCollector(self.title, path, image_folder or file.parent)
        keypoints = _read_skeletons(root)
        if keypoints:
            _CvatReader(collector, file, keypoints).add_all(root)
        else:
            _LoosePointReader(collector, file, root).add_all()
        return collector.finish_labels()


def _find_file(path: Path) -> Path | None:
    """The XML file itself, or the one of a folder."""
    if path.is_file():
        return path if path.suffix == '.xml' else None
    file = path / 'annotations.xml'
    return file if file.is_file() else None


def _read_skeletons(root: XmlElement) -> dict[str, list[str]]:
    """The names of the keypoints of every skeleton, from the labels or, without them, from the annotations."""
    labels = list(root.iterate_elements('label'))
    parents = {label.find_text('name') for label in labels if label.find_text('type') == 'skeleton'}
    # CVAT lists the points of a skeleton as labels of their own, which name their parent.
    keypoints: dict[str, list[str]] = {name: [] for name in parents}
    for label in labels:
        parent = label.find_text('parent')
        if parent in keypoints and (name := label.find_text('name')) not in keypoints[parent]:
            keypoints[parent].append(name)
    # In a file without the labels of its project, the annotations alone name the points.
    labeled = [(_get_label(parent), skeleton) for parent in root.find_all('track') for skeleton in parent.children]
    labeled += [(_get_label(shape), shape) for image in root.find_all('image') for shape in image.find_all('skeleton')]
    for skeleton_name, skeleton in labeled:
        names = keypoints.setdefault(skeleton_name, [])
        names += [name for point in skeleton.find_all('points') if (name := _get_label(point)) not in names]
    # A skeleton without labels has no points here: it would become a category without keypoints.
    return {name: names for name, names in keypoints.items() if names}


def _get_label(element: XmlElement) -> str:
    return element.attributes.get('label', '')


def _read_integer(file: Path, element: XmlElement, key: str) -> int:
    """The whole number in an attribute; 0 without it."""
    return _parse_integer(file, element, key, element.attributes.get(key, '0'))


def _parse_integer(file: Path, element: XmlElement, key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise AnnotationError(
            f'{file}, line {element.line}: {key} of <{element.tag}> is a whole number; found {text!r}'
        ) from None


class _CvatReader:
    """Adds the images and skeletons of a file."""

    def __init__(self, collector: LabelCollector, file: Path, keypoints: dict[str, list[str]]):
        self.collector, self.file, self.keypoints = collector, file, keypoints
        self._image_lines: dict[str, int] = {}  # of the images, by their name
        self.category_ids = {name: collector.add_category(name, names) for name, names in keypoints.items()}

    def add_all(self, root: XmlElement) -> None:
        """Add the images, or the frames of tracks."""
        for image in root.find_all('image'):
            self._add_image(image)
        for track in root.find_all('track'):
            self._add_track(root, track)

    def _add_image(self, image: XmlElement) -> None:
        """Add an image with its skeletons; other shapes are counted as dropped."""
        name = _locate_image(self.collector, image.attributes.get('name', ''))
        size = (_read_integer(self.file, image, 'width'), _read_integer(self.file, image, 'height'))
        if name is None:
            self.collector.note_missing_image(image.attributes.get('name', ''))
            for shape in (child for child in image.children if child.tag in ('skeleton', *_UNUSABLE_SHAPES)):
                self._drop_element(shape, 'whose image is not in its folder')
            return
        # Subsets are CVAT's splits, which its XML keeps per image.
        values = {'split': subset} if (subset := image.attributes.get('subset')) else {}
        if name in self._image_lines:
            raise AnnotationError(
                f'{self.file}, line {image.line}: image {name} comes again, after line {self._image_lines[name]}; '
                f'leave one of the two out'
            )
        self._image_lines[name] = image.line
        image_id = _add_image(self.collector, self.file, image, name, size, values)
        if image_id is None:
            return
        for shape in image.children:
            if shape.tag == 'skeleton':
                self._add_skeleton(image_id, shape)
            elif shape.tag in _UNUSABLE_SHAPES:
                self._drop_element(shape, f'of type {shape.tag}, which is not part of a skeleton')

    def _add_track(self, root: XmlElement, track: XmlElement) -> None:
        """Add the skeletons of a video's track, one per frame; other shapes are counted as dropped."""
        for shape in (child for child in track.children if child.tag in _UNUSABLE_SHAPES):
            self._drop_element(shape, f'of type {shape.tag}, which is not part of a skeleton')
        sizes = list(root.iterate_elements('original_size'))
        size = self._read_frame_size(sizes[0]) if sizes else (0, 0)
        for skeleton in track.find_all('skeleton'):
            if skeleton.attributes.get('outside') == '1':
                continue  # the track has ended, or the instance is out of sight
            frame = _read_integer(self.file, skeleton, 'frame')
            names = (_FRAME_NAME.format(frame) + suffix for suffix in _FRAME_SUFFIXES)
            name = next((located for each in names if (located := _locate_image(self.collector, each))), None)
            if name is None:
                self.collector.note_missing_image(_FRAME_NAME.format(frame) + _FRAME_SUFFIXES[0])
                self._drop_element(skeleton, 'whose image is not in its folder')
                continue
            image_id = _add_image(self.collector, self.file, skeleton, name, size)
            track_id = _read_integer(self.file, track, 'id')
            if image_id is not None:
                self._add_skeleton(image_id, skeleton, _get_label(track), {'track_id': track_id})

    def _read_frame_size(self, element: XmlElement) -> tuple[int, int]:
        """(width, height) in px of a video's frames."""
        width, height = (_parse_integer(self.file, element, key, element.find_text(key)) for key in ('width', 'height'))
        return width, height

    def _add_skeleton(
        self, image_id: int, skeleton: XmlElement, label: str = '', values: dict[str, int] | None = None
    ) -> None:
        """Add one instance."""
        label = label or _get_label(skeleton)
        names = self.keypoints[label]
        table = np.zeros((len(names), 3))
        for point, xy in self._iterate_points(skeleton):
            k = names.index(_get_label(point))
            if table[k, 2]:
                self._drop_element(point, 'which is a second keypoint of its name')
            else:
                # 1 and 2 are COCO's flags of occluded and visible keypoints.
                table[k] = [*xy, 1 if point.attributes.get('occluded') == '1' else 2]
        if not table[:, 2].any():
            self._drop_element(skeleton, 'without labeled keypoints')
            return
        self.collector.add_instance(image_id, self.category_ids[label], table, values=values)

    def _iterate_points(self, skeleton: XmlElement) -> Iterator[tuple[XmlElement, list[float]]]:
        """The labeled points of a skeleton with their positions in px."""
        for point in skeleton.find_all('points'):
            if point.attributes.get('outside') == '1':
                continue
            try:
                # 'x,y', with ';' between the points of shapes that have several.
                x, y = map(float, point.attributes.get('points', '').split(';')[0].split(','))
            except ValueError:
                self._drop_element(point, 'without a position x,y')
                continue
            yield point, [x, y]

    def _drop_element(self, element: XmlElement, cause: str) -> None:
        self.collector.drop_label(self.file, f'line {element.line}', cause)


class _LoosePointReader:
    """Adds the instances of images whose keypoints are points without a skeleton, as before CVAT had skeletons."""

    def __init__(self, collector: LabelCollector, file: Path, root: XmlElement):
        self.collector, self.file = collector, file
        self.images = list(root.find_all('image'))
        points = [points for image in self.images for points in image.find_all('points')]
        if not points:
            raise AnnotationError(
                f'{file}: no label is a skeleton, and no image has points; keypoints are points of skeletons in CVAT'
            )
        counts = Counter(len(_read_positions(each)) for each in points)
        self.num_points = counts.most_common(1)[0][0]  # of a shape, which tells single keypoints from whole instances
        names = [f'keypoint_{k}' for k in range(1, self.num_points + 1)]
        if self.num_points == 1:
            names = list(dict.fromkeys(_get_label(each) for each in points))
        self.names, self.grouper = names, ShapeGrouper(collector, names)
        self._category_ids: dict[str, int] = {}

    def add_all(self) -> None:
        """Add all images."""
        for image in self.images:
            name = _locate_image(self.collector, image.attributes.get('name', ''))
            shapes = [shape for shape in image.children if shape.tag in _UNUSABLE_SHAPES]
            if name is None:
                self.collector.note_missing_image(image.attributes.get('name', ''))
                for shape in shapes:
                    self._drop_element(shape, 'whose image is not in its folder')
                continue
            size = (_read_integer(self.file, image, 'width'), _read_integer(self.file, image, 'height'))
            image_id = _add_image(self.collector, self.file, image, name, size)
            if image_id is not None:
                self._add_shapes(image_id, shapes)

    def _add_shapes(self, image_id: int, shapes: list[XmlElement]) -> None:
        """Add the instances of an image."""
        loose = []
        for shape in shapes:
            positions = _read_positions(shape)
            if shape.tag not in ('points', 'box', 'polygon'):
                self._drop_element(shape, f'of type {shape.tag}, which is neither points nor a box')
            elif not len(positions) or (shape.tag == 'points' and len(positions) != self.num_points):
                self._drop_element(
                    shape, f'with {len(positions)} points; most shapes of the file have {self.num_points}'
                )
            elif shape.tag == 'points' and self.num_points > 1:
                self._add_instance(image_id, shape, positions)
            else:
                loose.append(_build_shape(shape, positions))
        if self.num_points == 1:
            self.grouper.add_shapes(self.file, image_id, loose)
            return
        for box in loose:
            self.collector.drop_label(self.file, box.position, 'which is a box beside shapes of several points')

    def _add_instance(self, image_id: int, shape: XmlElement, positions: np.ndarray) -> None:
        """Add an instance whose keypoints are the points of one shape, in their order."""
        label = _get_label(shape)
        if label not in self._category_ids:
            self._category_ids[label] = self.collector.add_category(label, self.names)
        flags = np.full((len(positions), 1), 1 if shape.attributes.get('occluded') == '1' else 2)
        self.collector.add_instance(image_id, self._category_ids[label], np.hstack([positions, flags]))

    def _drop_element(self, element: XmlElement, cause: str) -> None:
        self.collector.drop_label(self.file, f'line {element.line}', cause)


def _read_positions(shape: XmlElement) -> np.ndarray:
    """The points (N, 2) of a shape, or the corners of a box; none where they are no numbers."""
    text = shape.attributes.get('points', '')
    if shape.tag == 'box':
        text = ';'.join(f'{shape.attributes.get(f"x{end}")},{shape.attributes.get(f"y{end}")}' for end in ('tl', 'br'))
    try:
        return np.array([pair.split(',') for pair in text.split(';') if pair], dtype=float).reshape(-1, 2)
    except ValueError:
        return np.zeros((0, 2))


def _build_shape(shape: XmlElement, positions: np.ndarray) -> LabeledShape:
    """A single point, or a box or polygon, of CVAT's file; group 0 is none."""
    group = shape.attributes.get('group_id', '0')
    return LabeledShape(
        position=f'line {shape.line}',
        label=_get_label(shape),
        kind='point' if shape.tag == 'points' else shape.tag,
        group=None if group == '0' else group,
        points=positions,
        is_occluded=shape.attributes.get('occluded') == '1',
    )


def _add_image(
    collector: LabelCollector,
    file: Path,
    element: XmlElement,
    name: str,
    size: tuple[int, int],
    values: Mapping[str, str] | None = None,
) -> int | None:
    """Add an image with the size that the file states; 0 stands for none, for which the image's own one counts."""
    if min(size) > 0:
        return collector.add_sized_image(name, size, **(values or {}))
    labels = [child for child in element.children if child.tag in ('skeleton', *_UNUSABLE_SHAPES)]
    # The points of a skeleton are no labels of their own.
    labels = labels if labels and element.tag != 'skeleton' else [element]
    positions = [f'line {label.line}' for label in labels]
    image_id = collector.add_image(name, file, positions, is_located=True)
    if image_id is not None:
        collector.labels.content['images'][image_id - 1].update(values or {})
    return image_id


def _locate_image(collector: LabelCollector, name: str) -> str | None:
    """The name of an image below the folder of the images; None if it is not there."""
    return collector.find_image(name, subfolders=_IMAGE_FOLDERS) if name else None
