"""What tests share: a small embedded data set, the smallest CPM that trains on it, and the real data where it is."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from scipy.io import savemat

ROOT = Path(__file__).parent.parent
PICTURES = 14


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_afterwards():
    """A run leaves poseplug's logger as it found it."""
    logger = logging.getLogger('poseplug')
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.fixture(scope='session')
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory) -> Path:
    """The embedded set in LSP's layout: 10 pictures to learn from, 4 to test."""
    from poseplug.datasets.synthetic import write_lsp

    return write_lsp(tmp_path_factory.mktemp('data') / 'synthetic', count=PICTURES, train=10, seed=3)


@pytest.fixture
def tiny_config(tiny_data):
    """A function from further options to the config of a two-stage CPM of some thousand parameters at 32 px.

    With `val` the run is evaluated on the test pictures, too.
    """
    from poseplug.config import load_config

    def load(val: bool = False, **options) -> Config:
        cfg = load_config(ROOT / 'configs/cpm/cpm_synthetic.py', {**tiny_options(tiny_data), **options})
        cfg.val_dataloader = cfg.test_dataloader if val else None
        return cfg

    return load


def tiny_options(data: Path) -> dict:
    sources = {part: [dict(type='LSPSource', root=str(data), half=part)] for part in ('train', 'test')}
    return {
        'model.codec.input_size': (32, 32),
        'model.backbone.vgg': (4, 4, 8, 8),
        'model.backbone.extra': (8,),
        'model.head.stages': 2,
        'model.head.first': ((1, 16, 0.5),),
        'model.head.context': ((3, 8), (1, 8)),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.sources': sources['train'],
        'test_dataloader.batch_size': 3,
        'test_dataloader.dataset.sources': sources['test'],
        'train_cfg.steps': 6,
        'param_scheduler': [
            dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=4),
            dict(type='StepLR', by_epoch=True, step_size=1, gamma=0.5),
        ],
        'default_hooks': dict(
            checkpoint=dict(type='SaveHook', interval=3), progress=dict(type='ProgressHook', interval=2)
        ),
    }


@pytest.fixture
def typed(tiny_data):
    """A function from further options to the arguments that make a command's config the tiny one."""

    def options(**further) -> list[str]:
        return ['--cfg-options', *(f'{k}={v!r}' for k, v in {**tiny_options(tiny_data), **further}.items())]

    return options


@pytest.fixture
def command(monkeypatch, capsys):
    """A function that runs a command of tools/ in this process: (exit code, its stdout, its stderr)."""
    import runpy

    def run(tool: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, []  # as in a process of its own
        try:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            root.handlers = handlers
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def lsp_like(tmp_path):
    """A function that writes a folder in LSP's layout from an array of joints, with one grey picture a record."""
    import cv2

    def write(joints: np.ndarray, pictures: int | None = None, name: str = 'joints') -> Path:
        folder = tmp_path / 'lsp_like'
        (folder / 'images').mkdir(parents=True, exist_ok=True)
        count = max(joints.shape[-1:] or (1,)) if pictures is None else pictures
        for i in range(count):
            cv2.imwrite(str(folder / 'images' / f'im{i + 1:04d}.jpg'), np.full((120, 100, 3), 100, np.uint8))
        savemat(folder / 'joints.mat', {name: joints})
        return folder

    return write


@pytest.fixture
def timm(monkeypatch):
    """A stand-in for the package timm, which tests do not need installed."""
    from runpy import run_path
    from types import SimpleNamespace

    package = SimpleNamespace(**run_path(str(ROOT / 'tests/models/backbones/standin_timm.py')))
    monkeypatch.setitem(sys.modules, 'timm', package)
    return package


@pytest.fixture(scope='session')
def real_data() -> Path:
    """The folder of the real data sets; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get('POSEPLUG_DATA', ROOT.parent / 'shared/data'))
    if not (folder / 'lsp/joints.mat').is_file():
        pytest.skip(f'no Leeds Sports Pose in {folder}; name its folder by POSEPLUG_DATA')
    return folder


@pytest.fixture(scope='session')
def people_data(tmp_path_factory) -> Path:
    """The embedded set of several people a picture, in COCO's layout: 6 pictures to learn from, 3 to test."""
    from poseplug.datasets.synthetic import write_coco

    return write_coco(tmp_path_factory.mktemp('data') / 'people', train=6, val=3, seed=3)


@pytest.fixture
def whole_typed(people_data):
    """A function from further options to the arguments that make the embedded bottom-up config a tiny one."""

    def options(**further) -> list[str]:
        return ['--cfg-options', *(f'{k}={v!r}' for k, v in {**whole_options(people_data), **further}.items())]

    return options


def whole_options(data: Path) -> dict:
    """Settings that let a config of whole pictures train for four steps on `data`, and be measured on it."""
    small = {'num_workers': 0, 'dataset.sources.0.root': str(data)}
    loaders = {'train_dataloader': 3, 'val_dataloader': 2, 'test_dataloader': 2}
    return {
        'model.codec.input_size': (64, 64),
        'model.backbone.channels': 8,
        **{f'{name}.batch_size': size for name, size in loaders.items()},
        **{f'{name}.{key}': value for name in loaders for key, value in small.items()},
        'train_cfg.steps': 4,
        'custom_hooks': None,
    }


@pytest.fixture(scope='module')
def predictor(tmp_path_factory, tiny_data):
    """A small CPM that has learned nothing."""
    from poseplug.build import build_model
    from poseplug.config import load_config
    from poseplug.inference.predictor import Predictor

    torch.manual_seed(0)
    cfg = load_config(ROOT / 'configs/cpm/cpm_synthetic.py', tiny_options(tiny_data))
    file = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save({'state_dict': build_model(cfg).state_dict()}, file)
    return Predictor(cfg, file, device='cpu')
