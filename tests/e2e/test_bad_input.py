"""Bad input through the real commands: one clear message, exit code 2, no traceback (docs/reference/messages.md)."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from poseplug.cli.options import parse_cfg_option
from poseplug.engine import launch
from poseplug.files.skeleton_record import describe_skeleton
from poseplug.registry.skeletons import get_skeleton

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/cpm/cpm_synthetic.py'
PAGE = ROOT / 'docs/reference/messages.md'


class Case:
    """A copy of the small data set to corrupt, and the options that read it."""

    def __init__(self, folder: Path, data: Path, tiny_cli_options):
        import shutil

        self.folder, self.data, self.run, self.tiny_cli_options = (
            folder,
            folder / 'DATA',
            folder / 'RUN',
            tiny_cli_options,
        )
        shutil.copytree(data, self.data)
        self.options: dict = {}
        self.arguments: list = []

    def replace_images(self, content: bytes) -> None:
        for file in (self.data / 'images').iterdir():
            file.write_bytes(content)

    def change_joints(self, change) -> None:
        joints = loadmat(self.data / 'joints.mat')['joints']
        changed = change(joints)
        savemat(self.data / 'joints.mat', {'joints': joints if changed is None else changed})

    def set_value(self, index, value) -> None:
        self.change_joints(lambda j: j.__setitem__(index, value))

    def sources(self, **settings) -> list:
        return [dict(type='LSPSource', data_root=str(self.data), split='train', **settings)]

    def train(self) -> list:
        options = {'train_dataloader.dataset.sources': self.sources(), **self.options}
        return ['train.py', CONFIG, '--work-dir', self.run, *self.arguments, *self.tiny_cli_options(**options)]


def missing_image(case):
    (case.data / 'images/im0003.jpg').unlink()


def truncated_image(case):
    file = case.data / 'images/im0003.jpg'
    case.replace_images(file.read_bytes()[: file.stat().st_size // 2])


def empty_image(case):
    case.replace_images(b'')


def text_as_image(case):
    case.replace_images(b'<html>404 Not Found</html>')


def no_data(case):
    case.options['train_dataloader.dataset.sources'] = [dict(type='LSPSource', data_root=str(case.folder / 'NOWHERE'))]


def truncated_joints(case):
    file = case.data / 'joints.mat'
    file.write_bytes(file.read_bytes()[:400])


def text_as_joints(case):
    (case.data / 'joints.mat').write_text('x,y\n1,2\n' * 100)


def wrong_shape(case):
    case.change_joints(lambda j: j[:, :13])


def no_array(case):
    savemat(case.data / 'joints.mat', {'points': np.zeros((3, 14, 14))})


def not_numbers(case):
    savemat(case.data / 'joints.mat', {'joints': 'text'})


def nan_joint(case):
    case.set_value((0, 2, 4), np.nan)


def flag_of_two(case):
    case.set_value((2, 0, 0), 2)


def mixed_labels(case):
    case.options['train_dataloader.dataset.sources'] = case.sources(label_centric='observer')


def unknown_split(case):
    case.options['train_dataloader.dataset.sources'] = [dict(type='LSPSource', data_root=str(case.data), split='third')]


def limit_too_large(case):
    case.options['train_dataloader.dataset.limit'] = 100


def overfit_none(case):
    case.arguments = ['--overfit', 0]


def overfit_too_many(case):
    case.arguments = ['--overfit', 11]


def nothing_to_resume(case):
    case.arguments = ['--resume']


def existing_run(case):
    case.run.mkdir()
    (case.run / 'step_0000003.pth').write_bytes(b'')


def unwritable_run(case):
    (case.folder / 'FILE').write_text('')
    case.run = case.folder / 'FILE' / 'RUN'


def missing_init(case):
    case.arguments = ['--init', case.folder / 'WEIGHTS.pth']


def init_of_another_model(case):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(8, 3, 7, 7)}}, case.folder / 'WEIGHTS.pth')
    missing_init(case)


def init_damaged(case):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(8, 3, 7, 7)}}, case.folder / 'WEIGHTS.pth')
    data = (case.folder / 'WEIGHTS.pth').read_bytes()
    (case.folder / 'WEIGHTS.pth').write_bytes(data[:-100])
    missing_init(case)


class Code:
    def __reduce__(self):
        return print, ('this ran',)


def init_with_code(case):
    torch.save({'state_dict': Code()}, case.folder / 'WEIGHTS.pth')
    missing_init(case)


def resumed_with_another_rate(case):
    arguments = case.train()
    options = dict(map(parse_cfg_option, arguments[arguments.index('--cfg-options') + 1 :]))
    launch.train(CONFIG, case.run, options=options)
    logging.getLogger('poseplug').setLevel(logging.NOTSET)  # as in a process of its own
    case.arguments = ['--resume']
    case.options['optim_wrapper.optimizer.lr'] = 0.5


def init_of_other_keypoints(case):
    skeleton = get_skeleton('lsp')
    description = {**describe_skeleton(skeleton), 'name': 'reversed', 'keypoints': list(skeleton.keypoints[::-1])}
    torch.save({'state_dict': {'x': torch.ones(1)}, 'meta': {'skeleton': description}}, case.folder / 'WEIGHTS.pth')
    missing_init(case)


def misspelled_type(case):
    case.options['model.head.type'] = 'CPMHed'


def misspelled_argument(case):
    case.options['model.codec.sgima'] = 8.0


def stride_mismatch(case):
    case.options['model.codec.stride'] = 4


def input_not_divisible(case):
    case.options['model.codec.input_size'] = (36, 36)


def unknown_match(case):
    case.options['model.codec.match'] = 'released'


def dark_match_on_another_grid(case):
    case.options['model.codec'] = dict(_delete_=True, type='DARKHeatmap', input_size=(32, 32), match='official')


def unknown_paramwise_name(case):
    case.options['optim_wrapper.paramwise_cfg'] = dict(_delete_=True, rules={'backbne': dict(lr_mult=0.1)})


def empty_batch(case):
    case.options['train_dataloader.batch_size'] = 0


CASES = {
    missing_image: 'DATA/joints.mat: image im0003.jpg is missing in DATA/images; 9 of 10 found. Restore it, or pass',
    truncated_image: 'bytes that are not a whole image; fetch the file again',
    empty_image: '0 bytes that are not a whole image; fetch the file again',
    text_as_image: '26 bytes that are not a whole image; fetch the file again',
    no_data: 'lsp: no joints.mat in NOWHERE. Get',
    truncated_joints: 'DATA/joints.mat is not a readable MATLAB 5 file (',
    text_as_joints: 'DATA/joints.mat is not a readable MATLAB 5 file (it does not begin as one); take it anew',
    wrong_shape: 'DATA/joints.mat: joints has shape (3, 13, 14), but LSP writes (3, 14, images)',
    no_array: "DATA/joints.mat has no array 'joints'; take it anew from the data set's archive",
    not_numbers: "DATA/joints.mat is not a readable MATLAB 5 file (its 'joints' holds no numbers); take it anew",
    nan_joint: (
        "DATA/joints.mat: record 5 (im0005.jpg): keypoint 'right_hip' has a position that is not a finite number"
    ),
    flag_of_two: "DATA/joints.mat: record 1: the third number of keypoint 'right_ankle' is a flag, 0 or 1; found 2",
    mixed_labels: 'LSPSource labels are observer-centric but the model',
    unknown_split: "lsp: split is one of train, test, all, val, train_without_val; got 'third'",
    limit_too_large: '100 samples were requested, but the data set has 10; request 1 to 10',
    overfit_none: '--overfit needs at least one sample; got 0',
    overfit_too_many: '11 samples were requested, but the data set has 10; request 1 to 10',
    nothing_to_resume: 'RUN holds no checkpoint to resume from',
    existing_run: 'RUN holds a run already (step_0000003.pth); continue it with --resume',
    resumed_with_another_rate: (
        'RUN/step_0000006.pth was trained with other settings: optim_wrapper.optimizer.lr: 0.004 in the checkpoint'
    ),
    unwritable_run: 'FILE/RUN: Not a directory; name another --work-dir',
    missing_init: 'WEIGHTS.pth: no such checkpoint',
    init_of_another_model: "WEIGHTS.pth is not of the config's model",
    init_of_other_keypoints: (
        "WEIGHTS.pth predicts the keypoints of 'reversed', which are not those of the config's skeleton 'lsp': keypoint"
    ),
    init_damaged: 'WEIGHTS.pth is damaged',
    init_with_code: 'WEIGHTS.pth holds more than plain data: it asks for print',
    misspelled_type: "closest: 'CPMHead'",
    misspelled_argument: "has no argument 'sgima'",
    stride_mismatch: 'set model.codec.stride',
    input_not_divisible: 'set model.codec.input_size',
    unknown_match: "CPMHeatmap: match is one of poseplug; got 'released'",
    dark_match_on_another_grid: "DARKHeatmap: the grid of match='official' is aligned; set aligned=True, or leave",
    unknown_paramwise_name: "optim_wrapper: the rule 'backbne' matches no parameter; names look like backbone.",
    empty_batch: 'a loader needs batch_size >= 1 and num_workers >= 0; got 0 and 0',
}


# The page has these messages to their end: they hold no path of a run, and no list of all parts.
WHOLE_MESSAGES = (
    misspelled_argument, stride_mismatch, input_not_divisible, unknown_match, dark_match_on_another_grid,
    unknown_paramwise_name,
)  # fmt: skip


def get_message(case, err: str) -> str:
    """The message of a command, with the folders of this test as in the docs."""
    lines = [line for line in err.splitlines() if not line.startswith('training ')]
    return '\n'.join(lines).replace(f'{case.folder}/', '').replace(f'{ROOT}/', '')


@pytest.fixture
def case(tmp_path, tiny_data, tiny_cli_options):
    return Case(tmp_path, tiny_data, tiny_cli_options)


@pytest.mark.parametrize('corrupt', CASES, ids=lambda f: f.__name__)
def test_training_reports_bad_input_in_one_message(case, command, corrupt):
    corrupt(case)
    tool, *arguments = case.train()
    code, out, err = command(tool, *arguments)
    message = get_message(case, err)
    assert code == 2
    assert out == ''
    assert 'Traceback' not in message
    assert len(message.splitlines()) == 1
    assert CASES[corrupt] in message
    if corrupt in WHOLE_MESSAGES:
        assert message in ' '.join(PAGE.read_text().split())
    assert re.match(r'[A-Z][a-z]+Error: |[A-Z][a-z]+[A-Z][a-z]+Error: ', message)


@pytest.mark.parametrize('corrupt', CASES, ids=lambda f: f.__name__)
def test_the_page_lists_the_message(corrupt):
    assert ' '.join(CASES[corrupt].split()) in ' '.join(PAGE.read_text().split())  # the page wraps its lines


def test_a_missing_image_may_be_dropped_and_is_counted(case, command):
    missing_image(case)
    case.options['train_dataloader.dataset.sources'] = case.sources(missing_images='drop')
    tool, *arguments = case.train()
    code, _, err = command(tool, *arguments)
    assert code == 0
    assert 'training on cpu: 9 samples' in err


@pytest.mark.parametrize(('corrupt', 'message'), [
    (missing_init, 'WEIGHTS.pth: no such checkpoint'),
    (init_of_another_model, "WEIGHTS.pth is not of the config's model"),
    (init_damaged, 'WEIGHTS.pth is damaged'),
    (init_with_code, 'it asks for print'),
])  # fmt: skip
def test_testing_reports_a_bad_checkpoint_in_one_message(case, command, tiny_cli_options, corrupt, message):
    corrupt(case)
    code, out, err = command('test.py', CONFIG, case.arguments[1], *tiny_cli_options())
    assert (code, out) == (2, '')
    assert message in get_message(case, err)
    assert len(err.splitlines()) == 1


def test_results_that_cannot_be_written_are_an_error(case, command, tiny_cli_options):
    tool, *arguments = case.train()
    assert command(tool, *arguments)[0] == 0
    (case.folder / 'FILE').write_text('')
    code, _, err = command('test.py', CONFIG, case.run, '--out', case.folder / 'FILE/results.json', *tiny_cli_options())
    assert code == 2
    assert 'FILE/results.json: ' in get_message(case, err)
    assert 'name another --out' in err


def test_a_config_that_does_not_exist_is_an_error(command):
    code, _, err = command('train.py', ROOT / 'configs/cpm/cpm_lsp_lit.py')
    assert code == 2
    assert 'no such config' in err
    assert 'cpm_lsp_lite.py' in err
