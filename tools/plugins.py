"""python tools/plugins.py [KIND ...]

`poseplug plugins` in a clone; see --help and poseplug/cli/commands/plugins.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('plugins', 'python tools/plugins.py')
