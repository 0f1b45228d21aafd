"""What `poseplug export` reports of the files that it has written."""

import pytest

from poseplug.cli.commands import export


@pytest.mark.parametrize(('name', 'mebibytes'), [('model.onnx', '2.0'), ('model.xml', '5.0')])
def test_the_size_counts_weights_beside_a_file_of_openvino_alone(name, mebibytes, tmp_path, capsys):
    (tmp_path / name).write_bytes(bytes(2 << 20))
    (tmp_path / 'model.bin').write_bytes(bytes(3 << 20))
    export._report_size(tmp_path / name)
    assert capsys.readouterr().out == f'{tmp_path / name}: {mebibytes} MiB\n'
