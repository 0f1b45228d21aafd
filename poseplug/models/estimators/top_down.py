"""One person a crop: the crop is cut by a matrix, the joints come back through its inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from poseplug.codecs.base import Codec
from poseplug.core.errors import MismatchError
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch, Record
from poseplug.models.estimators.augmentation import TTAMixin
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.fusion import fuse_views
from poseplug.registry import MODELS


class TopDownMixin(TTAMixin):
    """How a network predicts the subject of each crop, with the codec and the decoder of a `TopDown`.

    A batch with several views of each picture (scales) is fused in the picture's own frame before decoding. Each
    prediction carries its subject's box and number, where the record knows them.
    """

    decode: Any

    def decode_views(self, view_fields: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
        """The subject of every crop, in image pixels, from the fields of its views."""
        found = (
            fuse_views(self.codec, view_fields, batch) if len(view_fields) > 1 else self.decode(view_fields[0], batch)
        )
        if not batch.records:  # pictures of nowhere, as in a benchmark
            return found
        return [_attach_boxes_and_ids(poses, record) for poses, record in zip(found, batch.records, strict=True)]


@MODELS.register_module()
class TopDown(TopDownMixin, Estimator):
    """Predicts the subject of each crop. `flip_test` averages the fields with those of the mirrored crop."""

    def __init__(self, *args: Any, flip_test: bool = False, **parts: Any):
        super().__init__(*args, **parts)
        self.flip_test = flip_test
        check_top_down_codec(type(self).__name__, self.codec)


def check_top_down_codec(estimator_name: str, codec: Codec) -> None:
    """Raise a MismatchError where a codec's people are those of a whole picture, by their boxes."""
    if codec.field_kind == 'instances':
        raise MismatchError(
            f'{estimator_name} reads the subject of each crop, but {type(codec).__name__} finds everybody in a '
            f'picture; set model.type=OneStage, or model.codec.type to a codec of one person'
        )


def _attach_boxes_and_ids(poses: Poses, record: Record) -> Poses:
    """The one person of a crop with the subject's box and its number among the annotations, where these are known."""
    if len(poses) != 1 or poses.boxes is not None:
        return poses
    return replace(
        poses,
        boxes=None if record.boxes is None else np.asarray(record.boxes[:1], np.float32),
        ids=None if record.annotation_ids is None else np.asarray(record.annotation_ids[:1]),
    )
