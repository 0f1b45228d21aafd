"""Shared fixtures: small embedded data sets, the smallest CPM that trains on them, the real data where present."""

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
NUM_TINY_IMAGES = 14


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _restore_logger():
    """Restore level and handlers of poseplug's logger, which a run changes."""
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
    """The embedded set in LSP's layout: 10 training and 4 test images."""
    from poseplug.data.synthetic import write_lsp

    folder = tmp_path_factory.mktemp('data') / 'synthetic'
    return write_lsp(folder, num_images=NUM_TINY_IMAGES, num_train=10, seed=3)


@pytest.fixture
def tiny_config(tiny_data):
    """A function from further options to the config of a two-stage CPM of some thousand parameters at 32 px.

    With `val` the run is also evaluated on the test images.
    """
    from poseplug.config.load import load_config

    def load(val: bool = False, **options) -> Config:
        cfg = load_config(ROOT / 'configs/cpm/cpm_synthetic.py', {**tiny_options(tiny_data), **options})
        cfg.val_dataloader = cfg.test_dataloader if val else None
        return cfg

    return load


@pytest.fixture
def tiny_weights(tiny_config, tmp_path) -> Path:
    """A file of random weights of the tiny CPM."""
    from poseplug.config.build import build_model

    torch.manual_seed(0)
    file = tmp_path / 'weights.pth'
    torch.save({'state_dict': build_model(tiny_config()).state_dict()}, file)
    return file


def tiny_options(data: Path) -> dict:
    """Options that make configs/cpm/cpm_synthetic.py a two-stage CPM that trains for six steps on `data`."""
    sources = {split: [dict(type='LSPSource', data_root=str(data), split=split)] for split in ('train', 'test')}
    options = {
        'model.codec.input_size': (32, 32),
        'model.backbone.vgg_channels': (4, 4, 8, 8),
        'model.backbone.extra_channels': (8,),
        'model.head.num_stages': 2,
        'model.head.first_layers': ((1, 16, 0.5),),
        'model.head.context_layers': ((3, 8), (1, 8)),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.sources': sources['train'],
        'test_dataloader.batch_size': 3,
        'test_dataloader.dataset.sources': sources['test'],
        'train_cfg.max_steps': 6,
        'param_scheduler': [
            dict(type='LinearLR', by_epoch=False, start_factor=0.1, begin=0, end=4),
            dict(type='StepLR', by_epoch=True, step_size=1, gamma=0.5),
        ],
        'default_hooks': dict(
            checkpoint=dict(type='SaveHook', interval=3), progress=dict(type='ProgressHook', interval=2)
        ),
    }
    return options


def format_cli_options(options: dict) -> list[str]:
    """Options of a config as arguments of a command."""
    return ['--cfg-options', *(f'{key}={value!r}' for key, value in options.items())]


@pytest.fixture
def tiny_cli_options(tiny_data):
    """A function from further options to the arguments that make a command's config the tiny one."""
    return lambda **options: format_cli_options({**tiny_options(tiny_data), **options})


@pytest.fixture
def command(monkeypatch, capsys):
    """A function that runs a command in this process: (exit code, its stdout, its stderr).

    It takes the name of the command (`poseplug NAME`), or of a script of tools/, such as 'train.py'.
    """
    import runpy

    from poseplug.cli.options import run_command

    def run(tool: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        root_logger = logging.getLogger()
        handlers, root_logger.handlers = root_logger.handlers, []  # as in a process of its own
        try:
            if tool.endswith('.py'):
                runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
            else:
                run_command(tool, f'poseplug {tool}')
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        finally:
            root_logger.handlers = handlers
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def write_lsp_like(tmp_path):
    """A function that writes a folder in LSP's layout from an array of keypoints, with one gray image per record."""
    import cv2

    def write(keypoints: np.ndarray, num_images: int | None = None, name: str = 'joints') -> Path:
        folder = tmp_path / 'lsp_like'
        (folder / 'images').mkdir(parents=True, exist_ok=True)
        if num_images is None:
            num_images = max(keypoints.shape[-1:] or (1,))
        for i in range(num_images):
            cv2.imwrite(str(folder / 'images' / f'im{i + 1:04d}.jpg'), np.full((120, 100, 3), 100, np.uint8))
        savemat(folder / 'joints.mat', {name: keypoints})
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
    """The folder of the real data sets; tests that request it are skipped where it is absent."""
    folder = Path(os.environ.get('POSEPLUG_DATA', ROOT.parent / 'shared/data'))
    if not (folder / 'lsp/joints.mat').is_file():
        pytest.skip(f'no Leeds Sports Pose in {folder}; name its folder by POSEPLUG_DATA')
    return folder


@pytest.fixture(scope='session')
def multi_person_data(tmp_path_factory) -> Path:
    """The embedded set with several people per image, in COCO's layout: 6 training and 3 test images."""
    from poseplug.data.synthetic import write_coco

    return write_coco(tmp_path_factory.mktemp('data') / 'people', num_train=6, num_val=3, seed=3)


@pytest.fixture
def bottom_up_cli_options(multi_person_data):
    """A function from further options to the arguments that make the embedded bottom-up config a tiny one."""
    return lambda **options: format_cli_options({**bottom_up_options(multi_person_data), **options})


def bottom_up_options(data: Path) -> dict:
    """Options that let a config of whole images train for four steps on `data` and be evaluated on it."""
    loader_options = {'num_workers': 0, 'dataset.sources.0.data_root': str(data)}
    batch_sizes = {'train_dataloader': 3, 'val_dataloader': 2, 'test_dataloader': 2}
    options = {'model.codec.input_size': (64, 64), 'model.backbone.channels': 8}
    for loader, batch_size in batch_sizes.items():
        options[f'{loader}.batch_size'] = batch_size
        options.update({f'{loader}.{key}': value for key, value in loader_options.items()})
    return {**options, 'train_cfg.max_steps': 4, 'custom_hooks': None}


@pytest.fixture(scope='module')
def predictor(tmp_path_factory, tiny_data):
    """A Predictor of an untrained tiny CPM."""
    from poseplug.config.build import build_model
    from poseplug.config.load import load_config
    from poseplug.predict.predictor import Predictor

    torch.manual_seed(0)
    cfg = load_config(ROOT / 'configs/cpm/cpm_synthetic.py', tiny_options(tiny_data))
    file = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save({'state_dict': build_model(cfg).state_dict()}, file)
    return Predictor(cfg, file, device='cpu')
