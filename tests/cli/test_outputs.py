"""No command overwrites what it reads."""

import pytest

from poseplug.cli.options import OUTPUT_ARGUMENTS


@pytest.fixture
def files(tmp_path):
    """A function from names to files of that content, and a check that none of them has changed."""

    def write(*names):
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.write_bytes(path.name.encode())
        return paths

    yield write
    assert all(path.read_bytes() == path.name.encode() for path in tmp_path.iterdir() if path.is_file())


@pytest.mark.parametrize(
    ('command_name', 'arguments', 'option', 'overwritten'),
    [
        ('convert', ['w.safetensors', 'c.py'], '--out', 'w.safetensors'),
        ('convert', ['w.pth', 'c.py', '--out', 'new.safetensors'], '--report', 'w.pth'),
        ('export', ['c.py', 'w.pth'], '--out', 'w.pth'),
        ('export', ['c.py', 'w.pth'], '--out', 'c.py'),
        ('test', ['c.py', 'w.pth'], '--out', 'w.pth'),
        ('dataset', ['browse', 'c.py'], '--out', 'c.py'),
        ('dataset', ['detect', 'c.py', '--detector', 'd.onnx'], '--out', 'd.onnx'),
        ('doctor', ['c.py'], '--html', 'c.py'),
        ('analyze', ['oracle', 'c.py'], '--out', 'c.py'),
        ('package_model', ['c.py', 'w.pth', '--results', 'r.json'], '--out', 'r.json'),
    ],
)
def test_an_output_that_is_an_input_is_refused(command, files, tmp_path, command_name, arguments, option, overwritten):
    files('c.py', 'w.pth', 'w.safetensors', 'd.onnx', 'r.json')
    paths = [tmp_path / word if '.' in word else word for word in arguments]
    code, _, error = command(command_name, *paths, option, tmp_path / '..' / tmp_path.name / overwritten)
    assert code == 2
    assert f'{overwritten} would be overwritten, but it is the input' in error
    assert f'for {option}' in error


def test_two_outputs_of_one_name_are_refused(command, files, tmp_path):
    config, weights = files('c.py', 'w.pth')
    out = tmp_path / 'new.safetensors'
    code, _, error = command('convert', weights, config, '--out', out, '--report', out)
    assert code == 2
    assert '--out and --report both name' in error


def test_a_table_of_configs_overwrites_none_of_them(command, files, tmp_path):
    (config,) = files('c.py')
    code, _, error = command('describe', tmp_path, '--table', config)
    assert (code, 'c.py would be overwritten' in error) == (2, True)


@pytest.mark.parametrize('name', ['joints.mat', 'images/im0001.jpg'])
def test_a_file_of_the_data_set_is_not_overwritten(command, tiny_data, tiny_cli_options, name):
    before = (tiny_data / name).read_bytes()
    code, _, error = command(
        'dataset', 'browse', 'configs/cpm/cpm_synthetic.py', '--out', tiny_data / name, *tiny_cli_options()
    )
    assert code == 2
    assert f'{name} would be overwritten, but it is a file of the data set in' in error
    assert (tiny_data / name).read_bytes() == before


@pytest.mark.parametrize(
    ('words', 'option'),
    [
        (('doctor',), '--html'),
        (('doctor', '--model', 'cpm_lsp_lite'), '--html'),
        (('analyze', 'oracle', '--noise-std', '0'), '--out'),
        (('dataset', 'browse'), '--out'),
    ],
)
def test_every_command_spares_the_data_set_and_refuses_a_folder(
    command, tiny_data, tiny_cli_options, tmp_path, words, option
):
    before = (tiny_data / 'joints.mat').read_bytes()
    config = ['configs/cpm/cpm_synthetic.py', *tiny_cli_options()]
    for out, message in ((tiny_data / 'joints.mat', 'is a file of the data set in'), (tmp_path, 'is a folder; name')):
        code, _, error = command(*words, *config, option, out)
        assert code == 2
        assert f'{out} ' in error
        assert message in error
    assert (tiny_data / 'joints.mat').read_bytes() == before


def test_packaging_does_not_overwrite_the_checkpoint(command, files, tmp_path):
    config, weights = files('c.py', 'm.safetensors')
    code, _, error = command('package_model', config, weights, '--out', tmp_path, '--name', 'm')
    assert (code, 'm.safetensors would be overwritten' in error) == (2, True)


def test_every_argument_that_names_a_file_to_write_is_known():
    import argparse

    from poseplug.cli.command_modules import list_commands, load_command

    def iter_actions(parser):
        for action in parser._actions:
            yield action
            for child in getattr(action, 'choices', None) or ():
                if isinstance(action, argparse._SubParsersAction):
                    yield from iter_actions(action.choices[child])

    for name in list_commands():
        parser = argparse.ArgumentParser()
        load_command(name).add_arguments(parser)
        for action in iter_actions(parser):
            if action.nargs != 0 and (action.help or '').startswith(('write', 'draw the first')):
                assert action.dest in OUTPUT_ARGUMENTS, f'{name} --{action.dest}: {action.help}'


def test_a_config_in_its_work_dir_keeps_its_text(command, tmp_path, tiny_cli_options):
    from pathlib import Path

    root = Path(__file__).parents[2]
    config = tmp_path / 'run' / 'mine.py'
    config.parent.mkdir()
    text = f'_base_ = [{str(root / "configs/cpm/cpm_synthetic.py")!r}]  # a comment\n'
    config.write_text(text)
    code, _, error = command(
        'train', config, '--work-dir', config.parent, *tiny_cli_options(**{'train_cfg.max_steps': 1})
    )
    assert code == 0, error
    assert config.read_text() == text
    assert "skeleton = 'lsp'" in (config.parent / 'mine_run.py').read_text()
