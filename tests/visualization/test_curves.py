import math
import sys
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Scores
from poseplug.visualization.curves import (
    Chart,
    Series,
    _ticks,
    bar_svg,
    learning_charts,
    line_svg,
    pck_chart,
    read_curve,
    save_png,
    save_svg,
    stage_chart,
)

SVG = '{http://www.w3.org/2000/svg}'


def lines_of(svg):
    """The points of every polyline, by the name in its title."""
    found = {}
    for line in ElementTree.fromstring(svg).iter(f'{SVG}polyline'):
        points = [tuple(map(float, p.split(','))) for p in line.get('points').split()]
        found[line.find(f'{SVG}title').text] = points
    return found


@pytest.fixture
def curve(tmp_path):
    file = tmp_path / 'curve.jsonl'
    file.write_text(
        '{"step": 20, "loss": 9.0, "loss_1": 5.0, "loss_2": 4.0, "lr": 0.1, "memory_mib": 3}\n'
        '{"step": 40, "loss": 7.0, "loss_1": 4.0, "loss_2": 3.0, "lr": 0.1, "memory_mib": 3}\n'
        '{"step": 40, "PCK@0.2": 30.0}\n'
        '{"step": 40, "loss": 6.0, "loss_1": 3.5, "loss_2": 2.5, "lr": 0.1, "memory_mib": 3}\n'
        '{"step": 60, "lo'
    )
    return file


def test_a_broken_last_line_is_left_out_and_of_a_step_written_twice_the_later_holds(curve):
    lines = read_curve(curve)
    assert [(v['step'], v.get('loss')) for v in lines] == [(20, 9.0), (40, None), (40, 6.0)]


def test_a_curve_that_is_not_there_is_an_error_that_says_where_it_comes_from(tmp_path):
    with pytest.raises(ConfigError, match='work dir of a training'):
        read_curve(tmp_path / 'curve.jsonl')


def test_losses_are_shown_stage_by_stage_and_metrics_apart_from_them(curve):
    losses, metrics = learning_charts(read_curve(curve))
    assert {s.name: list(s.y) for s in losses.series} == {'stage 1': [5.0, 3.5], 'stage 2': [4.0, 2.5]}
    assert [(s.name, list(s.x), list(s.y)) for s in metrics.series] == [('PCK@0.2', [40], [30.0])]


def test_losses_of_several_kinds_keep_their_names():
    (chart,) = learning_charts([{'step': 20, 'loss': 9.0, 'loss_box': 5.0, 'loss_score': 4.0}])
    assert [s.name for s in chart.series] == ['box', 'score']


def test_losses_over_more_than_a_factor_of_ten_get_a_logarithmic_axis():
    (chart,) = learning_charts([{'step': s, 'loss': 100 / s} for s in (1, 10, 100)])
    assert chart.log
    points = lines_of(line_svg(chart))['loss']
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2)


def test_equal_steps_of_the_values_are_equal_steps_of_the_drawing():
    (points,) = lines_of(line_svg(Chart('t', 'x', 'y', [Series('a', [0, 1, 2], [10, 20, 30])]))).values()
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2)
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.2)
    assert points[0][1] > points[1][1]


def test_values_that_are_no_numbers_are_left_out_of_a_line():
    svg = line_svg(Chart('t', 'x', 'y', [Series('a', [0, 1, 2], [1, math.nan, 2]), Series('b', [0], [math.inf])]))
    assert {name: len(p) for name, p in lines_of(svg).items()} == {'a': 2}
    assert 'nothing to show' in line_svg(Chart('t', 'x', 'y', []))


def test_a_single_point_is_drawn():
    assert len(lines_of(line_svg(Chart('t', 'x', 'y', [Series('a', [5], [0])])))['a']) == 1


def test_names_are_escaped():
    svg = line_svg(Chart('<b>&', 'x<', '"y"', [Series('<script>', [0, 1], [0, 1]), Series('b', [0], [1])]))
    assert '<script' not in svg
    assert set(lines_of(svg)) == {'<script>', 'b'}
    ElementTree.fromstring(bar_svg('<', ['<&>'], [3]))


def test_ticks_are_round_and_hold_the_values():
    assert _ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert _ticks(0.003, 0.011) == [0.002, 0.004, 0.006, 0.008, 0.01, 0.012]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_few_ticks_cover_any_range(low, size):
    ticks = _ticks(low, low + size)
    slack = 1e-6 * (ticks[1] - ticks[0]) + 1e-9
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + size - slack
    assert 3 <= len(ticks) <= 8


def test_curves_of_scores_become_a_chart_with_percent_from_0_to_100():
    scores = Scores(curves={'total': ([0, 0.1, 0.2], [0, 40, 80]), 'wrist': ([0, 0.1, 0.2], [0, 10, 20])})
    svg = lines_of(line_svg(pck_chart(scores)))
    assert svg['total'][2][1] - svg['wrist'][2][1] == pytest.approx(3 * (svg['total'][2][1] - svg['total'][1][1]) / 2,
                                                                   abs=0.3)  # fmt: skip
    stages = stage_chart([scores, Scores(), scores])
    assert [s.name for s in stages.series] == ['stage 1', 'stage 3']


def test_bars_are_as_long_as_their_values():
    svg = ElementTree.fromstring(bar_svg('t', ['a', 'b', 'c'], [20, 40, math.nan]))
    first, second, none = (float(r.get('width')) for r in svg.iter(f'{SVG}rect'))
    assert second == pytest.approx(2 * first, abs=0.2)
    assert none == 0


def test_a_chart_is_saved_as_a_file_of_its_own(tmp_path):
    svg = line_svg(Chart('t', 'x', 'y', [Series('a', [0, 1], [0, 1])]))
    file = save_svg(svg, tmp_path / 'new' / 'chart.svg')
    assert ElementTree.parse(file).getroot().tag == f'{SVG}svg'


def test_a_chart_is_saved_as_png(tmp_path):
    pytest.importorskip('matplotlib', reason='charts as PNG need the extra plots')
    file = save_png(
        Chart('t', 'x', 'y', [Series('a', [0, 1], [1, 9]), Series('b', [0, 1], [2, 3])]), tmp_path / 'a.png'
    )
    image = cv2.imread(str(file))
    assert (np.abs(image.astype(int) - (246, 130, 59)).max(axis=-1) < 12).sum() > 100  # the first colour, as BGR


def test_without_matplotlib_a_png_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ConfigError, match=r'poseplug\[plots\]'):
        save_png(Chart('t', 'x', 'y', []), tmp_path / 'a.png')
