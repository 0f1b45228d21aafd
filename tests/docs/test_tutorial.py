"""The tutorial on your own data, to the letter, with as many images and steps as it says."""

import json
import time

import pytest

from tests.conftest import ROOT
from tests.docs.snippets import find_snippets, run_poseplug, split_commands
from tests.starter.animals import write_coco_animals, write_yolo_animals

PAGE = ROOT / 'docs/start/your_data.md'
STATED_AP, MIN_AP = 86, 80


@pytest.mark.slow
def test_the_tutorial_trains_a_model_of_the_stated_precision(tmp_path, monkeypatch):
    """Run it with `pytest -m slow tests/docs/test_tutorial.py -s`; it prints the seconds of each command."""
    monkeypatch.chdir(tmp_path)
    write_coco_animals(tmp_path / 'geckos', num_images=120)
    write_yolo_animals(tmp_path / 'geckos_yolo', num_train=40, num_val=12)
    for snippet in find_snippets(PAGE):
        for words in split_commands(snippet.code) if snippet.language == 'bash' else ():
            start, cpu_start = time.monotonic(), time.process_time()
            run_poseplug(words[1:])
            seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
            print(f'{seconds:6.1f} s ({cpu_seconds:6.1f} s of CPU)  {" ".join(words)}')
    results = json.loads((tmp_path / 'gecko_project/results.json').read_text())
    print({name: round(value, 2) for name, value in results['metrics'].items() if '/' not in name})
    assert results['metrics']['AP'] >= MIN_AP
    assert f'AP {STATED_AP}' in PAGE.read_text()
    for name in ('run/report.html', 'report/report.html', 'label_check/labels.html', 'labels.jpg'):
        assert (tmp_path / 'gecko_project' / name).is_file(), name


def test_the_tutorial_has_every_command_from_files_to_report():
    commands = [words[1] for s in find_snippets(PAGE) if s.language == 'bash' for words in split_commands(s.code)]
    assert commands == ['dataset', 'init', 'train', 'test', 'predict', 'doctor', 'init', 'train']
