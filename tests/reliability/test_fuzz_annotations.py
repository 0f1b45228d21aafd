"""The short version of the annotation fuzz: 200 damaged files per format."""

import json
from dataclasses import replace

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError
from poseplug.files.matlab import read_matlab_array, read_matlab_structs
from tests.reliability.fuzz_annotations import build_formats, fuzz_annotations
from tests.reliability.mutants import build_matlab_bombs

FORMATS = build_formats()


@pytest.mark.parametrize('name', FORMATS)
def test_every_damaged_file_is_read_correctly_or_refused_by_name(tmp_path, name):
    outcomes = fuzz_annotations(FORMATS[name], tmp_path, 200, bombs=False)
    assert outcomes.wrong == {}
    assert outcomes.read + outcomes.refused == 200
    assert min(outcomes.read, outcomes.refused) > 8


@pytest.mark.parametrize('name', FORMATS)
def test_the_intact_file_is_read(tmp_path, name):
    def encode_unchanged(content, _):
        return content if isinstance(content, bytes) else json.dumps(content).encode()

    outcomes = fuzz_annotations(replace(FORMATS[name], mutate=encode_unchanged), tmp_path, 1, bombs=False)
    assert (outcomes.read, outcomes.wrong) == (1, {})


@pytest.mark.parametrize('bomb', range(4))
@pytest.mark.parametrize(('kind', 'read'), [(6, read_matlab_array), (2, read_matlab_structs)])
def test_a_small_file_does_not_expand_to_gigabytes(tmp_path, kind, read, bomb):
    file = tmp_path / 'joints.mat'
    file.write_bytes(build_matlab_bombs('joints', kind)[bomb])
    assert file.stat().st_size < 8_000_000
    message = 'numbers|imaginary|no array of structs|values for|elements in a row|cut, or too large'
    with pytest.raises(AnnotationError, match=message):
        read(file, 'joints')


def test_the_same_seed_damages_in_the_same_way():
    for file_format in FORMATS.values():
        one, other = (file_format.mutate(file_format.content, np.random.default_rng([0, 5])) for _ in range(2))
        assert one == other
