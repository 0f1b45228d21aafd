"""Files that are no weights, or hold them otherwise than this package does: what is said, and what is loaded."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError
from poseplug.files.file_kinds import describe_file_kind
from poseplug.files.weight_checks import check_state_dict
from poseplug.files.weights import load_checkpoint, load_weights
from poseplug.files.wrapped_names import remove_wrapper_names

WEIGHTS = {'head.weight': torch.arange(6.0).view(2, 3), 'head.bias': torch.ones(2)}
LFS_POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n'


def save_bytes(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zip_bytes(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_bytes() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('weights.pth'))
    return buffer.getvalue()


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    return buffer.getvalue()


def script_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


NOT_WEIGHTS = {
    'empty': (b'', 'is damaged: it is empty; fetch or write it again'),
    'page': (b'\n<!DOCTYPE html><html><title>404</title>', 'is a web page, as servers send in place of a missing file'),
    'old page': (b'<HTML><head>', 'is a web page'),
    'xml': (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', 'is an XML text'),
    'json': (b'{"message": "Not Found"}', 'is a JSON text'),
    'list': (b'{\n  "metadata": {"total_size": 9}, "weight_map": {}}', 'is the list of weights in several files'),
    'lfs': (LFS_POINTER, 'is a pointer of Git LFS, not the file itself; run git lfs pull'),
    'gzip': (gzip.compress(b'weights'), 'is compressed by gzip; unpack it'),
    'zip': (
        zip_bytes(readme=b'text', other=b'text'),
        r'is a zip archive of 2 files \(first: readme, other\); unpack it',
    ),
    'tar': (tar_bytes(), 'is a tar archive; unpack it'),
    'npz': (npz_bytes(), 'is an archive of NumPy'),
    'cut': (save_bytes(WEIGHTS)[:-200], 'is damaged: its end is missing'),
}


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', NOT_WEIGHTS)
def test_a_file_that_is_no_weights_is_called_what_it_is(tmp_path, kind, ending):
    file = tmp_path / f'weights{ending}'
    content, message = NOT_WEIGHTS[kind]
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf'weights\{ending} {message}'):
        load_checkpoint(file)


OTHERS = {
    'safetensors as pth': ('weights.pth', save(WEIGHTS), r'is a safetensors file; rename it to end in \.safetensors'),
    'pth as safetensors': (
        'weights.safetensors',
        save_bytes(WEIGHTS),
        r'is a file of PyTorch; rename it to end in \.pth',
    ),
    'script': ('weights.pth', script_bytes(), 'is a TorchScript program, not weights'),
    'unknown': ('weights.pth', b'\x00\x01\x02 unknown', 'is damaged or no checkpoint; use another checkpoint'),
    'cut': ('weights.safetensors', save(WEIGHTS)[:-5], r'is damaged or no safetensors file \('),
}


@pytest.mark.parametrize('kind', OTHERS)
def test_other_endings_and_unknown_kinds_are_named(tmp_path, kind):
    name, content, message = OTHERS[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


def test_what_can_be_read_has_no_other_kind(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'weights.pth')
    torch.save(WEIGHTS, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, tmp_path / 'weights.safetensors')
    for name in ('weights.pth', 'old.pth', 'weights.safetensors'):
        assert describe_file_kind(tmp_path / name) == ''
        assert load_checkpoint(tmp_path / name)['state_dict']['head.weight'].equal(WEIGHTS['head.weight'])
    assert describe_file_kind(tmp_path / 'missing.pth') == ''


@pytest.mark.parametrize('key', ['model', 'model_state_dict', 'params', 'net'])
def test_weights_under_another_key_are_read(tmp_path, key):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9).state_dict()
    torch.save({'epoch': 3, 'optimizer': optimizer, key: WEIGHTS, 'args': {'lr': 0.1}}, tmp_path / 'weights.pth')
    content = load_checkpoint(tmp_path / 'weights.pth')
    assert content['state_dict'].keys() == WEIGHTS.keys()
    assert content.keys() == {'epoch', 'optimizer', 'state_dict', 'args'}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(optimizer=dict(state={}, param_groups=[]), epoch=3), 'has no weights; it holds optimizer, epoch'),
        ({}, 'has no weights; it holds nothing'),
        (dict(model=WEIGHTS, model_ema=WEIGHTS), r"several sets of weights: model, model_ema\..*content\['model'\]"),
    ],
)
def test_a_file_without_weights_or_with_several_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / 'weights.pth')


@pytest.mark.parametrize(
    'prefix',
    ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.', 'model.', '_forward_module.', 'a.b.c.'],
)
def test_names_of_a_wrapped_model_lose_what_the_wrapper_put_in_front(prefix):
    wrapped = {f'{prefix}{name}': value for name, value in WEIGHTS.items()}
    assert remove_wrapper_names(wrapped, ['head', 'backbone']) == WEIGHTS


def test_names_within_a_wrapped_layer_and_counters_of_an_average_are_recognized():
    inner = {'backbone._checkpoint_wrapped_module.conv.weight': 1, 'head._orig_mod.bias': 2}
    assert remove_wrapper_names(inner, ['head', 'backbone']) == {'backbone.conv.weight': 1, 'head.bias': 2}
    averaged = {'n_averaged': torch.tensor(5), 'module.head.bias': 1, 'module.backbone.weight': 2}
    assert remove_wrapper_names(averaged, ['head', 'backbone']) == {'head.bias': 1, 'backbone.weight': 2}


def test_parts_of_the_model_and_names_that_would_become_one_stay():
    only_backbone = {'backbone.conv.weight': 1, 'backbone.conv.bias': 2}
    assert remove_wrapper_names(only_backbone, ['head', 'backbone']) == only_backbone
    two_sets = {'model.head.bias': 1, 'ema.head.bias': 2}
    assert remove_wrapper_names(two_sets, ['head']) == two_sets
    one_name = {'_orig_mod.head.bias': 1, 'head.bias': 2}
    assert remove_wrapper_names(one_name, ['head']) == one_name


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_a_wrapped_model_of_another_precision_loads(tiny_config, tmp_path, dtype):
    model = build_model(tiny_config())
    weights = {f'module._orig_mod.{name}': value.to(dtype) for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'wrapped.pth')
    other = build_model(tiny_config())
    load_weights(other, tmp_path / 'wrapped.pth')
    for name, value in other.state_dict().items():
        assert value.dtype == model.state_dict()[name].dtype
        assert value.equal(model.state_dict()[name].to(dtype).to(value.dtype))


@pytest.mark.parametrize('dtype', [torch.int32, torch.int8, torch.uint8, torch.bool])
def test_weights_that_were_rounded_to_whole_numbers_are_refused(dtype):
    """Quantized weights without their scale: copied into the model, they would be other weights."""
    module = torch.nn.BatchNorm1d(3)  # with a count, which is a whole number in any file
    state = module.state_dict()
    message = r'2 of whole numbers \(first: weight\)'
    with pytest.raises(CheckpointError, match=message):
        check_state_dict(
            module, {**state, 'weight': state['weight'].to(dtype), 'bias': state['bias'].to(dtype)}, 'a.pth'
        )
    check_state_dict(module, {**state, 'weight': state['weight'].half(), 'bias': state['bias'].bfloat16()}, 'a.pth')
