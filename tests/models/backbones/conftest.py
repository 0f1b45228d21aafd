"""What the tests of backbones share: the golden numbers, where they are."""

import json
import os
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[3]


class Golden:
    """Names, shapes, weights and outputs of networks of another implementation, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """The shapes of the backbone's state, by name."""
        keys = json.loads((self.folder / f'mmpose_keys/{name}.json').read_text())
        return {k.removeprefix('backbone.'): tuple(v) for k, v in keys.items() if k.startswith('backbone.')}

    def filled(self, model: nn.Module) -> nn.Module:
        """A model whose weights follow from their names."""
        return run_path(str(self.folder / 'weights_from_names.py'))['fill_state'](model).eval()

    def numbers(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and output of a network."""
        with np.load(self.folder / f'model_{name}.npz') as arrays:
            return torch.from_numpy(arrays['input']), torch.from_numpy(arrays['out0'])


@pytest.fixture(scope='session')
def golden() -> Golden:
    """The golden numbers; tests that ask for them are skipped where they are absent."""
    folder = Path(os.environ.get('POSEPLUG_GOLDEN', ROOT.parent / 'shared/golden'))
    if not (folder / 'weights_from_names.py').is_file():
        pytest.skip(f'no golden numbers in {folder}; name their folder by POSEPLUG_GOLDEN')
    return Golden(folder)
