"""The commands as users type them: train, stop, resume, test."""

import json
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / 'configs/cpm/cpm_synthetic.py'


@pytest.fixture
def options(tiny_cli_options):
    return tiny_cli_options()


@pytest.fixture
def trained(command, options, tmp_path):
    folder = tmp_path / 'run'
    code, out, _ = command('train.py', CONFIG, '--work-dir', folder, *options)
    assert (code, out) == (0, f'done: 6 steps, in {folder}\n')
    return folder


def test_training_prints_a_few_lines(command, options, tmp_path):
    code, _, err = command('train.py', CONFIG, '--work-dir', tmp_path / 'run', *options)
    lines = err.splitlines()
    assert code == 0
    assert lines[0] == f'training on cpu: 10 samples, 6 steps, in {tmp_path}/run'
    assert lines[1].startswith('training 6/6, ')
    assert len(lines) == 2


def test_a_finished_run_can_be_extended(command, options, trained):
    code, out, err = command(
        'train.py',
        CONFIG,
        '--work-dir',
        trained,
        '--resume',
        '--resume-with',
        'train_cfg',
        *options,
        'train_cfg.max_steps=8',
    )
    assert (code, out) == (0, f'done: 8 steps, in {trained}\n')
    assert 'resumed' in err
    assert 'at step 6 of 8' in err


def test_overfitting_has_a_folder_of_its_own(command, options, tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_WORK', str(tmp_path))
    code, out, _ = command('train.py', CONFIG, '--overfit', 3, *options, 'overfit_steps=2')
    assert (code, out) == (0, f'done: 2 steps, in {tmp_path}/cpm_synthetic_overfit\n')


def test_testing_prints_one_column_per_stage_under_the_label_convention(command, options, trained, tmp_path):
    file = tmp_path / 'sub' / 'results.json'
    code, out, _ = command('test.py', CONFIG, trained, '--out', file, *options)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ['person-centric', 'stage', '1', 'stage', '2']
    rows = [line.split() for line in lines]
    for name in ('head', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle', 'total'):
        assert sum(row[0] == name and len(row) == 3 for row in rows) == 2  # at 0.1 and at 0.2
    assert any(row[0] == 'AUC@0.2' for row in rows)
    assert any('4 of 4 instances kept; dropped: none' in line for line in lines)
    assert any(line.startswith('4 images in ') and line.endswith(' images/s') for line in lines)
    check_results(json.loads(file.read_text()), trained)


def check_results(results, trained):
    assert {'PCK@0.1', 'PCK@0.2', 'PCK@0.2/wrist', 'AUC@0.2'} <= set(results['metrics'])
    assert all(isinstance(v, float) for v in results['metrics'].values())
    assert results['stages'][-1] == results['metrics']
    assert len(results['stages']) == 2
    assert len(results['curves']['mean'][0]) == len(results['curves']['mean'][1]) == 21
    assert (results['centric'], results['skeleton'], results['num_images']) == ('person-centric', 'lsp', 4)
    assert (results['config'], results['checkpoint']) == (str(CONFIG), str(trained))


def test_testing_writes_a_report_page_on_request(command, options, trained, tmp_path):
    code, out, _ = command('test.py', CONFIG, trained / 'step_0000006.pth', '--report', tmp_path / 'page', *options)
    assert code == 0
    assert f'written: {tmp_path}/page/report.html' in out
    assert '<svg' in (tmp_path / 'page/report.html').read_text()
