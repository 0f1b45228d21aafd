"""`poseplug test --report` for every way in which a config places instances, with scores written first."""

import json

import pytest

from poseplug.predict.predictor import Predictor
from poseplug.report import page

PLACEMENTS = {
    'boxes': [dict(type='CropBox'), dict(type='Warp')],
    'scales': [dict(type='CropByScale'), dict(type='Warp')],
    'whole_images': [dict(type='LetterboxImage'), dict(type='Warp')],
}


@pytest.fixture
def trained(tiny_config, tmp_path):
    from poseplug.engine import launch

    launch.train(tiny_config(**{'train_cfg.max_steps': 1}), tmp_path / 'run')
    return tmp_path / 'run'


def write_report(command, tiny_cli_options, run, pipeline, *words):
    """The exit code and messages of the command, and the folder of what it wrote."""
    options = [f'test_dataloader.dataset.pipeline={pipeline!r}']
    folder = run.parent / 'report'
    arguments = ['--out', folder / 'scores.json', '--report', folder, *tiny_cli_options(), *options]
    code, out, err = command('test.py', 'configs/cpm/cpm_synthetic.py', run, *words, *arguments)
    return code, out + err, folder


@pytest.mark.parametrize('placement', PLACEMENTS)
def test_a_page_is_written_however_instances_are_placed(command, tiny_cli_options, trained, placement):
    code, text, folder = write_report(command, tiny_cli_options, trained, PLACEMENTS[placement])
    assert code == 0, text
    assert '<h2>Heatmaps</h2>' in (folder / 'report.html').read_text()
    assert 'lower_is_better' in json.loads((folder / 'scores.json').read_text())


def test_a_page_of_a_model_without_heatmaps_has_none(command, tiny_cli_options, trained, monkeypatch):
    monkeypatch.setattr(Predictor, 'has_heatmaps', False)
    code, text, folder = write_report(command, tiny_cli_options, trained, PLACEMENTS['boxes'])
    assert code == 0, text
    assert '<h2>Heatmaps</h2>' not in (folder / 'report.html').read_text()


def test_scores_are_written_before_the_page(command, tiny_cli_options, trained, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError('no space left')

    monkeypatch.setattr(page, 'write_html_report', fail)
    with pytest.raises(OSError, match='no space left'):
        write_report(command, tiny_cli_options, trained, PLACEMENTS['boxes'])
    assert (trained.parent / 'report/scores.json').is_file()


def test_a_folder_that_cannot_be_written_is_refused_before_the_test(command, tiny_cli_options, trained, monkeypatch):
    monkeypatch.setattr('poseplug.engine.launch.test', lambda *arguments: pytest.fail('it was tested first'))
    (trained.parent / 'report').write_text('')
    code, text, _ = write_report(command, tiny_cli_options, trained, PLACEMENTS['boxes'])
    assert code == 2
    assert 'name another --out' in text
