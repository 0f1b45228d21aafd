"""The analyses of `poseplug analyze`: one module each, with `add_arguments` and `run`."""
