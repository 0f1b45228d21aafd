"""COCO keypoint files of any category, as files of labels: read as they are, and written with their images."""

from __future__ import annotations

__all__ = ['CocoFormat']

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat, WriteReport
from poseplug.data.formats.coco_content import read_coco_content
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.files.atomic import write_atomically
from poseplug.files.json_file import read_json
from poseplug.registry import LABEL_FORMATS

_REQUIRED_KEYS = ('images', 'annotations', 'categories')
_UNSPLIT_NAME = 'all'  # of the file of a set without splits
_MAX_IMAGES_TRIED = 20  # to find their folder: some of them may be missing
_FOLDER_FILE = '_annotations.coco.json'  # of a split, in the folder of its images (Roboflow)
# Beside the file, or as CVAT, FiftyOne and PoseTrack18 lay them out; PoseTrack18's names start two folders above.
_IMAGE_FOLDERS = ('', 'images', 'data', '../images', '..', '../data', '../..')


@LABEL_FORMATS.register_module(name='coco')
class CocoFormat(LabelFormat):
    """COCO: a JSON file of images, annotations and categories, or a folder with one such file or one per split.

    Files of splits may lie in folders of their own, as `train/_annotations.coco.json` beside the images.

    The values are checked when the file is read for training, by `CocoSource`.
    """

    name = 'coco'
    title = 'COCO keypoints'

    def matches(self, path: Path) -> bool:
        return bool(_find_files(path))

    def list_parts(self, path: Path) -> list[Path]:
        return _find_files(path)

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        files = _find_files(path)
        if not files:
            raise AnnotationError(f'{path}: no JSON file with images, annotations and categories')
        contents = [read_json(file) for file in files]
        # Looked for per file: the splits of Roboflow have their images in folders of their own.
        folders = [
            _locate_images(file, content['images'], image_folder) for file, content in zip(files, contents, strict=True)
        ]
        read = [read_coco_content(*parts) for parts in zip(files, contents, folders, strict=True)]
        # Other keys are passed on as they are, so that those of tools survive a conversion to COCO.
        merged, shared_folder = read[0].content, folders[0]
        if len(files) > 1:
            shared_folder = Path(os.path.commonpath(folders))
            for folder, each in zip(folders, read, strict=True):
                _prefix_names(each.content['images'], folder.relative_to(shared_folder))
            merged = _merge_splits(files, [each.content for each in read])
        notes = [
            note if len(files) == 1 else f'{file.name}: {note}'
            for file, each in zip(files, read, strict=True)
            for note in each.notes
        ]
        dropped = [label for each in read for label in each.dropped]
        return LabeledImages(self.title, path, shared_folder, merged, dropped, notes)

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        report = WriteReport(path)
        content = labels.content
        images = [*content['images']]
        copy_images(labels.image_folder, (image['file_name'] for image in images), path / 'images')
        # One file per split is the layout that every reader of COCO expects.
        splits = list(dict.fromkeys(image.get('split', '') for image in images)) or ['']
        for split in splits:
            chosen = [image for image in images if image.get('split', '') == split]
            ids = {image['id'] for image in chosen}
            annotations = [a for a in content['annotations'] if a['image_id'] in ids]
            report.num_instances += len(annotations)
            part = {**content, 'images': chosen, 'annotations': annotations}
            name = split or _UNSPLIT_NAME
            write_atomically(path / 'annotations' / f'{name}.json', json.dumps(part).encode())
        num_lost = len(content['annotations']) - report.num_instances
        if num_lost:
            report.lost['instances of images that are not listed'] += num_lost
        return report


def _find_files(path: Path) -> list[Path]:
    """The COCO files of a folder and its folder 'annotations', or the file itself."""
    if not path.is_dir():
        return [path] if path.suffix == '.json' and _is_coco(path) else []
    # The first layout that has any file: a folder that mixes them would give instances twice.
    for layout in ('[!.]*.json', 'annotations/[!.]*.json', f'*/{_FOLDER_FILE}'):
        files = [file for file in sorted(path.glob(layout)) if _is_coco(file)]
        if files:
            return files
    return []


def _is_coco(file: Path) -> bool:
    structure = read_json_structure(file)
    return not structure.is_list and all(structure.types.get(key) is list for key in _REQUIRED_KEYS)


def _locate_images(file: Path, images: list[Any], image_folder: Path | None) -> Path:
    """Find the folder of a file's images by the first that is there, and shorten all names to what is below it.

    Some tools write names with the folders of the machine that exported them, or with Windows' separators. Returns the
    folder of the file if no image is in one of the usual folders, or the one that the user named.
    """
    names = [image.get('file_name') for image in images[:_MAX_IMAGES_TRIED] if isinstance(image, dict)]
    parts = [_split_name(name) for name in names if isinstance(name, str) and name]
    split = file.stem.rpartition('_')[2]  # COCO's own files: 'person_keypoints_train2017' of the images in 'train2017'
    splits = dict.fromkeys((file.stem, split))
    folders = [*_IMAGE_FOLDERS, *(parent + name for name in splits for parent in ('', '../', '../images/'))]
    candidates = [image_folder] if image_folder else [(file.parent / folder).resolve() for folder in folders]
    for num_dropped in range(max(map(len, parts), default=0)):
        tails = [Path(*each[num_dropped:]) for each in parts if len(each) > num_dropped]
        folder = next((folder for folder in candidates for tail in tails if (folder / tail).is_file()), None)
        if folder is not None:
            _shorten_names(images, num_dropped)
            return folder
    return image_folder or file.parent.resolve()


def _split_name(name: str) -> tuple[str, ...]:
    """The folders and the name of an image; Windows' separators count only where there are no others."""
    return Path(name).parts if '/' in name else PureWindowsPath(name).parts


def _shorten_names(images: list[Any], num_dropped: int) -> None:
    """Leave out the first folders of all names; names with Windows' separators get the usual ones."""
    for image in images:
        name = image.get('file_name') if isinstance(image, dict) else None
        if isinstance(name, str) and (num_dropped or '\\' in name):
            image['file_name'] = '/'.join(_split_name(name)[num_dropped:]) or name


def _prefix_names(images: list[Any], folder: Path) -> None:
    """Let the names of images start from a parent of their folder."""
    for image in images:
        if isinstance(image, dict) and isinstance(image.get('file_name'), str):
            image['file_name'] = (folder / image['file_name']).as_posix()


def _merge_splits(files: list[Path], contents: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge files of one data set, one per split; where ids of two files are equal, all get new ones."""
    categories = _index_categories(contents[0])
    for file, content in zip(files, contents, strict=True):
        # Equal ids of different categories would mix keypoints of different meaning.
        if _index_categories(content) != categories:
            raise AnnotationError(f'{file}: its categories differ from those of {files[0].name}; convert it alone')
    if _has_shared_ids(contents):
        contents = _renumber_ids(contents)
    merged: dict[str, Any] = {**contents[0], 'images': [], 'annotations': []}
    for file, content in zip(files, contents, strict=True):
        split = file.parent.name if file.name == _FOLDER_FILE else file.stem
        merged['images'] += [{**image, 'split': split} for image in content['images']]
        merged['annotations'] += content['annotations']
    return merged


def _index_categories(content: Mapping[str, Any]) -> dict[Any, tuple[Any, ...]]:
    """What the annotations of each category mean, by its id; exporters fill other keys with counts and colors."""
    return {c.get('id'): (c.get('name'), *(c.get('keypoints') or ())) for c in content['categories']}


def _has_shared_ids(contents: list[dict[str, Any]]) -> bool:
    """Whether two files have an id of images or annotations in common."""
    for key in ('images', 'annotations'):
        ids = [{item.get('id') for item in content[key]} for content in contents]
        if len(set().union(*ids)) < sum(map(len, ids)):
            return True
    return False


def _renumber_ids(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contents with ids that count through all files."""
    renumbered, num_images, num_annotations = [], 0, 0
    for content in contents:
        image_ids = {image.get('id'): number for number, image in enumerate(content['images'], num_images + 1)}
        annotations = [
            {**annotation, 'id': number, 'image_id': image_ids.get(annotation.get('image_id'))}
            for number, annotation in enumerate(content['annotations'], num_annotations + 1)
        ]
        images = [{**image, 'id': image_ids[image.get('id')]} for image in content['images']]
        renumbered.append({**content, 'images': images, 'annotations': annotations})
        num_images, num_annotations = num_images + len(images), num_annotations + len(annotations)
    return renumbered


def copy_images(source: Path, names: Iterable[str], target: Path) -> None:
    """Copy images, with the folders of their names.

    Args:
        source: the folder that the names start from.
        names: of the images.
        target: the folder to copy to.
    """
    for name in names:
        copy_image(source / name, target / name)


def copy_image(source: Path, target: Path) -> None:
    """Copy an image, and create the folder of the copy.

    Args:
        source: the image.
        target: the file to write.

    Raises:
        AnnotationError: the image cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f'{source}: {reason}; restore the image, or name its folder') from error


def index_annotations(content: Mapping[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Return the annotations of COCO's object by the id of their image."""
    by_image: dict[int, list[dict[str, Any]]] = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        by_image.setdefault(annotation['image_id'], []).append(annotation)
    return by_image
