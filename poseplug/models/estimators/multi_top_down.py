"""One backbone and one decoder a data set, trained together (Xu et al. 2022, arXiv:2204.12484, joint training)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.errors import ConfigError, closest
from poseplug.models.estimators.base import IMAGENET, Decoder, Spec, places_of_sources
from poseplug.models.estimators.top_down import Crops, check_crops
from poseplug.models.layers import PixelNorm
from poseplug.poses import Poses
from poseplug.registry import CODECS, MODELS
from poseplug.sample import Batch
from poseplug.skeleton import Skeleton, get_skeleton


@MODELS.register_module()
class MultiTopDown(Crops, nn.Module):
    """`decoders` maps a name to its skeleton, the `sources` it learns from and what differs from the shared settings.

    `codec`, `head`, `neck`, `loss` and `supervision` serve every decoder that has none of its own. The pictures carry
    the joints of `skeleton`, the union of the decoders' ('lsp+coco'); each decoder takes its own by name, runs on the
    pictures of its sources, and counts in the loss by its share of the batch. `use` names the decoder that predicts
    (by default the first); joints that it lacks come with score 0.
    """

    def __init__(
        self,
        skeleton: Skeleton | str | Spec,
        backbone: nn.Module | Spec,
        decoders: Mapping[str, Mapping[str, Any]],
        codec: Codec | Spec | None = None,
        head: Spec | None = None,
        neck: Spec | None = None,
        loss: Any = None,
        supervision: Any = 'every',
        use: str | None = None,
        pixels: Spec = IMAGENET,
        flip_test: bool = False,
        channels_last: bool = False,
    ):
        super().__init__()
        self.skeleton, self.flip_test = get_skeleton(skeleton), flip_test
        shared = dict(codec=codec, head=head, neck=neck, loss=loss, supervision=supervision)
        specs = {name: {**shared, **spec} for name, spec in decoders.items()}
        codecs = {name: own_codec(name, spec) for name, spec in specs.items()}
        for codec in codecs.values():
            check_crops(type(self).__name__, codec)
        self.pixels = PixelNorm(**pixels)
        self.backbone: nn.Module = MODELS.build(backbone, input_size=one_input_size(codecs))
        self.decoders: Any = nn.ModuleDict({n: self._decoder(spec, codecs[n]) for n, spec in specs.items()})
        self.sources = {s: place for place, spec in enumerate(specs.values()) for s in spec.get('sources', ())}
        self.use = next(iter(specs)) if use is None else use
        if self.use not in specs:
            raise ConfigError(f'model.use={use!r} is no decoder; {closest(self.use, specs) or "known:"} {list(specs)}')
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def _decoder(self, spec: Mapping[str, Any], codec: Codec) -> Decoder:
        """A decoder on the shared backbone; its skeleton must be part of the union."""
        lacking = [j for j in codec.skeleton.joints if j not in self.skeleton.joints]
        if lacking:
            raise ConfigError(
                f'the decoder of {codec.skeleton.name!r} predicts {lacking[0]!r}, which the skeleton '
                f'{self.skeleton.name!r} of the data lacks; set skeleton to the union, with a + between the names'
            )
        parts = {n: spec[n] for n in ('head', 'neck', 'loss', 'supervision')}
        return Decoder(codec.skeleton, codec, self.backbone, **parts)

    @property
    def codec(self) -> Codec:
        """The codec of the decoder in use."""
        return self.decoders[self.use].codec

    @property
    def neck(self) -> nn.Module | None:
        """The neck of the decoder in use."""
        return self.decoders[self.use].neck

    @property
    def head(self) -> nn.Module:
        """The head of the decoder in use."""
        return self.decoders[self.use].head

    def forward(self, images: Tensor, centers: Tensor | None = None, domains: Tensor | None = None) -> Any:
        """Pictures (B, H, W, 3), BGR, 0 to 255, to the stages of the decoder in use.

        With `domains` (B,), the places of the pictures' decoders, to the stages of every decoder that has pictures, by
        name and for those pictures alone.
        """
        pixels = self.pixels(images).contiguous(memory_format=self.memory_format)
        features = self.backbone(pixels, *self._experts(pixels, domains))
        if domains is None:
            return self.decoders[self.use].stages(features, centers)
        outputs = {}
        for place, (name, decoder) in enumerate(self.decoders.items()):
            rows = (domains == place).nonzero()[:, 0]
            if len(rows):
                where = None if centers is None else centers[rows]
                outputs[name] = decoder.stages([maps[rows] for maps in features], where)
        return outputs

    def _experts(self, pixels: Tensor, domains: Tensor | None) -> tuple[Tensor, ...]:
        """What a backbone with one expert a decoder is told: the decoders' places among its experts."""
        experts = getattr(self.backbone, 'experts', ())
        if not experts:
            return ()
        strange = [name for name in self.decoders if name not in experts]
        if strange:
            raise ConfigError(f'model.backbone.experts names {", ".join(experts)}, but no expert for {strange[0]!r}')
        order = torch.tensor([experts.index(name) for name in self.decoders], device=pixels.device)
        used = list(self.decoders).index(self.use)
        return (order[torch.full((len(pixels),), used, device=pixels.device) if domains is None else domains],)

    def domains(self, batch: Batch) -> Tensor:
        """(B,) the place of the decoder that learns from each picture's source."""
        places = places_of_sources(batch, list(self.sources), "the 'sources' of model.decoders")
        return torch.tensor(list(self.sources.values()), device=places.device)[places]

    def predicting(self, batch: Batch) -> None:
        """None: one decoder predicts all pictures."""

    def losses(self, batch: Batch, outputs: Any = None) -> dict[str, Tensor]:
        """The losses of every decoder's stages, each by its share of the batch's pictures."""
        domains = self.domains(batch)
        if outputs is None:
            outputs = self(batch.images[:, 0], batch.centers, domains)
        losses: dict[str, Tensor] = {}
        for place, (name, decoder) in enumerate(self.decoders.items()):
            if name in outputs:
                rows = (domains == place).nonzero()[:, 0]
                own = [self.skeleton.index(j) for j in decoder.skeleton.joints]
                people = batch.keypoints[rows][:, :, own], batch.visible[rows][:, :, own], batch.people[rows]
                found = decoder.stage_losses(outputs[name], *people)
                losses.update({f'{name}.{n}': value * len(rows) / len(batch) for n, value in found.items()})
        return losses

    def decode(self, fields: dict[str, Tensor], batch: Batch) -> list[Poses]:
        """The people that the fields of each picture show, in image pixels, with the joints of the union."""
        decoder = self.decoders[self.use]
        places = self.skeleton.mapping(decoder.skeleton)
        return [poses.with_joints(places) for poses in decoder.decode(fields, batch)]


def own_codec(name: str, spec: Mapping[str, Any]) -> Codec:
    """The codec of a decoder, for the decoder's own skeleton."""
    known = ('skeleton', 'sources', 'codec', 'head', 'neck', 'loss', 'supervision')
    strange = [k for k in spec if k not in known]
    if strange:
        raise ConfigError(f'model.decoders.{name} has no setting {strange[0]!r}; {closest(strange[0], known)}')
    for key in ('skeleton', 'codec', 'head'):
        if spec.get(key) is None:
            raise ConfigError(f'model.decoders.{name} has no {key}; give it one, or model.{key} for all decoders')
    return CODECS.build(spec['codec'], skeleton=get_skeleton(spec['skeleton']))


def one_input_size(codecs: Mapping[str, Codec]) -> tuple[int, int]:
    """The input size of all decoders, which share the pictures."""
    sizes = {name: codec.input_size for name, codec in codecs.items()}
    if len(set(sizes.values())) != 1:
        raise ConfigError(f'the decoders share their pictures, and need one input_size; got {sizes or "no decoder"}')
    return next(iter(sizes.values()))
