"""python tools/doctor.py [CONFIG] ...

`poseplug doctor` in a clone; see --help and poseplug/cli/commands/doctor.py.
"""

from poseplug.cli.options import run_command

if __name__ == '__main__':
    run_command('doctor', 'python tools/doctor.py')
