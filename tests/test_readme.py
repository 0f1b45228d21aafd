"""README.md: its links, its length and its Python."""

import re
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / 'README.md').read_text()


def test_every_link_leads_to_a_file_or_a_folder():
    links = re.findall(r'\]\(([^)#]+)', TEXT)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_it_is_short():
    assert len(TEXT.splitlines()) < 120
    assert max(map(len, TEXT.splitlines())) <= 120


def test_the_commands_that_it_names_exist():
    blocks = '\n'.join(re.findall(r'```bash\n(.*?)```', TEXT, re.DOTALL))
    commands = set(re.findall(r'^poseplug (\w+)', blocks, re.MULTILINE)) | set(re.findall(r'`poseplug (\w+)', TEXT))
    assert {'train', 'test', 'predict'} <= commands
    assert all((ROOT / f'poseplug/cli/commands/{command}.py').is_file() for command in commands)
    assert all((ROOT / script).is_file() for script in re.findall(r'^bash (\S+)', TEXT, re.MULTILINE))


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('photo.jpg', np.zeros((120, 90, 3), np.uint8))
    (code,) = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
    names = {'image': cv2.imread('photo.jpg')}
    exec(code, names)
    assert names['drawn'].ndim == 3
    assert capsys.readouterr().out
