"""The command line: one module per command in `poseplug.cli.commands`, and what they share."""
