"""python tools/dataset.py verify | browse | prepare | pack | detect ...

`poseplug dataset` from a clone; --help and poseplug/commands/dataset.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('dataset', 'python tools/dataset.py')
