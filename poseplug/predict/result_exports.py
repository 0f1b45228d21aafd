"""Results of poseplug predict in the forms of other tools, made from the result files when these are complete."""

from __future__ import annotations

__all__ = ['RESULT_FORMATS', 'check_result_formats', 'export_results', 'list_export_files']

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.data.formats.base import list_flip_indices
from poseplug.files.parquet_table import FRAME_COLUMNS, ParquetTable, check_parquet
from poseplug.predict import result_formats
from poseplug.predict.result_files import RESULTS_STEM, iterate_results, raise_write_errors

_LABELED = 2  # COCO's flag of a visible keypoint


@dataclass(frozen=True)
class _ImageResult:
    """The result of an image, or of a frame of a video.

    Attributes:
        title: what results call the image or the video.
        name: of its output files, below the output folder.
        size: (width, height), of the first frame of a video.
        poses: its instances.
        index: of the frame; None for an image.
        seconds: of the frame.
    """

    title: str
    name: str
    size: tuple[int, int]
    poses: Poses
    index: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class _Export:
    """What a writer of a format works with.

    Attributes:
        out: the output folder.
        skeleton: of the instances.
        names: of the output files, by title.
        threshold: keypoints that score less are not labeled.
    """

    out: Path
    skeleton: Skeleton
    names: Mapping[str, str]
    threshold: float

    def iterate_images(self) -> Iterator[_ImageResult]:
        """Yield the results of all images, from results.json."""
        for line in iterate_results(self.out / f'{RESULTS_STEM}.json', 'images'):
            poses = Poses.from_dicts(line['instances'], len(self.skeleton))
            size = (line['width'], line['height'])
            yield _ImageResult(line['file'], self.names.get(line['file'], Path(line['file']).stem), size, poses)

    def iterate_frames(self) -> Iterator[_ImageResult]:
        """Yield the results of the frames of all videos, from their .jsonl files."""
        for summary in iterate_results(self.out / f'{RESULTS_STEM}.json', 'videos'):
            file = self.out / Path(self.names.get(summary['file'], '')).parent / summary['results']
            with open(file, encoding='utf-8') as lines:
                header = json.loads(next(lines))
                size, name = (header['width'], header['height']), str(file.relative_to(self.out).with_suffix(''))
                for line in map(json.loads, lines):
                    poses = Poses.from_dicts(line['instances'], len(self.skeleton))
                    yield _ImageResult(summary['file'], name, size, poses, line['index'], line['seconds'])


def check_result_formats(names: Sequence[str]) -> None:
    """Check the names of formats, and that the packages that they need are installed.

    Raises:
        ConfigError: there is no such format, or a package is missing.
    """
    for name in names:
        if name not in RESULT_FORMATS:
            known = ', '.join(RESULT_FORMATS)
            raise ConfigError(
                compose_message(
                    f'{name!r} is no format of results', suggest_closest(name, RESULT_FORMATS), f'known: {known}'
                )
            )
    if 'parquet' in names:
        check_parquet()


def list_export_files(names: Sequence[str], out: Path, output_names: Iterable[str]) -> list[Path]:
    """List the files of images that formats would be written to, so that none of them is an input."""
    single = {'coco': '_coco.json', 'coco_results': '_coco_results.json', 'cvat': '_cvat.xml', 'parquet': '.parquet'}
    files = [out / f'{RESULTS_STEM}{end}' for name, end in single.items() if name in names]
    files += [out / 'yolo' / 'data.yaml'] if 'yolo' in names else []
    per_image = {'openpose': '{}_keypoints.json', 'labelme': '{}.json', 'yolo': 'labels/{}.txt'}
    patterns = [(name, pattern) for name, pattern in per_image.items() if name in names]
    return files + [out / name / pattern.format(each) for each in output_names for name, pattern in patterns]


def export_results(
    names: Sequence[str], out: Path, skeleton: Skeleton, output_names: Mapping[str, str], threshold: float
) -> list[str]:
    """Write results.json, and the files of videos that it names, in other forms.

    Args:
        names: of formats.
        out: the output folder, which has results.json.
        skeleton: of the instances.
        output_names: name of the output files below the folder, by what results call the input.
        threshold: keypoints that score less are not labeled.

    Returns:
        The files and folders that were written, below the output folder; no folder of a format without a file.

    Raises:
        ConfigError: a file cannot be written.
    """
    export = _Export(out, skeleton, output_names, threshold)
    if any(name in _IMAGE_FORMATS for name in names) and next(export.iterate_frames(), None):
        formats = ', '.join(name for name in names if name in _IMAGE_FORMATS)
        logging.getLogger('poseplug').warning('%s: labels of images; the videos are not in them', formats)
    with raise_write_errors(out):
        written = [write(export) for name in names if (write := RESULT_FORMATS[name]) is not None]
    return [name for name in written if (out / name).exists()]


def _write_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding='utf-8', errors='backslashreplace')


def _write_parts(file: Path, parts: Iterable[str]) -> None:
    with open(file, 'w', encoding='utf-8', errors='backslashreplace') as opened:
        opened.writelines(parts)


def _write_openpose(export: _Export) -> str:
    for result in export.iterate_images():
        _write_text(export.out / 'openpose' / f'{result.name}_keypoints.json', _format_openpose(export, result))
    for result in export.iterate_frames():
        name = f'{result.name}_{result.index:012d}_keypoints.json'
        _write_text(export.out / 'openpose' / name, _format_openpose(export, result))
    return 'openpose/'


def _format_openpose(export: _Export, result: _ImageResult) -> str:
    return json.dumps(result_formats.build_openpose(result.poses, export.skeleton))


def _write_labelme(export: _Export) -> str:
    for result in export.iterate_images():
        file = export.out / 'labelme' / f'{result.name}.json'
        # LabelMe finds the image by its path from the label file
        image = os.path.relpath(result.title, file.parent) if os.path.exists(result.title) else result.title
        content = result_formats.build_labelme(result.poses, export.skeleton, image, result.size, export.threshold)
        _write_text(file, json.dumps(content, indent=1))
    return 'labelme/'


def _write_yolo(export: _Export) -> str:
    for result in export.iterate_images():
        text = result_formats.format_yolo(result.poses, result.size, 0, export.threshold)
        _write_text(export.out / 'yolo' / 'labels' / f'{result.name}.txt', text)
    flips = list_flip_indices({'keypoints': list(export.skeleton.keypoints)})
    names = json.dumps(list(export.skeleton.keypoints))
    # Ultralytics looks for labels in the folder beside `images`; the user copies or links the images there
    lines = ['path: .', 'train: images', 'val: images', f'kpt_shape: [{len(export.skeleton)}, 3]', f'flip_idx: {flips}']
    lines += ['names: {0: person}', f'kpt_names: {{0: {names}}}', '']
    _write_text(export.out / 'yolo' / 'data.yaml', '\n'.join(lines))
    return 'yolo/'


def _write_cvat(export: _Export) -> str:
    file = export.out / f'{RESULTS_STEM}_cvat.xml'
    images = (
        result_formats.format_cvat_image(
            result.poses, export.skeleton, Path(result.title).name, result.size, export.threshold, number
        )
        for number, result in enumerate(export.iterate_images())
    )
    _write_parts(file, result_formats.iterate_cvat_file(images, export.skeleton))
    return file.name


def _write_coco(export: _Export) -> str:
    file = export.out / f'{RESULTS_STEM}_coco.json'
    skeleton = export.skeleton
    limbs = [[int(a) + 1, int(b) + 1] for a, b in skeleton.limb_indices]  # COCO counts from 1
    category = {'id': 1, 'name': 'person', 'keypoints': list(skeleton.keypoints), 'skeleton': limbs}
    # in parts, since the results of many images do not fit in memory
    parts = (
        ('{"categories": ' + json.dumps([category]) + ',\n"images": ',),
        _format_json_list(_iterate_coco_images(export)),
        (',\n"annotations": ',),
        _format_json_list(_iterate_coco_annotations(export)),
        ('}\n',),
    )
    _write_parts(file, (part for several in parts for part in several))
    return file.name


def _iterate_coco_images(export: _Export) -> Iterator[dict[str, Any]]:
    for number, result in enumerate(export.iterate_images(), 1):
        yield {'id': number, 'file_name': result.title, 'width': result.size[0], 'height': result.size[1]}


def _iterate_coco_annotations(export: _Export) -> Iterator[dict[str, Any]]:
    """The instances as annotations, with their scores."""
    annotation_id = 0
    # the same numbers as in the list of images, which is read once more
    for number, result in enumerate(export.iterate_images(), 1):
        boxes = result_formats.get_label_boxes(result.poses, export.threshold)
        for n, (left, top, right, bottom) in enumerate(boxes.round(2).tolist()):
            annotation_id += 1
            keypoint_scores = result.poses.keypoint_scores[n].tolist()
            keypoints = result.poses.keypoints[n].tolist()
            numbers = [_label_keypoint(*row, export.threshold) for row in zip(keypoints, keypoint_scores, strict=True)]
            width, height = round(right - left, 2), round(bottom - top, 2)
            yield {
                'id': annotation_id,
                'image_id': number,
                'category_id': 1,
                'iscrowd': 0,
                'bbox': [left, top, width, height],
                'area': round(width * height, 2),
                'num_keypoints': sum(flag > 0 for _, _, flag in numbers),
                'keypoints': [number for triple in numbers for number in triple],
                'score': round(float(result.poses.instance_scores[n]), 4),
                'keypoint_scores': keypoint_scores,
            }


def _label_keypoint(point: list[float], score: float, threshold: float) -> tuple[float, float, int]:
    """x, y and flag of a keypoint in COCO's form; zeros, as for one that is not labeled, below the threshold."""
    return (round(point[0], 2), round(point[1], 2), _LABELED) if score >= threshold else (0, 0, 0)


def _format_json_list(values: Iterable[Any]) -> Iterator[str]:
    yield '['
    separator = '\n'
    for value in values:
        yield separator + json.dumps(value)
        separator = ',\n'
    yield ']'


def _write_coco_results(export: _Export) -> str:
    """COCO's result records, whose image ids are those of the labels that `coco` writes."""
    file = export.out / f'{RESULTS_STEM}_coco_results.json'
    records = (
        record
        for number, result in enumerate(export.iterate_images(), 1)
        for record in result_formats.add_coco_boxes(result.poses.to_coco(number), result.poses)
    )
    _write_parts(file, _format_json_list(records))
    return file.name


def _write_parquet(export: _Export) -> str:
    file = export.out / f'{RESULTS_STEM}.parquet'
    with ParquetTable(file, FRAME_COLUMNS) as table:
        for results in (export.iterate_images(), export.iterate_frames()):
            for result in results:
                table.add_rows(_iterate_rows(result, export.skeleton))
    return file.name


def _iterate_rows(result: _ImageResult, skeleton: Skeleton) -> Iterator[dict[str, Any]]:
    ids = result.poses.ids
    for row in result.poses.to_rows(result.title, skeleton):
        instance_id = None if ids is None else int(ids[row['instance']])
        yield {**row, 'frame': result.index, 'seconds': result.seconds, 'id': instance_id}


_IMAGE_FORMATS = ('coco', 'coco_results', 'cvat', 'labelme', 'yolo')
# By name: what writes the format from the result files; None for the table that is written as the run goes on
RESULT_FORMATS: dict[str, Callable[[_Export], str] | None] = {
    'coco': _write_coco,
    'coco_results': _write_coco_results,
    'csv': None,
    'cvat': _write_cvat,
    'labelme': _write_labelme,
    'openpose': _write_openpose,
    'parquet': _write_parquet,
    'yolo': _write_yolo,
}
