"""python tools/test.py CONFIG CHECKPOINT ...

`poseplug test` in a clone; see --help and poseplug/cli/commands/test.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('test', 'python tools/test.py')
