"""The command line: one module per command in `poseplug.cli.commands`, and code that all commands use."""
