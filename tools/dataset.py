"""python tools/dataset.py verify | browse | prepare | pack | detect ...

`poseplug dataset` in a clone; see --help and poseplug/cli/commands/dataset.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('dataset', 'python tools/dataset.py')
