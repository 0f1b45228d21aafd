"""A set of a million images is opened without building a record, and its samples are those of a small set."""

import os

import numpy as np
import pytest

from poseplug.data.dataset import PoseDataset
from poseplug.data.shard_index import ShardIndex
from poseplug.data.sources.shards import ShardSource
from tests.scale import large_index


def test_only_the_records_of_requested_samples_are_built(tmp_path, monkeypatch):
    built, build_record = [], ShardIndex.build_record
    monkeypatch.setattr(
        ShardIndex, 'build_record', lambda self, index: built.append(index) or build_record(self, index)
    )
    shards = large_index.write_large_set(tmp_path, num_images=4000)
    dataset = PoseDataset(ShardSource(shards), large_index.PIPELINE, 'coco', (192, 256))
    assert len(dataset) > 4000
    assert built == []
    last = dataset[len(dataset) - 1]
    assert built == [3999]
    assert last.record.id == '3999'
    # image 3,999 is image 49 of the 50 that were written, under another id
    small = [record for record in dataset.records[: len(dataset) // 40] if record.id == '49']
    assert np.array_equal(last.record.instances.boxes, small[-1].instances.boxes)


@pytest.mark.slow
def test_the_first_sample_of_a_million_images_takes_half_a_second(tmp_path):
    shards = large_index.write_large_set(tmp_path, num_images=10**6)
    if pid := os.fork():  # in a process of its own, which has not the memory of the generator
        assert os.waitpid(pid, 0)[1] == 0
        return
    seconds, megabytes, dataset = large_index.measure_first_sample(shards)
    print(f'{len(dataset):,} samples: first one after {seconds:.2f} s, {megabytes:.0f} MB')
    os._exit(len(dataset) < 10**6 or seconds > 0.5 or megabytes > 400)
