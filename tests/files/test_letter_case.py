"""Files are found by names in another case or Unicode form, where only one can be meant; texts in usual encodings."""

import unicodedata

import pytest

from poseplug.core.errors import AnnotationError
from poseplug.files.letter_case import find_in_any_case
from poseplug.files.text_file import read_text_file


def test_a_path_is_found_in_another_case_and_composition(tmp_path):
    name = unicodedata.normalize('NFD', 'Bär.JPG')
    (tmp_path / 'Images' / 'Day1').mkdir(parents=True)
    (tmp_path / 'Images' / 'Day1' / name).touch()
    stated = tmp_path / 'images' / 'day1' / unicodedata.normalize('NFC', 'bär.jpg')
    assert find_in_any_case(stated) == tmp_path / 'Images' / 'Day1' / name


def test_the_exact_name_counts_first_and_several_others_are_none(tmp_path):
    for name in ('a.jpg', 'A.jpg'):
        (tmp_path / name).touch()
    assert find_in_any_case(tmp_path / 'A.jpg') == tmp_path / 'A.jpg'
    assert find_in_any_case(tmp_path / 'A.JPG') is None
    assert find_in_any_case(tmp_path / 'b.jpg') is None


def test_files_that_are_added_later_are_found(tmp_path):
    assert find_in_any_case(tmp_path / 'A.jpg') is None
    (tmp_path / 'a.jpg').touch()
    assert find_in_any_case(tmp_path / 'A.jpg') == tmp_path / 'a.jpg'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_a_text_is_read_in_the_encodings_of_usual_editors(tmp_path, encoding):
    (tmp_path / 'a.txt').write_text('0 0.5 Bär', encoding=encoding)
    assert read_text_file(tmp_path / 'a.txt') == '0 0.5 Bär'


def test_a_text_in_another_encoding_is_an_error_with_its_byte(tmp_path):
    (tmp_path / 'a.txt').write_text('Bär', encoding='latin-1')
    with pytest.raises(AnnotationError, match=r'a\.txt is no text in UTF-8 \(invalid .* at byte 1\)'):
        read_text_file(tmp_path / 'a.txt')
    with pytest.raises(AnnotationError, match='restore the file'):
        read_text_file(tmp_path / 'none.txt')
