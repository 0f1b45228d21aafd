import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseplug.core.errors import ConfigError
from poseplug.evaluation.base import MetricResult
from poseplug.report.charts import (
    Chart,
    Series,
    build_learning_charts,
    build_pck_chart,
    build_stage_chart,
    read_curve,
    render_bar_chart,
    render_line_chart,
    save_png,
    save_svg,
)

SVG = '{http://www.w3.org/2000/svg}'


def parse_lines(svg):
    """The points of every line or bar, by the name in its title."""
    lines = {}
    for group in ElementTree.fromstring(svg).iter(f'{SVG}g'):
        title = group.find(f'{SVG}title')
        if title is not None:
            numbers = [float(word) for word in group.find(f'{SVG}path').get('d').split() if word not in 'MLz']
            lines[title.text] = list(zip(numbers[::2], numbers[1::2], strict=True))
    return lines


def read_texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f'{SVG}text')]


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


def test_an_incomplete_line_is_skipped_and_the_later_line_of_a_repeated_step_counts(curve):
    lines = read_curve(curve)
    assert [(v['step'], v.get('loss')) for v in lines] == [(20, 9.0), (40, None), (40, 6.0)]


def test_a_missing_curve_is_an_error_that_says_where_curves_are(tmp_path):
    with pytest.raises(ConfigError, match='in the work dir of a training'):
        read_curve(tmp_path / 'curve.jsonl')


def test_losses_are_drawn_by_stage_and_metrics_in_a_chart_of_their_own(curve):
    losses, metrics = build_learning_charts(read_curve(curve))
    assert {s.name: list(s.y) for s in losses.series} == {'stage 1': [5.0, 3.5], 'stage 2': [4.0, 2.5]}
    assert [(s.name, list(s.x), list(s.y)) for s in metrics.series] == [('PCK@0.2', [40], [30.0])]


def test_losses_of_several_kinds_keep_their_names():
    (chart,) = build_learning_charts([{'step': 20, 'loss': 9.0, 'loss_box': 5.0, 'loss_score': 4.0}])
    assert [s.name for s in chart.series] == ['box', 'score']


def test_losses_over_more_than_a_factor_of_ten_get_a_logarithmic_axis():
    (chart,) = build_learning_charts([{'step': s, 'loss': 100 / s} for s in (1, 10, 100)])
    assert chart.log_scale
    points = parse_lines(render_line_chart(chart))['loss']
    assert points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2)


def test_equal_steps_of_the_values_are_equal_steps_of_the_drawing():
    (points,) = parse_lines(render_line_chart(Chart('t', 'x', 'y', [Series('a', [0, 1, 2], [10, 20, 30])]))).values()
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2)
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.2)
    assert points[0][1] > points[1][1]


def test_values_that_are_not_finite_are_skipped_in_a_line():
    svg = render_line_chart(
        Chart('t', 'x', 'y', [Series('a', [0, 1, 2], [1, math.nan, 2]), Series('b', [0], [math.inf])])
    )
    assert {name: len(p) for name, p in parse_lines(svg).items()} == {'a': 2}
    assert 'no data' in render_line_chart(Chart('t', 'x', 'y', []))


def test_a_single_point_is_drawn():
    assert len(parse_lines(render_line_chart(Chart('t', 'x', 'y', [Series('a', [5], [0])])))['a']) == 1


def test_names_are_escaped():
    svg = render_line_chart(Chart('<b>&', 'x<', '"y"', [Series('<script>', [0, 1], [0, 1]), Series('b', [0], [1])]))
    assert '<script' not in svg
    assert set(parse_lines(svg)) == {'<script>', 'b'}
    ElementTree.fromstring(render_bar_chart('<', ['<&>'], [3]))


def test_ticks_are_round_and_cover_the_values():
    texts = read_texts(render_line_chart(Chart('t', 'x', 'y', [Series('a', [0, 1], [0, 80])], y_range=(0, 100))))
    assert [text for text in texts if text.isdigit()][-6:] == ['0', '20', '40', '60', '80', '100']
    texts = read_texts(render_line_chart(Chart('t', 'x', 'y', [Series('a', [0, 40000], [0.003, 0.011])])))
    assert {'0.004', '0.006', '0.008', '0.01', '10k', '40k'} <= set(texts)


@settings(max_examples=10, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_few_ticks_and_the_chart_cover_any_range(low, size):
    svg = render_line_chart(Chart('t', 'x', 'y', [Series('a', [0, 1], [low, low + size])]))
    (points,) = parse_lines(svg).values()
    assert all(0 < x < 480 and 0 < y < 300 for x, y in points)
    assert 6 <= len(read_texts(svg)) <= 25  # title, labels, and ticks of two axes


def test_text_between_dollar_signs_is_no_formula():
    svg = render_line_chart(Chart('$a$', '$x', 'y', [Series('$b_1$', [0], [0]), Series('c', [0], [1])]))
    assert {'$a$', '$x', '$b_1$'} <= set(read_texts(svg))


def test_the_same_chart_is_the_same_text_whatever_the_users_settings_are():
    import matplotlib

    chart = Chart('t', 'x', 'y', [Series('a', [0, 1, 2], [1, 3, 2])], log_scale=True)
    svg = render_line_chart(chart)
    with matplotlib.rc_context({'lines.linewidth': 9, 'svg.hashsalt': None, 'text.usetex': True}):
        assert render_line_chart(chart) == svg
        assert matplotlib.rcParams['lines.linewidth'] == 9
    assert '<metadata' not in svg
    assert ' id="figure' not in svg


def test_curves_of_scores_become_a_chart_with_percent_from_0_to_100():
    scores = MetricResult(curves={'mean': ([0, 0.1, 0.2], [0, 40, 80]), 'wrist': ([0, 0.1, 0.2], [0, 10, 20])})
    lines = parse_lines(render_line_chart(build_pck_chart(scores)))
    heights = {name: [y for _, y in points] for name, points in lines.items()}
    px_per_40_percent = heights['mean'][2] - heights['mean'][1]
    assert heights['mean'][2] - heights['wrist'][2] == pytest.approx(3 * px_per_40_percent / 2, abs=0.3)
    stages = build_stage_chart([scores, MetricResult(), scores])
    assert [s.name for s in stages.series] == ['stage 1', 'stage 3']


def test_bars_are_as_long_as_their_values():
    bars = parse_lines(render_bar_chart('t', ['a', 'b', 'c'], [20, 40, math.nan]))
    first, second, none = (max(x for x, _ in bars[name]) - min(x for x, _ in bars[name]) for name in 'abc')
    assert second == pytest.approx(2 * first, abs=0.2)
    assert none == 0


def test_a_chart_is_saved_as_a_file_of_its_own(tmp_path):
    svg = render_line_chart(Chart('t', 'x', 'y', [Series('a', [0, 1], [0, 1])]))
    file = save_svg(svg, tmp_path / 'new' / 'chart.svg')
    assert ElementTree.parse(file).getroot().tag == f'{SVG}svg'


def test_a_chart_is_saved_as_png(tmp_path):
    file = save_png(
        Chart('t', 'x', 'y', [Series('a', [0, 1], [1, 9]), Series('b', [0, 1], [2, 3])]), tmp_path / 'a.png'
    )
    image = cv2.imread(str(file))
    assert (np.abs(image.astype(int) - (246, 130, 59)).max(axis=-1) < 12).sum() > 100  # the first color, as BGR


def test_without_matplotlib_an_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ConfigError, match='pip install matplotlib'):
        save_png(Chart('t', 'x', 'y', []), tmp_path / 'a.png')


def test_reading_a_curve_does_not_import_matplotlib():
    code = "import sys, poseplug.report.page; print([m for m in sys.modules if m.startswith('matplotlib')])"
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == '[]'
