"""python tools/package_model.py CONFIG CHECKPOINT ...

`poseplug package_model` in a clone; see --help and poseplug/cli/commands/package_model.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('package_model', 'python tools/package_model.py')
