"""A job of 2,000 images whose workers are killed at random, and whose driver is killed twice.

Run: pytest -m slow tests/scale/test_random_kills.py -s (with the extra ray for actors of Ray)
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

HERE = Path(__file__).parent
NUM_IMAGES, CHUNK_SIZE = 2000, 16
PARTS_BETWEEN_KILLS = 12
DRIVER_KILLS = (40, 80)  # the driver is killed once so many parts are done
DRIVER = """
import sys
from pathlib import Path

from fake_predictor import create_fake

from poseplug.core.errors import ConfigError
from poseplug.predict.bulk.chunk_prediction import WorkerSettings
from poseplug.predict.bulk.job_driver import run_bulk_job
from poseplug.predict.bulk.job_folder import JobFolder
from poseplug.predict.bulk.process_workers import ProcessWorkers
from poseplug.predict.bulk.ray_workers import RayWorkers

if __name__ == '__main__':
    list_file, out, chunk_size, engine = sys.argv[1:]
    folder = JobFolder(Path(out))
    paths = Path(list_file).read_text().splitlines()
    settings = WorkerSettings(create_fake(seconds=0.01), folder)
    pool = ProcessWorkers if engine == 'local' else RayWorkers
    try:
        print(run_bulk_job(paths, folder, {}, lambda: pool(settings), 2, int(chunk_size), resume=True))
    except ConfigError as error:
        sys.exit(75 if 'Ray cannot be started' in str(error) else str(error))
"""
RAY_NOT_STARTED = 75  # after 30 s, on a machine that is busy: the message says to go on by --resume
WORKER_NAMES = {'local': 'spawn_main', 'ray': 'ray::_ChunkActor'}  # in the command line of a worker


def list_workers(driver, engine):
    """The processes of workers; the driver has others, as for tracking resources or of the cluster."""
    lines = subprocess.run(['ps', '-ww', '-eo', 'pid=,ppid=,args='], capture_output=True, text=True, check=True)
    processes = [line.split(maxsplit=2) for line in lines.stdout.splitlines()]
    children, workers = [driver.pid], []
    for parent in children:  # it grows meanwhile: actors are grandchildren
        children += [int(pid) for pid, ppid, _ in processes if int(ppid) == parent]
        workers += [int(pid) for pid, ppid, name in processes if int(ppid) == parent and WORKER_NAMES[engine] in name]
    return workers


@pytest.mark.slow
@pytest.mark.parametrize('engine', ['local', 'ray'])
def test_every_input_is_in_the_results_once_after_random_kills(tmp_path, engine):
    if engine == 'ray' and find_spec('ray') is None:
        pytest.skip('Ray is not installed')
    generator, images = random.Random(0), tmp_path / 'images'
    images.mkdir()
    paths = [images / f'{number:04d}.png' for number in range(NUM_IMAGES)]
    for number, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.full((8, 8, 3), (number % 250, number // 250, 7), np.uint8))
    bad = generator.sample(paths, 10)
    for path in bad:
        path.write_bytes(b'no image')
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, paths)))
    (tmp_path / 'driver.py').write_text(DRIVER)
    out = tmp_path / 'out'
    command = [sys.executable, tmp_path / 'driver.py', tmp_path / 'list.txt', out, str(CHUNK_SIZE), engine]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    num_killed, next_kill, driver_kills = 0, PARTS_BETWEEN_KILLS, list(DRIVER_KILLS)
    while not (out / 'summary.json').exists():
        with subprocess.Popen(command, env=environment) as driver:
            while driver.poll() is None:
                num_done = len(list(out.glob('done/*.json')))
                if driver_kills and num_done >= driver_kills[0]:
                    driver_kills.pop(0)
                    driver.kill()
                elif num_done >= next_kill and (workers := list_workers(driver, engine)):
                    os.kill(generator.choice(workers), signal.SIGKILL)
                    num_killed, next_kill = num_killed + 1, num_done + PARTS_BETWEEN_KILLS
                time.sleep(0.01)
        assert driver.returncode in (0, -signal.SIGKILL, RAY_NOT_STARTED)
    lines = [json.loads(line) for part in sorted(out.glob('part-*')) for line in part.read_text().splitlines()]
    dead = [json.loads(line)['file'] for line in (out / 'dead_letters.jsonl').read_text().splitlines()]
    print(f'{len(lines)} predicted, {len(dead)} bad; killed: {num_killed} workers, {len(DRIVER_KILLS)} drivers')
    assert num_killed > 3
    assert not driver_kills
    assert [line['file'] for line in lines] == [str(path) for path in paths if path not in bad]
    assert dead == [str(path) for path in paths if path in bad]
    for line in lines:
        number = int(Path(line['file']).stem)
        blue = number % 250
        keypoints = [[blue, number // 250, 1.0], [number // 250, 7, 1.0]]
        assert [instance['keypoints'] for instance in line['instances']] == ([keypoints] if blue > 20 else [])
