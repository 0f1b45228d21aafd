"""Shards: the records of the files that they were written from, tar files that others read, damage, and the order."""

import hashlib
import io
import json
import pickle
import tarfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.data.samplers import EpochBatchSampler, ShardBatchSampler
from poseplug.data.shard_index import INDEX_FILES
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.shards import ShardSource
from poseplug.data.synthetic import write_coco
from poseplug.files.images import read_image


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """The records of six images with a crowd, segmentations and ids, and their skeleton."""
    root = write_coco(tmp_path_factory.mktemp('data') / 'coco', num_train=6, num_val=1)
    file = root / 'annotations/person_keypoints_train2017.json'
    content = json.loads(file.read_text())
    polygon = [[2.5, 2, 30, 2, 30, 40.25]]
    crowd = dict(
        id=9999, image_id=content['images'][0]['id'], category_id=1, bbox=[1, 2, 20, 30], area=600.0, iscrowd=1,
        keypoints=[5, 6, 2] * 17, num_keypoints=17, segmentation=dict(counts=[3, 5, 2], size=[2, 5]),
    )  # fmt: skip
    for annotation in content['annotations']:
        annotation['segmentation'] = polygon
    content['annotations'].append(crowd)
    file.write_text(json.dumps(content))
    source = CocoSource(root, segmentations=True)
    return source.load()[0], source.skeleton


@pytest.fixture
def shards(coco, tmp_path):
    """A folder of several small shards."""
    records, skeleton = coco
    size = max(record.path.stat().st_size for record in records)
    return write_shards(records, skeleton, tmp_path / 'shards', max_shard_bytes=2 * size + 8192)


def assert_equal_values(actual, expected, name):
    if isinstance(expected, np.ndarray) and expected.dtype == object:
        assert len(actual) == len(expected), name
        for a, b in zip(actual, expected, strict=True):
            assert_equal_values(a, b, name)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype, name
        assert np.array_equal(actual, expected, equal_nan=expected.dtype.kind == 'f'), name
    elif isinstance(expected, tuple):
        for a, b in zip(actual, expected, strict=True):
            assert_equal_values(a, b, name)
    elif hasattr(expected, '__dataclass_fields__'):
        for each in fields(expected):
            assert_equal_values(getattr(actual, each.name), getattr(expected, each.name), f'{name}.{each.name}')
    else:
        assert actual == expected or (actual != actual and expected != expected), name


def test_records_and_pixels_are_those_of_the_files(coco, shards):
    records, skeleton = coco
    source = ShardSource(shards)
    loaded, report = source.load()
    assert source.skeleton == skeleton
    assert len(list(shards.glob('*.tar'))) > 2
    assert report.kept == sum(len(record.instances) for record in records)
    for actual, expected in zip(loaded, records, strict=True):
        for each in fields(expected):
            if each.name not in ('path', 'byte_range'):
                assert_equal_values(getattr(actual, each.name), getattr(expected, each.name), each.name)
        assert np.array_equal(read_image(actual.path, byte_range=actual.byte_range), read_image(expected.path))


def test_other_readers_of_tar_files_find_images_and_annotations(coco, shards):
    records, _ = coco
    members = {}
    for file in sorted(shards.glob('*.tar')):
        with tarfile.open(file) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
    assert list(members)[:2] == ['000000000.png', '000000000.json'] or list(members)[:2] == [
        '000000000.jpg', '000000000.json'
    ]  # fmt: skip
    names = [name for name in members if not name.endswith('.json')]
    assert [members[name] for name in names] == [record.path.read_bytes() for record in records]
    first = json.loads(members['000000000.json'])
    assert np.allclose(
        np.array(first['annotations'][0]['keypoints']).reshape(-1, 3)[:, :2], records[0].instances.keypoints[0]
    )


def test_equal_data_gives_equal_shards(coco, shards, tmp_path):
    records, skeleton = coco
    size = max(record.path.stat().st_size for record in records)
    again = write_shards(records, skeleton, tmp_path / 'again', max_shard_bytes=2 * size + 8192)
    assert {f.name: f.read_bytes() for f in again.iterdir()} == {f.name: f.read_bytes() for f in shards.iterdir()}


def test_a_missing_or_cut_shard_is_refused_by_name_or_dropped_and_counted(coco, shards):
    records, _ = coco
    first, second = sorted(shards.glob('*.tar'))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-512])
    with pytest.raises(AnnotationError, match=r'shard-000000.tar \(missing\), shard-000001.tar \(.* of .* bytes\)'):
        ShardSource(shards).load()
    loaded, report = ShardSource(shards, missing_shards='drop').load()
    assert 0 < len(loaded) < len(records)
    assert report.total == sum(len(record.instances) for record in records)
    assert report.dropped['in shards that are missing or cut'] == report.total - report.kept > 0
    assert 'shard-000000.tar' in report.notes[0]


def test_changed_bytes_of_an_image_are_noticed(shards):
    record = ShardSource(shards).load()[0][0]
    data = bytearray(record.path.read_bytes())
    data[record.byte_range.offset + 100] ^= 1
    record.path.write_bytes(data)
    with pytest.raises(ImageError, match='are damaged'):
        read_image(record.path, byte_range=record.byte_range)


@pytest.mark.parametrize('name', ['index.npz', 'shards.json', 'images.npy', 'instances.npy'])
@pytest.mark.parametrize('change', [lambda data: data[:50], lambda data: b'', lambda data: data[::-1]])
def test_a_damaged_index_is_refused(shards, name, change):
    (shards / name).write_bytes(change((shards / name).read_bytes()))
    with pytest.raises(AnnotationError, match=name):
        ShardSource(shards).load()


@pytest.mark.parametrize('name', ['images.npy', 'instances.npy', 'extras.bin'])
def test_changed_annotations_are_noticed_when_their_image_is_asked_for(shards, name):
    data = bytearray((shards / name).read_bytes())
    data[-10] ^= 1  # of the last image
    (shards / name).write_bytes(data)
    records, _ = ShardSource(shards).load()
    assert records[0].id
    with pytest.raises(AnnotationError, match='images.npy is damaged: image 5 has other annotations'):
        records[-1]


def test_records_are_read_again_in_a_process_that_is_not_forked(coco, shards):
    records, _ = ShardSource(shards).load()
    data = pickle.dumps(records)
    assert len(data) < sum((shards / name).stat().st_size for name in INDEX_FILES)
    for actual, expected in zip(pickle.loads(data), records, strict=True):
        assert_equal_values(actual.instances, expected.instances, actual.id)


def test_records_of_one_id_are_not_written(coco, tmp_path):
    (first, second, *_), skeleton = coco
    with pytest.raises(AnnotationError, match='2 images have the id'):
        write_shards([first, replace(second, id=first.id)], skeleton, tmp_path / 'shards')


def test_tar_files_of_another_program_are_refused_as_what_they_are(shards):
    (shards / 'shards.json').unlink()
    with pytest.raises(AnnotationError, match='shards: tar files without shards.json, which other programs write'):
        ShardSource(shards)


@pytest.mark.parametrize('value', ['../x.tar', '/etc/passwd', '', '.hidden'])
def test_names_that_lead_elsewhere_are_refused(shards, value):
    info = json.loads((shards / 'shards.json').read_text())
    info['shards'][0]['name'] = value
    (shards / 'shards.json').write_text(json.dumps(info))
    with pytest.raises(AnnotationError, match='names a file elsewhere'):
        ShardSource(shards)


@pytest.mark.parametrize('name', ['index.npz', 'instances.npy'])
def test_an_index_that_could_run_code_is_not_loaded(shards, name):
    buffer = io.BytesIO()
    objects = np.array([Path], dtype=object)
    (np.savez if name.endswith('npz') else np.save)(buffer, objects)
    (shards / name).write_bytes(buffer.getvalue())
    info = json.loads((shards / 'shards.json').read_text())
    stated = next(each for each in info['index'] if each['name'] == name)
    stated.update(bytes=len(buffer.getvalue()), sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    (shards / 'shards.json').write_text(json.dumps(info))
    with pytest.raises(AnnotationError, match=f'{name} is damaged'):
        ShardSource(shards).load()


def test_a_folder_with_files_is_not_written(coco, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ConfigError, match='exists already'):
        write_shards(*coco, tmp_path)


@pytest.mark.parametrize('change', [dict(is_crop=True), dict(ground_truth=None)])
def test_crops_and_detections_which_shards_cannot_hold_are_refused(coco, tmp_path, change):
    records, skeleton = coco
    change = {name: records[0] if value is None else value for name, value in change.items()}
    with pytest.raises(ConfigError, match='crops of a pack or the boxes of a detector'):
        write_shards([records[0], replace(records[1], **change)], skeleton, tmp_path / 'shards')
    assert not (tmp_path / 'shards').exists()


# --- the order --------------------------------------------------------------------------------------------------------

SHARDS = [f'shard {i // 5}' for i in range(23)]


def draw_epoch(sampler, num_samples=23):
    samples = []
    for batch in sampler:
        samples += batch
        if len(samples) >= num_samples:
            return samples[:num_samples]
    return samples


def test_every_sample_comes_once_per_epoch_and_a_window_at_a_time():
    keys = draw_epoch(ShardBatchSampler(SHARDS, batch_size=4, buffer_size=2))
    indices = [key.sample_index for key in keys]
    assert sorted(indices) == list(range(23))
    assert {key.epoch for key in keys} == {0}
    order = [SHARDS[index] for index in indices]
    first = set(order[:8])
    assert len(first) == 2
    # once a shard of the next window comes, none of the first comes again
    last = max(i for i, shard in enumerate(order) if shard in first)
    assert set(order[: last + 1]) == first


def test_the_order_is_a_function_of_seed_and_epoch_at_any_step():
    whole = [batch for batch, _ in zip(ShardBatchSampler(SHARDS, 4, 2, seed=3), range(20), strict=False)]
    resumed = ShardBatchSampler(SHARDS, 4, 2, seed=3, start_step=13)
    assert [batch for batch, _ in zip(resumed, range(7), strict=False)] == whole[13:]
    other = [batch for batch, _ in zip(ShardBatchSampler(SHARDS, 4, 2, seed=4), range(20), strict=False)]
    assert other != whole


def test_processes_share_batches_without_overlap():
    whole = next(iter(ShardBatchSampler(SHARDS, 8, 2)))
    parts = [next(iter(ShardBatchSampler(SHARDS, 4, 2, rank=rank, world_size=2))) for rank in (0, 1)]
    assert sorted(whole) == sorted(parts[0] + parts[1])


def test_a_buffer_of_all_shards_mixes_all_samples():
    indices = [key.sample_index for key in draw_epoch(ShardBatchSampler(SHARDS, 4, buffer_size=5))]
    plain = [key.sample_index for key in draw_epoch(EpochBatchSampler(23, 4))]
    assert sorted(indices) == sorted(plain)
    assert len({SHARDS[i] for i in indices[:8]}) > 2


def test_a_buffer_of_none_is_refused():
    with pytest.raises(ConfigError, match='buffer_size'):
        ShardBatchSampler(SHARDS, 4, buffer_size=0)
