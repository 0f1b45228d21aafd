"""Prediction of many images by several processes: each input once, whatever ends in between."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

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
    listed.write_text(f'{paths[0]}\n\nhttps://example.org/c.jpg\n{tmp_path}/absent.png\n')
    inputs = [str(listed), str(tmp_path / 'images'), str(tmp_path / 'images/*.png')]
    expected = [paths[0], 'https://example.org/c.jpg', f'{tmp_path}/absent.png', paths[1]]
    assert list_bulk_inputs(inputs, tmp_path / 'out') == expected


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('0', ConfigError, '0 is a stream'),
        ('-', ConfigError, '- is a stream'),
        ('a.mp4', ConfigError, 'a.mp4 is a video'),
        ('absent.txt', ImageError, 'absent.txt: No such file'),
        ('empty.txt', ImageError, 'a list without a path'),
    ],
)
def test_inputs_that_are_no_images_are_refused_by_name(text, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('empty.txt').write_text('\n')
    with pytest.raises(error, match=message):
        list_bulk_inputs([text], tmp_path / 'out')
