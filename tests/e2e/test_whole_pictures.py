"""The commands with a model that finds everybody in whole pictures."""

import json
from pathlib import Path

import pytest

from poseplug.config import load_config
from tests.conftest import whole_options

CONFIG = Path(__file__).parents[2] / 'configs/openpose/openpose_tiny_synthetic_256.py'


@pytest.fixture
def trained(command, whole_typed, tmp_path):
    folder = tmp_path / 'run'
    code, out, err = command('train.py', CONFIG, '--work-dir', folder, *whole_typed())
    assert (code, out) == (0, f'done: 4 steps, in {folder}\n'), err
    return folder


def test_a_run_is_measured_over_all_people_of_all_pictures(command, whole_typed, trained, tmp_path):
    file = tmp_path / 'results.json'
    code, out, _ = command('test.py', CONFIG, trained, '--out', file, *whole_typed())
    assert code == 0
    assert '3 pictures in ' in out
    found = json.loads(file.read_text())
    assert found['pictures'] == 3
    assert 'AP' in found['metrics'] or any('AP' in note for note in found['notes'])


def test_whole_pictures_are_predicted_and_drawn_with_their_fields(command, trained, people_data, tmp_path):
    cfg = tmp_path / 'tiny.py'
    load_config(CONFIG, whole_options(people_data)).dump(cfg)
    pictures = sorted((people_data / 'val2017').glob('*.jpg'))
    code, _, err = command('predict.py', cfg, trained, *pictures, '--fields', '--out', tmp_path / 'out')
    assert code == 0, err
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert [Path(i['file']).name for i in content['images']] == [p.name for p in pictures]
    assert len(list((tmp_path / 'out').glob('*_pose.jpg'))) == 3
    code, _, err = command('predict.py', cfg, trained, pictures[0], '--boxes', '1,2,30,40', '--out', tmp_path / 'out')
    assert code == 2
    assert 'BottomUp finds people in whole pictures by itself' in err


def test_the_input_of_a_training_config_can_be_browsed_and_verified(command, whole_typed, tmp_path):
    sheet = tmp_path / 'sheet.jpg'
    code, _, err = command('dataset.py', 'browse', CONFIG, '--out', sheet, '--count', 4, *whole_typed())
    assert code == 0, err
    assert sheet.stat().st_size > 1000


def test_overfitting_is_measured_on_the_pictures_that_it_learns(command, whole_typed, tmp_path):
    options = whole_typed(overfit_steps=2)
    code, _, err = command('train.py', CONFIG, '--overfit', 2, '--work-dir', tmp_path / 'over', *options)
    assert code == 0, err


def test_what_is_learned_by_heart_is_whole_pictures_each_once(people_data):
    """A picture that came once a person would have everybody in it predicted as often."""
    from poseplug.engine import launch

    cfg = launch.overfit(load_config(CONFIG, whole_options(people_data)), 4)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader['dataset']['per'] == 'image'
        assert [t['type'] for t in loader['dataset']['pipeline']] == ['PlacePicture', 'Warp']
