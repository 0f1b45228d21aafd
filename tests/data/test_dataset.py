"""From records to batches: the same numbers with any number of workers, and unreadable images skipped or refused."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from poseplug.config.build import build_dataset
from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.core.sample import Record, SampleKey
from poseplug.data.collate import collate
from poseplug.data.dataset import PoseDataset
from poseplug.data.sources.base import Source, SourceReport
from poseplug.engine import dataloaders
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record


class GivenRecords(Source):
    """Returns the records that it was created with."""

    def __init__(self, records, skeleton=LSP):
        self.records, self.skeleton = records, skeleton

    def load(self):
        return self.records, SourceReport('given', kept=len(self.records))


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / 'gray.png'
    cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
    return path


def make_record(path, points, name='') -> Record:
    """A record of one instance per point, with all keypoints there."""
    keypoints = np.tile(np.reshape(points, (-1, 1, 2)).astype(np.float32), (1, 14, 1))
    return create_annotated_record(path, name or path.name, keypoints, np.full((len(points), 14), 2, np.uint8), 'given')


PIPELINE = [dict(type='LetterboxImage', fill_fraction=1.0, side='longer'), dict(type='Warp')]


def build_from_records(records, **settings):
    return PoseDataset(GivenRecords(records), PIPELINE, **{'skeleton': 'lsp', 'input_size': (60, 40), **settings})


def test_batches_are_the_same_with_no_one_and_two_workers(tiny_config):
    """Pixels, keypoints and matrices of three steps, over the end of an epoch, augmentation on."""
    batches_by_workers = []
    for num_workers in (0, 1, 2):
        cfg = tiny_config(**{'train_dataloader.num_workers': num_workers})
        batches = iter(dataloaders.build_dataloader(cfg, 'train_dataloader', seed=2))
        batches_by_workers.append([next(batches) for _ in range(3)])
    for others in batches_by_workers[1:]:
        for one, other in zip(batches_by_workers[0], others, strict=True):
            assert one.keys == other.keys
            for name in ('images', 'keypoints', 'visible', 'image_to_input', 'centers'):
                assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_a_sample_follows_from_seed_epoch_and_index_alone(tiny_config):
    cfg = tiny_config()
    one, same, other = (build_dataset(cfg, cfg['train_dataloader']['dataset'], seed=seed) for seed in (1, 1, 2))
    for _ in range(3):
        one[SampleKey(0, 5)]  # what was requested before does not matter
    a, b = one[SampleKey(4, 2)], same[SampleKey(4, 2)]
    assert np.array_equal(a.inputs, b.inputs)
    assert np.array_equal(a.image_to_input, b.image_to_input)
    assert not np.array_equal(a.image_to_input, one[SampleKey(5, 2)].image_to_input)
    assert not np.array_equal(a.image_to_input, other[SampleKey(4, 2)].image_to_input)
    assert not np.array_equal(one[SampleKey(4, 2)].rng.random(4), one[SampleKey(4, 3)].rng.random(4))


@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_plain_loader_of_torch_augments_anew_in_each_epoch(tiny_config, num_workers):
    cfg = tiny_config()
    dataset = build_dataset(cfg, cfg.train_dataloader.dataset)
    loader = DataLoader(dataset, batch_size=5, num_workers=num_workers, collate_fn=collate)
    epochs = [torch.cat([batch.images for batch in loader]) for _ in range(3)]
    assert not any(a.equal(b) for i, a in enumerate(epochs) for b in epochs[:i])
    for epoch, images in enumerate(epochs):
        expected = [dataset[SampleKey(epoch, index)] for index in range(len(dataset))]
        assert collate(expected).images.equal(images)


def test_a_loop_over_a_data_set_ends_and_negative_indices_count_from_its_end(tiny_config):
    cfg = tiny_config()
    dataset = build_dataset(cfg, cfg.train_dataloader.dataset)
    assert [sample.key.sample_index for sample in dataset] == list(range(10))
    assert dataset[-1].key == SampleKey(1, 9)
    with pytest.raises(IndexError, match='sample 10 of a data set of 10 samples'):
        dataset[10]


def test_every_instance_is_the_first_of_a_sample_and_an_image_is_one_sample(image_file):
    records = [make_record(image_file, [(10, 10), (30, 20), (50, 30)])]
    top_down = build_from_records(records)
    assert [r.instances.keypoints[0, 0].tolist() for r in top_down.records] == [[10, 10], [30, 20], [50, 30]]
    assert all(len(r.instances) == 3 for r in top_down.records)
    assert len(build_from_records(records, data_mode='bottomup')) == 1


@pytest.mark.parametrize('crop', ['CropBox', 'CropByScale', 'CropFullHeight'])
def test_whole_images_are_not_cropped_to_their_first_instance(image_file, crop):
    records = [make_record(image_file, [(10, 10), (30, 20)])]
    by_source = dict(type='TransformBySource', transforms=dict(given=dict(type=crop)))
    for step in (dict(type=crop), by_source):
        with pytest.raises(
            ConfigError, match=f"{crop} crops a subject, but with data_mode='bottomup' .* LetterboxImage"
        ):
            PoseDataset(GivenRecords(records), [step, dict(type='Warp')], 'lsp', (60, 40), data_mode='bottomup')
        PoseDataset(GivenRecords(records), [step, dict(type='Warp')], 'lsp', (60, 40))


def test_images_with_fewer_instances_than_required_are_left_out_and_counted(image_file, caplog):
    records = [make_record(image_file, [(10, 10)] * count, f'{count}') for count in (1, 2, 0, 3)]
    with caplog.at_level('INFO', logger='poseplug'):
        crowded = build_from_records(records, min_instances=2, data_mode='bottomup')
    assert [len(r.instances) for r in crowded.records] == [2, 3]
    assert '2 images with fewer than 2 instances' in caplog.text


def test_keypoints_are_mapped_by_name_and_what_a_source_lacks_is_unlabeled(image_file):
    other = dict(
        name='two', keypoints=('tail', 'neck', 'right_knee'), limbs=(('tail', 'neck'),), torso=('tail', 'neck')
    )
    mapped = build_from_records([make_record(image_file, [(10, 20)])], skeleton=other)
    assert mapped.records[0].instances.visible.tolist() == [[0, 2, 2]]
    assert mapped.records[0].instances.keypoints[0, 1].tolist() == [10, 20]


def test_keypoints_beyond_the_border_count_as_not_labeled(image_file):
    record = make_record(image_file, [(10, 10)])
    record.instances.keypoints[0, :4] = [(-0.5, 0), (-0.6, 0), (59.5, 39.5), (0, 39.6)]
    assert build_from_records([record])[0].visible[0, :5].tolist() == [2, 0, 2, 0, 2]


def test_observer_centric_labels_never_meet_a_person_centric_skeleton(tiny_data):
    source = dict(type='LSPSource', data_root=str(tiny_data), label_centric='observer')
    with pytest.raises(AnnotationError, match='LSPSource labels are observer-centric but .* is person-centric'):
        PoseDataset(source, PIPELINE, skeleton='lsp')
    assert len(PoseDataset(source, PIPELINE, skeleton='lsp_observer')) == 14


def test_several_sources_are_read_one_after_the_other_each_with_its_report(tiny_data):
    sources = [dict(type='LSPSource', data_root=str(tiny_data), split=split) for split in ('test', 'train')]
    both = PoseDataset(sources, PIPELINE, skeleton='lsp')
    assert [r.kept for r in both.reports] == [4, 10]
    assert both.records[0].id == 'im0011.jpg'


def test_a_report_counts_every_drop():
    report = SourceReport('joints.mat', kept=5, dropped=Counter({'without labeled keypoints': 2, 'other': 1}))
    assert report.total == 8
    assert str(report) == 'joints.mat: 5 of 8 instances kept; dropped: 1 other, 2 without labeled keypoints'


@pytest.mark.parametrize('limit', [0, 2, -1, 0.5])
def test_a_limit_is_from_one_sample_to_all(image_file, limit):
    assert len(build_from_records([make_record(image_file, [(1, 1)])], limit=1)) == 1
    with pytest.raises(ConfigError, match=f'{limit} samples were requested, but the data set has 1; request 1 to 1'):
        build_from_records([make_record(image_file, [(1, 1)])], limit=limit)


def test_no_instances_to_train_on_is_an_error():
    with pytest.raises(AnnotationError, match='no instances are left to train on or test: given: 0 of 0'):
        build_from_records([])


def test_an_unknown_data_mode_is_an_error(image_file):
    with pytest.raises(ConfigError, match="data_mode is 'topdown', 'bottomup' or 'bottomup_centered'; got 'crowd'"):
        build_from_records([make_record(image_file, [(1, 1)])], data_mode='crowd')


def test_an_image_of_one_pixel_is_an_error(tmp_path):
    cv2.imwrite(str(tmp_path / 'dot.png'), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(ImageError, match=r'dot.png: the image has 1x1 px'):
        build_from_records([make_record(tmp_path / 'dot.png', [(0, 0)])])[0]


def test_an_unreadable_image_stops_training_with_its_name(tiny_config, tiny_data, tmp_path):
    """From a loader worker, too, the message arrives as our own error."""
    cfg = tiny_config(**{'train_dataloader.num_workers': 1})
    loader = dataloaders.build_dataloader(cfg, 'train_dataloader', 0)
    loader.dataset.records = [replace(r, path=tmp_path / 'gone.jpg') for r in loader.dataset.records]
    with pytest.raises(ImageError, match=r'gone.jpg: No such file'):
        next(iter(loader))


def write_images(image_file, tmp_path, unreadable, count=6):
    """Records of `count` images, of which some cannot be read."""
    for i in range(count):
        (tmp_path / f'{i}.png').write_bytes(b'' if i in unreadable else image_file.read_bytes())
    return [make_record(tmp_path / f'{i}.png', [(9, 9)]) for i in range(count)]


def test_an_unreadable_image_is_skipped_where_allowed_counted_once_and_moves_no_other(image_file, tmp_path, caplog):
    dataset = build_from_records(write_images(image_file, tmp_path, (1, 4, 5)), max_skipped=3)
    for epoch in (0, 1):
        samples = [dataset[SampleKey(epoch, i)] for i in range(6)]
        assert [s.record.id for s in samples] == ['0.png', '2.png', '2.png', '3.png', '0.png', '0.png']
        assert [s.key.sample_index for s in samples] == [0, 2, 2, 3, 0, 0]
    assert dataset.skipped_samples == [1, 4, 5]
    assert [m.partition(':')[0] for m in caplog.messages] == [
        'skipped sample 1, 1 of at most 3', 'skipped sample 4, 2 of at most 3', 'skipped sample 5, 3 of at most 3',
    ]  # fmt: skip


def test_one_more_than_allowed_is_an_error(image_file, tmp_path):
    dataset = build_from_records(write_images(image_file, tmp_path, (1, 4)), max_skipped=1)
    assert dataset[1].record.id == '2.png'
    message = r'4.png: 0 bytes .* \(sample 2 that cannot be read; max_skipped=1 allows no more\)'
    with pytest.raises(ImageError, match=message):
        dataset[4]


def test_without_max_skipped_an_unreadable_image_is_an_error(image_file, tmp_path):
    dataset = build_from_records(write_images(image_file, tmp_path, (1,)))
    with pytest.raises(ImageError, match='1.png: 0 bytes'):
        dataset[1]
    assert dataset.skipped_samples == []


def test_a_data_set_without_any_readable_image_is_an_error(image_file, tmp_path):
    dataset = build_from_records(write_images(image_file, tmp_path, range(3), 3), max_skipped=3)
    with pytest.raises(ImageError, match='none of 3 samples has an image that can be read'):
        dataset[0]


def test_workers_count_together_and_batches_do_not_depend_on_them(tiny_config, tiny_data, tmp_path):
    keys_by_workers = []
    for num_workers in (0, 2):
        options = {'train_dataloader.num_workers': num_workers, 'train_dataloader.dataset.max_skipped': 1}
        loader = dataloaders.build_dataloader(tiny_config(**options), 'train_dataloader', 0)
        records = loader.dataset.records = list(loader.dataset.records)
        records[3] = replace(records[3], path=tmp_path / 'gone.jpg')
        batches = iter(loader)
        keys_by_workers.append([next(batches).keys for _ in range(5)])
        assert loader.dataset.skipped_samples == [3]
    assert keys_by_workers[0] == keys_by_workers[1]


def test_a_test_skips_nothing(tiny_config):
    with pytest.raises(ConfigError, match=r'test_dataloader.dataset.max_skipped: an image .* of a test'):
        tiny_config(**{'test_dataloader.dataset.max_skipped': 2})


@pytest.mark.parametrize('transform', ['RandomFlip', 'Mosaic', 'MixUp', 'RandomCut', 'PasteInstance'])
def test_a_test_changes_nothing_that_its_images_show(tiny_config, transform):
    pipeline = tiny_config().test_dataloader.dataset.pipeline
    options = {'test_dataloader.dataset.pipeline': [*pipeline, dict(type=transform)]}
    with pytest.raises(ConfigError, match=f'{transform} changes what a test image shows; leave it out'):
        tiny_config(**options)
