"""python tools/describe.py CONFIG ...

`poseplug describe` in a clone; see --help and poseplug/cli/commands/describe.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('describe', 'python tools/describe.py')
