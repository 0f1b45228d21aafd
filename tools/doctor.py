"""python tools/doctor.py [CONFIG] ...

`poseplug doctor` from a clone; --help and poseplug/commands/doctor.py say what it does.
"""

from poseplug.cli import command

if __name__ == '__main__':
    command('doctor', 'python tools/doctor.py')
