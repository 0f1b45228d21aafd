"""A predictor without a network, which does to its process what the name of an image says."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np

from poseplug.core.skeleton import Skeleton
from poseplug.predict.result import Result

SKELETON = Skeleton(
    name='pair', keypoints=('left', 'right'), limbs=(('left', 'right'),), flip_pairs=(('left', 'right'),)
)


class FakePredictor:
    """Predicts an instance whose first keypoint is the mean color of the image; none in dark images."""

    name, skeleton, detector, finds_instances, score_meaning = 'fake', SKELETON, None, True, 'none'

    def __init__(
        self, once_file: Path | None = None, kills_driver: bool = False, seconds: float = 0.0, device: str = ''
    ):
        self.name += device
        self.once_file, self.kills_driver, self.seconds = once_file, kills_driver, seconds

    def stream_pairs(self, pairs, batch_size=32, box_format='xywh'):
        for image, _ in pairs:
            time.sleep(self.seconds)
            if 'kills' in image.path.name:
                os.kill(os.getpid(), signal.SIGKILL)
            if 'hangs' in image.path.name:
                time.sleep(1000)
            if 'raises' in image.path.name:
                raise ValueError('not this image')
            # the first time that the fifth image or a later one is predicted
            if self.once_file is not None and not self.once_file.exists() and image.path.stem > '4':
                self.once_file.touch()
                os.kill(os.getppid() if self.kills_driver else os.getpid(), signal.SIGKILL)
            yield predict_image(image)


def predict_image(image) -> Result:
    height, width = image.pixels.shape[:2]
    color = image.pixels.mean(axis=(0, 1))
    count = int(color[0] > 20)
    keypoints = np.tile(np.array([[color[:2], color[1:]]]), (count, 1, 1))
    scores = np.ones((count, 2))
    return Result(
        keypoints=keypoints,
        keypoint_scores=scores,
        instance_scores=scores[:, 0],
        skeleton=SKELETON,
        path=image.path,
        image_size=(width, height),
        read_pixels=lambda: image.pixels,
    )


def create_fake(once_file: Path | None = None, kills_driver: bool = False, seconds: float = 0.0):
    """A function that builds the predictor in a worker, which once ends itself or its driver."""
    return partial(FakePredictor, once_file, kills_driver, seconds)
