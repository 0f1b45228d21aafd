"""Files that are no labels of keypoints, or not in a format that is read: what they are, and what to use instead."""

from __future__ import annotations

__all__ = ['describe_other_format']

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from poseplug.data.formats.json_structure import JsonStructure, read_json_structure
from poseplug.files.json_file import parse_json
from poseplug.files.xml_file import read_xml
from poseplug.files.yaml_file import read_yaml

_MAX_FILES_TRIED = 20  # of a folder; exports have their labels near the top
_TRIED_SUFFIXES = ('.json', '.xml', '.yaml', '.yml', '.h5', '.hdf5', '.mat', '.csv', '.ndjson', '.jsonl')
# Every tool can write a table, so it is what to fall back on where a tool has no export of keypoints per instance.
_CSV_REMEDY = (
    'write them as a CSV table with the columns image, split, width, height, instance, category, box_x, box_y, '
    'box_width, box_height, keypoint, x, y, visible'
)

_JsonRule = tuple[Callable[[JsonStructure], bool], str]
_JSON_RULES: tuple[_JsonRule, ...] = (
    (
        lambda o: o.is_list and o.has_keys('image_id', 'category_id', 'score'),
        'detections or predictions in the form of COCO results, not labels; boxes of this kind are for bbox_file= of a '
        'source and for --boxes of predict',
    ),
    (
        lambda o: o.is_list and o.has_keys('image_id', 'bbox', 'scores'),
        'detected boxes, not labels; boxes of this kind are for bbox_file= of a source',
    ),
    (
        lambda o: o.is_list and o.has_keys('joints', 'joints_vis', 'center', 'scale'),
        "MPII's labels in the form of MMPose and HRNet; a config reads them by dict(type='MPIISource', ann_file=...)",
    ),
    (
        lambda o: o.is_list and o.has_keys('image_id', 'keypoint_annotations', 'human_annotations'),
        "AI Challenger's labels; a config reads them by dict(type='AICSource', ...)",
    ),
    (
        lambda o: o.has_keys('project', 'config', 'attribute', 'file', 'metadata', 'view'),
        f'a project of VIA 3, whose points do not say which instance they belong to; {_CSV_REMEDY}',
    ),
    (
        lambda o: o.has_keys('label_hash', 'data_units') or o.has_keys('data_hash', 'data_units'),
        "Encord's format; export from Encord as COCO",
    ),
    (
        lambda o: o.has_keys('data_row', 'projects'),
        f"Labelbox's format, whose points do not say which instance they belong to; {_CSV_REMEDY}",
    ),
    (
        lambda o: o.has_keys('size', 'objects') and o.types['objects'] is list,
        'labels of one image of Supervisely; name the folder of its project, whose meta.json names the keypoints',
    ),
    (
        lambda o: o.has_keys('people') and o.has_keys('version') and not o.has_keys('annotations'),
        "poses that OpenPose predicted, not labels of images; they lack the images' sizes and names",
    ),
    (
        lambda o: o.is_list and o.has_keys('image', 'id') and not o.has_keys('data'),
        "Label Studio's short export (JSON-MIN), which leaves out to which box a keypoint belongs; export as JSON",
    ),
    (
        lambda o: o.is_list and o.has_keys('image', 'annotations') and o.types['annotations'] is list,
        f"CreateML's format, which has boxes but no keypoints; {_CSV_REMEDY}",
    ),
    (
        lambda o: not o.is_list and o.has_keys('images', 'annotations') and not o.has_keys('categories'),
        'like COCO, but without its list of categories: "categories": [{"id": 1, "name": ..., "keypoints": [...]}]',
    ),
)


def describe_other_format(path: Path) -> str:
    """Describe what a file is, or the first such file of a folder, if it is in no format that is read.

    Args:
        path: an existing file or folder.

    Returns:
        What it is and what to do instead, as 'FILE is ...'; '' if it is not known.

    Raises:
        AnnotationError: a JSON or XML file cannot be read.
    """
    files = (
        (file for file in path.rglob('[!.]*') if file.suffix.lower() in _TRIED_SUFFIXES) if path.is_dir() else [path]
    )
    for file in sorted(islice(files, _MAX_FILES_TRIED)):
        description = _describe_file(file)
        if description:
            return f'{file} is {description}'
    return ''


def _describe_file(file: Path) -> str:
    """What a file is; '' if it is not known."""
    suffix = file.suffix.lower()
    if suffix == '.json':
        structure = read_json_structure(file)
        # Some formats have the keys of others and more, so the first rule that applies counts.
        return next((text for applies, text in _JSON_RULES if applies(structure)), '')
    if suffix == '.xml':
        return _describe_xml(file)
    if suffix in ('.yaml', '.yml'):
        return _describe_yaml(file)
    if suffix in ('.h5', '.hdf5'):
        return _describe_hdf5(file)
    if suffix in ('.ndjson', '.jsonl'):
        return _describe_json_lines(file)
    if suffix == '.mat':
        return "a MATLAB file; LSP, FLIC and MPII are read by a config's source (poseplug list source)"
    return ''


def _describe_xml(file: Path) -> str:
    """What an XML file is, by its root."""
    # CVAT has the plural, 'annotations'.
    if read_xml(file).tag == 'annotation':
        return 'an annotation of Pascal VOC, which has boxes but no keypoints; export keypoints, as COCO if possible'
    return ''


def _describe_yaml(file: Path) -> str:
    """What a YAML file is: a data set of YOLO of another task."""
    content = read_yaml(file)
    if isinstance(content, dict) and {'names', 'train'} <= set(content) and 'kpt_shape' not in content:
        return (
            'a data set of YOLO without kpt_shape, so of boxes or polygons; one of keypoints has kpt_shape: [number of '
            'keypoints, 2 or 3]'
        )
    return ''


def _describe_json_lines(file: Path) -> str:
    """What a file of a JSON object a line is, by its first line."""
    with open(file, encoding='utf-8-sig') as opened:
        first_line = opened.readline()
    try:
        content = parse_json(first_line)
    except ValueError:
        return ''
    if isinstance(content, dict) and 'task' in content and 'class_names' in content:
        return f"Ultralytics' data set of the task {content['task']} in one file; keypoints have the task pose"
    return ''


def _describe_hdf5(file: Path) -> str:
    """What an HDF5 file is, by its name: predictions have other names than labels."""
    name = file.name.lower()
    if 'analysis' in name:
        return "an analysis of SLEAP, which holds tracks without images; use the project's .slp file"
    if 'dlc' in name or 'deepcut' in name:
        return 'predictions of DeepLabCut, not labels; its labels are in labeled-data/VIDEO/CollectedData_*.csv or .h5'
    return ''
