"""One person a crop: the crop is cut by a matrix, the joints come back through its inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from poseplug.codecs.base import Codec
from poseplug.errors import MismatchError
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.fusion import fuse_views
from poseplug.models.estimators.views import Views
from poseplug.poses import Poses
from poseplug.registry import MODELS
from poseplug.sample import Batch, Record


class Crops(Views):
    """How a network predicts the subject of each crop, with the codec and the decoder of a `TopDown`.

    A batch with several views of each picture (scales) is fused in the picture's own frame before decoding. Each
    prediction carries its subject's box and number, where the record knows them.
    """

    decode: Any

    def people(self, views: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """The subject of every crop, in image pixels, from the fields of its views."""
        found = fuse_views(self.codec, views, batch) if len(views) > 1 else self.decode(views[0], batch)
        if not batch.records:  # pictures of nowhere, as in a benchmark
            return found
        return [named(poses, record) for poses, record in zip(found, batch.records, strict=True)]


@MODELS.register_module()
class TopDown(Crops, Estimator):
    """Predicts the subject of each crop. `flip_test` averages the fields with those of the mirrored crop."""

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test
        check_crops(type(self).__name__, self.codec)


def check_crops(estimator: str, codec: Codec) -> None:
    """Raise a MismatchError where a codec's people are those of a whole picture, by their boxes."""
    if codec.kind == 'people':
        raise MismatchError(
            f'{estimator} reads the subject of each crop, but {type(codec).__name__} finds everybody in a picture; set '
            f'model.type=OneStage, or model.codec.type to a codec of one person'
        )


def named(poses: Poses, record: Record) -> Poses:
    """The one person of a crop with the subject's box and its number among the annotations, where these are known."""
    if len(poses) != 1 or poses.boxes is not None:
        return poses
    return replace(
        poses,
        boxes=None if record.boxes is None else np.asarray(record.boxes[:1], np.float32),
        ids=None if record.numbers is None else np.asarray(record.numbers[:1]),
    )
