"""Names of weights: those in files and in the patterns of configs do not contain the estimator's roles."""

from __future__ import annotations

# Files of weights and patterns of configs are about the parts, whichever role holds them.
_ROLE_PREFIXES = ('network.', 'criterion.')


def weight_name(module_name: str) -> str:
    """Return the name of a parameter, buffer or part in weight files and in a config's patterns.

    Args:
        module_name: The name inside an estimator, as `named_parameters` or `named_modules` list it.

    Returns:
        The name without the role that holds it: 'head.final.weight' for 'network.head.final.weight'.

    Example:
        >>> weight_name('network.backbone.stem.weight'), weight_name('criterion.loss.flow.scale')
        ('backbone.stem.weight', 'loss.flow.scale')
    """
    for prefix in _ROLE_PREFIXES:
        if module_name.startswith(prefix):
            return module_name[len(prefix) :]
    return module_name
