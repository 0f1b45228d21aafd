"""What running an exported model loads."""

import subprocess
import sys


def test_the_runtime_of_exported_models_loads_neither_torch_nor_mmengine():
    code = 'import sys, poseplug.deploy.runtime; print(*sys.modules)'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition('.')[0] for name in loaded} & {'torch', 'cv2', 'mmengine'}
