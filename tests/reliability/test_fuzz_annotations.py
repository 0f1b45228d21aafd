"""The short version of the annotation fuzz: 200 spoiled files a format."""

import json
from dataclasses import replace

import numpy as np
import pytest

from poseplug.datasets.sources.matlab import read_array, read_structs
from poseplug.errors import AnnotationError
from tests.reliability.fuzz_annotations import formats, fuzz
from tests.reliability.mutants import mat_bombs

FORMATS = formats()


@pytest.mark.parametrize('name', FORMATS)
def test_every_spoiled_file_is_read_right_or_refused_by_name(tmp_path, name):
    ends = fuzz(FORMATS[name], tmp_path, 200, bombs=False)
    assert ends.wrong == {}
    assert ends.read + ends.refused == 200
    assert min(ends.read, ends.refused) > 8


@pytest.mark.parametrize('name', FORMATS)
def test_the_intact_file_is_read(tmp_path, name):
    form = replace(FORMATS[name], mutant=lambda c, _: c if isinstance(c, bytes) else json.dumps(c).encode())
    ends = fuzz(form, tmp_path, 1, bombs=False)
    assert (ends.read, ends.wrong) == (1, {})


@pytest.mark.parametrize('bomb', range(4))
@pytest.mark.parametrize(('kind', 'read'), [(6, read_array), (2, read_structs)])
def test_a_small_file_does_not_unfold_to_gigabytes(tmp_path, kind, read, bomb):
    file = tmp_path / 'joints.mat'
    file.write_bytes(mat_bombs('joints', kind)[bomb])
    assert file.stat().st_size < 8_000_000
    told = 'numbers|imaginary|no array of structs|values for|elements in a row|cut, or too large'
    with pytest.raises(AnnotationError, match=told):
        read(file, 'joints')


def test_the_same_seed_spoils_the_same_way():
    for form in FORMATS.values():
        one, other = (form.mutant(form.content, np.random.default_rng([0, 5])) for _ in range(2))
        assert one == other
