"""Rules for grouping peaks and limb fields into instances, and the rules of released parsers by name.

'openpose' is the OpenPose library, 'matlab' the authors' COCO evaluation, 'lightweight' the reimplementation for small
devices (Osokin 2018, arXiv:1811.12004), 'pytorch_openpose' Hzzone's port to Python. 'paper' is the text (Cao et al.
2017): the mean of the field over all samples, and the Hungarian matching. 'merging' and 'complete' are poseplug's own:
limbs join by either end and merge instances, whatever their length; 'complete' keeps every instance, even one of a
single keypoint, for metrics that count those too. The presets that end in '_mpi' have the thresholds of the MPI model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.core.setting_checks import (
    check_choices,
    check_counts,
    check_not_negative,
    check_number,
    check_probabilities,
)


@dataclass(frozen=True)
class PAFRules:
    """Rules for peaks, limbs and instances: the `parser` setting of the codec PAF.

    Args:
        peak_threshold: a peak is larger than this and than its neighbors.
        peak_neighbors: 8, of which equal ones make one peak; or the 4 beside, above and below a cell, which all are
            smaller than a peak.
        max_peaks: the highest peaks kept of each keypoint.
        min_peak_distance_px: a peak closer than this to an earlier kept one of its keypoint is dropped; input pixels.
        peak_order: which peak is the earlier one: by 'rows', or by 'columns'.
        num_samples: samples of the limb field along a pair of peaks; 'length' takes sqrt(5 max(|dx|, |dy|)) of them,
            dx and dy in input pixels, but at least 5 and at most 25.
        paf_threshold: a sample counts if the field along the pair exceeds this.
        min_sample_fraction: a pair is a limb if more than this fraction of its samples count.
        score_samples: the score of a limb is the mean of the samples that 'passed' the threshold, or of 'all'.
        length_prior: lower the score of limbs that are longer than half of the field's height, by
            1 - half of the height / length; a score that falls to 0 is no limb.
        short_limb_fraction: a pair that fails is a limb of score `paf_threshold` + 1e-6 if it is shorter than this
            fraction of sqrt(width height) of the field.
        matching: how the pairs of a limb are chosen so that no peak is used twice: 'greedy' takes the highest-scoring
            pair left, 'hungarian' the pairs of the largest sum, 'graph' those of the largest sum over all limbs that
            put no two peaks of one keypoint into an instance, by an integer program, which takes much longer.
        assign_by: 'start' adds a limb to the instance that has its start peak, or starts an instance; 'either' adds
            it to the instance that has either end, and merges two instances that have no keypoint in common.
        redundant_peaks: what a redundant limb may add with `assign_by='start'`: a peak that is 'unassigned', which then
            counts as others do; or 'any', also one of another instance, to every instance that has the limb's other
            end and lacks it. Such a peak adds nothing to the score, nor to the number of keypoints that an instance
            needs.
        single_peaks: peaks that start an instance of one keypoint: 'none', 'unpaired' for those of a limb whose other
            keypoint has no peak at all, or 'all' that no instance has in the end.
        merge_distance_ratio: instances without a keypoint in common are merged, nearest first, if their nearest
            keypoints are closer than this times the longer side of the larger one's box. Mends instances that a hidden
            keypoint has split.
        min_keypoints: keypoints that an instance needs, or all of the skeleton if that has fewer.
        min_mean_score: mean score per keypoint that an instance needs.
        count_feet: whether keypoints of the feet count for `min_keypoints`; if not, an instance with a foot and at
            most four other keypoints is dropped.
        fallback: name of the preset to try again with where no instance is left.

    Raises:
        ConfigError: for a value that a rule cannot have.
    """

    # Defaults: those of the OpenPose library for COCO and BODY_25.
    peak_threshold: float = 0.05
    peak_neighbors: Literal[8, 4] = 8
    max_peaks: int = 127
    min_peak_distance_px: float = 0.0
    peak_order: Literal['rows', 'columns'] = 'rows'
    num_samples: int | Literal['length'] = 'length'
    paf_threshold: float = 0.05
    min_sample_fraction: float = 0.95
    score_samples: Literal['passed', 'all'] = 'passed'
    length_prior: bool = False
    short_limb_fraction: float = 0.0
    matching: Literal['greedy', 'hungarian', 'graph'] = 'greedy'
    assign_by: Literal['start', 'either'] = 'start'
    redundant_peaks: Literal['unassigned', 'any'] = 'unassigned'
    single_peaks: Literal['none', 'unpaired', 'all'] = 'unpaired'
    merge_distance_ratio: float = 0.0
    min_keypoints: int = 3
    min_mean_score: float = 0.4
    count_feet: bool = False
    fallback: str | None = None

    def __post_init__(self) -> None:
        check_choices('parser', self)
        if self.redundant_peaks == 'any' and self.assign_by != 'start':
            raise ConfigError("parser: redundant_peaks='any' needs assign_by='start', where no instances are merged")
        if self.num_samples != 'length' and not (isinstance(self.num_samples, int) and self.num_samples >= 2):
            raise ConfigError(f"parser: num_samples is an int of at least 2, or 'length'; got {self.num_samples!r}")
        check_number('parser', 'min_sample_fraction', self.min_sample_fraction, 0, 1, below=True)
        for name in ('peak_threshold', 'paf_threshold', 'short_limb_fraction', 'min_mean_score'):
            check_probabilities('parser', **{name: getattr(self, name)})
        for name in ('min_peak_distance_px', 'merge_distance_ratio'):
            check_not_negative('parser', **{name: getattr(self, name)})
        check_counts('parser', max_peaks=self.max_peaks, min_keypoints=self.min_keypoints)
        if self.fallback is not None and self.fallback not in PAF_PRESETS:
            raise ConfigError(
                f'parser: fallback is the name of a preset, one of {", ".join(PAF_PRESETS)}; got {self.fallback!r}'
            )


# Filled in this order, since a fallback must exist before the preset that names it.
PAF_PRESETS: dict[str, PAFRules] = {}
PAF_PRESETS['openpose_maximize_positives'] = PAFRules(
    peak_threshold=0.02,
    paf_threshold=0.01,
    min_sample_fraction=0.75,
    short_limb_fraction=1 / 150,
    min_keypoints=2,
    min_mean_score=0.05,
    count_feet=True,
)
PAF_PRESETS['openpose'] = PAFRules(short_limb_fraction=1 / 150, fallback='openpose_maximize_positives')
PAF_PRESETS['openpose_mpi'] = replace(PAF_PRESETS['openpose'], peak_threshold=0.6, paf_threshold=0.01)
PAF_PRESETS['matlab'] = PAFRules(
    peak_threshold=0.1,
    min_peak_distance_px=6.0,
    num_samples=10,
    min_sample_fraction=0.8,
    length_prior=True,
    assign_by='either',
    min_mean_score=0.2,
    count_feet=True,
)
PAF_PRESETS['matlab_mpi'] = replace(PAF_PRESETS['matlab'], paf_threshold=0.01)
PAF_PRESETS['merging'] = replace(PAF_PRESETS['matlab'], length_prior=False)
PAF_PRESETS['lightweight'] = replace(
    PAF_PRESETS['merging'],
    max_peaks=10**6,  # all of them
    peak_neighbors=4,
    peak_order='columns',
    assign_by='start',
    redundant_peaks='any',
    single_peaks='none',
)
PAF_PRESETS['pytorch_openpose'] = replace(
    PAF_PRESETS['matlab'],
    min_peak_distance_px=0.0,
    score_samples='all',
    single_peaks='none',
    min_keypoints=4,
    min_mean_score=0.4,
)
PAF_PRESETS['paper'] = replace(
    PAF_PRESETS['merging'], paf_threshold=0.0, min_sample_fraction=0.0, matching='hungarian', score_samples='all'
)
PAF_PRESETS['complete'] = replace(
    PAF_PRESETS['merging'],
    num_samples='length',
    min_sample_fraction=0.9,
    single_peaks='all',
    merge_distance_ratio=0.8,
    min_keypoints=1,
    min_mean_score=0.0,
)


def get_paf_rules(spec: PAFRules | str | Mapping[str, Any]) -> PAFRules:
    """Rules of a preset, or of a preset with some of them changed.

    Args:
        spec: name of a preset; or a dict of the rules that differ from those of its key `preset` (by default
            'openpose'); or rules, which are returned as they are.

    Raises:
        ConfigError: if there is no preset or no rule of a name, or a value is not allowed.
    """
    if isinstance(spec, PAFRules):
        return spec
    changes = {'preset': spec} if isinstance(spec, str) else dict(spec)
    name = changes.pop('preset', 'openpose')
    if name not in PAF_PRESETS:
        suggestion = suggest_closest(str(name), PAF_PRESETS)
        raise ConfigError(
            compose_message(f'there is no parser {name!r}', suggestion, f'known: {", ".join(PAF_PRESETS)}')
        )
    rule_names = [f.name for f in fields(PAFRules)]
    for key in changes:
        if key not in rule_names:
            suggestion = suggest_closest(key, rule_names)
            raise ConfigError(
                compose_message(f'a parser has no rule {key!r}', suggestion, f'it has {", ".join(rule_names)}')
            )
    return replace(PAF_PRESETS[name], **changes)
