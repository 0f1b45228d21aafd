"""demo/quickstart.py, all four steps, with a network of some thousand parameters."""

import importlib.util
import json
import sys
from argparse import Namespace

import cv2

import poseplug.config.load


def load_quickstart(root, monkeypatch):
    spec = importlib.util.spec_from_file_location('quickstart', root / 'demo/quickstart.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'quickstart', module)
    spec.loader.exec_module(module)
    return module


def test_the_quickstart_trains_tests_and_draws(root, monkeypatch, tiny_config, tiny_data, tmp_path, capsys):
    quickstart = load_quickstart(root, monkeypatch)
    monkeypatch.setattr(quickstart, 'OUT', tmp_path)
    monkeypatch.setattr(quickstart, 'prepare_embedded_data', lambda: tiny_data)
    monkeypatch.setattr(poseplug.config.load, 'load_config', lambda config, options: tiny_config())
    quickstart.run(Namespace(lsp=None))
    folder = tmp_path / 'embedded'
    page = (folder / 'report.html').read_text()
    assert page.count('<img') > 4
    assert 'bash demo/quickstart.sh' in page
    assert 'A convolutional pose machine, trained in three minutes' in page
    assert cv2.imread(str(folder / 'skeletons.jpg')).shape[1] > 800
    assert cv2.imread(str(folder / 'heatmaps.jpg')) is not None
    assert len([json.loads(line) for line in (folder / 'curve.jsonl').read_text().splitlines()]) > 2
    assert f'Open {folder / "report.html"}' in capsys.readouterr().out
