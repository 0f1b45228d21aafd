"""python tools/train.py CONFIG ...

`poseplug train` from a clone; --help and poseplug/commands/train.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('train', 'python tools/train.py')
