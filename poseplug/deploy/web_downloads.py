"""Results of the web page as files in the forms of `poseplug predict --format`, packed for a download."""

from __future__ import annotations

__all__ = [
    'DOWNLOAD_FORMATS',
    'Download',
    'pack_files',
    'pack_image_results',
    'select_available_formats',
    'simplify_file_name',
]

import io
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.predict.result_exports import RESULT_FORMATS, check_result_formats, export_results
from poseplug.predict.result_files import RESULTS_STEM, ResultLines
from poseplug.predict.result_formats import format_csv

DOWNLOAD_FORMATS = ('json', *RESULT_FORMATS)
_HEADER_KEYS = ('model', 'skeleton', 'centric', 'keypoint_names', 'score_meaning')
_UNSAFE_CHARACTERS = re.compile(r'[^\w.()\- ]+')
_MAX_NAME_LENGTH = 100


class Download(NamedTuple):
    """A file that is sent.

    Attributes:
        name: of the file.
        data: its bytes.
    """

    name: str
    data: bytes


def simplify_file_name(name: str, default: str = 'image') -> str:
    """Return a name that is a file name on every system, in no folder.

    Args:
        name: as a browser sends it.
        default: for a name of which nothing is left.

    Example:
        >>> simplify_file_name('../../etc/pass wd?.jpg')
        'pass wd_.jpg'
    """
    # browsers on Windows may send paths with backslashes
    last = name.replace('\\', '/').rpartition('/')[2]
    return _UNSAFE_CHARACTERS.sub('_', last)[-_MAX_NAME_LENGTH:].strip(' .') or default


def select_available_formats(formats: Sequence[str]) -> list[str]:
    """Return the formats whose packages are installed, of `DOWNLOAD_FORMATS` or of those of videos.

    Example:
        >>> select_available_formats(['json', 'csv'])
        ['json', 'csv']
    """

    def is_available(name: str) -> bool:
        try:
            check_result_formats([name])
        except ConfigError:
            return name not in RESULT_FORMATS
        return True

    return [name for name in formats if is_available(name)]


def pack_image_results(
    content: Mapping[str, Any], skeleton: Skeleton, formats: Sequence[str], threshold: float
) -> Download:
    """Write the results of images in some forms.

    Args:
        content: of `results.json`, as the page has it: `images`, each with `file`, `width`, `height`, `instances`.
        skeleton: of the instances.
        formats: names of `DOWNLOAD_FORMATS`.
        threshold: keypoints that score less are not labeled.

    Returns:
        The one file, or a ZIP file of several.

    Raises:
        ConfigError: there is no such format, or the content is no result of this skeleton.
    """
    if not formats:
        raise ConfigError(f'choose at least one format: {", ".join(DOWNLOAD_FORMATS)}')
    check_result_formats([name for name in formats if name != 'json'])
    images = _parse_images(content, len(skeleton))
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        out = Path(folder)
        # through the same files as on the command line, so that both have the same content
        lines = ResultLines(out, {key: content.get(key) for key in _HEADER_KEYS}, {})
        for name, size, poses in images:
            lines.add_image(name, size, poses, {})
        lines.close(is_complete=True)
        stems = {name: Path(name).stem for name, _, _ in images}
        export_results([name for name in formats if name != 'json'], out, skeleton, stems, threshold)
        if 'csv' in formats:
            rows = (row for name, _, poses in images for row in poses.to_rows(name, skeleton))
            (out / f'{RESULTS_STEM}.csv').write_text(format_csv(rows), encoding='utf-8')
        if 'json' not in formats:
            lines.json_file.unlink()
        stem = Path(images[0][0]).stem if len(images) == 1 else RESULTS_STEM
        return pack_files(out, f'{stem}_poses')


def _parse_images(content: Mapping[str, Any], num_keypoints: int) -> list[tuple[str, tuple[int, int], Poses]]:
    """Name, size and instances of the images that a page sends."""
    try:
        images = [
            (
                simplify_file_name(str(image['file'])),
                (int(image['width']), int(image['height'])),
                _parse_instances(image['instances'], num_keypoints),
            )
            for image in content['images']
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f'these are no results of images ({type(error).__name__}: {error})') from None
    names = [name for name, _, _ in images]
    if not images or len(set(names)) < len(names):
        raise ConfigError('the results are those of at least one image, each with a name of its own')
    return images


def _parse_instances(instances: Sequence[Mapping[str, Any]], num_keypoints: int) -> Poses:
    """The instances of an image; null, as JSON has what is not finite, becomes NaN."""
    poses = Poses.from_dicts(instances, num_keypoints)
    shape = (len(instances), num_keypoints, 2)
    if np.shape(poses.keypoints) != shape:
        raise ValueError(f'keypoints of shape {np.shape(poses.keypoints)}, expected {shape}')
    return poses


def pack_files(folder: Path, stem: str, patterns: Sequence[str] = ('**/*',)) -> Download:
    """Pack files of a folder.

    Args:
        folder: of the files.
        stem: of the name.
        patterns: of the files, below the folder.

    Returns:
        The file itself, or a ZIP file of several.

    Raises:
        ConfigError: there is no such file.
    """
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    if not files:
        raise ConfigError('there is nothing to download')
    if len(files) == 1:
        return Download(f'{stem}{files[0].suffix}', files[0].read_bytes())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder).as_posix())
    return Download(f'{stem}.zip', buffer.getvalue())
