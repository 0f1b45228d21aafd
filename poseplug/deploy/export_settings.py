"""What an exported file says about itself: skeleton, crop, codec and where its weights come from."""

from __future__ import annotations

__all__ = ['ExportOptions', 'collect_crop_settings', 'collect_export_settings', 'hash_weights']

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as list_dataclass_fields
from typing import Any, Literal

import cv2
import numpy as np
import torch

from poseplug.codecs.base import Codec, MapCodec
from poseplug.codecs.paf import PAF
from poseplug.codecs.tags import Tags
from poseplug.core.errors import ConfigError
from poseplug.core.version import __version__
from poseplug.data.transforms.base import Transform
from poseplug.data.transforms.cropping import CropBox, LetterboxImage
from poseplug.data.transforms.full_image import FitImage, MultiScaleImage
from poseplug.data.transforms.warp import MultiScaleCrop, Warp
from poseplug.predict.input_samples import SampleBuilder

FORMAT_VERSION = 2  # 1 had one-stage models alone, and nothing about the crop
_INTERPOLATION_NAMES = {cv2.INTER_LINEAR: 'linear', cv2.INTER_CUBIC: 'cubic', cv2.INTER_AREA: 'area'}
_VIEW_TRANSFORMS = (MultiScaleCrop, MultiScaleImage)  # the file has one view, of scale 1


@dataclass(frozen=True)
class ExportOptions:
    """Options for what an exported file contains besides the network and its decoding.

    Attributes:
        flip_test: average the fields with those of the flipped input, inside the graph.
        input_type: of the images, 'uint8' or 'float32'; both are BGR from 0 to 255, and normalized inside the graph.
        crop: how images and boxes meet the input, as `collect_crop_settings` returns it; None for whole images that are
            letterboxed by the caller.
        model_name: names of the config and the weights.
        license: of the weights, if it is known.
    """

    flip_test: bool = False
    input_type: Literal['uint8', 'float32'] = 'uint8'
    crop: Mapping[str, Any] | None = None
    model_name: str = ''
    license: str | None = None

    def __post_init__(self) -> None:
        if self.input_type not in ('uint8', 'float32'):
            raise ConfigError(f"the input of an exported model is 'uint8' or 'float32'; got {self.input_type!r}")

    @property
    def torch_type(self) -> torch.dtype:
        """The type of the images."""
        return torch.uint8 if self.input_type == 'uint8' else torch.float32


def collect_crop_settings(model: Any, pipeline: Sequence[Any]) -> dict[str, Any]:
    """Describe how a test pipeline crops, so that a runtime can do the same.

    Args:
        model: the estimator.
        pipeline: the transforms of the config's test data.

    Returns:
        `box`: padding and crop rule of an instance with a box, None for a model that finds instances; `image`: how a
        whole image is fitted, as the settings of `core.crops` under a `type`, 'box', 'letterbox' or 'fit';
        `interpolation` and `fill_color`.

    Raises:
        ConfigError: the pipeline has a transform that a runtime cannot repeat.
    """
    # the same object that prepares images for `Predictor`, so that the two cannot differ
    builder = SampleBuilder(model.skeleton, pipeline, model.codec)
    boxes, images = (_sort_transforms(transforms) for transforms in (builder.box_pipeline, builder.image_pipeline))
    warp = images['warp']
    crop_box = boxes.get('crop')
    box = None
    if isinstance(crop_box, CropBox) and not model.finds_instances:
        box = {'padding': crop_box.padding, 'crop_rule': crop_box.crop_rule}
    return {
        'box': box,
        'image': {'type': 'box'} if builder.whole_image_is_box else _describe_image_crop(images.get('crop')),
        'interpolation': _INTERPOLATION_NAMES[warp.interpolation_flag],
        'fill_color': list(warp.fill_color),
    }


def _sort_transforms(transforms: Sequence[Any]) -> dict[str, Any]:
    """The crop and the warp of a pipeline, by these names."""
    roles: dict[str, Any] = {}
    for transform in transforms:
        if isinstance(transform, Warp):
            roles['warp'] = transform
        elif isinstance(transform, CropBox | LetterboxImage | FitImage) or getattr(
            transform, 'needs_annotation', False
        ):
            roles['crop'] = transform
        elif not isinstance(transform, _VIEW_TRANSFORMS):
            name = type(transform).__name__
            raise ConfigError(
                f'the test pipeline has {name}, which an exported model cannot repeat; leave it out with '
                f'--cfg-options, or crop the images yourself'
            )
    if 'warp' not in roles:
        raise ConfigError('the test pipeline has no Warp, which cuts out the input of the network; add it')
    return roles


def _read_settings(transform: Transform, *names: str) -> dict[str, Any]:
    return {name: getattr(transform, name) for name in names}


def _describe_image_crop(transform: Transform | None) -> dict[str, Any]:
    """The settings of the transform that fits a whole image."""
    if isinstance(transform, LetterboxImage):
        return {'type': 'letterbox', **_read_settings(transform, 'fill_fraction', 'side', 'crop_rule')}
    if isinstance(transform, FitImage):
        return {'type': 'fit', **_read_settings(transform, 'side', 'size_divisor', 'max_side', 'crop_rule')}
    name = 'nothing' if transform is None else type(transform).__name__
    raise ConfigError(
        f'the test pipeline fits whole images by {name}; an exported model needs LetterboxImage or FitImage'
    )


def collect_export_settings(model: Any, kind: str, options: ExportOptions) -> dict[str, Any]:
    """Collect the metadata of an exported file.

    Args:
        model: the estimator.
        kind: 'top_down', 'one_stage', 'paf' or 'tags'.
        options: of the export.

    Returns:
        Plain values for JSON.
    """
    codec = model.codec
    return {
        **_describe_codec(codec),
        'format': FORMAT_VERSION,
        'kind': kind,
        'keypoint_names': list(model.skeleton.keypoints),
        'skeleton': {name: _to_plain(value) for name, value in asdict(model.skeleton).items()},
        'input_size': list(codec.input_size),
        'input_type': options.input_type,
        'flip_test': options.flip_test,
        'precision': 'float32',
        'crop': None if options.crop is None else dict(options.crop),
        'score_meaning': codec.score_meaning,
        'model': options.model_name,
        'license': options.license,
        'weights_sha256': hash_weights(model),
        'poseplug': __version__,
    }


def _describe_codec(codec: Codec) -> dict[str, Any]:
    """The type of a codec and its settings; of one that groups also the rules and the grid, which the runtime needs."""
    names = [each.name for each in list_dataclass_fields(codec) if each.name not in ('skeleton', 'input_size')]
    settings = {name: _to_plain(getattr(codec, name)) for name in names}
    described: dict[str, Any] = {'codec': type(codec).__name__, **settings}
    if isinstance(codec, PAF | Tags):
        described['rules'] = asdict(codec.rules)
    if isinstance(codec, Tags):
        described['keypoint_order'] = list(codec.keypoint_order_indices)
    if isinstance(codec, MapCodec):
        # an aligned grid has a stride for each axis, see `_find_cell_strides`
        described |= {'aligned': isinstance(codec.grid.stride, tuple), 'offset': codec.grid.offset}
    return described


def _to_plain(value: Any) -> Any:
    """A value as JSON has them; anything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def hash_weights(model: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights: of the name, the shape and the bytes of each, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        # the shape separates weights whose bytes are equal
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype};'.encode())
        # as bytes, since NumPy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
