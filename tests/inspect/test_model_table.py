"""docs/reference/models.md: the score line of a config, the rows, and that the page agrees with the configs."""

from pathlib import Path

import pytest
from torch import nn

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.complexity import build_without_teacher_weights, compute_costs, trace_forward
from poseplug.inspect.model_table import (
    build_model_entry,
    compute_config_cost,
    find_config_files,
    parse_score,
    render_model_row,
    render_models_page,
)
from poseplug.testing import SMALL_SKELETON

ROOT = Path(__file__).parents[2]
CONFIG = '''"""A small network.

Run: python tools/train.py mine.py
{score}
"""

skeleton = 'lsp'
model = dict(
    type='TopDown',
    codec=dict(type='Heatmap', input_size=(64, 32)),
    backbone=dict(type='HourglassStem', channels=8),
    head=dict(type='HeatmapHead'),
)
'''


def write_config(folder: Path, score: str, name: str = 'mine.py') -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CONFIG.format(score=score))
    return file


@pytest.mark.parametrize(('line', 'measured', 'published'), [
    ('AP on COCO val2017, flip test: not trained yet (published: AP 74.4 with boxes of person AP 56.4)',
     'not trained yet', 'AP 74.4 with boxes of person AP 56.4'),
    ('AP on COCO val2017: not trained yet (published by MMPose: AP 76.4)', 'not trained yet', 'AP 76.4 (by MMPose)'),
    ('mean PCKh@0.5 on MPII: not trained yet (published: 88.1; on the test set 90.9)',
     'not trained yet', '88.1; on the test set 90.9'),
    ('PCK@0.2 on LSP: 76.74 (docs/lab/results.md; the weights are shipped)', '76.74', ''),
    ('PCK@0.2 on LSP: 61 (docs/lab/results.md; published, of others: 84.3)', '61', '84.3 (of others)'),
    ('mean PCKh@0.5 on MPII: not trained yet (its paper has none for MPII)', 'not trained yet', ''),
    ('EPE on hands: not trained yet', 'not trained yet', ''),
])  # fmt: skip
def test_a_score_line_has_our_score_and_the_published_one(tmp_path, line, measured, published):
    score = parse_score(write_config(tmp_path, line))
    assert (score.measured_score, score.published_score) == (measured, published)
    assert line.startswith(f'{score.metric} on {score.dataset}: ')


@pytest.mark.parametrize('lines', [
    '', 'AP on COCO: soon', 'not trained yet', 'AP: not trained yet', 'accuracy on COCO: 3', 'AP on COCO: 74.4 %',
    'AP on COCO: not trained yet\nAP on COCO: 74.4',
])  # fmt: skip
def test_a_docstring_without_exactly_one_score_line_is_an_error_that_shows_the_form(tmp_path, lines):
    with pytest.raises(
        ConfigError, match=r'mine\.py: the docstring has [02] lines of the form .* \(published: AP 74.4'
    ):
        parse_score(write_config(tmp_path, lines))


def test_a_row_has_size_cost_and_both_scores(tmp_path):
    """The sizes are counted in another way; our score is bold."""
    file = write_config(tmp_path, 'PCK@0.2 on LSP: 12.5 (docs/lab/results.md; published: 99.1)')
    model = build_without_teacher_weights(load_config(file))
    num_parameters = sum(p.numel() for p in model.parameters())
    macs = compute_costs(model, trace_forward(model).macs).macs
    cells = render_model_row(build_model_entry(file)).strip('| ').split(' | ')
    assert cells[:4] == ['`mine`', '64 x 32', f'{num_parameters:,}', f'{macs / 1e9:.2f} G']
    assert cells[4:] == ['PCK@0.2, LSP', '99.1', '**12.5** ([results.md](../lab/results.md))']


def test_a_page_has_a_table_for_each_folder_without_bases(tmp_path):
    for name in ('b/two.py', 'a/one.py', '_base_/models/three.py'):
        write_config(tmp_path, 'AP on COCO: not trained yet', name)
    lines = list(render_models_page(tmp_path))
    assert [line for line in lines if line.startswith('## ')] == ['## a', '## b']
    assert [line.split('`')[1] for line in lines if line.startswith('| `')] == ['one', 'two']


def test_a_folder_without_configs_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match='holds no configs'):
        find_config_files(tmp_path)


class UntraceableBackbone(nn.Module):
    """A backbone that cannot be traced."""

    out_channels, strides = (3,), (4,)

    def forward(self, images):
        raise ValueError('needs a second image\nand more')


def test_a_network_that_cannot_be_traced_is_named_below_the_table_with_the_reason(tmp_path):
    codec = dict(type='Heatmap', input_size=(64, 32))
    model = dict(type='TopDown', codec=codec, backbone=UntraceableBackbone(), head=dict(type='HeatmapHead'))
    assert compute_config_cost(dict(skeleton=SMALL_SKELETON, model=model)) == 'ValueError: needs a second image'
    file = write_config(tmp_path, 'AP on COCO: not trained yet')
    file.write_text(file.read_text().replace("'HeatmapHead'", "'DeconvHead', deconv_out_channels=(1, 2, 3)"))
    lines = [line for line in render_models_page(tmp_path) if '`mine`' in line]
    assert '| not counted | not counted |' in lines[0]
    assert lines[1].startswith('`mine` is not counted: MismatchError: DeconvHead needs 0 deconvolutions')


def test_docs_models_md_names_every_config():
    """To write it again: poseplug describe configs --table docs/reference/models.md"""
    text = (ROOT / 'docs/reference/models.md').read_text()
    assert [p.stem for p in find_config_files(ROOT / 'configs') if f'| `{p.stem}` |' not in text] == []


@pytest.mark.slow
def test_docs_models_md_agrees_with_the_configs(root, monkeypatch):
    monkeypatch.chdir(root)  # teachers are named by their path from here
    assert (root / 'docs/reference/models.md').read_text().splitlines() == list(render_models_page(Path('configs')))
