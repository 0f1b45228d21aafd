"""Disks and offset vectors: a codec for poseplug in a package of its own."""
