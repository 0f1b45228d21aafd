"""python tools/train.py CONFIG ...

`poseplug train` in a clone; see --help and poseplug/cli/commands/train.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('train', 'python tools/train.py')
