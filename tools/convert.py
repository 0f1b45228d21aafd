"""python tools/convert.py CHECKPOINT CONFIG --out FILE.safetensors ...

`poseplug convert` in a clone; see --help and poseplug/cli/commands/convert.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('convert', 'python tools/convert.py')
