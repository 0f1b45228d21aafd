"""python tools/analyze.py oracle CONFIG ...

`poseplug analyze` from a clone; --help and poseplug/commands/analyze.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('analyze', 'python tools/analyze.py')
