"""Official annotation files as they are distributed, with black images; skipped where they are absent."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.data.sources.aic import AICSource
from poseplug.data.sources.coco_wholebody import CocoWholeBodyFaceSource, CocoWholeBodyHandSource
from poseplug.data.sources.crowdpose import CrowdPoseSource
from poseplug.data.sources.flic import FLICSource
from poseplug.files.matlab import read_matlab_structs

DATA = Path(os.environ.get('POSEPLUG_DATA', Path(__file__).parents[4] / 'shared/data'))


def require_file(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f'no {name} in {DATA}; name its folder by POSEPLUG_DATA')
    return DATA / name


def write_blank_images(folder: Path, sizes: dict[str, tuple[int, int]]) -> None:
    """Black images by name, of sizes (width, height); each size is encoded once."""
    encoded = {}
    for name, (width, height) in sizes.items():
        if (width, height) not in encoded:
            encoded[width, height] = cv2.imencode('.png', np.zeros((height, width), np.uint8))[1].tobytes()
        (folder / name).write_bytes(encoded[width, height])


def test_crowdpose_validation_is_read_whole_and_without_a_word_about_its_counts(tmp_path):
    file = require_file('crowdpose/annotations/crowdpose_val.json')
    images = json.loads(file.read_text())['images']
    write_blank_images(tmp_path, {image['file_name']: (image['width'], image['height']) for image in images})
    records, report = CrowdPoseSource(tmp_path, ann_file=file, image_folder=tmp_path, keep_empty=True).load()
    assert (len(records), report.total) == (2000, 8527)
    assert report.kept == sum(len(r.instances) for r in records) == 7962
    assert sum(int(r.ignored.crowds.sum()) for r in records) == 106
    assert sum(keypoints is not None for r in records for keypoints in r.ignored.keypoints) == 66
    counted = np.concatenate([(r.instances.visible[:, :12] > 0).sum(axis=1) for r in records])
    assert np.array_equal(counted, np.concatenate([r.instances.stated_counts for r in records]))
    assert report.notes == [
        '9 keypoints outside the image, counted as not labeled',
        '4 instances most of whose keypoints lie outside their box',
    ]


@pytest.mark.parametrize(('source', 'parts'), [
    (CocoWholeBodyHandSource, ['lefthand', 'righthand']),
    (CocoWholeBodyFaceSource, ['face']),
])  # fmt: skip
def test_hands_and_faces_of_whole_bodies_are_instances(tmp_path, source, parts):
    file = require_file('published/coco_wholebody/example_wholebody_val.json')
    content = json.loads(file.read_text())
    write_blank_images(tmp_path, {image['file_name']: (image['width'], image['height']) for image in content['images']})
    records, report = source(tmp_path, ann_file=file, image_folder=tmp_path).load()
    valid = [(a, part) for a in content['annotations'] for part in parts if a[f'{part}_valid']]
    assert report.total == len(parts) * len(content['annotations'])
    assert report.dropped['not valid in the file'] == report.total - len(valid)
    assert report.kept == sum(len(record.instances) for record in records) > 0
    by_id = {a['id'] * len(parts) + parts.index(part): a[f'{part}_kpts'] for a, part in valid}
    for record in records:
        for number, keypoints in zip(record.instances.annotation_ids, record.instances.keypoints, strict=True):
            labeled = np.array(by_id[int(number)]).reshape(-1, 3)[:, 2] > 0
            assert np.allclose(keypoints[labeled], np.array(by_id[int(number)]).reshape(-1, 3)[labeled, :2])


def test_the_example_of_ai_challenger_is_read_whole_with_the_areas_of_its_boxes(tmp_path):
    file = require_file('aic/keypoint_annotations_example.json')
    content = json.loads(file.read_text())
    write_blank_images(tmp_path, {f'{image["image_id"]}.jpg': (640, 480) for image in content})
    records, report = AICSource(tmp_path, ann_file=file, image_folder=tmp_path).load()
    boxes = [box for image in content for box in image['human_annotations'].values()]
    expected = sorted((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes)
    areas = [area for r in records for area in (*r.instances.areas, *r.ignored.areas)]
    assert (report.total, len(content)) == (2761, 1000)
    assert sorted(areas) == expected[len(expected) - len(areas) :]  # boxes of no extent are dropped
    assert report.kept + sum(report.dropped.values()) == report.total


@pytest.mark.parametrize(('split', 'count'), [('all', 5003), ('train', 3987), ('test', 1016)])
def test_all_records_of_flic_are_read(tmp_path, split, count):
    file = require_file('flic/flic-joints-oc.mat')
    structs = read_matlab_structs(file, 'flic_anno')
    sizes = {fields['filepath']: tuple(int(n) for n in np.ravel(fields['imgdims'])[1::-1]) for fields in structs}
    write_blank_images(tmp_path, sizes)
    source = FLICSource(tmp_path, split, ann_file=file, array_name='flic_anno', image_folder=tmp_path)
    records, report = source.load()
    assert (report.kept, report.total, sum(len(r.instances) for r in records)) == (count, count, count)
    labeled = np.concatenate([r.instances.keypoints for r in records])
    assert np.isfinite(labeled).all()
    left, right = (labeled[:, source.skeleton.index(f'{side}_shoulder'), 0] for side in ('left', 'right'))
    assert (right <= left).all()  # left and right as the observer sees a person who faces the camera
