"""One backbone and one decoder a data set, trained together (Xu et al. 2022, arXiv:2204.12484, joint training)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.base import IMAGENET_NORM, PartConfig, PoseDecoder, source_indices_of
from poseplug.models.estimators.top_down import TopDownMixin, check_top_down_codec
from poseplug.models.layers.conv import InputNorm
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton


@MODELS.register_module()
class MultiTopDown(TopDownMixin, nn.Module):
    """`decoders` maps a name to its skeleton, the `sources` it learns from and what differs from the shared settings.

    `codec`, `head`, `neck`, `loss` and `supervision` serve every decoder that has none of its own. The pictures carry
    the joints of `skeleton`, the union of the decoders' ('lsp+coco'); each decoder takes its own by name, runs on the
    pictures of its sources, and counts in the loss by its share of the batch. `active_decoder` names the decoder that
    predicts (by default the first); joints that it lacks come with score 0.
    """

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        backbone: nn.Module | PartConfig,
        decoders: Mapping[str, Mapping[str, Any]],
        codec: Codec | PartConfig | None = None,
        head: PartConfig | None = None,
        neck: PartConfig | None = None,
        loss: Any = None,
        supervision: Any = 'all',
        active_decoder: str | None = None,
        input_norm: PartConfig = IMAGENET_NORM,
        flip_test: bool = False,
        channels_last: bool = False,
    ):
        super().__init__()
        self.skeleton, self.flip_test = get_skeleton(skeleton), flip_test
        shared = dict(codec=codec, head=head, neck=neck, loss=loss, supervision=supervision)
        specs = {name: {**shared, **spec} for name, spec in decoders.items()}
        codecs = {name: _build_decoder_codec(name, spec) for name, spec in specs.items()}
        for codec in codecs.values():
            check_top_down_codec(type(self).__name__, codec)
        self.input_norm = InputNorm(**input_norm)
        self.backbone: nn.Module = MODELS.build(backbone, input_size=_get_shared_input_size(codecs))
        self.decoders: Any = nn.ModuleDict({n: self._build_decoder(spec, codecs[n]) for n, spec in specs.items()})
        self.decoder_index_of_source = {
            s: place for place, spec in enumerate(specs.values()) for s in spec.get('sources', ())
        }
        self.active_decoder = next(iter(specs)) if active_decoder is None else active_decoder
        if self.active_decoder not in specs:
            raise ConfigError(
                f'model.active_decoder={active_decoder!r} is no decoder; '
                f'{suggest_closest(self.active_decoder, specs) or "known:"} {list(specs)}'
            )
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def _build_decoder(self, spec: Mapping[str, Any], codec: Codec) -> PoseDecoder:
        """A decoder on the shared backbone; its skeleton must be part of the union."""
        lacking = [j for j in codec.skeleton.keypoints if j not in self.skeleton.keypoints]
        if lacking:
            raise ConfigError(
                f'the decoder of {codec.skeleton.name!r} predicts {lacking[0]!r}, which the skeleton '
                f'{self.skeleton.name!r} of the data lacks; set skeleton to the union, with a + between the names'
            )
        parts = {n: spec[n] for n in ('head', 'neck', 'loss', 'supervision')}
        return PoseDecoder(codec.skeleton, codec, self.backbone, **parts)

    @property
    def codec(self) -> Codec:
        """The codec of the decoder in use."""
        return self.decoders[self.active_decoder].codec

    @property
    def neck(self) -> nn.Module | None:
        """The neck of the decoder in use."""
        return self.decoders[self.active_decoder].neck

    @property
    def head(self) -> nn.Module:
        """The head of the decoder in use."""
        return self.decoders[self.active_decoder].head

    def forward(self, images: Tensor, centers: Tensor | None = None, source_indices: Tensor | None = None) -> Any:
        """Pictures (B, H, W, 3), BGR, 0 to 255, to the stages of the decoder in use.

        With `source_indices` (B,), the places of the pictures' decoders, to the stages of every decoder that has
        pictures, by name and for those pictures alone.
        """
        pixels = self.input_norm(images).contiguous(memory_format=self.memory_format)
        features = self.backbone(pixels, *self._expert_indices(pixels, source_indices))
        if source_indices is None:
            return self.decoders[self.active_decoder].forward_stages(features, centers)
        outputs = {}
        for place, (name, decoder) in enumerate(self.decoders.items()):
            rows = (source_indices == place).nonzero()[:, 0]
            if len(rows):
                where = None if centers is None else centers[rows]
                outputs[name] = decoder.forward_stages([maps[rows] for maps in features], where)
        return outputs

    def _expert_indices(self, inputs: Tensor, source_indices: Tensor | None) -> tuple[Tensor, ...]:
        """What a backbone with one expert a decoder is told: the decoders' places among its experts."""
        experts = getattr(self.backbone, 'experts', ())
        if not experts:
            return ()
        strange = [name for name in self.decoders if name not in experts]
        if strange:
            raise ConfigError(f'model.backbone.experts names {", ".join(experts)}, but no expert for {strange[0]!r}')
        order = torch.tensor([experts.index(name) for name in self.decoders], device=inputs.device)
        used = list(self.decoders).index(self.active_decoder)
        return (
            order[torch.full((len(inputs),), used, device=inputs.device) if source_indices is None else source_indices],
        )

    def source_indices(self, batch: Batch) -> Tensor:
        """(B,) the place of the decoder that learns from each picture's source."""
        places = source_indices_of(batch, list(self.decoder_index_of_source), "the 'sources' of model.decoders")
        return torch.tensor(list(self.decoder_index_of_source.values()), device=places.device)[places]

    def prediction_source_indices(self, batch: Batch) -> None:
        """None: one decoder predicts all pictures."""

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The losses of every decoder's stages, each by its share of the batch's pictures."""
        domains = self.source_indices(batch)
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, domains)
        losses: dict[str, Tensor] = {}
        for place, (name, decoder) in enumerate(self.decoders.items()):
            if name in outputs:
                rows = (domains == place).nonzero()[:, 0]
                own = [self.skeleton.index(j) for j in decoder.skeleton.keypoints]
                people = batch.keypoints[rows][:, :, own], batch.visible[rows][:, :, own], batch.valid[rows]
                found = decoder.compute_stage_losses(outputs[name], *people)
                losses.update({f'{name}.{n}': value * len(rows) / len(batch) for n, value in found.items()})
        return losses

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """The people that the fields of each picture show, in image pixels, with the joints of the union."""
        decoder = self.decoders[self.active_decoder]
        places = self.skeleton.indices_in(decoder.skeleton)
        return [poses.select_keypoints(places) for poses in decoder.decode(fields, batch)]


def _build_decoder_codec(decoder_name: str, spec: Mapping[str, Any]) -> Codec:
    """The codec of a decoder, for the decoder's own skeleton."""
    known = ('skeleton', 'sources', 'codec', 'head', 'neck', 'loss', 'supervision')
    strange = [k for k in spec if k not in known]
    if strange:
        raise ConfigError(
            f'model.decoders.{decoder_name} has no setting {strange[0]!r}; {suggest_closest(strange[0], known)}'
        )
    for key in ('skeleton', 'codec', 'head'):
        if spec.get(key) is None:
            raise ConfigError(
                f'model.decoders.{decoder_name} has no {key}; give it one, or model.{key} for all decoders'
            )
    return CODECS.build(spec['codec'], skeleton=get_skeleton(spec['skeleton']))


def _get_shared_input_size(codecs: Mapping[str, Codec]) -> tuple[int, int]:
    """The input size of all decoders, which share the pictures."""
    sizes = {name: codec.input_size for name, codec in codecs.items()}
    if len(set(sizes.values())) != 1:
        raise ConfigError(f'the decoders share their pictures, and need one input_size; got {sizes or "no decoder"}')
    return next(iter(sizes.values()))
