"""python tools/convert.py CHECKPOINT CONFIG --out FILE.safetensors ...

`poseplug convert` from a clone; --help and poseplug/commands/convert.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('convert', 'python tools/convert.py')
