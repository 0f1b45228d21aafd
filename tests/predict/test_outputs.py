"""No output of poseplug predict is an input, and none is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.files.output_guard import InputGuard, check_outputs, fold_name
from poseplug.predict.input_files import InputListing, choose_output_names, list_input_files

GRAY = np.full((60, 40, 3), 90, np.uint8)


def write_image(file, image=GRAY):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(cv2.imencode(file.suffix if file.suffix in ('.png', '.jpg') else '.jpg', image)[1].tobytes())
    return file


def read_results(out):
    return json.loads((out / 'results.json').read_text())


def choose_names(folder, file_names, listed=None):
    files = [folder / name for name in file_names]
    listing = InputListing(files, [file.stem for file in files])
    return choose_output_names(listing, folder, InputGuard(listed or files))


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['a.jpg', 'a_pose.jpg'], ['a_2', 'a_pose']),
        (['a.jpg', 'a_heatmaps_3.jpg'], ['a_2', 'a_heatmaps_3']),
        (['b.jpg', 'b.jpeg', 'b_2_pose.jpg'], ['b', 'b_3', 'b_2_pose']),
        (['A.jpg', 'a.png', 'A_LIMBS.JPG'], ['A_2', 'a', 'A_LIMBS']),
        (['clip.mp4', 'clip_pose.mp4', 'clip.jsonl'], ['clip_2', 'clip_pose', 'clip']),
        (['results.mp4', 'results.jpg'], ['results_2', 'results']),
        (['x.jpg', 'x.mp4'], ['x', 'x']),
    ],
)
def test_outputs_get_names_that_no_input_and_no_other_output_has(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_bytes(b'')
    chosen = choose_names(tmp_path, names)
    if names[0] == 'A.jpg':  # whether a.png or A.jpg comes first, both differ also without case
        assert len(set(map(fold_name, chosen))) == 3
        assert chosen[0] != 'A'
    else:
        assert chosen == expected


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_a_link_to_an_input_is_the_input(tmp_path, link):
    source = write_image(tmp_path / 'elsewhere' / 'photo.jpg')
    (tmp_path / 'out').mkdir()
    link(source, tmp_path / 'out' / 'a_pose.jpg')
    listing = InputListing([tmp_path / 'a.jpg', source], ['a', 'photo'])
    assert choose_output_names(listing, tmp_path / 'out', InputGuard(listing.files)) == ['a_2', 'photo']
    with pytest.raises(ConfigError, match=r'a_pose.jpg would be overwritten, but it is the input .*photo.jpg'):
        check_outputs([source], [tmp_path / 'out' / 'a_pose.jpg'])


def test_weights_in_a_work_dir_are_inputs(tmp_path):
    (tmp_path / 'step_5.pth').write_bytes(b'')
    with pytest.raises(ConfigError, match='step_5.pth would be overwritten'):
        check_outputs([tmp_path, None], [tmp_path / 'step_5.pth'])
    check_outputs([tmp_path], [tmp_path / 'results.json', None])


def test_predicting_into_the_folder_of_the_images_changes_none_of_them(command, tmp_path):
    names = ('a.jpg', 'a.png', 'a_pose.jpg', 'a_heatmaps.jpg', 'a_2_pose.jpg')
    files = [write_image(tmp_path / name) for name in names]
    before = [file.read_bytes() for file in files]
    code, _, _ = command('predict', *files, '--heatmaps', '--out', tmp_path, '--device', 'cpu')
    assert code == 0
    assert [file.read_bytes() for file in files] == before
    outputs = [result['outputs'] for result in read_results(tmp_path)['images']]
    drawings = [name for output in outputs for name in (output['skeletons'], *output['heatmaps'])]
    assert len(set(drawings)) == 2 * len(files)
    assert all((tmp_path / name).is_file() for name in drawings)


def test_a_boxes_file_called_as_the_results_is_not_overwritten(command, tmp_path):
    image = write_image(tmp_path / 'a.jpg')
    boxes = tmp_path / 'results.json'
    boxes.write_text('{"a.jpg": [[5, 5, 30, 40]]}')
    code, _, error = command('predict', image, '--boxes', boxes, '--out', tmp_path, '--device', 'cpu')
    assert code == 2
    assert 'results.json would be overwritten' in error
    assert boxes.read_text() == '{"a.jpg": [[5, 5, 30, 40]]}'


@pytest.mark.parametrize(('name', 'content', 'is_written'), [
    ('results.json', '{"metrics": {"PCK@0.2": 78.3}}', False), ('results.json', '[]', False),
    ('results.csv', 'date,weight\n2026-01-01,12\n', False), ('results.json', '', True),
    ('results.json', '{\n "model": "another", "images": []}\n', True),
    ('results.csv', 'image,instance,keypoint,x,y,score\n', True),
])  # fmt: skip
def test_results_of_another_program_are_not_overwritten(command, tmp_path, name, content, is_written):
    image, file = write_image(tmp_path / 'a.jpg'), tmp_path / 'out' / name
    file.parent.mkdir()
    file.write_text(content)
    code, _, error = command('predict', image, '--out', tmp_path / 'out', '--csv', '--device', 'cpu')
    assert code == (0 if is_written else 2)
    assert (file.read_text() != content) == is_written
    if not is_written:
        assert f'{name} would be overwritten, but no run of poseplug predict wrote it; move it' in error
        assert os.listdir(tmp_path / 'out') == [name]


def test_folders_below_a_folder_are_read_on_request_and_keep_their_names(command, tmp_path):
    for name in ('a.jpg', 'x/a.jpg', 'y/z/a.jfif', '.hidden/b.jpg'):
        write_image(tmp_path / 'in' / name)
    (tmp_path / 'in' / '._a.jpg').write_bytes(b'attributes')
    (tmp_path / 'in' / 'x' / 'notes.txt').write_text('no image')
    (tmp_path / 'in' / 'x' / 'back').symlink_to(tmp_path / 'in')
    out = tmp_path / 'in' / 'drawn'
    assert [f.name for f in list_input_files([tmp_path / 'in'], out).files] == ['a.jpg']
    for _ in range(2):  # the second run does not read the drawings of the first
        code, _, error = command('predict', tmp_path / 'in', '--recursive', '--out', out, '--device', 'cpu')
        assert code == 0
        assert '1 files of other formats were not read: 1 .txt' in error
    results = read_results(out)
    assert [result['outputs']['skeletons'] for result in results['images']] == [
        'a_pose.jpg',
        'x/a_pose.jpg',
        'y/z/a_pose.jpg',
    ]
    assert results['unread_files'] == {'.txt': 1}
    assert (out / 'y/z/a_pose.jpg').is_file()


def test_folders_that_are_not_read_are_reported(tmp_path):
    write_image(tmp_path / 'a.jpg')
    write_image(tmp_path / 'b.cr2')
    (tmp_path / 'x').mkdir()
    text = list_input_files([tmp_path], tmp_path / 'out').describe_unread()
    assert text == (
        '1 files of other formats were not read: 1 .cr2; 1 folders were not read; --recursive reads them too'
    )


def test_a_pattern_is_expanded_where_the_shell_does_not(tmp_path):
    for name in ('a.jpg', 'b.jpg', 'c[1].jpg'):
        write_image(tmp_path / name)
    files = list_input_files([str(tmp_path / '?.jpg'), str(tmp_path / 'c[1].jpg')], tmp_path / 'out').files
    assert [file.name for file in files] == ['a.jpg', 'b.jpg', 'c[1].jpg']


def test_bad_files_are_skipped_on_request_and_listed(command, tmp_path):
    write_image(tmp_path / 'in' / 'a.jpg')
    write_image(tmp_path / 'in' / 'c.jpg')
    (tmp_path / 'in' / 'b.jpg').write_bytes((tmp_path / 'in' / 'a.jpg').read_bytes()[:-100])
    (tmp_path / 'in' / 'd.mp4').write_bytes(b'no video')
    arguments = ('predict', tmp_path / 'in', '--out', tmp_path / 'out', '--device', 'cpu')
    code, _, error = command(*arguments)
    assert code == 2
    assert '--skip-bad predicts the other files' in error
    assert not (tmp_path / 'out').exists()
    code, _, error = command('predict', tmp_path / 'in' / 'b.jpg', *arguments[2:], '--skip-bad')
    assert code == 2
    assert '--skip-bad' not in error
    code, _, error = command(*arguments, '--skip-bad')
    assert code == 0
    assert 'skipped: 2 of 4 inputs' in error
    results = read_results(tmp_path / 'out')
    assert [Path(result['file']).name for result in results['images']] == ['a.jpg', 'c.jpg']
    assert [Path(result['file']).name for result in results['skipped']] == ['b.jpg', 'd.mp4']
    assert results['skipped'][0]['error'].startswith('ImageError: ')
    assert results['complete']


@pytest.mark.parametrize('skip_bad', [False, True])
def test_an_image_that_vanishes_in_the_middle_costs_no_other_result(command, monkeypatch, tmp_path, skip_bad):
    from poseplug.predict import input_checks

    files = [write_image(tmp_path / f'{n}.jpg') for n in range(5)]
    check_inputs = input_checks.check_inputs

    def check_and_remove(*arguments):
        errors = check_inputs(*arguments)
        files[3].unlink()
        return errors

    monkeypatch.setattr(input_checks, 'check_inputs', check_and_remove)
    option = ['--skip-bad'] if skip_bad else []
    code, _, error = command('predict', *files, *option, '--csv', '--out', tmp_path / 'out', '--device', 'cpu')
    results = read_results(tmp_path / 'out')
    assert code == (0 if skip_bad else 2)
    assert '3.jpg' in error
    predicted = [0, 1, 2, 4] if skip_bad else [0, 1, 2]
    assert [Path(result['file']).stem for result in results['images']] == list(map(str, predicted))
    assert results['complete'] is skip_bad
    assert (tmp_path / 'out' / 'results.csv').read_text().count('\n') == 1 + 14 * len(predicted)


def test_an_interrupt_loses_no_finished_result(tmp_path):
    for n in range(200):
        write_image(tmp_path / 'in' / f'{n}.jpg')
    out = tmp_path / 'out'
    words = ('predict', tmp_path / 'in', '--out', out, '--device', 'cpu', '--batch-size', '4')
    process = subprocess.Popen(
        [sys.executable, '-m', 'poseplug', *map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    lines = out / 'results.jsonl.partial'
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not lines.is_file() or lines.read_bytes().count(b'\n') < 9):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    results = read_results(out)
    assert process.returncode == 130
    assert 'ended early' in error
    assert 'Traceback' not in error
    assert not results['complete']
    num_drawn = len(list(out.glob('*_pose.jpg')))
    assert num_drawn - 1 <= len(results['images']) <= num_drawn
    assert len(results['images']) >= 8
    assert not lines.exists()


def test_an_image_that_no_jpeg_file_can_hold_has_results_without_a_drawing(command, tmp_path):
    file = write_image(tmp_path / 'wide.png', np.full((20, 66_000, 3), 90, np.uint8))
    code, printed, error = command('predict', file, '--out', tmp_path / 'out', '--device', 'cpu')
    assert code == 0
    assert 'wide.png: not drawn' in printed
    assert 'a JPEG file cannot have 66000 x 20 px' in error
    (result,) = read_results(tmp_path / 'out')['images']
    assert (len(result['instances']), result['outputs']) == (1, {'skeletons': None})


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no named pipes')
def test_a_pipe_in_a_folder_is_counted_and_not_waited_for(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'')
    os.mkfifo(tmp_path / 'b.jpg')
    listing = list_input_files([tmp_path], tmp_path / 'out')
    assert [file.name for file in listing.files] == ['a.jpg']
    assert listing.unread_counts == {'pipe or device': 1}
