import csv
import json

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.files import output_guard
from poseplug.predict import boxes_option, input_checks, input_files
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
def images(tiny_data):
    return sorted((tiny_data / 'images').glob('*.jpg'))[:2]


def test_the_command_draws_all_instances_and_writes_the_results(command, model, images, tmp_path):
    out = tmp_path / 'out'
    code, printed, _ = command('predict', *model, *images, '--out', out, '--heatmaps', '--csv')
    assert code == 0
    results = json.loads((out / 'results.json').read_text())
    assert [i['file'] for i in results['images']] == list(map(str, images))
    assert results['centric'] == 'person'
    names = {f'{image.stem}{suffix}.jpg' for image in images for suffix in ('_pose', '_heatmaps')}
    assert {f.name for f in out.iterdir()} == names | {'results.json', 'results.csv'}
    for result in results['images']:
        (instance,) = result['instances']
        assert f'score {instance["score"]:.3f}' in printed
        assert np.shape(instance['keypoints']) == (14, 3)
    rows = list(csv.DictReader((out / 'results.csv').read_text().splitlines()))
    assert len(rows) == 2 * 14
    first = results['images'][0]['instances'][0]['keypoints'][0]
    assert float(rows[0]['x']) == pytest.approx(first[0], abs=0.01)


def test_every_box_is_an_instance_and_json_goes_to_the_screen(command, model, images, tmp_path):
    arguments = ('--out', tmp_path / 'out', '--boxes', '5,5,60,80', '20,10,50,70', '--heatmaps', '--json')
    code, printed, _ = command('predict', *model, images[0], *arguments)
    assert code == 0
    instances = json.loads(printed)['images'][0]['instances']
    assert [instance['box_xyxy'] for instance in instances] == [[5, 5, 65, 85], [20, 10, 70, 80]]
    assert len(list((tmp_path / 'out').glob('*_heatmaps_?.jpg'))) == 2


def test_a_broken_image_is_reported_before_any_work(command, model, images, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    code, _, error = command('predict', *model, *images, tmp_path / 'broken.jpg', 'nix.jpg', '--out', tmp_path / 'o')
    assert code == 2
    assert 'broken.jpg' in error
    assert 'nix.jpg' in error
    assert not (tmp_path / 'o').exists()


def test_a_config_is_followed_by_its_checkpoint():
    assert input_files.split_arguments(['a.jpg', 'b.jpg']) == ((None, None), ['a.jpg', 'b.jpg'])
    for config in ('c.py', 'c.json', 'c.yaml', 'cpm_lsp_lite', 'poseplug::cpm_lsp_lite'):
        assert input_files.split_arguments([config, 'w.pth', 'a.jpg']) == ((config, 'w.pth'), ['a.jpg'])
    with pytest.raises(ConfigError, match='after the config c.py'):
        input_files.split_arguments(['c.py', 'a.jpg'])


def test_an_existing_folder_is_preferred_to_a_config_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'cpm_lsp_lite').mkdir()
    assert input_files.split_arguments(['cpm_lsp_lite', 'a.jpg', 'b.jpg'])[0] == (None, None)


def test_a_folder_stands_for_its_images_and_videos(tmp_path):
    for name in ('b.JPG', 'a.png', 'c.MP4', 'notes.txt'):
        (tmp_path / name).touch()
    out = tmp_path / 'out'
    listing = input_files.list_input_files([tmp_path, tmp_path / 'a.png'], out)
    assert [file.name for file in listing.files] == ['a.png', 'b.JPG', 'c.MP4']
    assert listing.describe_unread() == '1 files of other formats were not read: 1 .txt'
    with pytest.raises(ImageError, match='another folder for --out'):
        input_files.list_input_files([tmp_path], tmp_path)
    out.mkdir()
    with pytest.raises(ImageError, match='holds no image or video'):
        input_files.list_input_files([out], tmp_path)


def test_images_of_one_name_do_not_overwrite_each_other():
    assert output_guard.make_names_unique(['a', 'b', 'a', 'a_2', 'a']) == ['a', 'b', 'a_2', 'a_2_2', 'a_3']


def test_boxes_of_several_images_come_from_a_file(tmp_path, images):
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps({images[0].name: [[1, 2, 3, 4]], str(images[1]): []}))
    assert boxes_option.parse_boxes_option([str(file)], images) == [[[1, 2, 3, 4]], []]
    with pytest.raises(AnnotationError, match='name a JSON file'):
        boxes_option.parse_boxes_option(['1,2,3,4'], images)
    file.write_text(json.dumps({images[0].name: []}))
    with pytest.raises(AnnotationError, match=f'no boxes for {images[1].name}'):
        boxes_option.parse_boxes_option([str(file)], images)
    file.write_text('[1]')
    with pytest.raises(AnnotationError, match='holds a list'):
        boxes_option.parse_boxes_option([str(file)], images)


@pytest.mark.parametrize('text', ['1,2,3', 'a,b,c,d', '1 2 3 4'])
def test_a_box_that_is_not_four_numbers_is_an_error_with_an_example(text):
    with pytest.raises(AnnotationError, match='12,8,96,180'):
        boxes_option.parse_box_text(text)


def test_an_impossible_box_is_reported_before_any_work(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((50, 40, 3), np.uint8))
    errors = input_checks.check_inputs([tmp_path / 'a.png'], [[[90, 90, 5, 5]]], 'xywh')
    with pytest.raises(AnnotationError, match='outside the image'):
        input_checks.raise_input_errors(errors, 1)


def test_images_and_videos_go_together(command, model, images, tmp_path):
    videos.write_video(tmp_path / 'results.avi', 'MJPG')
    (tmp_path / 'boxes.json').write_text(
        json.dumps({images[0].name: [[5, 5, 60, 80]], 'results.avi': {'3': [[9, 9, 90, 90]]}})
    )
    out = tmp_path / 'out'
    code, printed, _ = command(
        'predict', *model, tmp_path / 'results.avi', images[0], '--out', out, '--csv', '--frame-interval', 3,
        '--smooth', '--boxes', tmp_path / 'boxes.json',
    )  # fmt: skip
    assert code == 0
    assert 'results.avi: results_2_pose.mp4, results_2.jsonl, 17 frames, instances: 1\n' in printed
    assert printed.endswith(f'written to {out}: 1 skeleton, 1 video, results.json, results.csv\n')
    content = json.loads((out / 'results.json').read_text())
    assert [i['file'] for i in content['images']] == [str(images[0])]
    (video,) = content['videos']
    assert (video['results'], video['num_frames'], video['num_instances']) == ('results_2.jsonl', 17, 1)
    lines = [json.loads(line) for line in (out / 'results_2.jsonl').read_text().splitlines()]
    assert [line['index'] for line in lines[1:] if line['instances']] == [3]
    assert (lines[0]['frame_interval'], lines[0]['smoother']['type']) == (3, 'OneEuroSmoother')
    assert (out / 'results_2.csv').is_file()


def test_without_images_there_is_no_table_of_images(command, model, tmp_path):
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    arguments = (
        tmp_path / 'clip.avi',
        '--out',
        tmp_path / 'out',
        '--no-video',
        '--json',
        '--csv',
        '--frame-interval',
        10,
    )
    code, printed, _ = command('predict', *model, *arguments)
    assert code == 0
    (video,) = json.loads(printed)['videos']
    assert (video['results'], video['video'], video['missing_frames']) == (
        'clip.jsonl',
        None,
        {'count': 0, 'frames': ''},
    )
    assert {f.name for f in (tmp_path / 'out').iterdir()} == {'clip.jsonl', 'clip.csv', 'results.json'}


def test_a_broken_video_is_reported_before_any_work(command, model, images, tmp_path):
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    code, _, error = command('predict', *model, *images, tmp_path / 'broken.mp4', '--out', tmp_path / 'o')
    assert code == 2
    assert 'broken.mp4 is no video that can be read' in error
    assert not (tmp_path / 'o').exists()


@pytest.mark.parametrize('malformed', [[[1, 2, 3, 4]], {'first': []}, 'x'])
def test_boxes_of_a_video_are_by_frame(tmp_path, malformed):
    file = tmp_path / 'boxes.json'
    file.write_text(json.dumps({'a.mp4': {'0': [[1, 2, 3, 4]], '12': []}, 'b.mp4': [], 'c.mp4': malformed}))
    clips = [tmp_path / f'{name}.mp4' for name in 'abc']
    assert boxes_option.parse_boxes_option([str(file)], clips[:2]) == [{0: [[1, 2, 3, 4]], 12: []}, {}]
    with pytest.raises(AnnotationError, match=r'c.mp4: the boxes of a video are {"FRAME"'):
        boxes_option.parse_boxes_option([str(file)], clips)
    with pytest.raises(AnnotationError, match='the input is the video .*; name a JSON file'):
        boxes_option.parse_boxes_option(['1,2,3,4'], clips[:1])


def test_heatmaps_of_a_video_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='--heatmaps draws the heatmaps of images, but .*a.mp4 is a video'):
        input_checks.check_options([tmp_path / 'a.jpg', tmp_path / 'a.mp4'], True)
    input_checks.check_options([tmp_path / 'a_pose.mp4', tmp_path / 'a.mp4'], False)
