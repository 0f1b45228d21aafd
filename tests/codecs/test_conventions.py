"""The table of grids in docs/explanation/coordinates.md is that of the codecs themselves."""

import re

import pytest

from poseplug.registry import CODECS
from poseplug.skeletons.coco import COCO
from tests.test_contracts import list_builtin_parts


@pytest.fixture(scope='module')
def table_rows(root):
    """The codecs of every row, as they are written, with the row's columns on their cells and on flipping."""
    page = (root / 'docs/explanation/coordinates.md').read_text()
    table = page.partition('## Grid alignment')[2].partition('\n## ')[0]
    cells = [line.strip('| ').split(' | ') for line in table.splitlines() if line.startswith('| `')]
    return [(name, row[1], row[-1]) for row in cells for name in re.findall(r'`(\w+(?:\([^)]*\))?)`', row[0])]


def build(name):
    kind, settings = re.fullmatch(r'(\w+)(?:\((.*)\))?', name).groups()
    settings = {n: {'True': True}.get(v) or float(v) for n, v in re.findall(r'(\w+)=([\w.]+)', settings or '')}
    return CODECS.build(dict(type=kind, input_size=(192, 256), **settings), skeleton=COCO)


def test_every_codec_has_a_row(table_rows):
    assert {name.partition('(')[0] for name, _, _ in table_rows} == set(list_builtin_parts(CODECS))


def test_cells_stand_where_the_table_says(table_rows):
    for name, cells, _ in table_rows:
        if 'no cells' in cells:
            assert not hasattr(build(name), 'grid'), name
        elif cells == 'aligned':
            grid = build(name).grid
            assert grid.strides == pytest.approx([191 / (grid.size[0] - 1), 255 / (grid.size[1] - 1)]), name
        else:
            stride, offset = re.match(r'`(\d)g(?: \+ ([\d.]+))?`', cells).groups()
            assert (build(name).grid.strides, build(name).grid.offset) == ((int(stride),) * 2, float(offset or 0)), name


def test_flipped_fields_fall_where_the_table_says(table_rows):
    for name, cells, flipped in table_rows:
        if 'no cells' in cells:
            continue
        grid = build(name).grid
        shift = (191 - 2 * grid.offset) / grid.strides[0] - (grid.size[0] - 1)
        if flipped.startswith('fall on'):
            assert shift == pytest.approx(0), name
        else:
            expected = (-0.25, 0) if 'quarter' in flipped else (0.75, 1)
            assert (shift, grid.flip_shift) == pytest.approx(expected), name


@pytest.mark.parametrize('name', [name for name in list_builtin_parts(CODECS) if hasattr(CODECS.get(name), 'fields')])
def test_every_channel_of_every_field_has_a_name_and_a_channel_that_a_flip_exchanges_it_with(name):
    codec = build(f'{name}(radius_factor=0.1)' if name == 'UDPCombined' else name)
    counts = {field: codec.fields[field] for field in codec.fields}
    assert {field: sorted(order) for field, order in codec.flip_channels.items()} == {
        field: list(range(count)) for field, count in counts.items()
    }
    if name not in ('PAF', 'LimbMidpoints'):  # limbs have no names of keypoints
        assert {field: len(set(names)) for field, names in codec.name_channels(COCO.keypoints).items()} == counts
