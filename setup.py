"""Packaging of poseplug; tools are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'poseplug/core/version.py').read_text()).group(1)

# What prediction, training and export can use beyond the core. xtcocotools is not among them: it is compiled on
# installation, and the evaluator that is installed anyway computes the same numbers.
OPTIONAL = {
    'tensorboard': ['tensorboard>=2.15'],
    'timm': ['timm>=1.0'],
    'completion': ['shtab>=1.7,<2'],
    'hdf5': ['h5py>=3.10,<4'],
    'onnx': ['onnxruntime>=1.18'],
    'screen': ['mss>=9,<11'],
    'heif': ['pillow-heif>=0.22'],
    'tracking': ['trackers>=2.6,<3'],
    'hf': ['huggingface_hub>=0.25'],
    'tune': ['optuna>=4,<6'],
    'export': ['onnx>=1.16', 'onnxscript>=0.5', 'onnxruntime>=1.18', 'openvino>=2025.0'],
}

setup(
    name='poseplug',
    version=VERSION,
    description='A plugin-registry toolbox for human pose estimation',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license_expression='Apache-2.0',
    license_files=['LICENSE'],
    author='The poseplug authors',
    url='https://example.org/poseplug',  # example.org stands for the project's place until it has one
    project_urls={
        'Documentation': 'https://example.org/poseplug/docs',
        'Source': 'https://example.org/poseplug/source',
        'Changelog': 'https://example.org/poseplug/changelog',
        'Issues': 'https://example.org/poseplug/issues',
    },
    keywords=[
        'human pose estimation',
        'keypoint detection',
        'computer vision',
        'deep learning',
        'PyTorch',
        'OpenMMLab',
    ],
    platforms=['Linux'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Environment :: GPU :: NVIDIA CUDA',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.11',
    packages=[*find_packages(include=['poseplug', 'poseplug.*']), 'poseplug.configs'],
    package_dir={'poseplug.configs': 'configs'},  # found by name: poseplug.config.shipped
    package_data={
        'poseplug': [
            'py.typed',
            'weights/*.safetensors',
            'weights/*.json',
            'weights/*.toml',
            'weights/README.md',
            'skeletons/data/*.json',
            'zoo/*.json',
            'data/sources/*.json',
            'cli/templates/*.txt',
            'deploy/pages/*',
        ],
        'poseplug.configs': ['*/*.py', '_base_/*/*.py'],
    },
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        'torch>=2.6,<3',
        'mmengine>=0.10.7,<0.11',  # brings matplotlib, pillow and rich
        'mmcv-lite>=2.1,<3',
        'numpy>=2,<3',
        'opencv-python>=4.9,<6',
        'scipy>=1.11,<2',
        'faster-coco-eval>=1.8,<2',
        'json-tricks>=3.17,<4',
        'safetensors>=0.4,<1',
        'av>=18,<19',  # its index entries tell which packets of a damaged file are lost
    ],
    extras_require={
        **OPTIONAL,
        'all': [requirement for requirements in OPTIONAL.values() for requirement in requirements],
        'wandb': ['wandb>=0.17'],  # not in 'all': it is of use with an account or a server alone
        'ray': ['ray>=2.9'],
        'shards': ['fsspec[http]>=2024.2'],
        'xtcocotools': ['xtcocotools>=1.14'],
        'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5,<10'],
        'test': [
            'pytest>=8',
            'pytest-xdist>=3.6',
            'hypothesis>=6',
            'coverage>=7.10',
            'ruff',
            'mypy',
            'import-linter>=2',
            'onnx>=1.16',
            'onnxscript>=0.5',
            'onnxruntime>=1.18',
            'h5py>=3.10,<4',
            'jsonschema>=4.20,<5',
            'shtab>=1.7,<2',
            'optuna>=4,<6',
        ],
    },
    entry_points={
        'console_scripts': ['poseplug = poseplug.__main__:main'],
    },
)
