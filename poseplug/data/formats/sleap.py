"""SLEAP's label files (.slp): an HDF5 file of skeletons, instances and points, which refers to frames of videos."""

from __future__ import annotations

__all__ = ['SleapFormat']

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.files.hdf5 import open_hdf5
from poseplug.files.images import read_image
from poseplug.files.video_reader import VideoReader
from poseplug.registry import LABEL_FORMATS

_USER_INSTANCE = 0  # instance_type of what a person labeled; 1 is predicted
_CENTERED_FORMAT = 1.1  # from this version on the center of the first pixel is (0, 0); before, its corner was
_STATED_ORDER_FORMAT = 1.4  # from this version on embedded images state the order of their channels
_SYMMETRY = 2  # the type of a link between left and right; 1 is a limb


@dataclass(frozen=True)
class _SleapSkeleton:
    """A skeleton of a file.

    Attributes:
        name: of the skeleton.
        keypoints: names of its nodes.
        limbs: pairs of node indices.
        flip_indices: index of each node after a flip.
    """

    name: str
    keypoints: list[str]
    limbs: list[tuple[int, int]]
    flip_indices: list[int]


@LABEL_FORMATS.register_module(name='sleap')
class SleapFormat(LabelFormat):
    """SLEAP: a .slp file. Instances that a person labeled are read; predicted ones are counted as dropped.

    The frames must be images: `poseplug dataset convert` extracts them from the videos or from the file itself.
    """

    name = 'sleap'
    title = 'SLEAP labels'

    def matches(self, path: Path) -> bool:
        return path.suffix == '.slp'

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        collector = LabelCollector(self.title, path, image_folder or path.parent)
        with open_hdf5(path) as file:
            _SleapReader(collector, path, file).add_all()
        return collector.finish_labels()

    def extract_images(self, path: Path, folder: Path) -> int:
        with open_hdf5(path) as file:
            videos = _read_json_rows(file['videos_json'])
            frames = file['frames'][()]
            count = 0
            for index, video in enumerate(videos):
                # Labeled frames alone: a video has many thousands.
                numbers = sorted({int(n) for n in frames['frame_idx'][frames['video'] == index]})
                count += _extract_frames(path, file, index, video, numbers, folder)
        return count


def _read_json_rows(rows: Any) -> list[dict[str, Any]]:
    """The JSON objects of a column of strings."""
    return [json.loads(row) for row in rows[()]] if len(rows) else []


def _name_frame(index: int, video: dict[str, Any], frame: int) -> str:
    """The name of a frame's image: a folder per video, and the frame's number."""
    # Embedded videos are called '.', and names of two videos may be equal, hence the number before them.
    filename = video.get('backend', {}).get('filename', '')
    stem = PureWindowsPath(str(filename)).stem.strip('.') or 'video'
    return f'{index:02d}_{stem}/{frame:06d}.png'


def _extract_frames(path: Path, file: Any, index: int, video: dict[str, Any], numbers: list[int], folder: Path) -> int:
    """Write the labeled frames of one video as images."""
    count = 0
    for number, pixels in _iterate_frames(path, file, index, video, numbers):
        target = folder / _name_frame(index, video, number)
        # cv2.imwrite returns False instead of raising for a missing folder.
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), pixels)
        count += 1
    return count


def _iterate_frames(
    path: Path, file: Any, index: int, video: dict[str, Any], numbers: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """The labeled frames of one video, (H, W, 3) BGR: of the file itself, or of the video beside it."""
    group = file.get(f'video{index}')
    if group is not None and 'video' in group:
        # A package (.pkg.slp) embeds its labeled frames as encoded images.
        stored = group['frame_numbers'][()].tolist()
        # SLEAP encodes RGB as if it were BGR, so that red and blue of its PNG files are exchanged.
        is_exchanged = _read_channel_order(file, group['video']) == 'BGR'
        for number, encoded in zip(stored, group['video'], strict=False):
            pixels = cv2.imdecode(np.asarray(encoded).astype(np.uint8), cv2.IMREAD_COLOR)
            if pixels is not None:
                yield int(number), pixels[..., ::-1] if is_exchanged else pixels
        return
    backend = video.get('backend', {})
    if backend.get('filenames'):  # a sequence of images
        yield from _iterate_image_files(path, list(map(str, backend['filenames'])), numbers)
        return
    file_of_video = _locate_file(path, str(backend.get('filename', '')))
    if file_of_video is None:
        return
    for frame in VideoReader(file_of_video):
        if frame.index in numbers:
            yield frame.index, frame.image
        # The rest of the video is not decoded.
        if frame.index >= max(numbers, default=-1):
            return


def _read_channel_order(file: Any, images: Any) -> str:
    """The order that embedded images were encoded in: stated from format 1.4 on, always BGR before."""
    is_stated = float(file['metadata'].attrs.get('format_id', 1.0)) >= _STATED_ORDER_FORMAT
    return str(images.attrs.get('channel_order', 'RGB' if is_stated else 'BGR'))


def _iterate_image_files(path: Path, filenames: list[str], numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The labeled images of a sequence, (H, W, 3) BGR, as stored: SLEAP labels them without EXIF."""
    for number in numbers:
        file = _locate_file(path, filenames[number]) if number < len(filenames) else None
        if file is not None:
            yield number, read_image(file, apply_exif=False)


def _locate_file(path: Path, filename: str) -> Path | None:
    """A video or an image: where the labels say, or beside them, by its name or by its last folders."""
    parts = PureWindowsPath(filename).parts  # also splits the paths of other systems
    candidates = [Path(filename), *(path.parent.joinpath(*parts[i:]) for i in range(len(parts)))]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


class _SleapReader:
    """Adds the labeled instances of a file."""

    def __init__(self, collector: LabelCollector, path: Path, file: Any):
        self.collector, self.path, self.file = collector, path, file
        try:
            metadata = file['metadata']
            # Positions of older files count from the corner of the first pixel, half a pixel before its center.
            self.offset = 0.0 if float(metadata.attrs.get('format_id', 1.0)) >= _CENTERED_FORMAT else -0.5
            self.skeletons = _read_skeletons(json.loads(metadata.attrs['json']))
            self.videos = _read_json_rows(file['videos_json'])
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise AnnotationError(f'{path}: its skeletons cannot be read ({error}); save it again by SLEAP') from error
        self.category_ids = [
            collector.add_category(s.name, s.keypoints, s.limbs, s.flip_indices) for s in self.skeletons
        ]

    def add_all(self) -> None:
        """Add the instances of all frames."""
        frames, instances, points = (self.file[name][()] for name in ('frames', 'instances', 'points'))
        missing_videos: set[int] = set()
        for frame in frames:
            name = _name_frame(int(frame['video']), self.videos[int(frame['video'])], int(frame['frame_idx']))
            # Frames refer to a range of rows of the instances, and these to a range of rows of the points.
            for row in range(int(frame['instance_id_start']), int(frame['instance_id_end'])):
                instance, position = instances[row], f'instance {row}'
                if instance['instance_type'] != _USER_INSTANCE:
                    self.collector.drop_label(self.path, position, 'predicted, not labeled')
                    continue
                if not (self.collector.labels.image_folder / name).is_file():
                    missing_videos.add(int(frame['video']))
                    self.collector.drop_label(self.path, position, 'whose image is not in its folder')
                    continue
                image_id = self.collector.add_image(name, self.path, [position])
                if image_id is not None:
                    rows = points[int(instance['point_id_start']) : int(instance['point_id_end'])]
                    self._add_instance(image_id, instance, rows, position)

        for index in sorted(missing_videos):
            self.collector.add_note(
                f'no frames of {self._describe_video(index)}: where it is beside the labels, poseplug dataset convert '
                f'and init extract them'
            )

    def _describe_video(self, index: int) -> str:
        """The name of a video, without its folders."""
        name = PureWindowsPath(str(self.videos[index].get('backend', {}).get('filename', ''))).name.strip('.')
        return name or f'video {index}'

    def _add_instance(self, image_id: int, instance: Any, points: Any, position: str) -> None:
        """Add one instance."""
        skeleton = self.skeletons[int(instance['skeleton'])]
        if len(points) != len(skeleton.keypoints):
            self.collector.drop_label(self.path, position, f'with {len(points)} points, not those of its skeleton')
            return
        xy = np.stack([points['x'], points['y']], axis=1) + self.offset
        # SLEAP stores NaN for a node that is not labeled, whatever `visible` says.
        flags = np.where(np.isfinite(xy).all(axis=1), np.where(points['visible'], 2, 1), 0)
        if not flags.any():
            self.collector.drop_label(self.path, position, 'without labeled keypoints')
            return
        keypoints = np.concatenate([np.nan_to_num(xy), flags[:, None]], axis=1)
        track = int(instance['track'])
        values = {'track_id': track} if track >= 0 else {}
        self.collector.add_instance(image_id, self.category_ids[int(instance['skeleton'])], keypoints, values=values)


def _read_skeletons(metadata: dict[str, Any]) -> list[_SleapSkeleton]:
    """The skeletons of a file; nodes are numbered over the whole file."""
    names = [str(node['name']) for node in metadata['nodes']]
    return [_read_skeleton(skeleton, names) for skeleton in metadata['skeletons']]


def _read_skeleton(skeleton: dict[str, Any], names: list[str]) -> _SleapSkeleton:
    # All skeletons of a file share one list of nodes; each names its own nodes by their index in that list.
    nodes = [int(node['id']) for node in skeleton['nodes']]
    types: list[int] = []  # in the order in which they are written out; later links refer to them by their number
    limbs: list[tuple[int, tuple[int, int]]] = []
    flip_indices = list(range(len(nodes)))
    for link in skeleton['links']:
        kind = link['type']
        # jsonpickle writes an object out where it comes first, and refers to it by its number from then on.
        if 'py/reduce' in kind:
            types.append(int(kind['py/reduce'][1]['py/tuple'][0]))
            link_type = types[-1]
        else:
            link_type = types[int(kind['py/id']) - 1]
        a, b = nodes.index(int(link['source'])), nodes.index(int(link['target']))
        if link_type == _SYMMETRY:
            flip_indices[a], flip_indices[b] = b, a
        else:
            limbs.append((int(link.get('edge_insert_idx', len(limbs))), (a, b)))
    # `edge_insert_idx` is the user's order; the file lists the limbs in another one.
    ordered = [limb for _, limb in sorted(limbs)]
    name = str(skeleton.get('graph', {}).get('name', 'skeleton'))
    return _SleapSkeleton(name, [names[n] for n in nodes], ordered, flip_indices)
