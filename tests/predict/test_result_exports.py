"""Results in the forms of other tools, written by the command and read back."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from poseplug import get_skeleton
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.data.formats.convert import read_labels
from poseplug.files import parquet_table
from poseplug.files.parquet_table import ParquetTable
from poseplug.predict import result_formats
from poseplug.predict.result_exports import RESULT_FORMATS
from poseplug.predict.result_files import iterate_results
from tests.reliability import videos

FORMATS = sorted(set(RESULT_FORMATS) - {'parquet'})


@pytest.fixture
def folder(tiny_data, tmp_path):
    (tmp_path / 'in').mkdir()
    for file in sorted((tiny_data / 'images').glob('*.jpg'))[:3]:
        shutil.copy(file, tmp_path / 'in')
    return tmp_path / 'in'


@pytest.fixture
def results(command, folder, tmp_path):
    """The output folder of three images, written in every form, and the instances of each."""
    out = tmp_path / 'out'
    words = ('--format', ','.join(FORMATS), '--keypoint-threshold', '0', '--out', out, '--device', 'cpu')
    code, printed, error = command('predict', folder, *words)
    assert code == 0, error
    assert 'results_coco.json' in printed
    assert 'yolo/' in printed
    images = list(iterate_results(out / 'results.json', 'images'))
    return out, {Path(image['file']).name: np.array(image['instances'][0]['keypoints'])[:, :2] for image in images}


def read_points(path, image_folder):
    """The keypoints (K, 3) of each image's one instance, by the image's name."""
    labels = read_labels(path, image_folder=image_folder)
    content = labels.content
    assert not labels.dropped
    names = {image['id']: Path(image['file_name']).name for image in content['images']}
    (category,) = [c for c in content['categories'] if c.get('keypoints')]
    points = {names[a['image_id']]: np.reshape(a['keypoints'], (-1, 3)) for a in content['annotations']}
    return points, category['keypoints']


@pytest.mark.parametrize('name', ['coco', 'cvat', 'labelme', 'yolo'])
def test_labels_that_a_model_filled_in_are_read_back(results, folder, name):
    out, expected = results
    path = {'coco': out / 'results_coco.json', 'cvat': out / 'results_cvat.xml'}.get(name, out / name)
    image_folder = folder
    if name in ('labelme', 'yolo'):
        image_folder = out / 'yolo' / 'images' if name == 'yolo' else out / 'labelme'
        shutil.copytree(folder, image_folder, dirs_exist_ok=True)
    points, keypoints = read_points(path, None if name == 'yolo' else image_folder)
    assert set(points) == set(expected)
    order = [get_skeleton('lsp').keypoints.index(k) for k in keypoints] if name != 'yolo' else range(14)
    for image, table in points.items():
        labeled = table[:, 2] > 0
        assert labeled.sum() >= 10
        assert np.allclose(table[labeled, :2], expected[image][order][labeled], atol=0.02)


def test_coco_labels_and_result_records_have_the_same_ids(results):
    out, expected = results
    labels = json.loads((out / 'results_coco.json').read_text())
    records = json.loads((out / 'results_coco_results.json').read_text())
    assert [record['image_id'] for record in records] == [a['image_id'] for a in labels['annotations']] == [1, 2, 3]
    for record, image in zip(records, labels['images'], strict=True):
        assert np.allclose(np.reshape(record['keypoints'], (-1, 3))[:, :2], expected[Path(image['file_name']).name])
        assert Path(image['file_name']).is_file()


def test_openpose_has_a_file_per_image_and_per_frame(command, results, tmp_path):
    out, expected = results
    for image, points in expected.items():
        content = json.loads((out / 'openpose' / f'{Path(image).stem}_keypoints.json').read_text())
        assert np.allclose(np.reshape(content['people'][0]['pose_keypoints_2d'], (14, 3))[:, :2], points, atol=1e-3)
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    words = ('--format', 'openpose,yolo', '--frame-interval', '25', '--no-video', '--out', tmp_path / 'video')
    code, _, error = command('predict', tmp_path / 'clip.avi', *words, '--device', 'cpu')
    assert code == 0, error
    assert 'yolo: labels of images; the videos are not in them' in error
    files = sorted(file.name for file in (tmp_path / 'video' / 'openpose').iterdir())
    assert files == [f'clip_{n:012d}_keypoints.json' for n in (0, 25)]


def test_csv_is_the_table_of_the_run(results):
    out, expected = results
    assert (out / 'results.csv').read_text().count('\n') == 1 + 14 * len(expected)


def test_a_format_that_is_unknown_or_lacks_a_package_is_refused_before_the_work(command, monkeypatch, folder, tmp_path):
    code, _, error = command('predict', folder, '--format', 'coko', '--out', tmp_path / 'out')
    assert code == 2
    assert "'coko' is no format of results" in error
    assert "closest: 'coco'" in error
    monkeypatch.setattr(parquet_table, 'find_spec', lambda name: None)
    code, _, error = command('predict', folder, '--format', 'parquet', '--out', tmp_path / 'out')
    assert code == 2
    assert 'pip install pyarrow' in error
    assert not (tmp_path / 'out').exists()


def test_an_export_that_would_overwrite_an_input_is_refused(command, folder, tmp_path):
    boxes = tmp_path / 'out' / 'labelme' / f'{min(folder.iterdir()).stem}.json'
    boxes.parent.mkdir(parents=True)
    boxes.write_text(json.dumps({file.name: [[5, 5, 40, 40]] for file in folder.iterdir()}))
    before = boxes.read_bytes()
    words = ('--boxes', boxes, '--format', 'labelme', '--out', tmp_path / 'out', '--device', 'cpu')
    code, _, error = command('predict', folder, *words)
    assert code == 2
    assert 'would be overwritten' in error
    assert boxes.read_bytes() == before


class FakePolars:
    """What the table uses of polars; it writes the columns as JSON."""

    String, Int64, Float64 = 'String', 'Int64', 'Float64'

    class DataFrame:
        def __init__(self, values, schema):
            self.content = {'values': values, 'schema': schema}

        def write_parquet(self, file):
            Path(file).write_text(json.dumps(self.content))


def test_a_parquet_table_has_typed_columns_and_nulls(monkeypatch, tmp_path):
    monkeypatch.setattr(parquet_table, 'find_spec', lambda name: name == 'polars' or None)
    monkeypatch.setitem(sys.modules, 'polars', FakePolars)
    with ParquetTable(tmp_path / 'new' / 'a.parquet', {'name': str, 'id': int, 'x': float}) as table:
        table.add_rows([{'name': 'a', 'x': 1.5}, {'name': 'b', 'id': 2, 'x': 2.5}])
    content = json.loads((tmp_path / 'new' / 'a.parquet').read_text())
    assert content['values'] == {'name': ['a', 'b'], 'id': [None, 2], 'x': [1.5, 2.5]}
    assert content['schema'] == {'name': 'String', 'id': 'Int64', 'x': 'Float64'}


@pytest.mark.parametrize('name', ['confidence', 'keypoint_confidence'])
def test_supervision_gets_points_and_scores_by_the_name_of_its_version(monkeypatch, name):
    poses = Poses(np.array([[[1.0, 2.0]]]), np.array([[0.5]]), np.array([0.5]))
    namespace = {}
    exec(f'def build(xy, class_id, {name}): return dict(xy=xy, class_id=class_id, scores={name})', namespace)
    monkeypatch.setattr(result_formats, 'find_spec', lambda name: True)
    monkeypatch.setitem(sys.modules, 'supervision', SimpleNamespace(KeyPoints=namespace['build']))
    arrays = result_formats.build_supervision(poses)
    assert (arrays['xy'].tolist(), arrays['scores'].tolist()) == ([[[1.0, 2.0]]], [[0.5]])
    monkeypatch.setattr(result_formats, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='pip install supervision'):
        result_formats.build_supervision(poses)


def test_instances_of_result_files_are_poses_again():
    poses = Poses(np.full((2, 3, 2), 1.25), np.full((2, 3), 0.5), np.array([0.9, 0.1]), ids=np.array([3, 5]))
    again = Poses.from_dicts(json.loads(json.dumps(poses.to_dicts())), 3)
    assert again.to_dicts() == poses.to_dicts()
    assert Poses.from_dicts([], 3).keypoints.shape == (0, 3, 2)
