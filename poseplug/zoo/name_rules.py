"""Rules that rename weights, (pattern of a whole name, replacement), applied in both directions."""

from __future__ import annotations

__all__ = ['InverseRule', 'invert_rules', 'rename_by_rules']

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

_Rules = tuple[tuple[str, str], ...]
# What patterns consist of, in this order: groups that a replacement refers to, groups that it does not, sets of
# letters, escaped characters and all others. Groups hold at most one level of further groups.
_TOKEN = re.compile(
    r'(?P<optional>\(\?:[^()]*\)\?)|(?P<choice>\(\?:[^()]*\))|(?P<group>\((?:[^()]|\([^()]*\))*\))'
    r'|(?P<letters>\[[^\]]*\])|\\(?P<escaped>\W)|(?P<literal>[\w])'
)
_REFERENCE = re.compile(r'\\(\d)')


def rename_by_rules(name: str, rules: _Rules) -> list[str]:
    """Return what the rules make of a name.

    Args:
        name: a whole name.
        rules: (pattern of a whole name, replacement).

    Returns:
        The results of the rules whose pattern fits, in order.

    Example:
        >>> rename_by_rules('head.final_layer.bias', ((r'head\\.final_layer\\.(.+)', r'head.predict.\\1'),))
        ['head.predict.bias']
    """
    matches = ((pattern.fullmatch(name), replacement) for pattern, replacement in _compile_rules(rules))
    return [match.expand(replacement) for match, replacement in matches if match]


@cache
def _compile_rules(rules: _Rules) -> tuple[tuple[re.Pattern[str], str], ...]:
    """The rules with compiled patterns; of some networks they are more than the module `re` remembers."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


@dataclass(frozen=True)
class InverseRule:
    """A rule in the other direction.

    Attributes:
        pattern: fits what the rule returns.
        templates: what the rule accepts, with `{1}` for the first group; several for a pattern with alternatives.
    """

    pattern: re.Pattern[str]
    templates: tuple[str, ...]

    def list_sources(self, name: str) -> list[str]:
        """List the names that the rule turns into this one."""
        match = self.pattern.fullmatch(name)
        return [template.format('', *match.groups()) for template in self.templates] if match else []


@cache
def invert_rules(rules: _Rules) -> tuple[InverseRule, ...]:
    """Invert rules.

    Args:
        rules: their patterns consist of literal text, groups, and alternatives in groups without a number.

    Returns:
        A rule for each, in the same order.

    Example:
        >>> rule, = invert_rules(((r'head\\.(?:mlp_head|cls)_([xy])\\.(.+)', r'head.bins.\\1.\\2'),))
        >>> rule.list_sources('head.bins.x.weight')
        ['head.mlp_head_x.weight', 'head.cls_x.weight']
    """
    return tuple(_invert_rule(pattern, replacement) for pattern, replacement in rules)


def _invert_rule(pattern: str, replacement: str) -> InverseRule:
    groups: list[str] = []
    parts = [*_list_alternatives(pattern, groups)]
    pieces, is_used = _REFERENCE.split(replacement), set[str]()
    inverse = ''
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            inverse += re.escape(piece)
        else:
            inverse += f'(?P=g{piece})' if piece in is_used else f'(?P<g{piece}>{groups[int(piece) - 1]})'
            is_used.add(piece)
    # Groups are numbered here by their order in the replacement.
    order = [*dict.fromkeys(pieces[1::2])]
    numbers = {f'{{{old}}}': f'{{{order.index(str(old)) + 1}}}' for old in range(1, len(groups) + 1)}
    templates = (''.join(numbers.get(part, part) for part in choice) for choice in product(*parts))
    return InverseRule(re.compile(inverse), tuple(templates))


def _list_alternatives(pattern: str, groups: list[str]) -> Iterator[Sequence[str]]:
    """The alternatives of each token of a pattern, `{1}` for its first group; the groups' contents are appended."""
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            raise ValueError(f'{pattern!r} cannot be inverted from {pattern[position:]!r} on')
        position = token.end()
        text = token[0]
        if token['group']:
            groups.append(text[1:-1])
            yield [f'{{{len(groups)}}}']
        elif token['optional']:
            yield ['', *text[3:-2].replace('\\', '').split('|')]
        elif token['choice']:
            yield text[3:-1].replace('\\', '').split('|')
        elif token['letters']:
            yield text[1:-1]
        else:
            yield [token['escaped'] or text]
