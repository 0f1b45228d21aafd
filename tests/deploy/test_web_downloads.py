"""Downloads of the web page: the forms of `poseplug predict --format`, in files whose names are safe."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.deploy import web_downloads
from poseplug.deploy.web_downloads import (
    DOWNLOAD_FORMATS,
    pack_files,
    pack_image_results,
    select_available_formats,
    simplify_file_name,
)
from poseplug.registry.skeletons import get_skeleton

SKELETON = get_skeleton({'name': 'pair', 'keypoints': ('left_eye', 'right_eye'), 'limbs': (('left_eye', 'right_eye'),)})


def build_content(name='walk.jpg', instances=None):
    instances = instances or [{'score': 0.75, 'keypoints': [[10.0, 20.0, 0.9], [14.0, 20.0, 0.01]]}]
    return {'model': 'm', 'images': [{'file': name, 'width': 64, 'height': 48, 'instances': instances}]}


def open_zip(download):
    assert download.name.endswith('.zip')
    archive = zipfile.ZipFile(io.BytesIO(download.data))
    return {name: archive.read(name).decode('utf-8', 'replace') for name in archive.namelist()}


@pytest.mark.parametrize(
    ('name', 'safe'),
    [
        ('walk.jpg', 'walk.jpg'),
        ('../../etc/passwd', 'passwd'),
        ('C:\\photos\\a b.png', 'a b.png'),
        ('a<b>"c".jpg', 'a_b_c_.jpg'),
        ('..', 'image'),
        ('', 'image'),
        ('\0', '_'),
        ('größe.jpg', 'größe.jpg'),
        ('x' * 300 + '.jpg', 'x' * 96 + '.jpg'),
    ],
)
def test_a_name_from_a_browser_becomes_a_file_name_in_no_folder(name, safe):
    assert simplify_file_name(name) == safe


def test_one_format_of_one_image_is_a_file_of_its_name():
    download = pack_image_results(build_content(), SKELETON, ['json'], 0.05)
    content = json.loads(download.data)
    assert download.name == 'walk_poses.json'
    assert content['images'][0]['instances'] == build_content()['images'][0]['instances']
    assert (content['model'], content['complete']) == ('m', True)


def test_every_format_is_written_and_labels_skip_keypoints_below_the_threshold():
    formats = [name for name in DOWNLOAD_FORMATS if name != 'parquet']
    files = open_zip(pack_image_results(build_content(), SKELETON, formats, 0.05))
    assert set(files) == {
        'results.json', 'results.csv', 'results_coco.json', 'results_coco_results.json', 'results_cvat.xml',
        'labelme/walk.json', 'openpose/walk_keypoints.json', 'yolo/labels/walk.txt', 'yolo/data.yaml',
    }  # fmt: skip
    (annotation,) = json.loads(files['results_coco.json'])['annotations']
    assert annotation['keypoints'] == [10, 20, 2, 0, 0, 0]
    rows = list(csv.DictReader(io.StringIO(files['results.csv'])))
    assert [(row['image'], row['keypoint'], float(row['x'])) for row in rows] == [
        ('walk.jpg', 'left_eye', 10.0),
        ('walk.jpg', 'right_eye', 14.0),
    ]


def test_a_name_that_leads_out_of_the_folder_stays_in_it():
    content = build_content('/tmp/../../evil/../walk.jpg')
    files = open_zip(pack_image_results(content, SKELETON, ['labelme', 'yolo'], 0.05))
    assert set(files) == {'labelme/walk.json', 'yolo/labels/walk.txt', 'yolo/data.yaml'}


@pytest.mark.parametrize(
    ('content', 'formats', 'message'),
    [
        (build_content(), [], 'choose at least one format'),
        (build_content(), ['png'], "'png' is no format of results"),
        ({}, ['json'], 'no results of images'),
        ({'images': [1]}, ['json'], 'no results of images'),
        ({'images': []}, ['json'], 'at least one image'),
        ({'images': [{'file': 'a', 'width': np.inf, 'height': 1, 'instances': []}]}, ['json'], 'no results of images'),
        (build_content(instances=[{'score': 1, 'keypoints': [[1, 2, 3]]}]), ['json'], 'no results of images'),
        (build_content(instances=[{'score': 1, 'keypoints': 'x'}]), ['json'], 'no results of images'),
    ],
)
def test_what_is_no_result_is_an_error(content, formats, message):
    with pytest.raises(ConfigError, match=message):
        pack_image_results(content, SKELETON, formats, 0.05)


def test_an_empty_folder_has_nothing_to_download(tmp_path):
    with pytest.raises(ConfigError, match='nothing to download'):
        pack_files(tmp_path, 'a')


def test_a_format_whose_package_is_missing_is_not_offered(monkeypatch):
    def refuse(names):
        if 'parquet' in names:
            raise ConfigError('parquet needs pyarrow')
        if 'video' in names:
            raise ConfigError('video is no format of results')

    monkeypatch.setattr(web_downloads, 'check_result_formats', refuse)
    assert select_available_formats(['video', 'csv', 'parquet']) == ['video', 'csv']
