"""What SciPy writes is read as SciPy reads it; anything else is an error, never a crash."""

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.datasets.sources.matlab import Array, read_array, read_structs
from poseplug.errors import AnnotationError


@pytest.mark.parametrize('compressed', [True, False])
@pytest.mark.parametrize('kind', ['f8', 'f4', 'i4', 'u1', 'i2', 'u8'])
@pytest.mark.parametrize('shape', [(3, 14, 5), (2, 2), (1, 1), (3, 0)])
def test_an_array_is_read_as_it_was_written(tmp_path, compressed, kind, shape):
    wanted = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    file = tmp_path / 'some.mat'
    savemat(file, {'before': np.ones(3), 'joints': wanted, 'after': 'text'}, do_compression=compressed)
    assert np.array_equal(read_array(file, 'joints'), wanted)
    assert read_array(file, 'before').tolist() == [[1, 1, 1]]


def test_the_real_files_are_read_as_scipy_reads_them(real_data):
    for name in ('lsp', 'lspet'):
        file = real_data / name / 'joints.mat'
        assert np.array_equal(read_array(file, 'joints'), loadmat(file)['joints'])


@pytest.mark.parametrize('value', ['text', {'a': 1}, np.array([1, 'x'], dtype=object)])
def test_what_holds_no_numbers_is_an_error(tmp_path, value):
    savemat(tmp_path / 'some.mat', {'joints': value})
    with pytest.raises(
        AnnotationError, match="some.mat is not a readable MATLAB 5 file .its 'joints' holds no numbers"
    ):
        read_array(tmp_path / 'some.mat', 'joints')


@pytest.mark.parametrize('compressed', [True, False])
def test_damaged_files_are_read_or_refused(tmp_path, compressed):
    """500 files, cut or with some bytes changed: an array of the right kind, or our own error."""
    file = tmp_path / 'some.mat'
    savemat(file, {'joints': np.arange(84.0).reshape(3, 14, 2)}, do_compression=compressed)
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for trial in range(250):
        mutant = bytearray(data[: rng.integers(len(data))] if trial % 4 == 0 else data)
        for place in rng.integers(0, max(len(mutant), 1), rng.integers(1, 12)) if mutant else []:
            mutant[place] = rng.integers(256)
        file.write_bytes(mutant)
        try:
            assert read_array(file, 'joints').dtype == np.float64
        except AnnotationError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(('array', 'read', 'told'), [
    (Array(4, (1, 1), 'word', [(99, b'a')], '<'), Array.text, 'text of an unknown type 99'),
    (Array(2, (1, 1), 'row', [(5, b'\0\0\0\0'), (1, b'abc')], '<'), Array.structs,
     "its 'row' has 3 characters of field names, 0 a name"),
    (Array(2, (1, 1), 'row', [(5, b'\4\0\0\0'), (1, b'')], '<'), Array.structs,
     '0 characters of field names, 4 a name'),
])  # fmt: skip
def test_elements_that_contradict_themselves_are_named(array, read, told):
    with pytest.raises(ValueError, match=told):
        read(array)


def test_an_element_without_content_is_the_empty_array(tmp_path):
    """So MATLAB writes fields that nobody filled; SciPy spells the empty array out, in 56 bytes at the file's end."""
    file = tmp_path / 'some.mat'
    savemat(file, {'rows': {'empty': np.zeros((0, 0))}})
    data = bytearray(file.read_bytes())
    assert struct.unpack_from('<II', data, len(data) - 56) == (14, 48)
    data[-56:] = struct.pack('<II', 14, 0)
    struct.pack_into('<I', data, 132, len(data) - 136)
    file.write_bytes(data)
    (row,) = read_structs(file, 'rows')
    assert row['empty'].shape == (0, 0)
