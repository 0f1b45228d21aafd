"""One module per command, with its arguments alone; its docstring is its help."""
