"""From records to batches: the same numbers whoever loads them, and pictures that are not pictures."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_dataset
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.image_heads import jpeg_size
from poseplug.datasets.images import Picture, Pictures, read_image, shortened
from poseplug.datasets.sources.base import Report, Source
from poseplug.engine import launch
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.sample import Draw, Record
from poseplug.skeletons.lsp import LSP


class Given(Source):
    """Records as they are given."""

    def __init__(self, records, skeleton=LSP):
        self.records, self.skeleton = records, skeleton

    def load(self):
        return self.records, Report('given', kept=len(self.records))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'grey.png'
    cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
    return path


def people(path, points) -> Record:
    keypoints = np.tile(np.asarray(points, np.float32)[:, None], (1, 14, 1))
    return Record(path, path.name, keypoints, np.full((len(points), 14), 2, np.uint8), 'given')


PIPELINE = [dict(type='PlacePicture', fill=1.0, side='longer'), dict(type='Warp')]


def dataset(records, **settings):
    return PoseDataset(Given(records), PIPELINE, **{'skeleton': 'lsp', 'input_size': (60, 40), **settings})


def test_batches_are_the_same_with_no_one_and_two_workers(tiny_config):
    """Pixels, joints and matrices of three steps, over the end of an epoch, augmentation on."""
    found = []
    for workers in (0, 1, 2):
        cfg = tiny_config(**{'train_dataloader.num_workers': workers})
        batches = iter(launch.build_loader(cfg, 'train_dataloader', seed=2))
        found.append([next(batches) for _ in range(3)])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert one.draws == other.draws
            for name in ('images', 'keypoints', 'visible', 'matrices', 'centers'):
                assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_sample_follows_from_seed_epoch_and_number_alone(tiny_config):
    cfg = tiny_config()
    make = lambda seed: build_dataset(cfg, cfg['train_dataloader']['dataset'], seed=seed)  # noqa: E731
    one, same, other = make(1), make(1), make(2)
    for _ in range(3):
        one[Draw(0, 5)]  # what was asked before does not matter
    a, b = one[Draw(4, 2)], same[Draw(4, 2)]
    assert np.array_equal(a.inputs, b.inputs)
    assert np.array_equal(a.matrix, b.matrix)
    assert not np.array_equal(a.matrix, one[Draw(5, 2)].matrix)
    assert not np.array_equal(a.matrix, other[Draw(4, 2)].matrix)
    assert not np.array_equal(one[Draw(4, 2)].rng.random(4), one[Draw(4, 3)].rng.random(4))


def test_every_person_is_the_first_of_a_sample_and_a_picture_is_one_sample(picture):
    records = [people(picture, [(10, 10), (30, 20), (50, 30)])]
    each = dataset(records)
    assert [r.keypoints[0, 0].tolist() for r in each.records] == [[10, 10], [30, 20], [50, 30]]
    assert all(len(r.keypoints) == 3 for r in each.records)
    assert len(dataset(records, per='image')) == 1


def test_pictures_of_fewer_people_than_asked_for_are_left_out_and_counted(picture, caplog):
    records = [people(picture, [(10, 10)] * number) for number in (1, 2, 0, 3)]
    with caplog.at_level('INFO', logger='poseplug'):
        several = dataset(records, people=2, per='image')
    assert [len(r.keypoints) for r in several.records] == [2, 3]
    assert '2 pictures of fewer than 2 people' in caplog.text


def test_joints_are_mapped_by_name_and_what_a_source_lacks_is_unlabelled(picture):
    other = dict(name='two', joints=('tail', 'neck', 'right_knee'), limbs=(('tail', 'neck'),), torso=('tail', 'neck'))
    mapped = dataset([people(picture, [(10, 20)])], skeleton=other)
    assert mapped.records[0].visible.tolist() == [[0, 2, 2]]
    assert mapped.records[0].keypoints[0, 1].tolist() == [10, 20]


def test_joints_beyond_the_border_count_as_not_labelled(picture):
    record = people(picture, [(10, 10)])
    record.keypoints[0, :4] = [(-0.5, 0), (-0.6, 0), (59.5, 39.5), (0, 39.6)]
    assert dataset([record])[0].visible[0, :5].tolist() == [2, 0, 2, 0, 2]


def test_observer_centric_labels_never_meet_a_person_centric_skeleton(tiny_data):
    source = dict(type='LSPSource', root=str(tiny_data), labels='observer')
    with pytest.raises(AnnotationError, match='LSPSource labels are observer-centric but .* is person-centric'):
        PoseDataset(source, PIPELINE, skeleton='lsp')
    assert len(PoseDataset(source, PIPELINE, skeleton='lsp_observer')) == 14


def test_several_sources_are_read_one_after_the_other_each_with_its_report(tiny_data):
    sources = [dict(type='LSPSource', root=str(tiny_data), half=half) for half in ('test', 'train')]
    both = PoseDataset(sources, PIPELINE, skeleton='lsp')
    assert [r.kept for r in both.reports] == [4, 10]
    assert both.records[0].id == 'im0011.jpg'


def test_a_report_counts_every_drop():
    report = Report('joints.mat', kept=5, dropped=Counter({'without a labelled joint': 2, 'other': 1}))
    assert report.total == 8
    assert str(report) == 'joints.mat: 5 of 8 people kept; dropped: 1 other, 2 without a labelled joint'


@pytest.mark.parametrize('limit', [0, 2, -1])
def test_a_limit_is_one_sample_at_least_and_all_at_most(picture, limit):
    assert len(dataset([people(picture, [(1, 1)])], limit=1)) == 1
    with pytest.raises(ConfigError, match=f'{limit} samples were asked for, of the 1 that there are'):
        dataset([people(picture, [(1, 1)])], limit=limit)


def test_nobody_to_train_on_is_an_error(picture):
    with pytest.raises(AnnotationError, match='no person is left to train on or test: given: 0 of 0'):
        dataset([])


def test_a_sample_is_a_person_or_a_picture(picture):
    with pytest.raises(ConfigError, match="per is 'person', 'image' or 'center'; got 'crowd'"):
        dataset([people(picture, [(1, 1)])], per='crowd')


def test_a_picture_of_one_pixel_is_an_error(tmp_path):
    cv2.imwrite(str(tmp_path / 'dot.png'), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(ImageError, match=r'dot.png: a picture of 1x1 px'):
        dataset([people(tmp_path / 'dot.png', [(0, 0)])])[0]


def jpeg() -> bytes:
    rng = np.random.default_rng(0)
    return cv2.imencode('.jpg', rng.integers(0, 255, (60, 80, 3), dtype=np.uint8))[1].tobytes()


@pytest.mark.parametrize(('content', 'size'), [
    (b'', '0'),
    (b'This is a text.\n' * 100, '1,600'),
    (jpeg()[: len(jpeg()) // 2], f'{len(jpeg()) // 2:,}'),
    (jpeg()[:20], '20'),
])  # fmt: skip
def test_what_is_not_a_whole_picture_is_an_error_that_names_it(tmp_path, content, size):
    path = tmp_path / 'im0001.jpg'
    path.write_bytes(content)
    with pytest.raises(
        ImageError, match=rf'im0001.jpg: {size} bytes that are not a whole picture; fetch the file again'
    ):
        read_image(path)


def test_an_absent_picture_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ImageError, match=r'im0001.jpg: No such file or directory; restore the file'):
        read_image(tmp_path / 'im0001.jpg')


def test_grey_and_transparent_pictures_become_three_channels_and_stay_unrotated(tmp_path):
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((4, 6), 7, np.uint8))
    cv2.imwrite(str(tmp_path / 'clear.png'), np.full((4, 6, 4), 7, np.uint8))
    for name in ('grey', 'clear'):
        image = read_image(tmp_path / f'{name}.png')
        assert image.shape == (4, 6, 3)
        assert (image == 7).all()


def test_a_bad_picture_stops_training_with_its_name(tiny_config, tiny_data, tmp_path):
    """From a loader worker, too, the message arrives as our own error."""
    cfg = tiny_config(**{'train_dataloader.num_workers': 1})
    loader = launch.build_loader(cfg, 'train_dataloader', 0)
    loader.dataset.records = [replace(r, path=tmp_path / 'gone.jpg') for r in loader.dataset.records]
    with pytest.raises(ImageError, match=r'gone.jpg: No such file'):
        next(iter(loader))


def spoiled(picture, tmp_path, bad, count=6):
    """Records of as many pictures, some of which cannot be read."""
    for i in range(count):
        (tmp_path / f'{i}.png').write_bytes(b'' if i in bad else picture.read_bytes())
    return [people(tmp_path / f'{i}.png', [(9, 9)]) for i in range(count)]


def test_a_bad_picture_is_skipped_where_allowed_counted_once_and_moves_no_other(picture, tmp_path, caplog):
    found = dataset(spoiled(picture, tmp_path, (1, 4, 5)), skip=3)
    for epoch in (0, 1):
        samples = [found[Draw(epoch, i)] for i in range(6)]
        assert [s.record.id for s in samples] == ['0.png', '2.png', '2.png', '3.png', '0.png', '0.png']
        assert [s.draw.sample for s in samples] == [0, 2, 2, 3, 0, 0]
    assert found.skipped == [1, 4, 5]
    assert [m.partition(':')[0] for m in caplog.messages] == [
        'skipped sample 1, 1 of at most 3', 'skipped sample 4, 2 of at most 3', 'skipped sample 5, 3 of at most 3',
    ]  # fmt: skip


def test_one_more_than_allowed_is_an_error(picture, tmp_path):
    found = dataset(spoiled(picture, tmp_path, (1, 4)), skip=1)
    assert found[1].record.id == '2.png'
    with pytest.raises(ImageError, match=r'4.png: 0 bytes .* \(sample 2 that cannot be read; skip=1 allows no more\)'):
        found[4]


def test_without_skip_a_bad_picture_is_an_error(picture, tmp_path):
    found = dataset(spoiled(picture, tmp_path, (1,)))
    with pytest.raises(ImageError, match='1.png: 0 bytes'):
        found[1]
    assert found.skipped == []


def test_where_no_picture_can_be_read_it_is_told(picture, tmp_path):
    found = dataset(spoiled(picture, tmp_path, range(3), 3), skip=3)
    with pytest.raises(ImageError, match='none of 3 samples has a picture that can be read'):
        found[0]


def test_workers_share_the_count_and_batches_do_not_depend_on_them(tiny_config, tiny_data, tmp_path):
    seen = []
    for workers in (0, 2):
        options = {'train_dataloader.num_workers': workers, 'train_dataloader.dataset.skip': 1}
        loader = launch.build_loader(tiny_config(**options), 'train_dataloader', 0)
        records = loader.dataset.records
        records[3] = replace(records[3], path=tmp_path / 'gone.jpg')
        batches = iter(loader)
        seen.append([next(batches).draws for _ in range(5)])
        assert loader.dataset.skipped == [3]
    assert seen[0] == seen[1]


def test_a_test_skips_nothing(tiny_config):
    with pytest.raises(ConfigError, match=r'test_dataloader.dataset.skip: a picture left out of a test'):
        tiny_config(**{'test_dataloader.dataset.skip': 2})


def test_the_size_of_a_picture_comes_from_its_head_and_is_that_of_its_pixels(tmp_path):
    for name in ('a.jpg', 'a.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((31, 57, 3), np.uint8))
        picture = Picture(tmp_path / name)
        assert picture.size == (57, 31)
        assert not picture.decoded
        assert picture.pixels().shape == (31, 57, 3)


def test_kept_pictures_are_decoded_once_and_the_oldest_are_forgotten(tmp_path):
    paths = [tmp_path / f'{i}.png' for i in range(3)]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((4, 6), np.uint8))
    pictures = Pictures(keep=2)
    first = pictures.get(paths[0])
    assert pictures.get(paths[0]) is first
    pictures.get(paths[1])
    pictures.get(paths[2])
    assert [path for path, _ in pictures.kept] == paths[1:]
    assert pictures.get(paths[0]) is not first
    assert Pictures().get(paths[0]) is not Pictures().get(paths[0])


def noise(size=(150, 200), quality=90, **settings) -> bytes:
    """A JPEG file of coloured noise, (H, W)."""
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 255, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8), size[::-1])
    extra = [n for pair in settings.items() for n in (getattr(cv2, pair[0]), pair[1])]
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality, *extra])[1].tobytes()


SAMPLINGS = ('411', '420', '422', '440', '444')


@pytest.mark.parametrize('sampling', SAMPLINGS)
@pytest.mark.parametrize('reduction', [1, 2, 4, 8])
def test_the_upper_rows_of_a_jpeg_file_are_those_of_the_whole_picture(tmp_path, capfd, sampling, reduction):
    path = tmp_path / 'a.jpg'
    kind = getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}')
    path.write_bytes(noise((400, 320), IMWRITE_JPEG_SAMPLING_FACTOR=kind))
    whole = Picture(path).pixels(reduction)
    for rows in (1, 8, 33, 100, 250):
        upper = Picture(path).upper(rows, reduction)
        assert len(whole) > len(upper) >= rows // reduction
        assert np.array_equal(upper[: rows // reduction], whole[: rows // reduction])
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('kept', ['shared', 'few', 'png', 'restarts', 'progressive', 'several'])
def test_a_picture_that_cannot_be_decoded_in_part_is_decoded_whole(tmp_path, kept):
    settings = {'restarts': dict(IMWRITE_JPEG_RST_INTERVAL=1), 'progressive': dict(IMWRITE_JPEG_PROGRESSIVE=1)}
    data = noise((400, 320), **settings.get(kept, {}))
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    path = tmp_path / 'a'
    path.write_bytes(cv2.imencode('.png', whole)[1].tobytes() if kept == 'png' else data)
    if kept == 'several':
        path.write_bytes(data[:2] + b'\xff\xe2\x00\x06MPF\x00' + data[2:])
    assert np.array_equal(Picture(path, shared=kept == 'shared').upper(390 if kept == 'few' else 50), whole)


def test_of_a_file_without_its_end_no_part_is_taken(tmp_path):
    data = noise((400, 320))
    assert shortened(data, 50) is not None
    assert shortened(data[:-2], 50) is None
    assert shortened(data[:40], 50) is None
    assert shortened(b'', 50) is None


def test_the_head_of_a_jpeg_file_may_hold_fill_bytes_and_lie(tmp_path):
    data = noise((40, 60))
    assert jpeg_size(data[:2] + b'\xff\xff' + data[2:]) == (60, 40)
    assert jpeg_size(data[:2] + b'\xff\xe1\x00\x00' + data[2:]) is None
    assert jpeg_size(data[:30]) is None
    assert jpeg_size(b'') is None
