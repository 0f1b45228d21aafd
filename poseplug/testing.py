"""Contract tests: laws that every part of a kind keeps. A plugin's own tests inherit them.

    class TestDiskOffset(CodecContract):
        def make(self, skeleton):
            return DiskOffset(skeleton, (64, 48))

Each class asks for one factory, `make`; what else may be set is a class attribute. The laws run on a CPU.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from poseplug.codecs.base import Codec, MapCodec, Targets
from poseplug.datasets.sources.base import Source
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import MismatchError
from poseplug.evaluation.base import Metric, Scores
from poseplug.geometry import Size, apply
from poseplug.models.heads.base import Head
from poseplug.models.losses.base import spread
from poseplug.poses import Poses
from poseplug.sample import Draw, Record, Sample
from poseplug.skeleton import Skeleton

# Three joints of which two change places in a mirror: enough for every law, and no data set's numbers.
SMALL = Skeleton(
    'small', ('nose', 'left_hand', 'right_hand'), (('nose', 'left_hand'), ('nose', 'right_hand')),
    swaps=(('left_hand', 'right_hand'),), torso=('nose', 'left_hand'), head=('nose', 'right_hand'),
    sigmas=(0.026, 0.062, 0.062),
)  # fmt: skip
ONE = Skeleton('one', ('nose',))


class Contract:
    """What all contracts share."""

    def make(self, *args: Any) -> Any:
        """The part under test, new on every call."""
        raise NotImplementedError(f'{type(self).__name__} must say how its part is made: def make(self, ...)')


class CodecContract(Contract):
    """Laws of a codec: `make(skeleton)` gives one. It reads one person (the subject) of each picture.

    `beyond` says how far from the border joints lie in the laws of the mirror, in cells: there a field that was moved
    by whole cells may lack its last columns. `scored` is False for a codec whose scores say nothing.
    """

    skeleton: ClassVar[Skeleton] = SMALL
    beyond: ClassVar[float] = 1.0
    scored: ClassVar[bool] = True

    def make(self, skeleton: Skeleton) -> Codec:
        return super().make(skeleton)

    @pytest.fixture
    def codec(self) -> Codec:
        return self.make(self.skeleton)

    def test_decoding_undoes_encoding_within_the_tolerance(self, codec: Codec) -> None:
        keypoints = everywhere(codec)
        assert_near(codec.decode(encoded(codec, keypoints)).keypoints, keypoints[:, 0], codec.tolerance)

    def test_decoding_undoes_encoding_for_a_single_joint(self) -> None:
        codec = self.make(ONE)
        keypoints = everywhere(codec)
        assert_near(codec.decode(encoded(codec, keypoints)).keypoints, keypoints[:, 0], codec.tolerance)

    def test_fields_have_the_channels_and_the_grid_that_the_codec_declares(self, codec: Codec) -> None:
        targets = codec.encode(everywhere(codec), seen(everywhere(codec)))
        shapes = {name: (len(everywhere(codec)), *shape) for name, shape in codec.shapes.items()}
        assert codec.fields == {name: shape[1] for name, shape in shapes.items()}
        for t, stage in enumerate(targets.stages):
            assert {name: tuple(maps.shape) for name, maps in stage.items()} == shapes
            for name, weight in targets.weights_at(t).items():
                assert tuple(weight.shape) in (shapes[name], shapes[name][:2])

    def test_a_person_without_labelled_joints_is_nobody(self, codec: Codec) -> None:
        somewhere = everywhere(codec)
        unlabelled = codec.encode(somewhere, torch.zeros_like(seen(somewhere)))
        nobody = codec.encode(somewhere, seen(somewhere), torch.zeros(somewhere.shape[:2], dtype=torch.bool))
        assert_same(unlabelled, nobody)

    @pytest.mark.parametrize('position', [-1e6, 1e9, float('nan'), float('inf')])
    def test_the_position_of_an_unlabelled_joint_means_nothing(self, codec: Codec, position: float) -> None:
        keypoints = everywhere(codec)
        visible = seen(keypoints)
        visible[..., -1] = 0
        elsewhere = keypoints.clone()
        elsewhere[..., -1, :] = position
        assert_same(codec.encode(elsewhere, visible), codec.encode(keypoints, visible))

    def test_a_picture_without_people_has_targets(self, codec: Codec) -> None:
        nobody = torch.zeros(2, 0, len(self.skeleton), 2)
        targets = codec.encode(nobody, seen(nobody))
        padded = torch.zeros(2, 1, len(self.skeleton), 2)
        assert_same(targets, codec.encode(padded, torch.zeros_like(seen(padded))))

    def test_occluded_joints_are_drawn_like_visible_ones(self, codec: Codec) -> None:
        keypoints = everywhere(codec)
        assert_same(codec.encode(keypoints, seen(keypoints) - 1), codec.encode(keypoints, seen(keypoints)))

    def test_every_target_is_finite_and_needs_no_gradient(self, codec: Codec) -> None:
        keypoints = 3 * everywhere(codec) - 50  # inside and outside
        for targets in (codec.encode(keypoints, seen(keypoints)), under_inference_mode(codec, keypoints)):
            for maps in tensors(targets):
                assert torch.isfinite(maps).all()
                assert not maps.requires_grad

    def test_a_batch_is_its_pictures_one_by_one(self, codec: Codec) -> None:
        keypoints = everywhere(codec)
        visible = seen(keypoints)
        visible[::2, :, 0] = 0
        whole = codec.encode(keypoints, visible)
        single = [codec.encode(keypoints[i : i + 1], visible[i : i + 1]) for i in range(len(keypoints))]
        for maps, parts in zip(tensors(whole), zip(*map(tensors, single), strict=True), strict=True):
            assert_close(maps, torch.cat(parts))
        noisy = noise(codec, len(keypoints))
        alone = [decoded(codec, {n: m[i : i + 1] for n, m in noisy.items()}) for i in range(len(keypoints))]
        for together, parts in zip(decoded(codec, noisy), zip(*alone, strict=True), strict=True):
            assert_close(together, torch.cat(parts))

    def test_a_mirror_twice_is_no_mirror(self, codec: Codec) -> None:
        before = noise(codec, 2)
        after = codec.flip(codec.flip(before))
        lost = lost_columns(codec)
        for name, maps in before.items():
            columns = slice(lost, maps.shape[-1] - lost)
            assert_close(after[name][..., columns], maps[..., columns])

    def test_the_mirrored_fields_of_mirrored_joints_are_those_of_the_joints(self, codec: Codec) -> None:
        keypoints = away_from_the_border(codec, self.beyond)
        fields = codec.flip(encoded(codec, mirrored(codec, keypoints)))
        assert_near(codec.decode(fields).keypoints, keypoints[:, 0], codec.tolerance + left_over(codec))

    def test_scores_are_between_0_and_1_and_people_know_their_picture(self, codec: Codec) -> None:
        poses = codec.decode({n: 3 * m for n, m in noise(codec, 4).items()})
        for scores in (poses.scores, poses.person_scores):
            assert ((scores >= 0) & (scores <= 1)).all()
        assert torch.isfinite(torch.as_tensor(poses.keypoints)).all()
        assert poses.keypoints.shape == (len(poses), len(self.skeleton), 2)
        assert poses.images is not None
        assert set(poses.images.tolist()) <= set(range(4))

    def unsure(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fields of the same joints that are less sure of them."""
        return {name: 0.1 * maps for name, maps in fields.items()}

    def test_a_sure_field_scores_higher_than_an_empty_one(self, codec: Codec) -> None:
        sure = encoded(codec, away_from_the_border(codec, self.beyond))
        scores, others = decoded(codec, sure)[1], decoded(codec, self.unsure(sure))[1]
        assert (scores > others if self.scored else scores == others).all()

    def test_nothing_is_found_in_an_empty_batch(self, codec: Codec) -> None:
        assert len(codec.decode(noise(codec, 0))) == 0

    @pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
    def test_fields_of_another_type_are_read_to_within_a_cell(self, codec: Codec, dtype: torch.dtype) -> None:
        keypoints = away_from_the_border(codec, self.beyond)
        found, _ = decoded(codec, {n: m.to(dtype) for n, m in encoded(codec, keypoints).items()})
        assert_near(found.float(), keypoints[:, 0], codec.tolerance + cell(codec))

    def test_encoding_means_the_same_in_double_precision_and_under_autocast(self, codec: Codec) -> None:
        keypoints = everywhere(codec)
        plain = codec.encode(keypoints, seen(keypoints))
        assert_same(codec.encode(keypoints.double(), seen(keypoints)), plain, atol=1e-4)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert_same(codec.encode(keypoints, seen(keypoints)), plain, atol=1e-4)

    def test_both_directions_stay_on_the_device_of_their_tensors(self, codec: Codec) -> None:
        keypoints = everywhere(codec).to('meta')
        for maps in tensors(codec.encode(keypoints, torch.ones(keypoints.shape[:3], device='meta'))):
            assert maps.device.type == 'meta'
        for found in decoded(codec, {n: m.to('meta') for n, m in noise(codec, 2).items()}):
            assert found.device.type == 'meta'

    def test_its_settings_are_frozen(self, codec: Codec) -> None:
        for setting in fields(codec):
            with pytest.raises(FrozenInstanceError):
                setattr(codec, setting.name, None)

    def test_it_survives_copying_and_pickling(self, codec: Codec) -> None:
        keypoints = everywhere(codec)
        before = codec.encode(keypoints, seen(keypoints))
        for again in (copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))):
            assert again == codec
            assert_same(again.encode(keypoints, seen(keypoints)), before)


class ExportContract(Contract):
    """Beside `CodecContract`, for a codec whose decoding shall be exported with the network (about a second)."""

    skeleton: ClassVar[Skeleton] = SMALL

    def make(self, skeleton: Skeleton) -> Codec:
        return super().make(skeleton)

    def test_decoding_exports(self) -> None:
        decoder, fields = Decoder(self.make(self.skeleton)), noise(self.make(self.skeleton), 2)
        program = torch.export.export(decoder, (fields,))
        assert_close(program.module()(fields), decoder(fields))


class Decoder(nn.Module):
    """A codec's decoding as a module, as an exporter wants it."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.codec = codec

    def forward(self, fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fields (B, C, H, W) to joints (N, K, 2) in input pixels and scores (N, K)."""
        return decoded(self.codec, fields)


class NetworkContract(Contract):
    """Laws of every network part: `run` sends pictures or features through and gives the tensors that come out."""

    def settings(self) -> tuple[Any, ...]:
        """What `make` is given."""
        return ()

    def build(self, seed: int = 0) -> Any:
        """The part, with weights that follow from a seed."""
        torch.manual_seed(seed)
        return self.make(*self.settings())

    def given(self, batch: int = 2) -> Any:
        """Random input of a batch."""
        raise NotImplementedError

    def run(self, part: nn.Module, given: Any) -> list[Tensor]:
        """Every tensor that comes out."""
        return list(part(given))

    def test_the_same_input_gives_the_same_output_in_testing(self) -> None:
        part = self.build().eval()
        assert_close(self.run(part, self.given()), self.run(part, self.given()), rtol=0, atol=0)

    def test_in_testing_a_picture_does_not_depend_on_its_batch(self) -> None:
        part = self.build().eval()
        for whole, alone in zip(self.run(part, self.given()), self.run(part, first(self.given())), strict=True):
            assert_close(whole[:1], alone, rtol=1e-3, atol=1e-5)

    def test_gradient_reaches_every_parameter(self) -> None:
        part = self.build().train()
        torch.stack([out.square().sum() for out in self.run(part, self.given())]).sum().backward()
        unreached = [n for n, p in part.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert not unreached, f'no gradient reaches {", ".join(unreached)}: training in parallel would stop there'

    def test_it_runs_in_half_precision(self) -> None:
        part = self.build().eval()
        with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16):
            outputs = self.run(part, self.given())
        with torch.inference_mode():
            for rough, exact in zip(outputs, self.run(part, self.given()), strict=True):
                assert_close(rough.float(), exact, rtol=0, atol=0.1 * float(exact.abs().max()) + 1e-4)

    def test_its_weights_go_to_another_of_its_kind(self) -> None:
        part, other = self.build().eval(), self.build(seed=1).eval()
        other.load_state_dict(pickle.loads(pickle.dumps(part.state_dict())))
        assert_close(self.run(other, self.given()), self.run(part, self.given()))


class BackboneContract(NetworkContract):
    """Laws of a backbone: `make()` gives one. `sizes` are (width, height) of pictures that it must take."""

    sizes: ClassVar[Sequence[Size]] = ((64, 64), (48, 96), (65, 79))

    def given(self, batch: int = 2) -> Tensor:
        return random_maps(batch, 3, self.sizes[0])

    def test_channels_and_strides_are_what_it_declares(self) -> None:
        backbone = self.build().eval()
        for size in self.sizes:
            outputs = list(backbone(random_maps(1, 3, size)))
            assert [o.shape[1] for o in outputs] == list(backbone.out_channels)
            assert len(outputs) == len(backbone.strides)
            for out, stride in zip(outputs, backbone.strides, strict=True):
                assert_stride(out, stride, size)


class NeckContract(NetworkContract):
    """Laws of a neck: `make(in_channels, strides)` gives one."""

    in_channels: ClassVar[tuple[int, ...]] = (6, 8, 10)
    strides: ClassVar[tuple[int, ...]] = (4, 8, 16)
    input_size: ClassVar[Size] = (64, 96)

    def settings(self) -> tuple[Any, ...]:
        return self.in_channels, self.strides

    def given(self, batch: int = 2) -> list[Tensor]:
        return features(batch, self.in_channels, self.strides, self.input_size)

    def test_channels_and_strides_are_what_it_declares(self) -> None:
        neck = self.build().eval()
        outputs = list(neck(self.given()))
        assert [o.shape[1] for o in outputs] == list(neck.out_channels)
        for out, stride in zip(outputs, neck.strides, strict=True):
            assert_stride(out, stride, self.input_size)


class HeadContract(NetworkContract):
    """Laws of a head: `make(in_channels, strides, fields, stride)` gives one.

    The head must serve any codec of its stride, so the fields are two of no codec's, with unlike channels. A head of
    another `kind` than maps overrides `shapes`, those of the fields for one picture, and may take them in `make` from
    there, as it may take `input_size`.
    """

    in_channels: ClassVar[tuple[int, ...]] = (6, 8)
    strides: ClassVar[tuple[int, ...]] = (4, 8)
    fields: ClassVar[dict[str, int]] = {'first': 3, 'second': 5}
    stride: ClassVar[int] = 8
    input_size: ClassVar[Size] = (64, 96)
    kind: ClassVar[str] = 'maps'

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the fields for one picture."""
        width, height = (n // self.stride for n in self.input_size)
        return {name: (count, height, width) for name, count in self.fields.items()}

    def make(self, in_channels: Sequence[int], strides: Sequence[int], fields: dict[str, int], stride: int) -> Head:
        return super().make(in_channels, strides, fields, stride)

    def settings(self) -> tuple[Any, ...]:
        return self.in_channels, self.strides, self.fields, self.stride

    def given(self, batch: int = 2) -> list[Tensor]:
        return features(batch, self.in_channels, self.strides, self.input_size)

    def stages(self, head: Head, given: list[Tensor]) -> list[dict[str, Tensor]]:
        """The head's stages, with the subjects off the middle where it asks where they are."""
        centers = torch.tensor([[20.0, 50.0]]).expand(len(given[0]), 2)
        return head(given, centers=centers) if head.uses_centers else head(given)

    def run(self, part: Any, given: Any) -> list[Tensor]:
        return [maps for stage in self.stages(part, given) for maps in stage.values()]

    def test_stages_fields_and_grid_are_what_it_declares(self) -> None:
        head = self.build()
        stages = self.stages(head, self.given())
        assert self.kind in head.predicts
        assert self.kind != 'maps' or head.stride == self.stride
        assert len(stages) == head.stages
        shapes = {n: (2, *s) for n, s in self.shapes.items()}
        for stage in stages:
            assert stage
            assert {n: tuple(m.shape) for n, m in stage.items()}.items() <= shapes.items()
        assert stages[-1].keys() == shapes.keys()

    def test_features_of_no_fitting_stride_are_an_error_that_names_both(self) -> None:
        if self.kind == 'maps':
            self.check_strides()

    def check_strides(self) -> None:
        """A head of maps whose features never reach the codec's stride says so."""
        with pytest.raises(MismatchError, match=r'\b8\b.*\b3\b'):
            self.make((6,), (3,), self.fields, self.stride)


class LossContract(Contract):
    """Laws of a loss: `make()` gives one. `zero_when_equal` may be False for a loss of probabilities.

    `shape` is that of the fields it takes; `least` is its smallest value, which may be minus infinity for a likelihood.
    """

    shape: ClassVar[tuple[int, ...]] = (2, 3, 5, 4)
    zero_when_equal: ClassVar[bool] = True
    least: ClassVar[float] = 0.0

    def pair(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Predicted and wanted fields, both within 0..1."""
        torch.manual_seed(seed)
        return torch.rand(self.shape).requires_grad_(), torch.rand(self.shape)

    def test_it_is_one_finite_number_that_is_not_negative(self) -> None:
        value = self.make()(*self.pair()).detach()
        assert value.shape == ()
        assert torch.isfinite(value)
        assert float(value) >= self.least

    def test_it_is_nothing_where_both_are_equal(self) -> None:
        if self.zero_when_equal:
            wanted = self.pair()[1]
            assert float(self.make()(wanted.clone(), wanted)) == 0

    def test_its_gradient_is_finite(self) -> None:
        predicted, wanted = self.pair()
        self.make()(predicted, wanted).backward()
        assert predicted.grad is not None
        assert torch.isfinite(predicted.grad).all()

    def test_an_empty_batch_costs_nothing(self) -> None:
        predicted, wanted = (t[:0].detach() for t in self.pair())
        assert float(self.make()(predicted, wanted, torch.ones(0, self.shape[1])).detach()) == 0

    def test_without_any_weight_it_costs_nothing_and_pulls_nowhere(self) -> None:
        predicted, wanted = self.pair()
        value = self.make()(predicted, wanted, torch.zeros(self.shape[:2]))
        value.backward()
        assert float(value.detach()) == 0
        assert predicted.grad is not None
        assert not predicted.grad.any()

    def test_a_channel_without_weight_is_not_seen(self) -> None:
        (predicted, wanted), loss = self.pair(), self.make()
        weight = torch.ones(self.shape[:2])
        weight[0, 1] = 0
        other = wanted.clone()
        other[0, 1] = 7
        assert_close(loss(predicted, other, weight), loss(predicted, wanted, weight))

    def test_full_weights_are_no_weights(self) -> None:
        (predicted, wanted), loss = self.pair(), self.make()
        assert_close(loss(predicted, wanted, torch.ones(self.shape[:2])), loss(predicted, wanted))

    def test_half_precision_is_summed_in_full_precision(self) -> None:
        predicted, wanted = (t.detach().bfloat16() for t in self.pair())
        loss = self.make()
        assert_close(loss(predicted, wanted), loss(predicted.float(), wanted.float()))


class TransformContract(Contract):
    """Laws of a transform: `make(input_size)` gives one.

    `before` are transforms that stand before it in a pipeline. `recolours` says that it changes colours, so that the
    warped input no longer equals the picture.
    """

    input_size: ClassVar[Size] = (48, 64)
    recolours: ClassVar[bool] = False

    def make(self, input_size: Size) -> Transform:
        return super().make(input_size)

    def before(self) -> list[Transform]:
        """The transforms that stand before it in a pipeline."""
        return []

    def sample(self, seed: int = 0) -> Sample:
        """A picture whose blue is 2x and whose green is 2y, with two people, as it comes to the transform."""
        sample = picture(seed)
        for transform in self.before():
            sample = transform(sample)
        sample.rng = np.random.Generator(np.random.Philox(seed))
        return sample

    def test_it_draws_from_the_samples_generator_alone(self) -> None:
        transform = self.make(self.input_size)
        first, state = transform(self.sample()), global_states()
        second = transform(self.sample())
        assert state == global_states()
        assert_same_sample(first, second)

    def test_it_keeps_nothing_from_one_sample_to_the_next(self) -> None:
        used, fresh = self.make(self.input_size), self.make(self.input_size)
        used(self.sample(seed=1))
        assert_same_sample(used(self.sample(seed=2)), fresh(self.sample(seed=2)))

    def test_it_leaves_the_record_as_it_was(self) -> None:
        sample = self.sample()
        record, before = sample.record, copy.deepcopy(sample.record)
        self.make(self.input_size)(sample)
        for name, value in vars(before).items():
            np.testing.assert_equal(getattr(record, name), value)

    def test_matrix_and_joints_tell_the_same_story(self) -> None:
        transform = self.make(self.input_size)
        for seed in range(8):
            before, after = self.sample(seed), transform(self.sample(seed))
            for matrix in (after.matrix, *after.views):
                assert matrix.shape == (3, 3)
                assert np.isfinite(matrix).all()
                np.testing.assert_array_equal(matrix[2], [0, 0, 1])
                assert abs(np.linalg.det(matrix)) > 1e-9
            mirrored = np.linalg.det(after.matrix) * np.linalg.det(before.matrix) < 0
            order = before.skeleton.mirror if mirrored else slice(None)
            np.testing.assert_array_equal(after.visible, before.visible[:, order])
            labelled = after.visible > 0
            np.testing.assert_allclose(after.keypoints[labelled], before.keypoints[:, order][labelled])

    def test_the_input_shows_the_picture_where_the_matrix_says(self) -> None:
        sample = self.make(self.input_size)(self.sample())
        if sample.inputs is None or self.recolours:
            return
        assert sample.inputs.shape[1:] == (self.input_size[1], self.input_size[0], 3)
        for view, matrix in zip(sample.inputs, [sample.matrix, *sample.views], strict=True):
            assert_shows(view, matrix, sample.size)

    def test_it_survives_pickling(self) -> None:
        transform = self.make(self.input_size)
        again = pickle.loads(pickle.dumps(transform))
        assert_same_sample(again(self.sample()), transform(self.sample()))


class SourceContract(Contract):
    """Laws of a source: `make(folder)` writes a small data set into an empty folder and gives a source of it."""

    def make(self, folder: Path) -> Source:
        return super().make(folder)

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        return self.make(tmp_path)

    def test_kept_and_dropped_are_all_there_are(self, source: Source) -> None:
        records, report = source.load()
        assert report.kept == sum(len(r.keypoints) for r in records)
        assert report.kept + sum(report.dropped.values()) == report.total
        assert str(report.kept) in str(report)
        assert all(cause and count > 0 for cause, count in report.dropped.items())

    def test_every_number_is_finite_and_of_the_shape_that_a_record_promises(self, source: Source) -> None:
        for record in source.load()[0]:
            n, k = len(record.keypoints), len(source.skeleton)
            shapes = {'keypoints': (n, k, 2), 'visible': (n, k), 'boxes': (n, 4), 'areas': (n,), 'centers': (n, 2),
                      'scales': (n,)}  # fmt: skip
            for name, shape in shapes.items():
                values = getattr(record, name)
                if values is not None:
                    assert values.shape == shape, f'{record.id}: {name} has shape {values.shape}, not {shape}'
                    assert np.isfinite(values).all(), f'{record.id}: {name} holds what is not a finite number'
            assert np.isin(record.visible, (0, 1, 2)).all()
            assert record.visible.any(), f'{record.id}: nobody has a labelled joint, which is a drop to be counted'

    def test_boxes_have_an_extent_and_scales_are_positive(self, source: Source) -> None:
        for record in source.load()[0]:
            if record.boxes is not None:
                assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
            assert record.scales is None or (record.scales > 0).all()

    def test_every_picture_is_there_and_is_named_once(self, source: Source) -> None:
        records = source.load()[0]
        assert all(r.path.is_file() for r in records)
        assert all(r.source and r.id for r in records)
        assert len({r.id for r in records}) == len(records)

    def test_reading_again_gives_the_same(self, source: Source) -> None:
        for first, second in zip(source.load()[0], source.load()[0], strict=True):
            np.testing.assert_equal(vars(first), vars(second))


class MetricContract(Contract):
    """Laws of a metric: `make(skeleton)` gives one.

    `best` is what a perfect prediction scores in every value: by default 0 where the metric's `lower` says that smaller
    is better, else 100.
    """

    skeleton: ClassVar[Skeleton] = SMALL
    best: ClassVar[float | None] = None

    def make(self, skeleton: Skeleton) -> Metric:
        return super().make(skeleton)

    def records(self) -> list[Record]:
        """Annotated people of several pictures, one of them with an unlabelled joint."""
        rng = np.random.default_rng(0)
        records = [person(rng, self.skeleton, f'im{i}.jpg') for i in range(6)]
        records[2].visible[0, -1] = 0
        return records

    def scored(self, pairs: Sequence[tuple[Poses, Record]]) -> Scores:
        """The scores of predictions and annotations, in this order."""
        metric = self.make(self.skeleton)
        for poses, record in pairs:
            metric.add(poses, record)
        return metric.compute()

    def test_a_perfect_prediction_has_the_best_score(self) -> None:
        scores = self.scored([(Poses.of_record(r.keypoints, r.visible), r) for r in self.records()])
        assert scores.values
        usual = 0.0 if self.make(self.skeleton).lower else 100.0
        assert set(scores.values.values()) == {usual if self.best is None else self.best}

    def test_the_order_of_pictures_means_nothing(self) -> None:
        pairs = [(displaced(r, i), r) for i, r in enumerate(self.records())]
        assert self.scored(pairs).values == pytest.approx(self.scored(pairs[::-1]).values)

    def test_a_prediction_far_away_scores_worse_than_one_nearby(self) -> None:
        near, far = (self.scored([(displaced(r, 0, px), r) for r in self.records()]).values for px in (1.0, 500.0))
        sign = -1 if self.make(self.skeleton).lower else 1
        assert all(sign * far[name] < sign * near[name] for name in near if name in far)

    def test_scores_are_finite_and_plain(self) -> None:
        scores = self.scored([(displaced(r, i), r) for i, r in enumerate(self.records())])
        assert all(np.isfinite(v) and isinstance(v, float) for v in scores.values.values())
        assert set(scores.plain()) == {'metrics', 'curves', 'notes'}

    def test_nothing_added_is_no_score(self) -> None:
        assert not any(np.isnan(v) for v in self.scored([]).values.values())


def inset(codec: Codec) -> Iterator[tuple[float, float]]:
    """The corners of the input, the middles of its sides, and places in between."""
    width, height = codec.input_size
    for x in (0, 0.013, 0.31, 0.5, 0.737, 1):
        for y in (0, 0.21, 0.5, 0.89, 1):
            yield x * (width - 1), y * (height - 1)


def everywhere(codec: Codec) -> Tensor:
    """One person a picture (B, 1, K, 2), each joint at every place of the input in turn, border and corners too."""
    places = torch.tensor(list(inset(codec)))
    joints = len(codec.skeleton)
    return torch.stack([places.roll(7 * k, 0) for k in range(joints)], dim=1)[:, None]


def away_from_the_border(codec: Codec, cells: float) -> Tensor:
    """The same people, `cells` of the codec's grid away from the border."""
    last = torch.tensor(codec.input_size) - 1.0
    margin = cells * cell(codec)
    return margin + everywhere(codec) * (last - 2 * margin) / last


def seen(keypoints: Tensor) -> Tensor:
    """Every joint visible: (B, N, K)."""
    return torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)


def encoded(codec: Codec, keypoints: Tensor) -> dict[str, Tensor]:
    """The fields that the last stage of a network should predict."""
    return codec.encode(keypoints, seen(keypoints)).stages[-1]


def decoded(codec: Codec, fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Joints (N, K, 2) and scores (N, K) of fields, as the tensors that they must be."""
    poses: Any = codec.decode(fields)
    return poses.keypoints, poses.scores


def under_inference_mode(codec: Codec, keypoints: Tensor) -> Targets:
    """The targets as made where no gradient is wanted."""
    with torch.inference_mode():
        return codec.encode(keypoints, seen(keypoints))


def noise(codec: Codec, batch: int) -> dict[str, Tensor]:
    """Random fields of a codec's shape."""
    generator = torch.Generator().manual_seed(0)
    return {n: torch.randn(batch, *shape, generator=generator) for n, shape in codec.shapes.items()}


def mirrored(codec: Codec, keypoints: Tensor) -> Tensor:
    """The joints as a mirrored input shows them: x from the other side, left and right exchanged."""
    x, y = keypoints[:, :, codec.skeleton.mirror.tolist()].unbind(-1)
    return torch.stack([codec.input_size[0] - 1 - x, y], dim=-1)


def cell(codec: Codec) -> int:
    """Input pixels a cell, and 1 for a codec without cells."""
    return codec.stride if isinstance(codec, MapCodec) else 1


def lost_columns(codec: Codec) -> int:
    """Cells or bins that a field which moves by whole ones loses in a mirror: `mirror_shift` says by how many."""
    return abs(getattr(codec.grid if isinstance(codec, MapCodec) else codec, 'mirror_shift', 0))


def left_over(codec: Codec) -> float:
    """Input pixels by which a mirrored field lies beside the unmirrored one, after moving by whole cells."""
    if not isinstance(codec, MapCodec):
        return 0.0
    grid = codec.grid
    return abs(grid.inputs[0] - 1 - 2 * grid.offset - grid.strides[0] * (grid.size[0] - 1 + grid.mirror_shift))


def tensors(targets: Targets) -> list[Tensor]:
    """Every tensor of targets, in a fixed order."""
    weights = [targets.weights] if isinstance(targets.weights, Mapping) else targets.weights
    parts: list[Mapping[str, Tensor]] = [*targets.stages, *weights]
    return [part[name] for part in parts for name in sorted(part)]


def assert_same(one: Targets, other: Targets, atol: float = 1e-6) -> None:
    """Both targets agree in the maps of every channel that counts, and in the weights."""
    for stage in range(max(len(one.stages), len(other.stages))):
        weights, others = one.weights_at(stage), other.weights_at(stage)
        assert set(weights) == set(others)
        for name, maps in one.at(stage).items():
            counts = spread(weights.get(name, torch.ones(maps.shape[:2])), maps) != 0
            pair = (torch.where(counts, t.at(stage)[name], 0) for t in (one, other))
            assert_close(*pair, rtol=0, atol=atol, check_dtype=False)
        for name, weight in weights.items():
            assert_close(weight, others[name], rtol=0, atol=atol, check_dtype=False)


def assert_near(found: Any, wanted: Tensor, pixels: float) -> None:
    """Every joint lies within a distance in pixels of where it should."""
    distance = (found - wanted).norm(dim=-1)
    worst = int(distance.argmax())
    picture, joint = divmod(worst, distance.shape[1])
    assert float(distance.max()) <= pixels + 1e-3, (
        f'joint {joint} at {wanted[picture, joint].tolist()} comes back at {found[picture, joint].tolist()}, '
        f'{float(distance.max()):.3g} px away; allowed are {pixels:.3g}'
    )


def assert_stride(out: Tensor, stride: int, size: Size) -> None:
    """A feature map of this stride: the input's size over the stride, rounded down or up."""
    for cells, pixels in zip((out.shape[-1], out.shape[-2]), size, strict=True):
        assert pixels // stride <= cells <= -(-pixels // stride), f'{cells} cells of {pixels} px is not stride {stride}'


def random_maps(batch: int, channels: int, size: Size) -> Tensor:
    """(B, C, H, W) from a normal distribution, the same on every call."""
    return torch.randn(batch, channels, size[1], size[0], generator=torch.Generator().manual_seed(0))


def features(batch: int, channels: Sequence[int], strides: Sequence[int], size: Size) -> list[Tensor]:
    """Random feature maps of a picture of this size."""
    return [random_maps(batch, c, (size[0] // s, size[1] // s)) for c, s in zip(channels, strides, strict=True)]


def first(given: Any) -> Any:
    """The first picture of a batch of pictures or features."""
    return given[:1] if isinstance(given, Tensor) else [g[:1] for g in given]


def person(rng: np.random.Generator, skeleton: Skeleton, name: str) -> Record:
    """An annotated person of random joints within a picture of 80 x 60 px, with every measure that a record knows."""
    keypoints = rng.uniform((4, 4), (75, 55), (1, len(skeleton), 2)).astype(np.float32)
    low, high = keypoints.min(axis=1) - 2, keypoints.max(axis=1) + 2
    return Record(
        path=Path(name), id=name, source='test', keypoints=keypoints, visible=np.full(keypoints.shape[:2], 2, np.uint8),
        boxes=np.concatenate([low, high], axis=1), areas=(high - low).prod(axis=1), centers=(low + high) / 2,
        scales=(high - low).max(axis=1) / 200,
    )  # fmt: skip


def picture(seed: int = 0) -> Sample:
    """A sample of 80 x 60 px whose blue is 2x, green 2y and red 100, with two people, one joint of them unlabelled."""
    rng = np.random.default_rng(seed)
    both = [person(rng, SMALL, 'picture.jpg') for _ in range(2)]
    arrays = ('keypoints', 'visible', 'boxes', 'areas', 'centers', 'scales')
    joined: dict[str, Any] = {n: np.concatenate([getattr(r, n) for r in both]) for n in arrays}
    record = replace(both[0], **joined)
    record.visible[1, 0] = 0
    y, x = np.mgrid[:60, :80]
    image = np.stack([2 * x, 2 * y, np.full_like(x, 100)], axis=-1).astype(np.uint8)
    generator = np.random.Generator(np.random.Philox(seed))
    return Sample(record, SMALL, image, generator, Draw(0, seed), record.keypoints.copy(), record.visible.copy())


def global_states() -> tuple[Any, ...]:
    """The states of the generators that belong to everybody."""
    return random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()


def assert_same_sample(one: Sample, other: Sample) -> None:
    """Two samples agree in everything that a transform may change."""
    for name in ('matrix', 'views', 'keypoints', 'visible', 'inputs', 'image'):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))


def assert_shows(view: np.ndarray, matrix: np.ndarray, size: Size) -> None:
    """A warped `picture` has the colour of its place at every pixel whose neighbours lie inside it too."""
    y, x = np.mgrid[: view.shape[0], : view.shape[1]]
    places = apply(np.linalg.inv(matrix), np.stack([x, y], axis=-1).astype(float))
    inside = ((places >= 3) & (places <= np.array(size) - 4)).all(axis=-1)
    assert inside.any(), 'the input shows nothing of the picture'
    np.testing.assert_allclose(view[inside][:, :2], 2 * places[inside], atol=2.5)


def displaced(record: Record, seed: int, pixels: float = 3.0) -> Poses:
    """Predictions off by about so many pixels, of a score of their own."""
    rng = np.random.default_rng(seed)
    keypoints = record.keypoints + rng.normal(0, pixels, record.keypoints.shape).astype(np.float32)
    score = np.full(record.visible.shape, 0.9 - 0.1 * seed, np.float32)
    return Poses(keypoints, score, score.mean(axis=1))
