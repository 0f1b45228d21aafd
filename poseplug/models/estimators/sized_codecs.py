"""One codec for inputs of every size, for networks that accept images of any size."""

from __future__ import annotations

from dataclasses import replace

from poseplug.codecs.base import Codec
from poseplug.core.geometry import Size


class SizedCodecs:
    """Copies of a codec for other input sizes, each made once.

    Args:
        codec: The codec of the config's input size.
    """

    def __init__(self, codec: Codec):
        self.codec = codec
        self._codecs: dict[Size, Codec] = {codec.input_size: codec}

    def get_codec(self, input_size: Size) -> Codec:
        """Return the codec of inputs of a size, (width, height) px."""
        if input_size not in self._codecs:
            # Kept, since building one costs more than a look-up, and sizes recur from batch to batch.
            self._codecs[input_size] = replace(self.codec, input_size=input_size)
        return self._codecs[input_size]
