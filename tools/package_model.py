"""python tools/package_model.py CONFIG CHECKPOINT ...

`poseplug package_model` from a clone; --help and poseplug/commands/package_model.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('package_model', 'python tools/package_model.py')
