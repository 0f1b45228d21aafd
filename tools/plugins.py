"""python tools/plugins.py [KIND ...]

`poseplug plugins` from a clone; --help and poseplug/commands/plugins.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('plugins', 'python tools/plugins.py')
