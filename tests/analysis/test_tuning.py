"""Searches: proposals, resume, failures, the file of settings, and the command."""

import csv
import json
import sys

import pytest

from poseplug.analysis import tuning
from poseplug.analysis.search_space import SearchedSetting, read_search_space
from poseplug.analysis.tuning import TuningSettings, TuningTrial, choose_best_trial, run_tuning
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.files.jsonable import to_json_values
from tests.conftest import ROOT, tiny_options

CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'
RATE = 'optim_wrapper.optimizer.lr'
SPACE = (SearchedSetting(RATE, low=1e-4, high=1e-2, log=True), SearchedSetting('model.supervision', ('all', 'last')))


def add_validation(options):
    """The options with the test images for validation; the config has none."""
    cfg = load_config(CONFIG, options)
    loader = to_json_values(cfg.test_dataloader.to_dict())
    return {
        **options,
        'val_dataloader': loader,
        'val_evaluator': cfg.get('test_evaluator'),
        'train_cfg.val_interval': 1,
    }


@pytest.fixture
def settings(tiny_data, tmp_path):
    """A function from further settings to those of a tiny search."""

    def create(**changes):
        options = add_validation({**tiny_options(tiny_data), 'param_scheduler': None})
        common = dict(config=CONFIG, space=SPACE, out=tmp_path / 'out', trials=2, steps=1, options=options)
        return TuningSettings(**{**common, **changes})

    return create


@pytest.fixture
def parabola(monkeypatch):
    """Trainings that take no time: the score is highest at a learning rate of 1e-3 with supervision of all stages."""
    calls = []

    def train(settings, proposal, metric, work_dir):
        calls.append(proposal)
        score = 100 - 1e4 * abs(proposal[RATE] - 1e-3) - 5 * (proposal['model.supervision'] == 'last')
        return TuningTrial(0, dict(proposal), score, '', {metric: score}, steps=1, seconds=0.0, work_dir=str(work_dir))

    monkeypatch.setattr(tuning, '_train_trial', train)
    return calls


def test_trials_train_with_their_settings_and_are_read_again(settings):
    trials, metric, lower_is_better = run_tuning(settings())
    assert (metric, lower_is_better) == ('PCK@0.1', False)
    assert [trial.steps for trial in trials] == [1, 1]
    assert all(0 <= trial.score <= 100 and 1e-4 <= trial.settings[RATE] <= 1e-2 for trial in trials)
    saved = (settings().out / 'trials/0001/run/cpm_synthetic.py').read_text()
    assert repr(trials[1].settings[RATE]) in saved
    for checkpoint in settings().out.glob('trials/*/run/*.pth'):
        checkpoint.unlink()  # a second training would write it again
    assert run_tuning(settings())[0] == trials
    assert not list(settings().out.glob('trials/*/run/*.pth'))


def test_a_search_comes_near_the_best_settings(settings, parabola):
    trials, _, lower_is_better = run_tuning(settings(trials=40))
    best = choose_best_trial(trials, lower_is_better)
    assert best.settings['model.supervision'] == 'all'
    assert best.settings[RATE] == pytest.approx(1e-3, rel=0.1)
    # the random trials come first, and those that follow are better than these
    mean = [sum(trial.score for trial in part) / len(part) for part in (trials[:8], trials[-8:])]
    assert mean[1] > mean[0]


def test_a_search_that_is_stopped_ends_with_the_same_trials(settings, parabola, tmp_path):
    whole, _, _ = run_tuning(settings(trials=14))

    def stop(trial):
        if trial.number in (3, 9):
            raise KeyboardInterrupt

    for _ in range(2):  # a process that ends twice and keeps nothing but its files
        with pytest.raises(KeyboardInterrupt):
            run_tuning(settings(trials=14, out=tmp_path / 'stopped'), on_trial=stop if not parabola[14:] else stop_late)
    parabola.clear()
    resumed, _, _ = run_tuning(settings(trials=14, out=tmp_path / 'stopped'))
    assert [trial.settings for trial in resumed] == [trial.settings for trial in whole]
    assert len(parabola) == 4


def stop_late(trial):
    if trial.number == 9:
        raise KeyboardInterrupt


def test_a_training_that_is_stopped_is_resumed(settings, monkeypatch):
    calls = []

    def train(cfg, work_dir, resume, device):
        calls.append((work_dir.name, resume))
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, 'train', train)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_tuning(settings())
    assert calls == [('run', 'auto')] * 2
    stated = json.loads((settings().out / 'trials/0000/settings.json').read_text())
    assert set(stated['settings']) == {RATE, 'model.supervision'}


def test_settings_that_do_not_fit_each_other_are_a_failed_trial(settings):
    space = (SearchedSetting('model.head.num_stages', (2, 3)), SearchedSetting('model.supervision', ('all', [1, 0, 1])))
    options = {key: value for key, value in settings().options.items() if key != 'model.head.num_stages'}
    trials, _, _ = run_tuning(settings(space=space, trials=12, options=options))
    failed = [trial for trial in trials if trial.score is None]
    assert {
        (trial.settings['model.head.num_stages'], str(trial.settings['model.supervision'])) for trial in failed
    } == {(2, '[1, 0, 1]')}
    assert 'supervision' in failed[0].failure
    folders = list((settings().out / 'trials').iterdir())
    assert len(folders) == len({str(trial.settings) for trial in trials}) < 12  # no combination is trained twice
    with pytest.raises(ConfigError, match='all 1 trials failed; the last one: .*supervision'):
        choose_best_trial(failed[:1], lower_is_better=False)


def test_settings_that_the_config_refuses_together_are_a_failed_trial(settings):
    space = (
        SearchedSetting('model.head.type', ('CPMHead', 'HeatmapHead')),
        SearchedSetting('model.head.share_image_layers', (True, False)),  # of CPMHead alone
    )
    options = {key: value for key, value in settings().options.items() if not key.startswith('model.head.')}
    trials, _, _ = run_tuning(settings(space=space, trials=8, options=options))
    assert {trial.settings['model.head.type'] for trial in trials if trial.score is None} == {'HeatmapHead'}
    failure = next(trial.failure for trial in trials if trial.score is None)
    assert "HeatmapHead has no argument 'share_image_layers'" in failure
    assert run_tuning(settings(space=space, trials=8, options=options))[0] == trials


def test_the_best_of_a_score_to_minimize_is_the_smallest():
    trials = [
        TuningTrial(number, {}, score, '', {}, steps=1, seconds=0.0, work_dir='')
        for number, score in enumerate([3.0, None, 1.0, 1.0])
    ]
    assert choose_best_trial(trials, lower_is_better=True).number == 2
    assert choose_best_trial(trials, lower_is_better=False).number == 0


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(space=(SearchedSetting('optim_wrapper.optimizer.rl', (1, 2)),)), "AdamW has no argument 'rl'"),
        (dict(options={RATE: 0.1}), f'{RATE} is searched; remove it from --cfg-options'),
        (dict(metric='PCK@0.3'), "there is no score 'PCK@0.3'; closest: 'PCK@0.2'"),
        (dict(options={'val_dataloader': None, 'val_evaluator': None}), 'has no val_dataloader'),
        (dict(trials=0), 'a search has at least one trial; got 0'),
    ],
)
def test_what_cannot_be_searched_is_refused_before_the_first_training(settings, parabola, changes, message):
    changes = {**changes, 'options': {**settings().options, **changes.get('options', {})}}
    with pytest.raises(ConfigError, match=message.replace('(', r'\(')):
        run_tuning(settings(**changes))
    assert not parabola


def test_trials_of_another_search_are_refused(settings, parabola):
    run_tuning(settings())
    for changes in (dict(seed=1), dict(steps=2), dict(space=SPACE[:1])):
        with pytest.raises(
            ConfigError, match='settings.json is of a search with another config, space, length or seed'
        ):
            run_tuning(settings(**changes))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'settings by dotted key are expected'),
        ('a: 3', 'a: a list of values, or low and high, are expected'),
        ('a: [1]', 'a: at least two values are compared; found 1'),
        ('a: {low: 1, hihg: 2}', "a: a range has low, high, step and log; found 'hihg', closest: 'high'"),
        ('a: {low: 2, high: 1}', 'a: low is below high; found 2 and 1'),
        ('a: {low: 0, high: 1, log: true}', 'a: a logarithmic range begins above 0'),
        ('a: {low: 1, high: 2, step: 3}', 'a: step is above 0 and at most the range; found 3'),
        ('a: {low: x, high: 2}', 'a, low: a number is expected'),
        ('a: {low: 1, high: 2, log: 1}', 'a: log is true or false; found 1'),
    ],
)
def test_a_file_that_is_no_search_space_is_refused(tmp_path, text, message):
    file = tmp_path / 'space.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_search_space(file)
    assert message in str(error.value)


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path):
    file = tmp_path / 'space.yaml'
    file.write_text('a: {low: 1e-4, high: 1e-2, log: true}\nb: {low: 2, high: 8, step: 2}\n')
    rate, count = read_search_space(file)
    assert (rate.low, rate.high, rate.is_integer) == (1e-4, 1e-2, False)
    assert (count.is_integer, count.step) == (True, 2)
    assert [count.build_distribution()._contains(value) for value in (2, 3, 8, 9)] == [True, False, True, False]


def test_the_command_writes_a_table_charts_and_the_command_of_the_best(
    tiny_data, tmp_path, parabola, monkeypatch, capsys
):
    from poseplug.__main__ import main

    (tmp_path / 'space.json').write_text(
        json.dumps({RATE: dict(low=1e-4, high=1e-2), 'model.supervision': ['all', 'last']})
    )
    options = [f'{key}={value!r}' for key, value in add_validation(tiny_options(tiny_data)).items()]
    arguments = ['tune', str(CONFIG), '--space', str(tmp_path / 'space.json'), '--out', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', ['poseplug', *arguments, '--trials', '3', '--cfg-options', *options])
    main()
    printed = capsys.readouterr().out
    with (tmp_path / 'out/rows.csv').open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row['trial'] for row in rows] == ['0', '1', '2']
    best = max(rows, key=lambda row: float(row['PCK@0.1']))
    assert f'--cfg-options {RATE}={best[RATE]}' in printed.replace("'", '')
    charts = {file.name for file in (tmp_path / 'out').glob('*.svg')}
    assert charts == {'scores.svg', 'optim_wrapper_optimizer_lr.svg'}
