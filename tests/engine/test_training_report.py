"""The report page that a run writes to its work dir at evaluations."""

import re

import pytest

from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.engine.hooks import training_report
from poseplug.engine.hooks.training_report import ReportHook


def run_with_report(tiny_config, folder, **settings):
    cfg = tiny_config(val=True, **{'train_cfg.val_interval': 3})
    cfg.default_hooks['report'] = settings or None
    launch.train(cfg, folder)
    return folder / 'report.html'


def test_the_page_has_curves_scores_by_keypoint_and_worst_and_random_predictions(tiny_config, tmp_path):
    page = run_with_report(tiny_config, tmp_path / 'run', max_time_fraction=1, num_images=1).read_text()
    assert 'run: step 6 of 6' in page
    assert '<h2>Curves</h2>' in page
    assert '<td>ankle</td>' in page
    assert re.findall('<h3>(.*?)</h3>', page) == ['Lowest PCK', 'Random']
    assert page.count('<figure>') == 2


def test_a_page_replaces_that_of_the_evaluation_before(tiny_config, tmp_path, monkeypatch):
    written = []
    write = ReportHook._write_page

    def record(hook, runner, result):
        write(hook, runner, result)
        written.append((tmp_path / 'run/report.html').read_text().partition('</title>')[0].rpartition('>')[2])

    monkeypatch.setattr(ReportHook, '_write_page', record)
    run_with_report(tiny_config, tmp_path / 'run', max_time_fraction=1)
    assert written == ['run: step 3 of 6', 'run: step 6 of 6']


def test_a_short_run_and_one_that_switches_it_off_have_no_page(tiny_config, tmp_path):
    assert not run_with_report(tiny_config, tmp_path / 'short', num_images=2).exists()
    assert not run_with_report(tiny_config, tmp_path / 'off').exists()


def test_pages_take_at_most_their_fraction_of_the_time(monkeypatch):
    """Evaluations every 10 seconds, and pages that take 2: the first is estimated to take 0.8."""
    clock = [0.0]
    monkeypatch.setattr(training_report.time, 'monotonic', lambda: clock[0])

    class Run:
        iter, max_iters, rank, work_dir = 1, 10**6, 0, 'run'
        val_loop = type('Loop', (), {'result': object()})()

    def write(hook, runner, result):
        clock[0] += 2.0
        pages.append(clock[0])

    monkeypatch.setattr(ReportHook, '_write_page', write)
    hook, pages = ReportHook(max_time_fraction=0.01), []
    hook.before_train(Run)
    while clock[0] < 1000:
        clock[0] += 10
        hook.after_val_epoch(Run, {'AP': 1.0})
    assert pages[0] == pytest.approx(82)
    assert 2 * len(pages) <= 0.01 * clock[0]
    assert len(pages) >= 4


def test_a_page_that_cannot_be_written_does_not_end_the_run(tiny_config, tmp_path, caplog):
    (tmp_path / 'run/report.html').mkdir(parents=True)
    run_with_report(tiny_config, tmp_path / 'run', max_time_fraction=1)
    assert 'report.html is not written: ' in caplog.text
    assert (tmp_path / 'run/step_0000006.pth').is_file()


@pytest.mark.parametrize('settings', [dict(num_images=0), dict(max_time_fraction=0), dict(max_time_fraction=1.5)])
def test_a_number_out_of_range_is_an_error(settings):
    with pytest.raises(ConfigError, match='num_images is at least 1, and max_time_fraction above 0 and at most 1'):
        ReportHook(**settings)
