"""The contract of a codec whose decoding is exported together with the network."""

from __future__ import annotations

__all__ = ['DecodeModule', 'ExportContract']

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from poseplug.codecs.base import Codec
from poseplug.core.skeleton import Skeleton
from poseplug.testing.base import Contract
from poseplug.testing.codec import decode_to_tensors
from poseplug.testing.samples import SMALL_SKELETON, create_random_fields


class ExportContract(Contract):
    """The law of a codec that exports with the network, beside `CodecContract` (about a second).

    `build_part(skeleton)` returns the codec.

    Attributes:
        skeleton: Skeleton of the codec under test.

    Example:
        >>> from poseplug.codecs.msra import MSRAHeatmap
        >>> class TestExport(ExportContract):
        ...     def build_part(self, skeleton):
        ...         return MSRAHeatmap(skeleton, (64, 96))
        >>> TestExport().build_part(SMALL_SKELETON).fields
        {'heatmap': 3}
    """

    skeleton: ClassVar[Skeleton] = SMALL_SKELETON

    def build_part(self, skeleton: Skeleton) -> Codec:
        return super().build_part(skeleton)

    def test_decoding_exports(self) -> None:
        """Decoding is exported for any number of images."""
        codec = self.build_part(self.skeleton)
        decoder, fields = DecodeModule(codec), create_random_fields(codec, 2)
        # The batch is dynamic, everything else fixed, as in the files that `poseplug export` writes.
        shapes = ({name: {0: torch.export.Dim.DYNAMIC} for name in fields},)
        program = torch.export.export(decoder, (fields,), dynamic_shapes=shapes)
        # Neither is the number of images with which it was traced: a fixed 2 in the graph is noticed.
        for count in (1, 3):
            others = create_random_fields(codec, count)
            assert_close(program.module()(others), decoder(others))


class DecodeModule(nn.Module):
    """The decoding of a codec as a module, the form that an exporter accepts.

    Args:
        codec: whose fields are decoded.
    """

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec

    def forward(self, fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Decode fields (B, C, ...) to keypoints (N, K, 2) in input pixels and keypoint scores (N, K)."""
        return decode_to_tensors(self.codec, fields)
