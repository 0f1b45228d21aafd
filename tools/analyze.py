"""python tools/analyze.py oracle CONFIG ...

`poseplug analyze` in a clone; see --help and poseplug/cli/commands/analyze.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('analyze', 'python tools/analyze.py')
