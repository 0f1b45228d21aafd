"""docs/models.md: the score line of a config, rows, and a page that holds what the configs say."""

from pathlib import Path

import pytest
from torch import nn

from poseplug.analysis.complexity import costs, trace, untaught
from poseplug.analysis.model_table import configs, cost_of, model_of, page, row, score_of
from poseplug.config import load_config
from poseplug.errors import ConfigError
from poseplug.testing import SMALL

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


def written(folder: Path, score: str, name: str = 'mine.py') -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CONFIG.format(score=score))
    return file


@pytest.mark.parametrize(('line', 'ours', 'published'), [
    ('AP on COCO val2017, flip test: not trained yet (published: AP 74.4 with boxes of person AP 56.4)',
     'not trained yet', 'AP 74.4 with boxes of person AP 56.4'),
    ('AP on COCO val2017: not trained yet (published by MMPose: AP 76.4)', 'not trained yet', 'AP 76.4 (by MMPose)'),
    ('mean PCKh@0.5 on MPII: not trained yet (published: 88.1; on the test set 90.9)',
     'not trained yet', '88.1; on the test set 90.9'),
    ('PCK@0.2 on LSP: 76.74 (docs/results.md; the weights are shipped)', '76.74', ''),
    ('PCK@0.2 on LSP: 61 (docs/results.md; published, of others: 84.3)', '61', '84.3 (of others)'),
    ('mean PCKh@0.5 on MPII: not trained yet (its paper has none for MPII)', 'not trained yet', ''),
    ('EPE on hands: not trained yet', 'not trained yet', ''),
])  # fmt: skip
def test_a_score_line_tells_ours_and_what_is_published(tmp_path, line, ours, published):
    score = score_of(written(tmp_path, line))
    assert (score.ours, score.published) == (ours, published)
    assert line.startswith(f'{score.measure} on {score.data}: ')


@pytest.mark.parametrize('lines', [
    '', 'AP on COCO: soon', 'not trained yet', 'AP: not trained yet', 'accuracy on COCO: 3', 'AP on COCO: 74.4 %',
    'AP on COCO: not trained yet\nAP on COCO: 74.4',
])  # fmt: skip
def test_a_docstring_without_one_score_line_is_an_error_that_shows_the_form(tmp_path, lines):
    with pytest.raises(
        ConfigError, match=r'mine\.py: the docstring has [02] lines of the form .* \(published: AP 74.4'
    ):
        score_of(written(tmp_path, lines))


def test_a_row_tells_size_cost_and_both_scores(tmp_path):
    """The sizes are those of the parts, counted by another way; the score we measured stands out."""
    file = written(tmp_path, 'PCK@0.2 on LSP: 12.5 (docs/results.md; published: 99.1)')
    built = untaught(load_config(file))
    numbers = sum(p.numel() for p in built.parameters())
    macs = costs(built, trace(built).macs).macs
    cells = row(model_of(file)).strip('| ').split(' | ')
    assert cells[:4] == ['`mine`', '64 x 32', f'{numbers:,}', f'{macs / 1e9:.2f} G']
    assert cells[4:] == ['PCK@0.2, LSP', '99.1', '**12.5** ([results.md](results.md))']


def test_a_page_has_a_table_for_each_folder_and_leaves_bases_out(tmp_path):
    for name in ('b/two.py', 'a/one.py', '_base_/models/three.py'):
        written(tmp_path, 'AP on COCO: not trained yet', name)
    lines = list(page(tmp_path))
    assert [line for line in lines if line.startswith('## ')] == ['## a', '## b']
    assert [line.split('`')[1] for line in lines if line.startswith('| `')] == ['one', 'two']


def test_a_folder_without_configs_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match='holds no configs'):
        configs(tmp_path)


class Stubborn(nn.Module):
    """A backbone that cannot be followed."""

    out_channels, strides = (3,), (4,)

    def forward(self, images):
        raise ValueError('needs a second picture\nand more')


def test_a_network_that_cannot_be_followed_says_why_in_its_row_and_below(tmp_path):
    codec = dict(type='Heatmap', input_size=(64, 32))
    model = dict(type='TopDown', codec=codec, backbone=Stubborn(), head=dict(type='HeatmapHead'))
    assert cost_of(dict(skeleton=SMALL, model=model)) == 'ValueError: needs a second picture'
    file = written(tmp_path, 'AP on COCO: not trained yet')
    file.write_text(file.read_text().replace("'HeatmapHead'", "'DeconvHead', deconvs=(1, 2, 3)"))
    told = [line for line in page(tmp_path) if '`mine`' in line]
    assert '| not counted | not counted |' in told[0]
    assert told[1].startswith('`mine` is not counted: MismatchError: DeconvHead needs 0 deconvolutions')


def test_docs_models_md_names_every_config():
    """Make it anew: python tools/describe.py configs --table docs/models.md"""
    text = (ROOT / 'docs/models.md').read_text()
    assert [p.stem for p in configs(ROOT / 'configs') if f'| `{p.stem}` |' not in text] == []


@pytest.mark.slow
def test_docs_models_md_is_what_the_configs_say(root, monkeypatch):
    monkeypatch.chdir(root)  # teachers are named by their path from here
    assert (root / 'docs/models.md').read_text().splitlines() == list(page(Path('configs')))
