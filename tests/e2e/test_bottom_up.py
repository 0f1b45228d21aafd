"""The commands with a bottom-up model of whole images."""

import json
from pathlib import Path

import pytest

from poseplug.config.load import load_config
from tests.conftest import bottom_up_options

CONFIG = Path(__file__).parents[2] / 'configs/openpose/openpose_tiny_synthetic_256.py'


@pytest.fixture
def trained(command, bottom_up_cli_options, tmp_path):
    folder = tmp_path / 'run'
    code, out, err = command('train.py', CONFIG, '--work-dir', folder, *bottom_up_cli_options())
    assert (code, out) == (0, f'done: 4 steps, in {folder}\n'), err
    return folder


def test_a_model_is_evaluated_on_all_people_of_all_images(command, bottom_up_cli_options, trained, tmp_path):
    file = tmp_path / 'results.json'
    code, out, _ = command('test.py', CONFIG, trained, '--out', file, *bottom_up_cli_options())
    assert code == 0
    assert '3 images in ' in out
    results = json.loads(file.read_text())
    assert results['num_images'] == 3
    assert 'AP' in results['metrics'] or any('AP' in note for note in results['notes'])


def test_whole_images_are_predicted_and_drawn_with_their_heatmaps(command, trained, multi_person_data, tmp_path):
    cfg = tmp_path / 'tiny.py'
    load_config(CONFIG, bottom_up_options(multi_person_data)).dump(cfg)
    images = sorted((multi_person_data / 'val2017').glob('*.jpg'))
    code, _, err = command('predict', cfg, trained, *images, '--heatmaps', '--out', tmp_path / 'out')
    assert code == 0, err
    content = json.loads((tmp_path / 'out/results.json').read_text())
    assert [Path(i['file']).name for i in content['images']] == [p.name for p in images]
    assert len(list((tmp_path / 'out').glob('*_pose.jpg'))) == 3
    code, _, err = command('predict', cfg, trained, images[0], '--boxes', '1,2,30,40', '--out', tmp_path / 'out')
    assert code == 2
    assert 'finds instances in whole images by itself' in err


def test_the_input_of_a_training_config_can_be_browsed_and_verified(command, bottom_up_cli_options, tmp_path):
    sheet = tmp_path / 'sheet.jpg'
    code, _, err = command('dataset', 'browse', CONFIG, '--out', sheet, '--num-samples', 4, *bottom_up_cli_options())
    assert code == 0, err
    assert sheet.stat().st_size > 1000


def test_overfitting_evaluates_on_its_training_images(command, bottom_up_cli_options, tmp_path):
    options = bottom_up_cli_options(overfit_steps=2)
    code, _, err = command('train.py', CONFIG, '--overfit', 2, '--work-dir', tmp_path / 'over', *options)
    assert code == 0, err


def test_overfitting_uses_every_whole_image_once(multi_person_data):
    """An image that came once per person would be evaluated as often."""
    from poseplug.engine.overfit import build_overfit_config

    cfg = build_overfit_config(load_config(CONFIG, bottom_up_options(multi_person_data)), 4)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert loader['dataset']['data_mode'] == 'bottomup'
        assert [t['type'] for t in loader['dataset']['pipeline']] == ['LetterboxImage', 'Warp']
