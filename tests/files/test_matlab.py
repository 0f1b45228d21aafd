"""What SciPy writes is read as SciPy reads it; any other file is an error, never a crash."""

import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from poseplug.core.errors import AnnotationError
from poseplug.files.matlab import MatlabArray, read_matlab_array, read_matlab_structs


@pytest.mark.parametrize('compressed', [True, False])
@pytest.mark.parametrize('dtype', ['f8', 'f4', 'i4', 'u1', 'i2', 'u8'])
@pytest.mark.parametrize('shape', [(3, 14, 5), (2, 2), (1, 1), (3, 0)])
def test_an_array_is_read_as_it_was_written(tmp_path, compressed, dtype, shape):
    expected = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    file = tmp_path / 'some.mat'
    savemat(file, {'before': np.ones(3), 'joints': expected, 'after': 'text'}, do_compression=compressed)
    assert np.array_equal(read_matlab_array(file, 'joints'), expected)
    assert read_matlab_array(file, 'before').tolist() == [[1, 1, 1]]


def test_the_real_files_are_read_as_scipy_reads_them(real_data):
    for name in ('lsp', 'lspet'):
        file = real_data / name / 'joints.mat'
        assert np.array_equal(read_matlab_array(file, 'joints'), loadmat(file)['joints'])


@pytest.mark.parametrize('value', ['text', {'a': 1}, np.array([1, 'x'], dtype=object)])
def test_what_holds_no_numbers_is_an_error(tmp_path, value):
    savemat(tmp_path / 'some.mat', {'joints': value})
    with pytest.raises(
        AnnotationError, match="some.mat is not a readable MATLAB 5 file .its 'joints' holds no numbers"
    ):
        read_matlab_array(tmp_path / 'some.mat', 'joints')


@pytest.mark.parametrize('compressed', [True, False])
def test_damaged_files_are_read_or_refused(tmp_path, compressed):
    """500 files, cut or with some bytes changed: an array of the right kind, or our own error."""
    file = tmp_path / 'some.mat'
    savemat(file, {'joints': np.arange(84.0).reshape(3, 14, 2)}, do_compression=compressed)
    data = file.read_bytes()
    rng = np.random.default_rng(1)
    num_refused = 0
    for trial in range(250):
        damaged = bytearray(data[: rng.integers(len(data))] if trial % 4 == 0 else data)
        for offset in rng.integers(0, max(len(damaged), 1), rng.integers(1, 12)) if damaged else []:
            damaged[offset] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            assert read_matlab_array(file, 'joints').dtype == np.float64
        except AnnotationError:
            num_refused += 1
    assert num_refused > 100


@pytest.mark.parametrize(('array', 'convert', 'message'), [
    (MatlabArray(4, (1, 1), 'word', [(99, b'a')], '<'), MatlabArray.to_text, 'text of an unknown type 99'),
    (MatlabArray(2, (1, 1), 'row', [(5, b'\0\0\0\0'), (1, b'abc')], '<'), MatlabArray.to_structs,
     "its 'row' has 3 characters of field names, 0 per name"),
    (MatlabArray(2, (1, 1), 'row', [(5, b'\4\0\0\0'), (1, b'')], '<'), MatlabArray.to_structs,
     '0 characters of field names, 4 per name'),
])  # fmt: skip
def test_elements_that_contradict_themselves_are_an_error_that_names_the_array(array, convert, message):
    with pytest.raises(ValueError, match=message):
        convert(array)


def test_an_element_without_content_is_the_empty_array(tmp_path):
    """MATLAB writes empty fields in this way; SciPy writes the empty array in 56 bytes at the end of the file."""
    file = tmp_path / 'some.mat'
    savemat(file, {'rows': {'empty': np.zeros((0, 0))}})
    data = bytearray(file.read_bytes())
    assert struct.unpack_from('<II', data, len(data) - 56) == (14, 48)
    data[-56:] = struct.pack('<II', 14, 0)
    struct.pack_into('<I', data, 132, len(data) - 136)
    file.write_bytes(data)
    (row,) = read_matlab_structs(file, 'rows')
    assert row['empty'].shape == (0, 0)
