"""What the tests of backbones share: the golden numbers, if their folder exists."""

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

    def load_shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """The shapes of the backbone's state, by name."""
        keys = json.loads((self.folder / f'mmpose_keys/{name}.json').read_text())
        return {k.removeprefix('backbone.'): tuple(v) for k, v in keys.items() if k.startswith('backbone.')}

    def fill_weights(self, model: nn.Module) -> nn.Module:
        """The model in evaluation mode, with weights that follow from their names."""
        return run_path(str(self.folder / 'weights_from_names.py'))['fill_state'](model).eval()

    def load_arrays(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Input and output of a network."""
        with np.load(self.folder / f'model_{name}.npz') as arrays:
            return torch.from_numpy(arrays['input']), torch.from_numpy(arrays['out0'])


@pytest.fixture(scope='session')
def golden_networks() -> Golden:
    """The golden numbers; tests that use them are skipped if they are absent."""
    folder = Path(os.environ.get('POSEPLUG_GOLDEN', ROOT.parent / 'shared/golden'))
    if not (folder / 'weights_from_names.py').is_file():
        pytest.skip(f'no golden numbers in {folder}; set POSEPLUG_GOLDEN to their folder')
    return Golden(folder)
