"""The folder of downloads; apart from the download itself, whose modules take longer to import than all others here."""

from __future__ import annotations

__all__ = ['get_cache_folder']

import os
from pathlib import Path


def get_cache_folder() -> Path:
    """Return the folder for downloads: the environment's POSEPLUG_CACHE, or `poseplug` in the user's cache folder."""
    configured = os.environ.get('POSEPLUG_CACHE')
    if configured:
        return Path(configured)
    user_cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(user_cache) / 'poseplug'
