"""Folders of rendered images, laid out as Leeds Sports Pose and as COCO.

Image `index` follows from `default_rng((seed, index))` alone, so no image depends on the number of images, on their
order or on the number of processes.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poseplug.core.errors import AnnotationError
from poseplug.data.synthetic.body import COCO_KEYPOINTS
from poseplug.data.synthetic.scene import Scene, render_scene

_Array = NDArray[Any]
_ProgressWrapper = Callable[..., Iterable[Any]]

_GENERATOR_VERSION = 1  # a change of any pixel or keypoint needs a new version, so that older folders are replaced
_MAT_HEADER = b'MATLAB 5.0 MAT-file, poseplug synthetic LSP'.ljust(116)  # without the date that scipy writes
_MIN_VISIBLE_AREA_PX = 32  # visible pixels from which on a person is annotated in COCO's layout
_COCO_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip


# --- Leeds Sports Pose ------------------------------------------------------------------------------------------------


def render_lsp_scene(seed: int, index: int) -> tuple[Scene, int]:
    """Render image `index`, counted from 0, of `write_lsp`.

    Args:
        seed: The seed of the data set.
        index: The index of the image.

    Returns:
        The scene, and the quality of its JPEG file.
    """
    rng = np.random.default_rng((seed, index))
    num_persons = int(rng.choice((1, 2, 3), p=(0.75, 0.2, 0.05)))
    return render_scene(rng, num_persons=num_persons), int(rng.integers(80, 96))


def write_lsp(
    root: Path,
    num_images: int = 800,
    num_train: int | None = None,
    seed: int = 0,
    progress: _ProgressWrapper | None = None,
    num_workers: int = 0,
) -> Path:
    """Write a data set in the layout of Leeds Sports Pose: `images/im0001.jpg`, ... and `joints.mat`.

    `joints.mat` holds `joints` (3, 14, num_images): x and y counted from 1 as MATLAB does, and 1 where a keypoint is
    occluded. `dataset.json` says how many of the images are for training.

    Args:
        root: The folder. One that was written with the same settings stays as it is; one with other settings is
            replaced.
        num_images: Number of images.
        num_train: Number of images for training, the first ones; half of them by default.
        seed: Another seed gives other people.
        progress: Wraps the loop over images: called with an iterable, `total` and `description`.
        num_workers: Number of processes that render; 0 renders in this one.

    Returns:
        The folder.

    Raises:
        AnnotationError: The numbers contradict each other, or the folder holds files that were not written by this
            function.
    """
    root, num_train = Path(root), num_images // 2 if num_train is None else num_train
    if not 0 <= num_train <= num_images or num_images < 1:
        raise AnnotationError(
            f'{root}: {num_train} training images of {num_images} were requested; ask for at least 1 image, and for '
            f'0 to {max(num_images, 1)} training images'
        )
    metadata = {
        'name': 'synthetic_lsp',
        'generator': _GENERATOR_VERSION,
        'seed': seed,
        'count': num_images,
        'train': num_train,
    }
    if _is_written(root, metadata, {'images', 'joints.mat'}):
        return root
    with _replace_folder(root) as folder:
        (folder / 'images').mkdir()
        keypoint_rows = np.zeros((3, 14, num_images))
        encoded = _map_in_order(partial(_encode_lsp, seed), num_images, progress, num_workers, 'rendering images')
        for index, (jpeg, rows) in enumerate(encoded):
            (folder / 'images' / f'im{index + 1:04d}.jpg').write_bytes(jpeg)
            keypoint_rows[..., index] = rows
        (folder / 'joints.mat').write_bytes(_encode_mat(keypoint_rows))
        _write_metadata(folder, metadata)
    return root


def _encode_lsp(seed: int, index: int) -> tuple[bytes, _Array]:
    """The JPEG file and the rows (3, 14) of `joints.mat` of one image."""
    scene, quality = render_lsp_scene(seed, index)
    main = scene.persons[0]
    return _encode_jpeg(scene.image, quality), np.vstack((main.lsp_keypoints.T + 1, main.lsp_occluded[None]))


def _encode_mat(keypoint_rows: _Array) -> bytes:
    """The bytes of a .mat file, the same for the same array."""
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, {'joints': keypoint_rows})
    return _MAT_HEADER + stream.getvalue()[len(_MAT_HEADER) :]


# --- COCO -------------------------------------------------------------------------------------------------------------


def render_coco_scene(seed: int, split: int, index: int) -> tuple[Scene, int]:
    """Render image `index`, counted from 0, of one split of `write_coco`.

    Args:
        seed: The seed of the data set.
        split: 0 for train2017, 1 for val2017.
        index: The index of the image in its split.

    Returns:
        The scene, and the quality of its JPEG file.
    """
    rng = np.random.default_rng((seed, index, split + 1))
    num_persons = int(rng.choice(6, p=(0.25, 0.25, 0.2, 0.14, 0.1, 0.06))) + 1
    return render_scene(rng, num_persons=num_persons, layout='group'), int(rng.integers(80, 96))


def write_coco(
    root: Path,
    num_train: int,
    num_val: int,
    seed: int = 0,
    progress: _ProgressWrapper | None = None,
    num_workers: int = 0,
) -> Path:
    """Write a data set in the layout of COCO keypoints, with one to six people in an image.

    The folder holds `train2017/`, `val2017/` and `annotations/person_keypoints_{train,val}2017.json`. Coordinates count
    from 0. Visibility is 0 outside the image, 1 occluded, 2 visible.

    Args:
        root: The folder. One that was written with the same settings stays as it is; one with other settings is
            replaced.
        num_train: Number of images in train2017.
        num_val: Number of images in val2017.
        seed: Another seed gives other people.
        progress: Wraps the loop over images: called with an iterable, `total` and `description`.
        num_workers: Number of processes that render; 0 renders in this one.

    Returns:
        The folder.

    Raises:
        AnnotationError: No image was requested, or the folder holds files that were not written by this function.
    """
    root = Path(root)
    if num_train < 0 or num_val < 0 or num_train + num_val < 1:
        raise AnnotationError(
            f'{root}: {num_train} training and {num_val} validation images were requested; ask for at least 1 image'
        )
    metadata = {
        'name': 'synthetic_coco',
        'generator': _GENERATOR_VERSION,
        'seed': seed,
        'train': num_train,
        'val': num_val,
    }
    if _is_written(root, metadata, {'train2017', 'val2017', 'annotations'}):
        return root
    with _replace_folder(root) as folder:
        (folder / 'annotations').mkdir()
        for split, (name, count) in enumerate((('train2017', num_train), ('val2017', num_val))):
            (folder / name).mkdir()
            encode = partial(_encode_coco, seed, split)
            encoded = _map_in_order(encode, count, progress, num_workers, f'rendering {name}')
            text = json.dumps(_write_coco_split(folder / name, encoded, first_id=1 + split * num_train))
            (folder / 'annotations' / f'person_keypoints_{name}.json').write_text(text, encoding='utf-8')
        _write_metadata(folder, metadata)
    return root


def _write_coco_split(
    folder: Path, encoded: Iterable[tuple[bytes, _Array, list[Any]]], first_id: int
) -> dict[str, Any]:
    """Write the images of a split and return its annotation file; image ids count from `first_id`."""
    images, annotations = [], []
    for image_id, (jpeg, size, persons) in enumerate(encoded, start=first_id):
        name = f'{image_id:012d}.jpg'
        (folder / name).write_bytes(jpeg)
        images.append({'id': image_id, 'file_name': name, 'width': int(size[0]), 'height': int(size[1])})
        # ten ids for each image: it has at most six people
        annotations += [{'id': image_id * 10 + i, 'image_id': image_id, **person} for i, person in enumerate(persons)]
    category = {
        'id': 1,
        'name': 'person',
        'supercategory': 'person',
        'keypoints': list(COCO_KEYPOINTS),
        'skeleton': [list(limb) for limb in _COCO_SKELETON],
    }
    info = {'description': 'poseplug synthetic COCO', 'version': str(_GENERATOR_VERSION)}
    return {
        'info': info, 'licenses': [], 'images': images, 'annotations': annotations, 'categories': [category],
    }  # fmt: skip


def _encode_coco(seed: int, split: int, index: int) -> tuple[bytes, _Array, list[dict[str, Any]]]:
    """The JPEG file, the (width, height) and the annotations of one image."""
    scene, quality = render_coco_scene(seed, split, index)
    height, width = scene.instance_mask.shape
    annotated = [index for index, person in enumerate(scene.persons) if person.area >= _MIN_VISIBLE_AREA_PX]
    annotations = [_build_coco_annotation(scene, person_index) for person_index in annotated]
    return _encode_jpeg(scene.image, quality), np.array((width, height)), annotations


def _build_coco_annotation(scene: Scene, person_index: int) -> dict[str, Any]:
    """The annotation of one person, without its ids."""
    person = scene.persons[person_index]
    height, width = scene.instance_mask.shape
    x, y = person.coco_keypoints.T.round(2)
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    flags = np.where(inside, np.where(person.coco_occluded, 1, 2), 0)
    rows = np.stack((x * inside, y * inside, flags), 1).ravel()
    keypoints = [int(k) if k == int(k) else float(k) for k in rows]  # whole numbers as COCO writes them
    mask = (scene.instance_mask == person_index + 1).astype(np.uint8)
    # Holes are left out, as in COCO's own polygons.
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [contour.ravel().tolist() for contour in contours if len(contour) > 2]
    return {
        'category_id': 1,
        'iscrowd': 0,
        'bbox': list(person.box_xywh),
        'area': float(person.area),
        'num_keypoints': int(inside.sum()),
        'keypoints': keypoints,
        'segmentation': polygons,
    }


# --- files and processes ----------------------------------------------------------------------------------------------


def _encode_jpeg(image: _Array, quality: int) -> bytes:
    _, data = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return bytes(data)


def _limit_cv_threads() -> None:
    cv2.setNumThreads(1)


def _map_in_order(
    function: Callable[[int], Any], count: int, progress: _ProgressWrapper | None, num_workers: int, description: str
) -> Iterator[Any]:
    """Results of `function` for 0 ... count - 1 in order, computed here or by `num_workers` processes."""
    wrap = progress or (lambda iterable, **_: iterable)
    if num_workers <= 0 or count == 0:
        yield from wrap(map(function, range(count)), total=count, description=description)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(num_workers, mp_context=get_context('spawn'), initializer=_limit_cv_threads) as pool:
        yield from wrap(pool.map(function, range(count), chunksize=8), total=count, description=description)


def _write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    (folder / 'dataset.json').write_text(json.dumps(metadata, indent=1) + '\n', encoding='utf-8')


def _is_written(root: Path, metadata: dict[str, Any], content_names: set[str]) -> bool:
    """Whether `root` already holds exactly this data set; an error if it holds something that must not be replaced."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = 'choose another folder, or move this one away'
    if not root.is_dir():
        raise AnnotationError(f'{root} is a file, but the data set needs a folder; choose another name')
    try:
        existing = json.loads((root / 'dataset.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        existing = None
    if not isinstance(existing, dict) or existing.get('name') != metadata['name']:
        raise AnnotationError(f'{root}: this folder was not written by the generator of {metadata["name"]}; {advice}')
    written_names = content_names | {'dataset.json'}
    foreign_names = sorted(entry.name for entry in root.iterdir() if entry.name not in written_names)
    if existing != metadata and foreign_names:
        raise AnnotationError(
            f'{root}: this folder would be replaced, but it also holds {foreign_names}, which the generator did not '
            f'write; {advice}'
        )
    return existing == metadata


@contextmanager
def _replace_folder(root: Path) -> Iterator[Path]:
    """A folder beside `root` that replaces it once it is complete, and is removed if the block fails."""
    # Hidden and with the process's number: two processes may write the same set at once.
    folder = root.with_name(f'.{root.name}.{os.getpid()}.partial')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
        old = folder.with_suffix('.old')
        if root.exists():
            root.rename(old)
        folder.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
