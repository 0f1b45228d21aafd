"""python tools/describe.py CONFIG ...

`poseplug describe` from a clone; --help and poseplug/commands/describe.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('describe', 'python tools/describe.py')
