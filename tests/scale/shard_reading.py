"""Measures the processor time of reading and decoding images from files and from shards, in turns.

Run: python -m tests.scale.shard_reading LSPET_FOLDER [NUMBER_OF_IMAGES]
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from poseplug.data.shard_writer import write_shards
from poseplug.data.sources.lsp import LSPETSource
from poseplug.data.sources.shards import ShardSource
from poseplug.files.images import read_image

NUM_ROUNDS = 5


def measure_reading(records) -> float:
    """Milliseconds of processor time per image."""
    start = time.process_time()
    for record in records:
        read_image(record.path, byte_range=record.byte_range)
    return (time.process_time() - start) * 1000 / len(records)


if __name__ == '__main__':
    source, num_images = LSPETSource(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    files = list(source.load()[0])[:num_images]
    with tempfile.TemporaryDirectory() as folder:
        shards = list(ShardSource(write_shards(files, source.skeleton, Path(folder) / 'shards')).load()[0])
        order = random.Random(0).sample(range(len(files)), len(files))
        pairs = [
            (measure_reading([files[i] for i in order]), measure_reading([shards[i] for i in order]))
            for _ in range(NUM_ROUNDS)
        ]
    per_file, per_shard = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(in_files / in_shards for in_files, in_shards in pairs)
    print(f'{per_file:.3f} ms per image from files, {per_shard:.3f} ms from shards: {ratio:.2f} of the speed of files')
