"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import poseplug

PACKAGE = Path(poseplug.__file__).parent
NEEDED_FILES = {  # by module: what lines need that are marked `doctest: +SKIP`
    'poseplug.deploy.browser_export': 'the files of onnxruntime-web',
    'poseplug.deploy.exported_model': 'an exported model',
    'poseplug.deploy.runtime': 'an exported model',
    'poseplug.files.live_stream': 'a camera',
    'poseplug.files.video_reader': 'a video',
    'poseplug.predict.detectors': "a detector's ONNX file",
    'poseplug.predict.pose_detector': 'weights of a pose model',
    'poseplug.predict.video': 'a video',
}


def read_source(name):
    return PACKAGE.parent.joinpath(*name.split('.')).with_suffix('.py').read_text(encoding='utf-8')


def list_modules_with_examples():
    """The names of the modules whose source has an example, read without importing them."""
    files = [file for file in sorted(PACKAGE.rglob('*.py')) if '>>> ' in file.read_text(encoding='utf-8')]
    return ['.'.join(file.relative_to(PACKAGE.parent).with_suffix('').parts) for file in files]


def test_only_lines_that_need_a_file_of_the_user_are_skipped():
    skipping = {name for name in list_modules_with_examples() if '+SKIP' in read_source(name)}
    assert skipping == set(NEEDED_FILES)


@pytest.mark.parametrize('name', list_modules_with_examples())
def test_the_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, ''.join(report)
