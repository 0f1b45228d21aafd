"""The analyses of `poseplug analyze`: one module each, with `analyze_NAME` and `add_NAME_arguments`."""
