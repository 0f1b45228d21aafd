"""The line that shows the progress of long work."""

import sys

from poseplug.core.progress import ProgressBar, track_progress


def test_a_known_total_shows_rate_and_remaining_time(capsys):
    assert [*track_progress(range(3), 'reading', unit='file')] == [0, 1, 2]
    line = capsys.readouterr().err
    assert line.startswith('reading 3/3, ')
    assert line.endswith(' file/s, 0 s left\n')


def test_an_unknown_total_shows_count_and_rate():
    bar = ProgressBar('reading', 0, unit='file')
    bar.update(5)
    assert bar.format_line().startswith('reading 5, ')
    assert bar.format_line().endswith(' file/s')


def test_a_terminal_shows_a_bar_with_the_note(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    bar = ProgressBar('reading', 3, unit='file')
    bar.set_note('loss 0.5')
    bar.update(3)
    assert bar.rich_progress.tasks[0].fields['note'].endswith(' file/s  loss 0.5')
    assert bar.rich_progress.finished
    bar.close()
