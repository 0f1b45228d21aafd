"""python tools/predict.py [CONFIG CHECKPOINT] INPUTS ...

`poseplug predict` from a clone; --help and poseplug/commands/predict.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('predict', 'python tools/predict.py')
