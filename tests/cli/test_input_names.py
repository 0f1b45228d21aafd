"""Inputs without a name, parts of None and wrong settings of sources end in one message that names them."""

import pytest

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, ImageError
from poseplug.data.sources.coco import CocoSource
from poseplug.predict.input_files import list_input_files


@pytest.mark.parametrize('name', ['', ' '])
def test_an_empty_name_is_not_the_current_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.jpg').write_bytes(b'')
    with pytest.raises(ImageError, match='an input is an empty text, as of a shell variable that is not set'):
        list_input_files([name], tmp_path / 'out')


@pytest.mark.parametrize(('options', 'message'), [
    ({'model.head': None}, 'model.head: .* needs a part as its head; got None'),
    ({'model.backbone': None}, 'model.backbone: .* needs a part as its backbone'),
])  # fmt: skip
def test_a_part_that_is_none_is_named(root, tmp_path, options, message):
    (key,) = options
    part = key.rpartition('.')[2]
    file = tmp_path / 'none.py'
    file.write_text(f'_base_ = {str(root / "configs/cpm/cpm_synthetic.py")!r}\nmodel = dict({part}=None)\n')
    with pytest.raises(ConfigError, match=message):
        load_config(file)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(bbox_score_thr=50), 'coco: bbox_score_thr is a number from 0 to 1; got 50'),
    (dict(bbox_format='xyhw'), "coco: bbox_format is 'xywh' or 'xyxy'; got 'xyhw'"),
    (dict(min_keypoints='3'), "coco: min_keypoints is a whole number from 0 on; got '3'"),
    (dict(num_size_checks=-1), 'coco: num_size_checks is a whole number from 0 on'),
])  # fmt: skip
def test_a_setting_of_a_source_is_checked_before_its_files_are_opened(settings, message):
    with pytest.raises(ConfigError, match=message):
        CocoSource('nowhere', **settings)
