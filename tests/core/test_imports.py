"""What importing the core loads."""

import pkgutil
import subprocess
import sys

import poseplug.core

_FORBIDDEN = ('torch', 'cv2', 'mmengine', 'scipy', 'rich')


def test_the_core_imports_numpy_alone_and_nothing_else_of_poseplug():
    modules = [f'poseplug.core.{info.name}' for info in pkgutil.iter_modules(poseplug.core.__path__)]
    code = f'import {", ".join(modules)}, sys; print(*sys.modules)'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert 'numpy' in loaded
    assert not {name.partition('.')[0] for name in loaded} & set(_FORBIDDEN)
    ours = {name for name in loaded if name.startswith('poseplug')}
    assert ours == {'poseplug', 'poseplug.core', *modules}
