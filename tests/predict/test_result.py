"""What a predictor returns, and the forms of other tools."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import ImageShow

from poseplug import Poses, Result, get_skeleton
from poseplug.core.errors import ConfigError
from poseplug.data.formats.convert import read_labels
from poseplug.files.images import read_image
from poseplug.predict.tracking import SimilarityTracker
from poseplug.report.draw import draw_poses

BOXES = [[5, 6, 40, 80], [30, 20, 50, 60]]


@pytest.fixture
def file(tiny_data, tmp_path):
    source = min((tiny_data / 'images').glob('*.jpg'))
    (tmp_path / '0012.jpg').write_bytes(source.read_bytes())
    return tmp_path / '0012.jpg'


@pytest.fixture
def result(predictor, file):
    return predictor(file, BOXES)[0]


def test_a_result_is_poses_with_their_image_skeleton_and_speed(predictor, result, file):
    image = read_image(file)
    assert isinstance(result, Poses)
    assert type(result.poses) is Poses
    assert (result.path, result.image_size, result.index, result.seconds) == (file, image.shape[1::-1], 0, None)
    assert result.skeleton is predictor.skeleton
    assert set(result.speed) == {'read', 'prepare', 'predict'}
    assert min(result.speed.values()) > 0
    assert np.array_equal(result.image, image)
    assert repr(result) == f"Result('{file}', {image.shape[1]}x{image.shape[0]} px, instances: 2, skeleton: lsp)"


def test_what_is_selected_or_transformed_is_a_result_again(result):
    for other in (result[[1]], result.transform(np.eye(3)), result.numpy(), replace(result, ids=np.array([1, 2]))):
        assert isinstance(other, Result)
        assert other.path == result.path
    assert np.array_equal(result[[1]].keypoints[0], result.keypoints[1])
    assert SimilarityTracker(result.skeleton)(result, 0.0).ids.tolist() == [1, 2]


def test_results_hold_no_pixels_of_files_and_those_of_arrays(predictor, file):
    image = read_image(file)
    from_file, from_bytes, from_array = predictor([file, file.read_bytes(), image])
    assert [result.path.name for result in (from_file, from_bytes, from_array)] == ['0012.jpg', 'image 1', 'image 2']
    assert [result.index for result in (from_file, from_bytes, from_array)] == [0, 1, 2]
    assert from_array.image is image
    assert np.array_equal(from_bytes.image, image)
    assert not any(isinstance(value, np.ndarray) and value.nbytes >= image.nbytes for value in vars(from_file).values())


def test_a_stream_yields_results(predictor, file):
    (result,) = predictor.stream(iter([file]))
    assert isinstance(result, Result)


def test_the_drawing_is_that_of_draw_poses(result, file, tmp_path):
    expected = draw_poses(read_image(file), result.poses, result.skeleton, 0.1)
    assert np.array_equal(result.plot(0.1), expected)
    assert np.array_equal(cv2.imread(str(result.save(tmp_path / 'out' / 'drawn.png', 0.1))), expected)


def test_saving_never_overwrites_the_image(result, file, tmp_path):
    before = file.read_bytes()
    (tmp_path / 'link.jpg').symlink_to(file)
    for target in (file, tmp_path / 'link.jpg'):
        with pytest.raises(ConfigError, match='would be overwritten'):
            result.save(target)
    assert file.read_bytes() == before
    with pytest.raises(ConfigError, match=r'results are saved as \.jpg'):
        result.save(tmp_path / 'a.doc')
    (tmp_path / 'taken').write_text('')
    with pytest.raises(ConfigError, match='name another file'):
        result.save(tmp_path / 'taken' / 'a.json')


def test_a_dict_has_what_result_files_have(result, tmp_path):
    content = json.loads(result.save(tmp_path / 'a.json').read_text())
    assert content == json.loads(json.dumps(result.to_dict()))
    assert content['instances'] == result.to_dicts()
    assert (content['width'], content['height']) == result.image_size
    assert content['keypoint_names'] == list(result.skeleton.keypoints)


def test_coco_results_carry_the_boxes_and_the_number_of_the_image(result):
    first, second = result.to_coco()
    assert (first['image_id'], first['category_id'], len(first['keypoints'])) == (12, 1, 42)
    assert [first['bbox'], second['bbox']] == BOXES
    assert np.allclose(np.reshape(second['keypoints'], (14, 3))[:, :2], result.keypoints[1], atol=1e-4)
    assert result.to_coco('x', digits=None)[0]['image_id'] == 'x'
    assert replace(result, path=Path('photo.jpg')).to_coco()[0]['image_id'] == 'photo'


def test_a_table_has_a_row_per_keypoint(result, file, tmp_path):
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row['keypoint'] for row in rows] == 2 * list(result.skeleton.keypoints)
    assert {row['image'] for row in rows} == {str(file)}
    assert np.allclose([float(row['x']) for row in rows], result.keypoints[..., 0].ravel(), atol=1e-3)
    assert (result.save(tmp_path / 'a.csv')).read_text() == result.to_csv()


@pytest.mark.parametrize('package', ['pandas', 'polars'])
def test_a_data_frame_is_of_the_package_that_is_installed(monkeypatch, result, package):
    from poseplug.predict import result_formats

    monkeypatch.setattr(result_formats, 'find_spec', lambda name: name == package or None)
    monkeypatch.setitem(sys.modules, package, SimpleNamespace(DataFrame=lambda columns: columns))
    columns = result.to_dataframe()
    assert list(columns) == ['image', 'instance', 'keypoint', 'x', 'y', 'score', 'sigma_px']
    assert {len(values) for values in columns.values()} == {28}
    without_instances = result[[]].to_dataframe()
    kinds = {name: values.dtype.kind for name, values in columns.items()}
    assert kinds == dict(image='U', instance='i', keypoint='U', x='f', y='f', score='f', sigma_px='f')
    assert {name: (values.dtype.kind, len(values)) for name, values in without_instances.items()} == {
        name: (kind, 0) for name, kind in kinds.items()
    }
    monkeypatch.setattr(result_formats, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match='pip install pandas'):
        result.to_dataframe()


def test_openpose_people_have_the_keypoints_of_the_skeleton_that_is_asked_for(result):
    people = result.to_openpose()['people']
    assert [len(person['pose_keypoints_2d']) for person in people] == [42, 42]
    assert people[0]['person_id'] == [-1]
    body25 = get_skeleton('body25')
    values = np.reshape(result.to_openpose(body25)['people'][1]['pose_keypoints_2d'], (25, 3))
    wrist, nose = body25.index('left_wrist'), body25.index('nose')
    assert np.allclose(values[wrist, :2], result.keypoints[1, result.skeleton.index('left_wrist')], atol=1e-3)
    assert values[nose].tolist() == [0, 0, 0]
    assert replace(result, ids=np.array([7, 9])).to_openpose()['people'][1]['person_id'] == [9]


def test_labels_for_yolo_are_read_back(result, file, tmp_path):
    folder = tmp_path / 'yolo'
    for name in ('images', 'labels'):
        (folder / name / 'train').mkdir(parents=True)
    (folder / 'images/train/0012.jpg').write_bytes(file.read_bytes())
    result.save(folder / 'labels/train/0012.txt', threshold=0.0)
    (folder / 'data.yaml').write_text('path: .\ntrain: images/train\nkpt_shape: [14, 3]\nnames: {0: person}\n')
    read = read_keypoints(folder)
    inside = ((result.keypoints >= 0) & (result.keypoints <= np.array(result.image_size))).all(axis=-1)
    assert np.allclose(read[inside][:, :2], result.keypoints[inside], atol=0.01)
    assert (read[~inside][:, 2] == 0).all()


def read_keypoints(folder):
    """Keypoints (N, K, 3) of all labels in a folder: x, y and flag."""
    return np.array([a['keypoints'] for a in read_labels(folder).content['annotations']], float).reshape(-1, 14, 3)


def test_labels_for_labelme_are_read_back(result, file, tmp_path):
    folder = tmp_path / 'labelme'
    folder.mkdir()
    (folder / '0012.jpg').write_bytes(file.read_bytes())
    (folder / '0012.json').write_text(json.dumps(result.to_labelme(threshold=0.0)))
    read = read_keypoints(folder)
    assert np.allclose(np.sort(read[..., 0]), np.sort(result.keypoints[..., 0]), atol=0.01)


def test_weak_keypoints_are_left_out_of_labels(result):
    assert result.to_labelme(threshold=2.0)['shapes'] == [
        shape for shape in result.to_labelme()['shapes'] if shape['shape_type'] == 'rectangle'
    ]
    assert result.to_yolo(threshold=2.0).split('\n')[0].split()[5:] == ['0'] * 42


def test_no_instances_have_empty_exports(predictor, file):
    (result,) = predictor(file, [])
    assert (result.to_coco(), result.to_yolo(), result.to_openpose()['people']) == ([], '', [])
    assert result.to_labelme()['shapes'] == []
    assert result.to_csv() == 'image,instance,keypoint,x,y,score\n'
    assert result.plot().shape[2] == 3


def test_labels_for_cvat_are_read_back(result, file, tmp_path):
    (tmp_path / 'annotations.xml').write_text(result.to_cvat(threshold=0.0))
    labels = read_labels(tmp_path / 'annotations.xml')
    assert labels.content['categories'][0]['keypoints'] == list(result.skeleton.keypoints)
    table = read_keypoints(tmp_path / 'annotations.xml')
    assert np.allclose(table[..., :2], result.keypoints, atol=0.01)
    (tmp_path / 'annotations.xml').write_text(result.to_cvat(threshold=2.0))
    assert read_labels(tmp_path / 'annotations.xml').content['annotations'] == []


def test_a_result_is_shown_by_the_viewer_of_the_machine(monkeypatch, result):
    shown = []
    monkeypatch.setattr(ImageShow, 'show', lambda image, title: shown.append((image.size, title)) or True)
    result.show()
    assert shown == [(result.plot().shape[1::-1], '0012.jpg')]
    monkeypatch.setattr(ImageShow, 'show', lambda image, title: False)
    with pytest.raises(ConfigError, match='no image viewer'):
        result.show()


def test_a_parquet_file_never_overwrites_the_image(result, file):
    with pytest.raises(ConfigError, match='would be overwritten'):
        result.to_parquet(file)
