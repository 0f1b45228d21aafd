"""YAML of plain values: what it refuses, and what messages say."""

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.files.skeleton_file import read_skeleton_fields
from poseplug.files.yaml_file import parse_plain_yaml, read_yaml


def test_aliases_are_errors_with_their_line():
    with pytest.raises(ValueError, match=r'line 2 has an alias \(\*a\)'):
        parse_plain_yaml('a: &a [1]\nb: *a\n')


def test_tags_of_objects_are_errors():
    with pytest.raises(ValueError, match='python/object'):
        parse_plain_yaml('a: !!python/object/apply:os.getcwd []\n')


def test_a_file_of_plain_values_is_read_with_a_byte_order_mark(tmp_path):
    (tmp_path / 'a.yaml').write_bytes('\ufeffnames: [nose, 1, 2.5, null]\n'.encode())
    assert read_yaml(tmp_path / 'a.yaml') == {'names': ['nose', 1, 2.5, None]}


@pytest.mark.parametrize('content', [b'a: [', b'\xff\xfe\xff'])
def test_a_damaged_file_is_an_error_with_its_name(tmp_path, content):
    (tmp_path / 'a.yaml').write_bytes(content)
    with pytest.raises(AnnotationError, match='a.yaml is not a readable YAML file'):
        read_yaml(tmp_path / 'a.yaml')
    with pytest.raises(AnnotationError, match='b.yaml: No such file'):
        read_yaml(tmp_path / 'b.yaml')


def test_a_skeleton_that_names_a_setting_twice_is_refused(tmp_path):
    (tmp_path / 'gecko.yaml').write_text('keypoints: [nose, tail]\nlimbs: [[nose, tail]]\nkeypoints: [nose]\n')
    with pytest.raises(AnnotationError, match="line 3 names the key 'keypoints' of line 1 again"):
        read_skeleton_fields('gecko.yaml', tmp_path)
