"""From label files to a config that trains on them: what `poseplug init` does."""
