"""python tools/export.py CONFIG CHECKPOINT --out model.onnx ...

`poseplug export` in a clone; see --help and poseplug/cli/commands/export.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('export', 'python tools/export.py')
