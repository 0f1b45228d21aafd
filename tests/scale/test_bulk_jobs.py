"""Prediction of many images by several processes: each input once, whatever ends in between."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.cli.bulk_options import check_bulk_options
from poseplug.cli.commands.predict import add_predict_arguments
from poseplug.core.errors import ConfigError, ImageError
from poseplug.files.images import read_image
from poseplug.predict.bulk.bulk_inputs import list_bulk_inputs
from poseplug.predict.bulk.chunk_prediction import WorkerSettings
from poseplug.predict.bulk.job_driver import run_bulk_job
from poseplug.predict.bulk.job_folder import JobFolder, compute_list_digest
from poseplug.predict.bulk.process_workers import ProcessWorkers
from poseplug.predict.image_inputs.base import NamedImage

HERE = Path(__file__).parent
DRIVER = """
import sys
from pathlib import Path

from fake_predictor import create_fake

from poseplug.predict.bulk.chunk_prediction import WorkerSettings
from poseplug.predict.bulk.job_driver import run_bulk_job
from poseplug.predict.bulk.job_folder import JobFolder
from poseplug.predict.bulk.process_workers import ProcessWorkers

if __name__ == '__main__':
    once_file, out, *paths = sys.argv[1:]
    folder = JobFolder(Path(out))
    settings = WorkerSettings(create_fake(Path(once_file), kills_driver=True), folder)
    run_bulk_job(paths, folder, {}, lambda: ProcessWorkers(settings), 2, 2, resume=True)
"""


@pytest.fixture
def fake(monkeypatch):
    """The module of the fake predictor, which workers import by the same name."""
    monkeypatch.syspath_prepend(HERE)
    import fake_predictor

    return fake_predictor


@pytest.fixture
def write_images(tmp_path):
    """A function that writes an image of a color of its own for each name, and returns the paths."""

    def write(names):
        folder, names = tmp_path / 'images', list(names)
        folder.mkdir()
        for number, name in enumerate(names):
            color = (10 + 7 * number, 3 * number, 200 - number)
            assert cv2.imwrite(str(folder / name), np.full((20, 30 + number, 3), color, np.uint8))
        return [str(folder / name) for name in names]

    return write


@pytest.fixture
def run_job(fake, tmp_path):
    """A function that runs a job of two workers and chunks of three, and returns its counts."""

    def run(paths, resume=False, once_file=None, is_parquet=False, num_workers=2):
        folder = JobFolder(tmp_path / 'out', is_parquet)
        settings = WorkerSettings(fake.create_fake(once_file=once_file), folder)
        description = {'list_sha256': compute_list_digest(paths)}
        return run_bulk_job(paths, folder, description, lambda: ProcessWorkers(settings), num_workers, 3, resume)

    return run


def read_lines(out):
    """The lines of all parts, in their order."""
    return [json.loads(line) for part in sorted(out.glob('part-*.jsonl')) for line in part.read_text().splitlines()]


def predict_lines(fake, paths):
    """What one predictor in this process says of the same images."""
    pairs = [(NamedImage(Path(path), read_image(Path(path))), None) for path in paths]
    results = fake.FakePredictor().stream_pairs(pairs)
    sizes = [{'width': pixels.shape[1], 'height': pixels.shape[0]} for (_, pixels, _), _ in pairs]
    return [
        {'file': path, **size, 'instances': result.to_dicts()}
        for path, size, result in zip(paths, sizes, results, strict=True)
    ]


def read_bad(out):
    return [json.loads(line) for line in (out / 'dead_letters.jsonl').read_text().splitlines()]


def test_every_input_is_once_in_the_parts_with_the_results_of_one_predictor(run_job, write_images, fake, tmp_path):
    paths = write_images(f'{number}.png' for number in range(8))
    assert run_job(paths) == {'inputs': 8, 'predicted': 8, 'instances': 6, 'bad': 0, 'parts': 3}
    assert read_lines(tmp_path / 'out') == predict_lines(fake, paths)
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert (summary['model'], summary['keypoint_names'], summary['instances']) == ('fake', ['left', 'right'], 6)


def test_a_worker_that_is_killed_loses_and_repeats_nothing(run_job, write_images, fake, tmp_path):
    paths = write_images(f'{number}.png' for number in range(8))
    counts = run_job(paths, once_file=tmp_path / 'killed')
    assert (tmp_path / 'killed').exists()
    assert (counts['predicted'], counts['bad']) == (8, 0)
    assert read_lines(tmp_path / 'out') == predict_lines(fake, paths)


def test_bad_inputs_and_those_that_end_or_fail_the_predictor_are_dead_letters(run_job, write_images, fake, tmp_path):
    good = ['a.png', 'd.png', 'e.png', 'f.png']
    paths = write_images(['a.png', 'b_kills.png', 'c_raises.png', 'd.png', 'e.png', 'f.png', 'g.png'])
    Path(paths[-1]).write_bytes(b'no image')
    paths.append(str(tmp_path / 'absent.png'))
    counts = run_job(paths)
    assert counts == {'inputs': 8, 'predicted': 4, 'instances': counts['instances'], 'bad': 4, 'parts': 3}
    assert read_lines(tmp_path / 'out') == predict_lines(fake, [path for path in paths if Path(path).name in good])
    bad = read_bad(tmp_path / 'out')
    assert [line['file'] for line in bad] == [paths[1], paths[2], paths[6], paths[7]]
    assert bad[0]['error'] == 'it ended 2 workers (signal 9) when it was predicted by itself'
    assert bad[1]['error'] == 'ValueError: not this image'
    assert bad[2]['error'].startswith('ImageError: ')


def test_a_job_of_bad_inputs_alone_is_an_error(run_job, tmp_path):
    with pytest.raises(ImageError, match='none of the 2 inputs could be predicted; see .*dead_letters.jsonl'):
        run_job([str(tmp_path / 'a.png'), str(tmp_path / 'b.png')])


def test_a_model_that_fails_for_every_image_is_no_list_of_bad_inputs(run_job, write_images, tmp_path):
    with pytest.raises(ValueError, match='not this image'):
        run_job(write_images(['a_raises.png', 'b_raises.png']))
    assert not list((tmp_path / 'out').glob('part-*'))


def test_a_job_goes_on_by_resume_alone_and_only_with_the_same_list(run_job, write_images, tmp_path):
    paths = write_images(f'{number}.png' for number in range(4))
    counts = run_job(paths)
    with pytest.raises(ConfigError, match='a job is there already; go on with it by --resume'):
        run_job(paths)
    with pytest.raises(ConfigError, match='list_sha256 was .* and is now '):
        run_job(paths[:3], resume=True)
    first = tmp_path / 'out/part-000000.jsonl'
    before = first.stat().st_mtime_ns
    (tmp_path / 'out/done/part-000001.json').unlink()
    assert run_job(paths, resume=True) == counts
    assert first.stat().st_mtime_ns == before


def test_a_driver_that_is_killed_is_resumed(write_images, fake, tmp_path):
    paths = write_images(f'{number}.png' for number in range(8))
    script, out = tmp_path / 'driver.py', tmp_path / 'out'
    script.write_text(DRIVER)
    command = [sys.executable, str(script), str(tmp_path / 'killed'), str(out), *paths]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    driver = subprocess.run(command, env=environment, capture_output=True)
    assert driver.returncode == -signal.SIGKILL
    assert not (out / 'summary.json').exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert read_lines(out) == predict_lines(fake, paths)


def test_workers_that_cannot_start_end_the_job(write_images, tmp_path):
    folder = JobFolder(tmp_path / 'out')
    settings = WorkerSettings(os.abort, folder)  # which no handler stops
    with pytest.raises(ConfigError, match=r'3 workers in a row ended before they were ready \(signal 6\)'):
        run_bulk_job(write_images(['a.png']), folder, {}, lambda: ProcessWorkers(settings), 1)


def test_parquet_parts_have_a_row_per_keypoint_and_one_of_an_image_without_instances(run_job, write_images, tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    run_job(write_images(f'{number}.png' for number in range(4)), is_parquet=True)
    rows = [row for part in sorted((tmp_path / 'out').glob('part-*')) for row in parquet.read_table(part).to_pylist()]
    assert [(Path(row['image']).name, row['keypoint']) for row in rows] == [
        ('0.png', None),
        ('1.png', None),
        *((f'{number}.png', keypoint) for number in (2, 3) for keypoint in ('left', 'right')),
    ]


def test_inputs_are_folders_patterns_lists_and_addresses_each_once(write_images, tmp_path):
    paths = write_images(['b.png', 'a.png'])
    listed = tmp_path / 'list.txt'
    # as an editor of Windows writes it
    listed.write_text(f'\ufeff{paths[0]}\n\nhttps://example.org/c.jpg\n{tmp_path}/absent.png\n')
    inputs = [str(listed), str(tmp_path / 'images'), str(tmp_path / 'images/*.png')]
    expected = [paths[0], 'https://example.org/c.jpg', f'{tmp_path}/absent.png', paths[1]]
    assert list_bulk_inputs(inputs, tmp_path / 'out') == expected


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('0', ConfigError, '0 is a stream'),
        ('-', ConfigError, '- is a stream'),
        ('rtsp://user:secret@camera/1', ConfigError, 'rtsp://user@camera/1 is a stream'),
        ('a.mp4', ConfigError, 'a.mp4 is a video'),
        ('absent.txt', ImageError, 'absent.txt: No such file'),
        ('empty.txt', ImageError, 'a list without a path'),
        ('https://example.org/list.txt', ConfigError, 'list.txt: a list at an address is not read'),
        ('a.tar.gz', ImageError, 'a.tar.gz is a compressed archive; unpack it'),
        ('archives.txt', ImageError, 'b.zip is a compressed archive; unpack it'),
    ],
)
def test_inputs_that_are_no_images_are_refused_by_name(text, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('empty.txt').write_text('\n')
    Path('archives.txt').write_text('a.png\nb.zip\n')
    with pytest.raises(error, match=message):
        list_bulk_inputs([text], tmp_path / 'out')


def test_an_input_that_hangs_is_a_dead_letter_after_its_time_limit(write_images, fake, tmp_path):
    paths = write_images(['a.png', 'b_hangs.png', 'c.png', 'd.png'])
    folder = JobFolder(tmp_path / 'out')
    settings = WorkerSettings(fake.create_fake(), folder, time_limit_s=1.0)
    counts = run_bulk_job(paths, folder, {}, lambda: ProcessWorkers(settings), 2, 3)
    assert counts == {'inputs': 4, 'predicted': 3, 'instances': 2, 'bad': 1, 'parts': 2}
    assert read_lines(tmp_path / 'out') == predict_lines(fake, [paths[0], *paths[2:]])
    (bad,) = read_bad(tmp_path / 'out')
    expected = 'it ended 2 workers (it took more than the time limit) when it was predicted by itself'
    assert bad == {'file': paths[1], 'error': expected}
    assert {file.suffix for file in (tmp_path / 'out/done').iterdir()} == {'.json'}


def test_workers_are_divided_among_devices_and_their_successors_get_the_same(write_images, fake, tmp_path):
    folder = JobFolder(tmp_path / 'out')
    settings = WorkerSettings(fake.create_fake(), folder)
    pool = ProcessWorkers(settings, ['cuda:0', 'cuda:1'])
    try:
        workers = [pool.start_worker() for _ in range(4)]
        ready = []
        while len(ready) < 4:
            ready += pool.wait_events()
        models = {event.worker: event.content['model'] for event in ready}
        assert sorted(models.values()) == ['fakecuda:0', 'fakecuda:0', 'fakecuda:1', 'fakecuda:1']
        os.kill(pool.processes[workers[2]].pid, signal.SIGKILL)
        assert [event.kind for event in pool.wait_events()] == ['ended']
        pool.start_worker()
        (event,) = pool.wait_events()
        assert event.content['model'] == models[workers[2]]
    finally:
        pool.close()


@pytest.fixture
def tar_files(write_images, tmp_path):
    """Three images in two tar files of one folder, each with annotations after it; their paths outside."""
    paths = write_images(['a.png', 'b.png', 'c.png'])
    folder = tmp_path / 'shards.tar'  # a folder that looks like a file
    folder.mkdir()
    for name, members in (('0.tar', paths[:2]), ('1.tar', paths[2:])):
        with tarfile.open(folder / name, 'w') as tar:
            for path in members:
                tar.add(path, arcname=Path(path).name)
                tar.add(__file__, arcname=f'{Path(path).stem}.json')
    return folder, paths


def test_images_of_tar_files_are_predicted_as_files_are(run_job, tar_files, fake, tmp_path):
    folder, paths = tar_files
    listed = list_bulk_inputs([str(folder)], tmp_path / 'out')
    assert listed == [f'{folder}/0.tar/a.png', f'{folder}/0.tar/b.png', f'{folder}/1.tar/c.png']
    assert list_bulk_inputs([f'{folder}/*.tar', f'{folder}/0.tar'], tmp_path / 'out') == listed
    assert run_job([*listed, f'{folder}/1.tar/absent.png'])['bad'] == 1
    lines = read_lines(tmp_path / 'out')
    assert [line.pop('file') for line in lines] == listed
    assert lines == [{k: v for k, v in line.items() if k != 'file'} for line in predict_lines(fake, paths)]
    assert read_bad(tmp_path / 'out')[0]['error'].startswith(f'ImageError: {folder}/1.tar holds no absent.png')


def test_images_of_tar_files_at_addresses_are_predicted_as_files_are(run_job, tar_files, fake, tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    folder, paths = tar_files
    (tmp_path / 'list.txt').write_text(f'file://{folder}/0.tar\n{folder}/1.tar\n')
    listed = list_bulk_inputs([str(tmp_path / 'list.txt')], tmp_path / 'out')
    assert listed == [f'file://{folder}/0.tar/a.png', f'file://{folder}/0.tar/b.png', f'{folder}/1.tar/c.png']
    shutil.rmtree(tmp_path / 'cache')  # as on another machine
    assert run_job([*listed, f'file://{folder}/absent.tar/a.png'])['bad'] == 1
    lines = read_lines(tmp_path / 'out')
    assert [line.pop('file') for line in lines] == listed
    assert lines == [{k: v for k, v in line.items() if k != 'file'} for line in predict_lines(fake, paths)]
    assert len(list(tmp_path.glob('cache/tars/*.tar'))) == 1
    assert 'absent.tar: there is no such file' in read_bad(tmp_path / 'out')[0]['error']


def test_images_of_any_store_are_predicted_and_errors_name_their_address(run_job, write_images, fake, tmp_path):
    paths = write_images(['a.png', 'b.png', 'c.png'])
    Path(paths[1]).write_bytes(b'no image')
    assert run_job([f'file://{path}' for path in paths])['bad'] == 1
    lines = read_lines(tmp_path / 'out')
    assert [line['file'] for line in lines] == [f'file://{paths[0]}', f'file://{paths[2]}']
    assert [line['instances'] for line in lines] == [
        line['instances'] for line in predict_lines(fake, [paths[0], paths[2]])
    ]
    (bad,) = read_bad(tmp_path / 'out')
    assert bad['error'].startswith(f'ImageError: file://{paths[1]}: 8 bytes that are not a whole image')


def test_hidden_tar_files_of_a_folder_are_ignored(tar_files, tmp_path):
    folder, _ = tar_files
    (folder / '._0.tar').write_bytes(b'attributes of macOS')
    assert len(list_bulk_inputs([str(folder)], tmp_path / 'out')) == 3


@pytest.mark.parametrize('num_bytes', [1, 700, 1024, 2048, 2560])
def test_a_tar_file_that_was_cut_is_refused(tar_files, tmp_path, num_bytes):
    file = tar_files[0] / '0.tar'
    with tarfile.open(file) as tar:
        end = tar.getmembers()[-1].offset_data + tar.getmembers()[-1].size
    data = file.read_bytes()[: -(-end // 512) * 512]
    file.write_bytes(data[: len(data) - num_bytes] if num_bytes > 1 else data)
    with pytest.raises(ImageError, match=r'0.tar: no whole tar file'):
        list_bulk_inputs([str(file)], tmp_path / 'out')


def test_several_devices_are_for_processes_of_this_machine():
    parser = argparse.ArgumentParser()
    add_predict_arguments(parser)
    devices = ['--device', 'cuda:0,cuda:1']
    check_bulk_options(parser.parse_args(['a.jpg', *devices, '--engine', 'local']), parser)
    for engine in ([], ['--engine', 'ray']):
        args = parser.parse_args(['a.jpg', *devices, *engine])
        with pytest.raises(ConfigError, match='cuda:0,cuda:1 names several devices, which --engine local'):
            check_bulk_options(args, parser)
