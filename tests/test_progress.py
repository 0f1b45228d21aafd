"""The line that tells where long work stands."""

from poseplug.progress import Bar, track


def test_a_bar_tells_rate_and_remaining_time_where_the_end_is_known(capsys):
    assert [*track(range(3), 'reading', unit='file')] == [0, 1, 2]
    told = capsys.readouterr().err
    assert told.startswith('reading 3/3, ')
    assert told.endswith(' file/s, 0 s left\n')


def test_a_bar_without_an_end_tells_count_and_rate():
    bar = Bar('reading', 0, unit='file')
    bar.update(5)
    assert bar.line().startswith('reading 5, ')
    assert bar.line().endswith(' file/s')
