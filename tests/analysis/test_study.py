"""Experiments: variants x seeds x equal steps, resumable, with tables and charts."""

import csv

import pytest

from poseplug.analysis.study import StudySettings, build_training_config, collect_scores, run_study
from poseplug.analysis.variants import Variant, VariantTraining
from poseplug.core.errors import ConfigError
from poseplug.report.charts import read_curve
from tests.conftest import ROOT, tiny_options

CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'


@pytest.fixture
def settings(tiny_data, tmp_path):
    """A function from further settings to those of a tiny experiment."""

    def create(**changes):
        options = {**tiny_options(tiny_data), 'param_scheduler': None}
        return StudySettings(**{**dict(config=CONFIG, out=tmp_path / 'out', steps=4, options=options), **changes})

    return create


def test_every_variant_has_every_seed_and_equal_steps(settings):
    variants = [Variant('every'), Variant('last', {'model.supervision': 'last'})]
    runs = run_study(settings(seeds=(0, 5), steps=2), variants)
    assert [(run.variant, run.seed, run.steps) for run in runs] == [
        ('every', 0, 2),
        ('every', 5, 2),
        ('last', 0, 2),
        ('last', 5, 2),
    ]
    assert {run.metric for run in runs} == {'PCK@0.1'}
    assert len(runs[0].stage_scores) == 2
    assert runs[0].digest != runs[1].digest
    assert collect_scores(runs, 'PCK@0.2')['last'] == [run.scores['PCK@0.2'] for run in runs[2:]]


def test_a_finished_run_is_read_and_one_with_other_settings_refused(settings):
    (first,) = run_study(settings(seeds=(0,)), [Variant('a')])
    checkpoint = next((settings().out / 'runs/a/seed_0/training_1').glob('*.pth'))
    checkpoint.unlink()  # a second training would write it again
    (second,) = run_study(settings(seeds=(0,)), [Variant('a')])
    assert second == first
    assert not checkpoint.exists()
    with pytest.raises(ConfigError, match='run.json is of a run with other settings; name another --out'):
        run_study(settings(seeds=(0,), steps=5), [Variant('a')])


def test_the_trainings_of_a_variant_follow_each_other(settings):
    phases = (VariantTraining({'model.supervision': [1, 0]}), VariantTraining({'model.supervision': [0, 1]}))
    (run,) = run_study(settings(seeds=(0,)), [Variant('in turn', trainings=phases)])
    assert [read_curve(f'{folder}/curve.jsonl')[-1]['step'] for folder in run.work_dirs] == [2, 2]
    assert run.steps == 4


def test_a_run_has_no_validation_and_one_checkpoint(settings):
    cfg = build_training_config(settings(steps=7), Variant('a'), 0, seed=3)
    assert (cfg.val_dataloader, cfg.train_cfg.max_steps, cfg.seed) == (None, 7, 3)
    assert cfg.default_hooks.checkpoint.interval == 1.0
    assert cfg.custom_hooks[0].momentum == pytest.approx(0.01 * 6 / 7)  # the average covers the same part of the run


def test_wrong_settings_are_errors_before_the_first_step(settings):
    with pytest.raises(ConfigError, match="there is no score 'PCK@0.3'; closest: 'PCK@0.2'"):
        run_study(settings(metric='PCK@0.3'), [Variant('a')])
    with pytest.raises(ConfigError, match=r'seeds that differ; got \[1, 1\]'):
        run_study(settings(seeds=(1, 1)), [Variant('a')])
    with pytest.raises(ConfigError, match='supervison'):
        run_study(settings(), [Variant('a'), Variant('b', {'model.supervison': 'last'})])
    with pytest.raises(ConfigError, match='counts epochs; state the number of steps of a run by --steps'):
        build_training_config(settings(config='cpm_lsp_lite', steps=None, options={}), Variant('a'), 0)
    assert not settings().out.exists()


def test_the_command_writes_tables_and_charts(command, tiny_cli_options, tmp_path):
    out = tmp_path / 'out'
    variants = ['--variant', 'last: model.supervision=last', '--variant', 'one stage: model.head.num_stages=1']
    options = ['--steps', 2, '--seeds', 2, '--metric', 'PCK@0.2', '--out', out, *variants]
    code, text, _ = command('analyze', 'variants', CONFIG, *options, *tiny_cli_options(param_scheduler=None))
    assert code == 0
    assert '| last is better |' in text
    report = (out / 'report.md').read_text()
    assert report.strip() in text
    assert '| variant | PCK@0.2 |' in report
    assert "--variant 'one stage: model.head.num_stages=1'" in report
    rows = list(csv.DictReader((out / 'runs.csv').read_text().splitlines()))
    assert [(row['variant'], row['seed']) for row in rows[:3]] == [('config', '0'), ('config', '1'), ('last', '0')]
    assert int(rows[0]['parameters']) > int(rows[4]['parameters'])
    assert (out / 'chart.svg').read_text().startswith('<svg')
    assert (out / 'chart.png').read_bytes().startswith(b'\x89PNG')


def test_a_variant_without_a_name_is_an_error(command, tmp_path):
    code, _, error = command('analyze', 'variants', CONFIG, '--out', tmp_path, '--variant', 'model.supervision=last')
    assert code == 2
    assert 'is not NAME:KEY=VALUE[;KEY=VALUE]' in error
