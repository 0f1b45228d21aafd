"""python tools/predict.py [CONFIG CHECKPOINT] INPUTS ...

`poseplug predict` in a clone; see --help and poseplug/cli/commands/predict.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('predict', 'python tools/predict.py')
