"""Prediction of many images by actors of Ray, where it is installed."""

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.predict.bulk import ray_workers
from poseplug.predict.bulk.chunk_prediction import WorkerSettings
from poseplug.predict.bulk.job_driver import run_bulk_job
from poseplug.predict.bulk.job_folder import JobFolder
from poseplug.predict.bulk.ray_workers import RayWorkers

HERE = Path(__file__).parent


@pytest.mark.skipif(find_spec('ray') is None, reason='Ray is not installed')
@pytest.mark.filterwarnings('ignore')  # of Ray's own modules
def test_an_image_that_ends_its_actors_is_a_dead_letter_and_the_others_are_predicted_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv('PYTHONPATH', str(HERE), prepend=':')
    import fake_predictor

    paths = [str(tmp_path / name) for name in ('a.png', 'b_kills.png', 'c.png', 'd.png')]
    for number, path in enumerate(paths):
        assert cv2.imwrite(path, np.full((20, 30 + number, 3), 100, np.uint8))
    folder = JobFolder(tmp_path / 'out')
    settings = WorkerSettings(fake_predictor.create_fake(), folder)
    counts = run_bulk_job(paths, folder, {}, lambda: RayWorkers(settings, 2), 2, 2)
    assert counts == {'inputs': 4, 'predicted': 3, 'instances': 3, 'bad': 1, 'parts': 2}
    parts = sorted((tmp_path / 'out').glob('part-*.jsonl'))
    lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [line['file'] for line in lines] == [paths[0], *paths[2:]]
    assert json.loads((tmp_path / 'out/dead_letters.jsonl').read_text())['file'] == paths[1]


@pytest.mark.skipif(find_spec('ray') is not None, reason='Ray is installed')
def test_ray_is_asked_for_by_name_where_it_is_not_installed(tmp_path):
    settings = WorkerSettings(dict, JobFolder(tmp_path))
    with pytest.raises(ConfigError, match=r"--engine ray needs the package ray; pip install 'poseplug\[ray\]'"):
        RayWorkers(settings)


def test_a_cluster_that_cannot_be_started_is_a_message(tmp_path, monkeypatch):
    def init(**settings):
        raise Exception('The current node timed out during startup.\nSee the logs')

    module = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setattr(ray_workers, 'find_spec', lambda name: name)
    monkeypatch.setattr(ray_workers, 'import_module', lambda name: module)
    with pytest.raises(
        ConfigError, match=r'^Ray cannot be started: The current node timed out during startup. Go on by'
    ):
        RayWorkers(WorkerSettings(dict, JobFolder(tmp_path)))
