import csv
import json

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.inference import folders
from tests.reliability import videos


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


def test_a_folder_stands_for_its_pictures_and_videos(tmp_path):
    for name in ('b.JPG', 'a.png', 'c.MP4', 'notes.txt'):
        (tmp_path / name).touch()
    out = tmp_path / 'out'
    assert [f.name for f in folders.input_files([tmp_path, tmp_path / 'a.png'], out)] == ['a.png', 'b.JPG', 'c.MP4']
    with pytest.raises(ImageError, match='another folder for --out'):
        folders.input_files([tmp_path], tmp_path)
    out.mkdir()
    with pytest.raises(ImageError, match='holds no picture or video'):
        folders.input_files([out], tmp_path)


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
        folders.check_inputs([tmp_path / 'a.png'], [[[90, 90, 5, 5]]], 'xywh')


def test_pictures_and_videos_go_together(command, model, pictures, tmp_path):
    videos.written(tmp_path / 'results.avi', 'MJPG')
    (tmp_path / 'boxes.json').write_text(
        json.dumps({pictures[0].name: [[5, 5, 60, 80]], 'results.avi': {'3': [[9, 9, 90, 90]]}})
    )
    out = tmp_path / 'out'
    code, told, _ = command(
        'predict.py', *model, tmp_path / 'results.avi', pictures[0], '--out', out, '--csv', '--every', 3, '--smooth',
        '--boxes', tmp_path / 'boxes.json',
    )  # fmt: skip
    assert code == 0
    assert 'results.avi: results_2_pose.mp4, results_2.jsonl, 17 frames, people: 1\n' in told
    assert told.endswith(f'written to {out}: 1 skeleton, 1 video, results.json, results.csv\n')
    content = json.loads((out / 'results.json').read_text())
    assert [i['file'] for i in content['images']] == [str(pictures[0])]
    assert [(v['results'], v['frames'], v['people']) for v in content['videos']] == [('results_2.jsonl', 17, 1)]
    lines = [json.loads(line) for line in (out / 'results_2.jsonl').read_text().splitlines()]
    assert [line['index'] for line in lines[1:] if line['people']] == [3]
    assert (lines[0]['every'], lines[0]['smoothing']['min_cutoff']) == (3, 1.0)
    assert (out / 'results_2.csv').is_file()


def test_a_video_alone_makes_no_table_of_pictures(command, model, tmp_path):
    videos.written(tmp_path / 'clip.avi', 'MJPG')
    arguments = (tmp_path / 'clip.avi', '--out', tmp_path / 'out', '--no-video', '--json', '--csv', '--every', 10)
    code, told, _ = command('predict.py', *model, *arguments)
    assert code == 0
    (video,) = json.loads(told)['videos']
    assert (video['results'], video['drawn'], video['missing']) == ('clip.jsonl', None, {'count': 0, 'frames': ''})
    assert {f.name for f in (tmp_path / 'out').iterdir()} == {'clip.jsonl', 'clip.csv', 'results.json'}


def test_a_broken_video_is_told_before_any_work(command, model, pictures, tmp_path):
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    code, _, told = command('predict.py', *model, *pictures, tmp_path / 'broken.mp4', '--out', tmp_path / 'o')
    assert code == 2
    assert 'broken.mp4 is no video that can be read' in told
    assert not (tmp_path / 'o').exists()


@pytest.mark.parametrize('own', [[[1, 2, 3, 4]], {'first': []}, 'x'])
def test_boxes_of_a_video_go_by_frame(tmp_path, own):
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps({'a.mp4': {'0': [[1, 2, 3, 4]], '12': []}, 'b.mp4': [], 'c.mp4': own}))
    clips = [tmp_path / f'{name}.mp4' for name in 'abc']
    assert folders.read_boxes([str(file)], clips[:2]) == [{0: [[1, 2, 3, 4]], 12: []}, {}]
    with pytest.raises(AnnotationError, match=r'c.mp4: the people of a video are {"FRAME"'):
        folders.read_boxes([str(file)], clips)
    with pytest.raises(AnnotationError, match='here is the video .*; name a JSON file'):
        folders.read_boxes(['1,2,3,4'], clips[:1])


def test_what_would_be_lost_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='would be written over; name another folder'):
        folders.check_options([tmp_path / 'a_pose.mp4', tmp_path / 'a.mp4'], tmp_path, False)
    with pytest.raises(ConfigError, match='--fields draws belief maps of pictures, and .*a.mp4 is a video'):
        folders.check_options([tmp_path / 'a.jpg', tmp_path / 'a.mp4'], tmp_path / 'out', True)
    folders.check_options([tmp_path / 'a_pose.mp4', tmp_path / 'a.mp4'], tmp_path / 'out', False)
