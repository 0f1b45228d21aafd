"""Training on shards equals training on the files that they were written from, and resumes exactly."""

import pytest

from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.lsp import LSPSource
from poseplug.engine import launch
from poseplug.files.weights import load_checkpoint


@pytest.fixture(scope='module')
def shards(tiny_data, tmp_path_factory):
    source = LSPSource(tiny_data, split='train')
    records, _ = source.load()
    size = max(record.path.stat().st_size for record in records)
    folder = write_shards(records, source.skeleton, tmp_path_factory.mktemp('shards') / 'lsp', size + 4096)
    assert len(list(folder.glob('*.tar'))) > 2
    return folder


def list_options(address, **loader):
    sources = [dict(type='ShardSource', data_root=str(address))]
    settings = {f'train_dataloader.{name}': value for name, value in loader.items()}
    return {'train_dataloader.dataset.sources': sources, **settings}


@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_training_on_shards_equals_training_on_files(tiny_config, shards, tmp_path, are_equal, num_workers):
    launch.train(tiny_config(), tmp_path / 'files')
    launch.train(tiny_config(**list_options(shards, num_workers=num_workers)), tmp_path / 'shards')
    files, in_shards = (load_checkpoint(tmp_path / name) for name in ('files', 'shards'))
    for part in ('state_dict', 'optimizer', 'random_state'):
        assert are_equal(files[part], in_shards[part]), part


@pytest.mark.parametrize('step', [4, 5])
def test_a_killed_run_on_remote_shards_resumes_exactly(
    tiny_config, shards, tmp_path, monkeypatch, assert_resumes_exactly, step
):
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    assert_resumes_exactly(tiny_config(**list_options(f'file://{shards}', shard_buffer=2, num_workers=1)), step)
    assert len(list((tmp_path / 'cache').glob('shards/*/*.tar'))) > 2


def test_both_orders_at_once_are_refused(tiny_config, shards, tmp_path):
    from poseplug.core.errors import ConfigError

    options = list_options(shards, shard_buffer=2, source_ratios=dict(lsp=1.0))
    with pytest.raises(ConfigError, match='source_ratios or by shard_buffer'):
        launch.train(tiny_config(**options), tmp_path / 'run')
