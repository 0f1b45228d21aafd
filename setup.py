"""Packaging of poseplug; tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'poseplug/core/version.py').read_text()).group(1)

setup(
    name='poseplug',
    version=VERSION,
    description='A plugin-registry toolbox for human pose estimation',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['poseplug', 'poseplug.*']),
    package_data={'poseplug': ['py.typed', 'weights/*.safetensors', 'weights/*.json', 'weights/*.py']},
    install_requires=[
        'torch>=2.6,<3',
        'mmengine>=0.10.7,<0.11',
        'mmcv-lite>=2.1,<3',
        'numpy>=2,<3',
        'opencv-python>=4.9,<6',
        'scipy>=1.11,<2',
        'rich>=13,<16',
        'faster-coco-eval>=1.8,<2',
        'json-tricks>=3.17,<4',
        'safetensors>=0.4,<1',
        'matplotlib>=3.8,<4',
    ],
    extras_require={
        'tensorboard': ['tensorboard>=2.15'],
        'xtcocotools': ['xtcocotools>=1.14'],
        'timm': ['timm>=1.0'],
        'export': ['onnx>=1.16', 'onnxscript>=0.5', 'onnxruntime>=1.18', 'openvino>=2025.0'],
        'test': ['pytest>=8', 'hypothesis>=6', 'coverage>=7.10', 'ruff', 'mypy'],
    },
    entry_points={
        'console_scripts': ['poseplug = poseplug.__main__:main'],
        'poseplug.plugins': ['builtin = poseplug.registry.plugins:BUILTIN'],
    },
)
