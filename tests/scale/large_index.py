"""Generates an index of shards with as many images as wanted, and measures how a data set on it is opened.

Run: python -m tests.scale.large_index FOLDER [NUMBER_OF_IMAGES]
"""

import hashlib
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from poseplug.data.dataset import PoseDataset
from poseplug.data.samplers import ShardBatchSampler
from poseplug.data.shard_index import INDEX_FILES, INFO_FILE, _compute_checksum
from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.shards import ShardSource
from poseplug.data.synthetic import write_coco

IMAGES_PER_SHARD = 1600  # of 165 kB, which is the mean of COCO, in 256 MiB
PIPELINE = [dict(type='CropBox'), dict(type='Warp')]


def write_large_set(folder: Path, num_images: int) -> Path:
    """Write shards of few images, each under many ids and in many links to one file."""
    source = CocoSource(write_coco(folder / 'coco', num_train=50, num_val=1))
    shards = write_shards(source.load()[0], source.skeleton, folder / 'shards')
    info = json.loads((shards / INFO_FILE).read_text())
    with np.load(shards / 'index.npz') as columns:
        small = dict(columns)
    images, instances = (np.load(shards / name) for name in INDEX_FILES[1:3])
    num_repeats = -(-num_images // len(images))
    counts = np.tile(small['num_instances'], num_repeats)[:num_images]
    shard_numbers = np.arange(num_images, dtype=np.int32) // IMAGES_PER_SHARD
    dtype = [(name, '<U12' if name == 'id' else images.dtype[name]) for name in images.dtype.names]
    rows = np.tile(images, num_repeats)[:num_images].astype(dtype)
    rows['id'] = np.arange(num_images).astype('<U12')
    rows['first_instance'] = np.cumsum(counts) - counts
    instance_rows = np.tile(instances, num_repeats)[: counts.sum()]
    for row, first, count in zip(rows, rows['first_instance'].tolist(), counts.tolist(), strict=True):
        row['crc32'] = _compute_checksum(row, instance_rows[first : first + count], b'')
    buffer = io.BytesIO()
    numbers = np.zeros(num_images, dtype=np.uint16)
    np.savez(buffer, num_instances=counts, shards=shard_numbers, source_numbers=numbers, sources=small['sources'])
    (shards / 'index.npz').write_bytes(buffer.getvalue())
    np.save(shards / 'images.npy', rows)
    np.save(shards / 'instances.npy', instance_rows)
    for stated in info['index']:
        content = (shards / stated['name']).read_bytes()
        stated.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (first_shard,) = info['shards']
    info['shards'] = [{**first_shard, 'name': f'shard-{number:06}.tar'} for number in range(shard_numbers[-1] + 1)]
    for shard in info['shards'][1:]:
        os.link(shards / first_shard['name'], shards / shard['name'])
    (shards / INFO_FILE).write_text(json.dumps(info))
    return shards


def measure_first_sample(shards: Path) -> tuple[float, float, PoseDataset]:
    """Seconds of processor time until the first sample of a shuffled epoch, the growth of memory in MB, the data."""
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    dataset = PoseDataset(ShardSource(shards), PIPELINE, 'coco', (192, 256))
    batches = iter(ShardBatchSampler(dataset.records.number_files(), batch_size=32, buffer_size=8))
    key = next(batches)[0]
    sample = dataset[key]
    seconds = time.process_time() - start
    assert sample.inputs.shape == (1, 256, 192, 3)
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024, dataset


if __name__ == '__main__':
    folder, num_images = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10**6
    if not (folder / 'shards').exists():
        write_large_set(folder, num_images)
        sys.exit('written; run the command again, whose memory is then that of opening')
    seconds, megabytes, dataset = measure_first_sample(folder / 'shards')
    size = sum((folder / 'shards' / name).stat().st_size for name in INDEX_FILES)
    print(
        f'{len(dataset):,} samples; {size / 1e6:,.0f} MB of index; first sample in {seconds:.2f} s, {megabytes:,.0f} MB'
    )
