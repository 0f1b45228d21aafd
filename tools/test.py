"""python tools/test.py CONFIG CHECKPOINT ...

`poseplug test` from a clone; --help and poseplug/commands/test.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('test', 'python tools/test.py')
