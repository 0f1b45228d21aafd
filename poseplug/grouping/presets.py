"""The rules by which people are put together from peaks and limb fields, and those of three released parsers by name.

'cpp' is the OpenPose library, 'matlab' the authors' COCO evaluation, 'lightweight' the reimplementation for small
devices (Osokin 2018, arXiv:1811.12004). 'complete' is ours: it keeps everybody, even of a single joint, for metrics
that count them too. Lengths are in input pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from poseplug.errors import ConfigError, clauses, closest


@dataclass(frozen=True)
class Rules:
    """What counts as a peak, as a limb and as a person.

    Peaks are larger than `peak` and their eight neighbours, the best `most` of a joint; those within `apart` px of an
    earlier one are dropped. A pair of peaks is sampled at `samples` places, or at sqrt(5 max(|dx|, |dy|)) of them,
    between 5 and 25, with 'length'. It is a limb if more than the share `ratio` of the samples exceed `along`, and
    scores their mean. With `prior` a limb longer than half of the height loses half of the height / length - 1, and
    must still be above 0. A pair closer than the share `short` of sqrt(width height) that fails is a limb that scores
    `along` + 1e-6.

    Pairs are matched limb by limb, `match`: 'greedy' takes the best left over, 'hungarian' those of the largest sum.
    A limb joins the person who has its start, and founds one where nobody has (`join`: 'start'); or the person who has
    either of its ends, and joins two people who have no joint in common ('either'). A peak founds a person of one joint
    where no other joint of its limb has a peak at all (`lone`: 'absent'), or wherever it belongs to nobody in the end
    ('every'). Then people without a joint in common become one if they come closer to each other than `gather` times
    the longer side of the larger one, nearest first: what a hidden joint has separated.

    Of people stay those of `parts` joints, or of all that the skeleton has, and a mean score of `mean`; without `feet`
    those of the feet do not count, and nobody consists of a foot and up to four other joints. Where nobody stays, the
    rules named `again` have another try.
    """

    peak: float = 0.05
    most: int = 127
    apart: float = 0.0
    samples: int | Literal['length'] = 'length'
    along: float = 0.05
    ratio: float = 0.95
    prior: bool = False
    short: float = 0.0
    match: Literal['greedy', 'hungarian'] = 'greedy'
    join: Literal['start', 'either'] = 'start'
    lone: Literal['none', 'absent', 'every'] = 'absent'
    gather: float = 0.0
    parts: int = 3
    mean: float = 0.4
    feet: bool = False
    again: str | None = None

    def __post_init__(self) -> None:
        choices = {
            'match': ('greedy', 'hungarian'),
            'join': ('start', 'either'),
            'lone': ('none', 'absent', 'every'),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f'parser: {name} is one of {known}; got {getattr(self, name)!r}')
        if self.samples != 'length' and not (isinstance(self.samples, int) and self.samples >= 2):
            raise ConfigError(f"parser: samples is a number of at least 2, or 'length'; got {self.samples!r}")
        if not 0 <= self.ratio < 1:
            raise ConfigError(f'parser: ratio is a share of the samples below 1; got {self.ratio}')
        if self.again is not None and self.again not in PRESETS:
            raise ConfigError(f'parser: again is the name of rules, one of {", ".join(PRESETS)}; got {self.again!r}')


PRESETS: dict[str, Rules] = {}
PRESETS['cpp_maximize'] = Rules(peak=0.02, along=0.01, ratio=0.75, short=1 / 150, parts=2, mean=0.05, feet=True)
PRESETS['cpp'] = Rules(short=1 / 150, again='cpp_maximize')
PRESETS['cpp_mpi'] = replace(PRESETS['cpp'], peak=0.6, along=0.01)
PRESETS['matlab'] = Rules(peak=0.1, apart=6.0, samples=10, ratio=0.8, prior=True, join='either', mean=0.2, feet=True)
PRESETS['matlab_mpi'] = replace(PRESETS['matlab'], along=0.01)
PRESETS['lightweight'] = replace(PRESETS['matlab'], prior=False)
PRESETS['complete'] = replace(
    PRESETS['lightweight'], samples='length', ratio=0.9, lone='every', gather=0.8, parts=1, mean=0.0
)


def get_rules(spec: Rules | str | Mapping[str, Any]) -> Rules:
    """Rules by the name of a preset, as a dict of what differs from `preset` (by default 'cpp'), or as they are."""
    if isinstance(spec, Rules):
        return spec
    changes = {'preset': spec} if isinstance(spec, str) else dict(spec)
    name = changes.pop('preset', 'cpp')
    if name not in PRESETS:
        raise ConfigError(
            clauses(f'there is no parser {name!r}', closest(str(name), PRESETS), f'known: {", ".join(PRESETS)}')
        )
    known = [f.name for f in fields(Rules)]
    for key in changes:
        if key not in known:
            raise ConfigError(
                clauses(f'a parser has no rule {key!r}', closest(key, known), f'it has {", ".join(known)}')
            )
    return replace(PRESETS[name], **changes)
