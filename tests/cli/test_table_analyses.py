"""The analyses without trainings as commands: what they print and write, and what they refuse."""

import csv
from pathlib import Path

import pytest

from poseplug.data.synthetic import write_coco
from tests.conftest import ROOT
from tests.inspect.test_compare import write_run

DARK = ROOT / 'configs/hourglass/hourglass1_lsp_128_dark.py'
PEOPLE = ROOT / 'configs/openpose/openpose_tiny_synthetic_256.py'


@pytest.fixture
def lsp_options(tiny_data):
    sources = [dict(type='LSPSource', split='test', data_root=str(tiny_data))]
    return ['--cfg-options', f'test_dataloader.dataset.sources={sources!r}', 'test_dataloader.num_workers=0']


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / 'rows.csv').open() as file:
        return list(csv.DictReader(file))


def test_decoding_compares_drawings_and_readouts(command, lsp_options, tmp_path):
    args = ['--centers', 'exact,floor', '--readouts', 'none,taylor', '--noise-std', '0,0.1', '--out', tmp_path]
    code, out, err = command('analyze', 'decoding', DARK, *args, *lsp_options)
    assert (code, err) == (0, '')
    rows = read_rows(tmp_path)
    assert [(row['drawing'], row['noise'], row['readout']) for row in rows] == [
        (drawing, noise, readout)
        for drawing in ('exact', 'floor')
        for noise in ('0.0', '0.1')
        for readout in ('none', 'taylor')
    ]
    scores = {(row['drawing'], row['readout']): float(row['AUC@0.2']) for row in rows if row['noise'] == '0.0'}
    assert max(scores, key=scores.get) == ('exact', 'taylor')
    assert out.startswith('# Reading the heatmaps of hourglass1_lsp_128_dark\n\n`poseplug analyze decoding ')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['readouts.png', 'readouts.svg', 'report.md', 'rows.csv']


def test_a_checkpoint_has_one_drawing_and_a_wrong_one_is_an_error(command, lsp_options, tmp_path):
    args = ['--checkpoint', tmp_path / 'missing.pth', '--centers', 'exact,floor']
    code, _, err = command('analyze', 'decoding', DARK, *args, *lsp_options)
    assert (code, err.partition(':')[0]) == (2, 'ConfigError')
    assert 'a checkpoint was trained with one center and input size' in err


def test_limbs_compares_representations_and_matchings(command, tmp_path):
    data = write_coco(tmp_path / 'people', num_train=1, num_val=2, seed=3)
    sources = [dict(type='CocoSource', split='val', data_root=str(data), keep_empty=True)]
    options = ['--cfg-options', f'test_dataloader.dataset.sources={sources!r}', 'test_dataloader.num_workers=0']
    args = ['--limbs', 'tree', '--matchings', 'greedy,graph', '--out', tmp_path / 'out']
    code, out, err = command('analyze', 'limbs', PEOPLE, *args, *options)
    assert (code, err) == (0, '')
    rows = read_rows(tmp_path / 'out')
    assert [(row['representation'], row['matching']) for row in rows] == [
        (representation, matching) for representation in ('fields', 'midpoints') for matching in ('greedy', 'graph')
    ]
    assert all(float(row['parse_ms']) > 0 for row in rows)
    assert (tmp_path / 'out/time.svg').is_file()
    assert '| fields | tree | greedy | 0.00 |' in out


def test_people_measures_every_count(command, tmp_path):
    code, out, _ = command('analyze', 'people', PEOPLE, '--counts', '1,2', '--repeats', '1', '--out', tmp_path)
    assert code == 0
    rows = read_rows(tmp_path)
    assert [(row['family'], row['num_instances'], row['num_predicted']) for row in rows] == [
        ('bottom-up', '1', '1'),
        ('bottom-up', '2', '2'),
    ]
    assert (tmp_path / 'memory.png').is_file()
    assert 'the detector is not included' in out


def test_curves_of_two_results_are_in_one_chart(command, tmp_path):
    files = [write_run(tmp_path / f'{name}.jsonl', offset, name=name) for name, offset in (('a', 0.0), ('b', 30.0))]
    args = ['--normalizer', 'box', '--keypoints', 'b', '--out', tmp_path / 'out']
    code, _, err = command('analyze', 'curves', *files, *args)
    assert (code, err) == (0, '')
    areas = {row['result']: float(row['area']) for row in read_rows(tmp_path / 'out')}
    assert areas['a'] == pytest.approx(100)
    assert areas['b'] < 60
    assert '<title>a</title>' in (tmp_path / 'out/total.svg').read_text()
    assert '<title>b</title>' in (tmp_path / 'out/b.svg').read_text()


def test_errors_has_the_groups_of_every_result(command, tmp_path):
    files = [write_run(tmp_path / f'{name}.jsonl', offset, name=name) for name, offset in (('a', 0.0), ('b', 300.0))]
    code, out, err = command('analyze', 'errors', *files)
    assert (code, err) == (0, '')
    assert '| a | all | 120 | 100.00 | 100.00 | 100.00 |' in out
    assert '| b | alone in the image | 120 | 0.00 |' in out


def test_decoding_compares_input_sizes(command, lsp_options, tmp_path):
    args = ['--input-sizes', '64x64,128x128', '--readouts', 'none', '--out', tmp_path / 'out']
    code, _, err = command('analyze', 'decoding', DARK, *args, *lsp_options)
    assert (code, err) == (0, '')
    small, large = read_rows(tmp_path / 'out')
    assert (small['drawing'], large['drawing']) == ('64x64', '128x128')
    assert float(small['AUC@0.2']) < float(large['AUC@0.2'])
