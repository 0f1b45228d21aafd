"""Disks and offset vectors: a codec for poseplug in a package of its own."""

PARTS = {'codec': ['poseplug_offsets.disk_offset']}
