"""The base class of all contracts."""

from __future__ import annotations

__all__ = ['Contract']

from typing import Any


class Contract:
    """The base class of all contracts: a set of test methods over the part that `build_part` returns.

    Example:
        >>> from poseplug.core.skeleton import Skeleton
        >>> class TestSkeleton(Contract):
        ...     def build_part(self):
        ...         return Skeleton('one', ('nose',))
        >>> len(TestSkeleton().build_part())
        1
    """

    def build_part(self, *args: Any) -> Any:
        """Build the part under test, a new one on every call; a subclass must override it.

        Raises:
            NotImplementedError: The subclass does not define it.
        """
        raise NotImplementedError(f'{type(self).__name__} must define how its part is built: def build_part(self, ...)')
