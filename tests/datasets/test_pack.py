"""Packs: the same people in the same places, pixels as near as resampling allows, and nothing read that is damaged."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from poseplug.analysis import data_doctor
from poseplug.datasets import verify
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.images import read_image
from poseplug.datasets.pack import pack, reach
from poseplug.datasets.sources.pack import PackedSource
from poseplug.datasets.synthetic import write_coco
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.geometry import apply
from poseplug.sample import Draw, collate

SIZE = (48, 64)
CHANGES = ('RandomHalfBody', 'RandomFlip', 'NormalScaleRotate')
PIPELINE = [dict(type=name) for name in ('PlaceBox', *CHANGES, 'Warp')]


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    folder = write_coco(tmp_path_factory.mktemp('data') / 'coco', 6, 1, 3)
    return people(dict(type='CocoSource', root=str(folder)))


def people(source, pipeline=PIPELINE):
    return PoseDataset(source, pipeline, 'coco', SIZE)


def packed(plain, out, **settings):
    return people(dict(type='PackedSource', root=str(pack(plain, SIZE, out, **settings))))


@pytest.mark.parametrize('detail', [1.0, 3.0])
def test_a_pack_gives_the_same_joints_and_nearly_the_same_pixels(plain, tmp_path, detail):
    other = packed(plain, tmp_path / 'pack', quality=98, detail=detail)
    assert len(other) == len(plain)
    differences = []
    for draw in (Draw(epoch, i) for epoch in range(4) for i in range(len(plain))):
        one, two = plain[draw], other[draw]
        np.testing.assert_array_equal(one.visible[0], two.visible[0])
        seen = one.visible[0] > 0
        joints = [apply(s.matrix, s.keypoints[0])[seen] for s in (one, two)]
        np.testing.assert_allclose(*joints, atol=0.02)
        differences.append(np.abs(one.inputs.astype(int) - two.inputs).mean())
    assert np.mean(differences) < (6 if detail == 1 else 4)
    assert max(differences) < 20


def test_what_a_crop_holds_of_its_person_is_in_its_own_pixels(plain, tmp_path):
    other = packed(plain, tmp_path / 'pack')
    for i in range(len(plain)):
        one, two = plain.raw(Draw(0, i)), other.raw(Draw(0, i))
        assert len(two.keypoints) == 1
        assert two.record.numbers.tolist() == one.record.numbers[:1].tolist()
        factor = np.ptp(two.record.boxes[0][::2]) / np.ptp(one.record.boxes[0][::2])
        assert factor <= 1.001
        assert two.record.areas[0] == pytest.approx(one.record.areas[0] * factor**2, rel=0.01)
        assert two.size[0] * two.size[1] <= one.size[0] * one.size[1]


def test_a_pack_is_a_data_set_like_another(plain, tmp_path):
    other = packed(plain, tmp_path / 'pack')
    batch = collate([other[i] for i in range(4)])
    assert batch.images.shape == (4, 1, *SIZE[::-1], 3)
    assert str(other.reports[0]).endswith(f'{len(plain)} people kept; dropped: none; {other.reports[0].notes[0]}')


@pytest.mark.parametrize('degrees', [0, 20, 45, 90, 170])
def test_a_random_turn_and_growth_never_see_beyond_the_reach(degrees):
    changes = [dict(type='NormalScaleRotate', scale=0.5, degrees=degrees / 2, turned=1.0, shift=0.1, shifted=1.0)]
    changes += [dict(type='RandomScaleRotate', scale=(0.5, 1.0), degrees=0.0)]
    for change in changes:
        made = people_of_nobody([dict(type='PlaceBox'), change])
        _, seen = reach(made, SIZE)
        corners = np.array([(x, y) for x in (-0.5, SIZE[0] - 0.5) for y in (-0.5, SIZE[1] - 0.5)])
        farthest = np.zeros(2)
        for n in range(300):
            sample = Placed(np.random.default_rng(n))
            made[1](sample)
            middle = (np.array(SIZE) - 1) / 2
            back = apply(np.linalg.inv(sample.matrix), corners) - middle
            farthest = np.maximum(farthest, np.abs(back).max(axis=0))
        assert (farthest <= seen + 1e-6).all()
        assert (farthest > 0.7 * seen).all()


class Placed:
    """As much of a sample as a change of the matrix looks at."""

    def __init__(self, rng):
        self.rng, self.matrix = rng, np.eye(3)


def people_of_nobody(pipeline):
    from poseplug.registry import TRANSFORMS

    return [TRANSFORMS.build(t, input_size=SIZE) for t in pipeline]


def spoil(file, place, by=b'\x00\x01\x02'):
    data = bytearray(file.read_bytes())
    data[place : place + len(by)] = by
    file.write_bytes(data)


@pytest.mark.parametrize(
    ('how', 'message'),
    [
        ('cut', r'crops-00000.bin has [\d,]+ bytes, and pack.json says'),
        ('gone', r'crops-00000.bin is missing, and pack.json says'),
        ('people', r'people.json is not the one that pack.json was written with: its checksum differs'),
        ('head', r'pack.json is not a readable JSON file'),
        ('keys', r"pack.json is damaged: KeyError 'sha256'"),
        ('other', r"a pack says format 'poseplug pack', version 1; found \('other', 1\)"),
        ('list', r"a pack says format 'poseplug pack', version 1; found None"),
        ('joints', r"the skeleton 'coco' has other joints now"),
        ('none', r'pack.json: No such file'),
    ],
)
def test_a_damaged_pack_is_refused_by_name(plain, tmp_path, how, message):
    out = pack(plain, SIZE, tmp_path / 'pack')
    crops, head = out / 'crops-00000.bin', out / 'pack.json'
    content = json.loads(head.read_text())
    changed = {
        'keys': {k: v for k, v in content.items() if k != 'sha256'},
        'other': {**content, 'format': 'other'},
        'list': [],
        'joints': {**content, 'joints': ['nose']},
    }
    if how in changed:
        head.write_text(json.dumps(changed[how]))
    elif how == 'cut':
        crops.write_bytes(crops.read_bytes()[:-1])
    elif how in ('gone', 'none'):
        (crops if how == 'gone' else head).unlink()
    else:
        spoil(out / f'{how}.json' if how == 'people' else head, 20)
    with pytest.raises(AnnotationError, match=message):
        people(dict(type='PackedSource', root=str(out)))


def test_a_crop_whose_bytes_changed_is_refused_when_it_is_read(plain, tmp_path):
    other = packed(plain, tmp_path / 'pack')
    first = other.records[0].span
    spoil(tmp_path / 'pack/crops-00000.bin', first.length // 2)
    with pytest.raises(ImageError, match=r'crops-00000.bin: the [\d,]+ bytes from 0 are damaged; write the pack anew'):
        other[0]
    assert other[1].inputs is not None


@pytest.mark.parametrize(
    ('settings', 'pipeline', 'message'),
    [
        (dict(quality=0), PIPELINE, 'quality is 1 to 100 and detail positive; got 0 and 1.0'),
        (dict(detail=0.0), PIPELINE, 'quality is 1 to 100 and detail positive; got 95 and 0.0'),
        ({}, [dict(type='PlacePicture'), dict(type='Warp')], 'this one begins with PlacePicture'),
    ],
)
def test_what_cannot_be_packed_is_refused(plain, tmp_path, settings, pipeline, message):
    dataset = people([dict(type='CocoSource', root=str(plain.reports[0].file.parents[1]))], pipeline)
    with pytest.raises(ConfigError, match=message):
        pack(dataset, SIZE, tmp_path / 'pack', **settings)


def test_a_pack_never_overwrites_what_is_there(plain, tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(ConfigError, match='is there already; name another folder, or remove it'):
        pack(plain, SIZE, tmp_path)
    with pytest.raises(ConfigError, match='is there already'):
        pack(plain, SIZE, tmp_path / 'file')


def test_crops_go_on_in_a_further_file_when_one_is_full(plain, tmp_path, monkeypatch):
    monkeypatch.setattr('poseplug.datasets.pack.FILE', 4000)
    other = packed(plain, tmp_path / 'pack')
    files = sorted(p.name for p in (tmp_path / 'pack').glob('*.bin'))
    assert len(files) > 1
    assert {r.path.name for r in other.records} == set(files)
    assert all(cv2.imdecode(np.frombuffer(other.pictures.get(r.path, r.span).data, np.uint8), 1) is not None
               for r in other.records)  # fmt: skip


def test_the_command_packs_the_training_set_of_a_config(command, root, plain, tmp_path):
    config = root / 'configs/simple_baseline/simple_baseline_r50_coco_256x192.py'
    source = dict(type='CocoSource', root=str(plain.reports[0].file.parents[1]), half='train')
    options = ('--cfg-options', f'train_dataloader.dataset.sources={[source]!r}')
    code, out, _ = command('dataset.py', 'pack', config, '--out', tmp_path / 'pack', *options)
    assert code == 0
    assert 'sources=[dict(type="PackedSource"' in out
    head = json.loads((tmp_path / 'pack/pack.json').read_text())
    assert head['input_size'] == [192, 256]
    assert head['reach'] == [208.0, 208.0]


@pytest.mark.parametrize(('column', 'value', 'message'), [
    ('file', '../outside.bin', "crop 1 .*: file is one of the files of pack.json; found '../outside.bin'"),
    ('first', -1, 'first is 0 or more'),
    ('keypoints', [[float('nan'), 1]] * 17, 'keypoints is 34 finite numbers'),
    ('keypoints', [[1, 1]] * 16, 'keypoints is 34 finite numbers, x and y of 17 joints'),
    ('visible', [7] * 17, 'visible is 17 flags of 0, 1 or 2'),
    ('boxes', [1, 2, 3], 'boxes is 4 finite numbers'),
    ('boxes', [9, 2, 3, 8], 'boxes is two corners, the second right of and below the first'),
])  # fmt: skip
def test_a_pack_from_a_stranger_is_no_more_believed_than_other_files(plain, tmp_path, column, value, message):
    """Its checksum fits: who writes a pack writes that, too."""
    folder = pack(plain, SIZE, tmp_path / 'pack')
    columns, head = (json.loads((folder / name).read_text()) for name in ('people.json', 'pack.json'))
    columns[column][0] = value
    data = json.dumps(columns).encode()
    (folder / 'people.json').write_bytes(data)
    head.update(sha256=hashlib.sha256(data).hexdigest(), files={**head['files'], 'people.json': len(data)})
    (folder / 'pack.json').write_text(json.dumps(head))
    with pytest.raises(AnnotationError, match=message):
        people(dict(type='PackedSource', root=str(folder)))


@pytest.mark.parametrize(('data', 'message'), [
    (None, 'people.json: No such file or directory'), (b'{"ids": [', 'people.json is not a readable JSON file'),
])  # fmt: skip
def test_a_pack_whose_people_are_gone_or_no_json_is_refused_by_name(plain, tmp_path, data, message):
    folder = pack(plain, SIZE, tmp_path / 'pack')
    source = PackedSource(folder)
    (folder / 'people.json').unlink()
    if data is not None:
        (folder / 'people.json').write_bytes(data)
        source.head['sha256'] = hashlib.sha256(data).hexdigest()
    with pytest.raises(AnnotationError, match=message):
        source.load()


def test_a_pack_of_nobody_gives_nobody(plain, tmp_path):
    folder = pack(plain, SIZE, tmp_path / 'pack')
    source = PackedSource(folder)
    (folder / 'people.json').write_bytes(b'{}')
    source.head['sha256'] = hashlib.sha256(b'{}').hexdigest()
    records, report = source.load()
    assert (records, report.total) == ([], 0)


def test_a_pack_is_looked_at_like_another_set(plain, tmp_path):
    """Every crop is a picture of its own for `tools/dataset.py verify` and for the doctor, though they share a file."""
    root = str(pack(plain, SIZE, tmp_path / 'pack'))
    spec = dict(type='PackedSource', root=root)
    (facts,) = verify.verify({'train_dataloader': {'dataset': {'sources': spec}}})
    assert (len(facts.sizes), facts.people, facts.unreadable) == (len(plain), len(plain), [])
    record = facts.records[0]
    image = read_image(record.path, span=record.span)
    assert facts.sizes[record.place] == image.shape[1::-1]
    assert record.place.name == f'crops-00000.bin at {record.span.first:,}'
    spoil(tmp_path / 'pack/crops-00000.bin', record.span.first + 5)
    (spoiled,) = verify.verify({'train_dataloader': {'dataset': {'sources': spec}}})
    (told,) = spoiled.unreadable
    assert 'crops-00000.bin: the' in told
    out = tmp_path / 'page.html'
    data_doctor.write_page(out, [], [(spoiled, data_doctor.examine(spoiled))], 3)
    assert 'pictures cannot be read' in out.read_text()
