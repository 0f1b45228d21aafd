"""Packs: the same instances at the same positions, nearly the same pixels, and every damaged file refused."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.core.geometry import transform_points
from poseplug.core.sample import SampleKey
from poseplug.data.collate import collate
from poseplug.data.dataset import PoseDataset
from poseplug.data.pack_writer import find_crop_extent, pack_dataset
from poseplug.data.sources.packed import PackedSource
from poseplug.data.synthetic import write_coco
from poseplug.files.images import read_image
from poseplug.inspect import dataset_faults, dataset_reading
from poseplug.registry import TRANSFORMS

SIZE = (48, 64)
RANDOM_TRANSFORMS = ('RandomHalfBody', 'RandomFlip', 'NormalScaleRotate')
PIPELINE = [dict(type=name) for name in ('CropBox', *RANDOM_TRANSFORMS, 'Warp')]


def build_coco_dataset(source, pipeline=PIPELINE):
    return PoseDataset(source, pipeline, 'coco', SIZE)


@pytest.fixture(scope='module')
def coco_dataset(tmp_path_factory):
    """The data set that is packed."""
    folder = write_coco(tmp_path_factory.mktemp('data') / 'coco', 6, 1, 3)
    return build_coco_dataset(dict(type='CocoSource', data_root=str(folder)))


def pack_and_load(dataset, out_dir, **settings):
    folder = pack_dataset(dataset, SIZE, out_dir, **settings)
    return build_coco_dataset(dict(type='PackedSource', data_root=str(folder)))


@pytest.mark.parametrize('max_resolution', [1.0, 3.0])
def test_a_pack_has_the_same_keypoints_and_nearly_the_same_pixels(coco_dataset, tmp_path, max_resolution):
    packed = pack_and_load(coco_dataset, tmp_path / 'pack', jpeg_quality=98, max_resolution=max_resolution)
    assert len(packed) == len(coco_dataset)
    differences = []
    for key in (SampleKey(epoch, i) for epoch in range(4) for i in range(len(coco_dataset))):
        one, two = coco_dataset[key], packed[key]
        np.testing.assert_array_equal(one.visible[0], two.visible[0])
        labeled = one.visible[0] > 0
        keypoints = [transform_points(s.image_to_input, s.keypoints[0])[labeled] for s in (one, two)]
        np.testing.assert_allclose(*keypoints, atol=0.02)
        differences.append(np.abs(one.inputs.astype(int) - two.inputs).mean())
    assert np.mean(differences) < (6 if max_resolution == 1 else 4)
    assert max(differences) < 20


def test_annotations_of_a_crop_are_in_its_pixels(coco_dataset, tmp_path):
    packed = pack_and_load(coco_dataset, tmp_path / 'pack')
    for i in range(len(coco_dataset)):
        one, two = coco_dataset.load_raw_sample(SampleKey(0, i)), packed.load_raw_sample(SampleKey(0, i))
        assert len(two.keypoints) == 1
        assert two.record.instances.annotation_ids.tolist() == one.record.instances.annotation_ids[:1].tolist()
        factor = np.ptp(two.record.instances.boxes[0][::2]) / np.ptp(one.record.instances.boxes[0][::2])
        assert factor <= 1.001
        assert two.record.instances.areas[0] == pytest.approx(one.record.instances.areas[0] * factor**2, rel=0.01)
        assert two.image_size[0] * two.image_size[1] <= one.image_size[0] * one.image_size[1]


def test_a_pack_is_a_data_set_like_another(coco_dataset, tmp_path):
    packed = pack_and_load(coco_dataset, tmp_path / 'pack')
    batch = collate([packed[i] for i in range(4)])
    assert batch.images.shape == (4, 1, *SIZE[::-1], 3)
    report = packed.reports[0]
    assert str(report).endswith(f'{len(coco_dataset)} instances kept; dropped: none; {report.notes[0]}')


@pytest.mark.parametrize('degrees', [0, 20, 45, 90, 170])
def test_random_rotation_and_scale_never_see_beyond_the_crop_extent(degrees):
    rotation = dict(
        type='NormalScaleRotate',
        scale_factor=0.5,
        degrees=degrees / 2,
        rotate_prob=1.0,
        shift_factor=0.1,
        shift_prob=1.0,
    )
    scaling = dict(type='RandomScaleRotate', scale_factor=(0.5, 1.0), degrees=0.0)
    corners = np.array([(x, y) for x in (-0.5, SIZE[0] - 0.5) for y in (-0.5, SIZE[1] - 0.5)])
    center = (np.array(SIZE) - 1) / 2
    for transform in (rotation, scaling):
        pipeline = [TRANSFORMS.build(t, input_size=SIZE) for t in (dict(type='CropBox'), transform)]
        _, half_extent = find_crop_extent(pipeline, SIZE)
        farthest = np.zeros(2)
        for seed in range(300):
            sample = MatrixOnlySample(np.random.default_rng(seed))
            pipeline[1](sample)
            distances = transform_points(np.linalg.inv(sample.image_to_input), corners) - center
            farthest = np.maximum(farthest, np.abs(distances).max(axis=0))
        assert (farthest <= half_extent + 1e-6).all()
        assert (farthest > 0.7 * half_extent).all()


class MatrixOnlySample:
    """As much of a sample as a transform of the matrix uses."""

    def __init__(self, rng):
        self.rng, self.image_to_input = rng, np.eye(3)


def overwrite_bytes(file, offset, content=b'\x00\x01\x02'):
    data = bytearray(file.read_bytes())
    data[offset : offset + len(content)] = content
    file.write_bytes(data)


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('cut crops', r'crops-00000.bin has [\d,]+ bytes, and pack.json says'),
        ('no crops', r'crops-00000.bin is missing, and pack.json says'),
        ('instances', r'instances.json is not the one that pack.json was written with: its checksum differs'),
        ('info', r'pack.json is not a readable JSON file'),
        ('absent key', r"pack.json is damaged: KeyError 'sha256'"),
        ('other format', r"a pack has format 'poseplug pack', version 2; found \('other', 2\)"),
        ('list', r"a pack has format 'poseplug pack', version 2; found None"),
        ('other keypoints', r"skeleton 'coco' has other keypoints now"),
        ('no info', r'pack.json: No such file'),
    ],
)
def test_a_damaged_pack_is_refused_by_name(coco_dataset, tmp_path, damage, message):
    folder = pack_dataset(coco_dataset, SIZE, tmp_path / 'pack')
    crops, info_file = folder / 'crops-00000.bin', folder / 'pack.json'
    info = json.loads(info_file.read_text())
    damaged_infos = {
        'absent key': {k: v for k, v in info.items() if k != 'sha256'},
        'other format': {**info, 'format': 'other'},
        'list': [],
        'other keypoints': {**info, 'keypoints': ['nose']},
    }
    if damage in damaged_infos:
        info_file.write_text(json.dumps(damaged_infos[damage]))
    elif damage == 'cut crops':
        crops.write_bytes(crops.read_bytes()[:-1])
    elif damage in ('no crops', 'no info'):
        (crops if damage == 'no crops' else info_file).unlink()
    else:
        overwrite_bytes(folder / 'instances.json' if damage == 'instances' else info_file, 20)
    with pytest.raises(AnnotationError, match=message):
        build_coco_dataset(dict(type='PackedSource', data_root=str(folder)))


def test_a_crop_whose_bytes_changed_is_refused_when_it_is_read(coco_dataset, tmp_path):
    packed = pack_and_load(coco_dataset, tmp_path / 'pack')
    first = packed.records[0].byte_range
    overwrite_bytes(tmp_path / 'pack/crops-00000.bin', first.length // 2)
    pattern = r'crops-00000.bin: the [\d,]+ bytes from 0 are damaged; fetch the file again, or write the pack anew'
    with pytest.raises(ImageError, match=pattern):
        packed[0]
    assert packed[1].inputs is not None


@pytest.mark.parametrize(
    ('settings', 'pipeline', 'message'),
    [
        (
            dict(jpeg_quality=0),
            PIPELINE,
            'jpeg_quality is 1 to 100 and max_resolution positive; got 0 and 1.0',
        ),
        (
            dict(max_resolution=0.0),
            PIPELINE,
            'jpeg_quality is 1 to 100 and max_resolution positive; got 95 and 0.0',
        ),
        ({}, [dict(type='LetterboxImage'), dict(type='Warp')], 'this one begins with LetterboxImage'),
    ],
)
def test_what_cannot_be_packed_is_refused(coco_dataset, tmp_path, settings, pipeline, message):
    source = dict(type='CocoSource', data_root=str(coco_dataset.reports[0].file.parents[1]))
    with pytest.raises(ConfigError, match=message):
        pack_dataset(build_coco_dataset([source], pipeline), SIZE, tmp_path / 'pack', **settings)


def test_a_pack_never_overwrites_other_files(coco_dataset, tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(ConfigError, match='exists already; name another folder, or remove it'):
        pack_dataset(coco_dataset, SIZE, tmp_path)
    with pytest.raises(ConfigError, match='exists already'):
        pack_dataset(coco_dataset, SIZE, tmp_path / 'file')


def test_crops_continue_in_a_further_file_when_one_is_full(coco_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr('poseplug.data.pack_writer._MAX_FILE_BYTES', 4000)
    packed = pack_and_load(coco_dataset, tmp_path / 'pack')
    files = sorted(path.name for path in (tmp_path / 'pack').glob('*.bin'))
    assert len(files) > 1
    assert {r.path.name for r in packed.records} == set(files)
    crops = [packed.image_cache.get_image(r.path, r.byte_range).data for r in packed.records]
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None for data in crops)


def test_the_command_packs_the_training_set_of_a_config(command, root, coco_dataset, tmp_path):
    config = root / 'configs/simple_baseline/simple_baseline_r50_coco_256x192.py'
    source = dict(type='CocoSource', data_root=str(coco_dataset.reports[0].file.parents[1]), split='train')
    options = ('--cfg-options', f'train_dataloader.dataset.sources={[source]!r}')
    code, out, _ = command('dataset', 'pack', config, '--out', tmp_path / 'pack', *options)
    assert code == 0
    assert 'sources=[dict(type="PackedSource"' in out
    info = json.loads((tmp_path / 'pack/pack.json').read_text())
    assert info['input_size'] == [192, 256]
    assert info['half_extent'] == [208.0, 208.0]


@pytest.mark.parametrize(('column', 'value', 'message'), [
    ('file', '../outside.bin', "crop 1 .*: file is one of the files of pack.json; found '../outside.bin'"),
    ('offset', -1, 'offset is 0 or more'),
    ('keypoints', [[float('nan'), 1]] * 17, 'keypoints is 34 finite numbers'),
    ('keypoints', [[1, 1]] * 16, 'keypoints is 34 finite numbers, x and y of 17 keypoints'),
    ('visible', [7] * 17, 'visible is 17 flags of 0, 1 or 2'),
    ('has_box', 2, 'has_box is 0 or 1'),
    ('boxes', [1, 2, 3], 'boxes is 4 finite numbers'),
    ('boxes', [9, 2, 3, 8], 'boxes is two corners, the second to the right of and below the first'),
])  # fmt: skip
def test_a_pack_from_a_stranger_is_checked_like_other_files(coco_dataset, tmp_path, column, value, message):
    """Its checksum fits: a program that writes a pack writes that, too."""
    folder = pack_dataset(coco_dataset, SIZE, tmp_path / 'pack')
    columns, info = (json.loads((folder / name).read_text()) for name in ('instances.json', 'pack.json'))
    columns[column][0] = value
    data = json.dumps(columns).encode()
    (folder / 'instances.json').write_bytes(data)
    info.update(sha256=hashlib.sha256(data).hexdigest(), files={**info['files'], 'instances.json': len(data)})
    (folder / 'pack.json').write_text(json.dumps(info))
    with pytest.raises(AnnotationError, match=message):
        build_coco_dataset(dict(type='PackedSource', data_root=str(folder)))


@pytest.mark.parametrize(('data', 'message'), [
    (None, 'instances.json: No such file or directory'),
    (b'{"ids": [', 'instances.json is not a readable JSON file'),
])  # fmt: skip
def test_a_pack_whose_instances_are_absent_or_no_json_is_refused_by_name(coco_dataset, tmp_path, data, message):
    folder = pack_dataset(coco_dataset, SIZE, tmp_path / 'pack')
    source = PackedSource(folder)
    (folder / 'instances.json').unlink()
    if data is not None:
        (folder / 'instances.json').write_bytes(data)
        source.pack_info['sha256'] = hashlib.sha256(data).hexdigest()
    with pytest.raises(AnnotationError, match=message):
        source.load()


def test_an_empty_pack_has_no_records(coco_dataset, tmp_path):
    folder = pack_dataset(coco_dataset, SIZE, tmp_path / 'pack')
    source = PackedSource(folder)
    (folder / 'instances.json').write_bytes(b'{}')
    source.pack_info['sha256'] = hashlib.sha256(b'{}').hexdigest()
    records, report = source.load()
    assert (records, report.total) == ([], 0)


def test_a_pack_is_inspected_like_another_set(coco_dataset, tmp_path):
    """Every crop is an image of its own for `poseplug dataset verify` and for the doctor, although they share files."""
    folder = str(pack_dataset(coco_dataset, SIZE, tmp_path / 'pack'))
    cfg = {'train_dataloader': {'dataset': {'sources': dict(type='PackedSource', data_root=folder)}}}
    (statistics,) = dataset_reading.read_datasets(cfg)
    assert len(statistics.image_sizes) == statistics.num_instances == len(coco_dataset)
    assert statistics.unreadable_images == []
    record = statistics.records[0]
    image = read_image(record.path, byte_range=record.byte_range)
    assert statistics.image_sizes[record.location] == image.shape[1::-1]
    assert record.location.name == f'crops-00000.bin at {record.byte_range.offset:,}'
    overwrite_bytes(tmp_path / 'pack/crops-00000.bin', record.byte_range.offset + 5)
    (damaged,) = dataset_reading.read_datasets(cfg)
    (message,) = damaged.unreadable_images
    assert 'crops-00000.bin: the' in message
    page = tmp_path / 'page.html'
    dataset_faults.write_doctor_page(page, [], [(damaged, dataset_faults.find_suspect_instances(damaged))], 3)
    assert 'images cannot be read' in page.read_text()
