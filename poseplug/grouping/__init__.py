"""Grouping of peaks into instances, and non-maximum suppression."""
