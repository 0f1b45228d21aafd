"""python tools/export.py CONFIG CHECKPOINT --out model.onnx ...

`poseplug export` from a clone; --help and poseplug/commands/export.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('export', 'python tools/export.py')
