import csv
import json

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.inference import folders


@pytest.fixture
def model(tiny_config, tmp_path):
    """A config file and a checkpoint of a small CPM with random weights."""
    torch.manual_seed(0)
    cfg = tiny_config()
    cfg.dump(str(tmp_path / 'tiny.py'))
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'tiny.pth')
    return tmp_path / 'tiny.py', tmp_path / 'tiny.pth'


@pytest.fixture
def pictures(tiny_data):
    return sorted((tiny_data / 'images').glob('*.jpg'))[:2]


def test_the_command_draws_everybody_and_writes_what_it_found(command, model, pictures, tmp_path):
    out = tmp_path / 'out'
    code, told, _ = command('predict.py', *model, *pictures, '--out', out, '--fields', '--csv')
    assert code == 0
    results = json.loads((out / 'results.json').read_text())
    assert [i['file'] for i in results['images']] == list(map(str, pictures))
    assert results['centric'] == 'person'
    names = {f'{p.stem}{e}.jpg' for p in pictures for e in ('_pose', '_fields')}
    assert {f.name for f in out.iterdir()} == names | {'results.json', 'results.csv'}
    for image in results['images']:
        (person,) = image['people']
        assert f'score {person["score"]:.3f}' in told
        assert np.shape(person['keypoints']) == (14, 3)
    rows = list(csv.DictReader((out / 'results.csv').read_text().splitlines()))
    assert len(rows) == 2 * 14
    first = results['images'][0]['people'][0]['keypoints'][0]
    assert float(rows[0]['x']) == pytest.approx(first[0], abs=0.01)


def test_boxes_make_a_person_each_and_json_goes_to_the_screen(command, model, pictures, tmp_path):
    arguments = ('--out', tmp_path / 'out', '--boxes', '5,5,60,80', '20,10,50,70', '--fields', '--json')
    code, told, _ = command('predict.py', *model, pictures[0], *arguments)
    assert code == 0
    people = json.loads(told)['images'][0]['people']
    assert [p['corners'] for p in people] == [[5, 5, 65, 85], [20, 10, 70, 80]]
    assert len(list((tmp_path / 'out').glob('*_fields_?.jpg'))) == 2


def test_a_broken_picture_is_told_before_any_work(command, model, pictures, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    code, _, told = command(
        'predict.py', *model, *pictures, tmp_path / 'broken.jpg', 'nix.jpg', '--out', tmp_path / 'o'
    )
    assert code == 2
    assert 'broken.jpg' in told
    assert 'nix.jpg' in told
    assert not (tmp_path / 'o').exists()


def test_a_config_comes_with_its_checkpoint():
    assert folders.split_arguments(['a.jpg', 'b.jpg']) == ((None, None), ['a.jpg', 'b.jpg'])
    assert folders.split_arguments(['c.py', 'w.pth', 'a.jpg']) == (('c.py', 'w.pth'), ['a.jpg'])
    with pytest.raises(ConfigError, match='after the config c.py'):
        folders.split_arguments(['c.py', 'a.jpg'])


def test_a_folder_stands_for_its_pictures(tmp_path):
    for name in ('b.JPG', 'a.png', 'notes.txt'):
        (tmp_path / name).touch()
    out = tmp_path / 'out'
    assert [f.name for f in folders.picture_files([tmp_path, tmp_path / 'a.png'], out)] == ['a.png', 'b.JPG']
    with pytest.raises(ImageError, match='another folder for --out'):
        folders.picture_files([tmp_path], tmp_path)
    out.mkdir()
    with pytest.raises(ImageError, match='holds no picture'):
        folders.picture_files([out], tmp_path)


def test_pictures_of_one_name_do_not_overwrite_each_other():
    assert folders.unique(['a', 'b', 'a', 'a_2', 'a']) == ['a', 'b', 'a_2', 'a_2_2', 'a_3']


def test_boxes_of_several_pictures_come_from_a_file(tmp_path, pictures):
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps({pictures[0].name: [[1, 2, 3, 4]], str(pictures[1]): []}))
    assert folders.read_boxes([str(file)], pictures) == [[[1, 2, 3, 4]], []]
    with pytest.raises(AnnotationError, match='name a JSON file'):
        folders.read_boxes(['1,2,3,4'], pictures)
    file.write_text(json.dumps({pictures[0].name: []}))
    with pytest.raises(AnnotationError, match=f'no boxes for {pictures[1].name}'):
        folders.read_boxes([str(file)], pictures)
    file.write_text('[1]')
    with pytest.raises(AnnotationError, match='holds a list'):
        folders.read_boxes([str(file)], pictures)


@pytest.mark.parametrize('text', ['1,2,3', 'a,b,c,d', '1 2 3 4'])
def test_a_box_that_is_not_four_numbers_is_an_error_with_an_example(text):
    with pytest.raises(AnnotationError, match='12,8,96,180'):
        folders.box_of(text)


def test_a_wrong_box_is_told_before_any_work(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((50, 40, 3), np.uint8))
    with pytest.raises(AnnotationError, match='outside the picture'):
        folders.check_pictures([tmp_path / 'a.png'], [[[90, 90, 5, 5]]], 'xywh')
