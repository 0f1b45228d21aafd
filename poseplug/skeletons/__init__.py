"""Skeletons of data sets, registered by name: data alone, one module each."""
