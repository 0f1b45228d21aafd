"""Options with dotted keys for all commands, and errors as one message without a traceback."""

from __future__ import annotations

import argparse
import ast
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from poseplug.cli.argument_types import parse_count, parse_positive_float, parse_positive_int
from poseplug.cli.command_modules import load_command
from poseplug.core.errors import ConfigError, PoseplugError
from poseplug.core.progress import StderrLogHandler
from poseplug.files.output_guard import check_outputs

# The arguments that name what a command writes; every other argument that names a file names an input.
OUTPUT_ARGUMENTS = ('out', 'report', 'html', 'table', 'predictions', 'web')
CONFIG_HELP = 'a config file, or the name of a config of the package (poseplug list config)'
_EMPTY_OPTIONS = re.compile(r'--[a-z-]+=')  # such as `--out=$FOLDER` without a FOLDER
_NEGATIVE_NUMBERS = re.compile(r'-\.?\d[^=]*,')  # several, separated by commas


def add_config_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--cfg-options KEY=VALUE ...` to a command that reads a config.

    Args:
        parser: of the command.

    Returns:
        The same parser.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=parse_cfg_option,
        action=_KeyValueAction,
        default={},
        metavar='KEY=VALUE',
        help='settings that replace those of the config, such as model.head.type=HeatmapHead model.codec.refine=dark',
    )
    return parser


def add_weights_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--weights raw|averaged` and `--map-keypoints` to a command that reads a checkpoint.

    Args:
        parser: of the command.

    Returns:
        The same parser.
    """
    parser.add_argument(
        '--weights',
        choices=('averaged', 'raw'),
        dest='weight_kind',
        help='which weights to use of a checkpoint that has both (default: averaged)',
    )
    return add_map_keypoints_option(parser)


def add_map_keypoints_option(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--map-keypoints` to a command that reads weights.

    Args:
        parser: of the command.

    Returns:
        The same parser.
    """
    parser.add_argument(
        '--map-keypoints',
        action='store_true',
        help='match the channels of the weights by keypoint name, where the order of keypoints differs',
    )
    return parser


class _KeyValueAction(argparse.Action):
    """Collects the pairs of an option, which may be repeated, in one dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        # a new dict: the default of the option is shared by all calls
        previous = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**previous, **dict(values)})


def parse_cfg_option(text: str) -> tuple[str, Any]:
    """Parse one `KEY=VALUE`.

    Args:
        text: such as 'model.head.num_stages=3'. A literal such as `3`, `(1, 2)`, `true` or `dict(type='Name')` is
            parsed; any other value is a string. No code is run.

    Returns:
        Key and value.

    Raises:
        argparse.ArgumentTypeError: there is no key or no equals sign.

    Example:
        >>> parse_cfg_option("model.head=dict(type='CPMHead', num_stages=3)")
        ('model.head', {'type': 'CPMHead', 'num_stages': 3})
    """
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    try:
        # as YAML and JSON write them
        literal = {'true': 'True', 'false': 'False'}.get(value.lower(), value).strip()
        tree = ast.parse(literal, mode='eval')
        return key, ast.literal_eval(_DictCallTransformer().visit(tree))
    except (ValueError, SyntaxError):
        return key, value


class _DictCallTransformer(ast.NodeTransformer):
    """Converts `dict(name=value)`, the style of configs, to the literal `{'name': value}`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [k.arg for k in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(n) for n in names], [k.value for k in node.keywords])


def add_run_options(parser: argparse.ArgumentParser, training: bool = True) -> argparse.ArgumentParser:
    """Add the common settings of a run as options: `--batch-size`, `--workers`, `--device`, for training more.

    Args:
        parser: of the command.
        training: whether `--epochs`, `--lr` and `--precision` are added, too.

    Returns:
        The same parser.
    """
    group = parser.add_argument_group('common settings, instead of those of the config')
    if training:
        group.add_argument(
            '--epochs', type=parse_positive_int, metavar='N', help='length of the run; schedules and averages follow it'
        )
        group.add_argument('--lr', type=parse_positive_float, metavar='RATE', help='learning rate of the optimizer')
        group.add_argument(
            '--precision',
            choices=('fp32', 'bf16', 'auto'),
            help='number format of the network; auto times both in the first step and takes the faster one',
        )
    group.add_argument('--batch-size', type=parse_positive_int, metavar='N', help='samples per batch')
    group.add_argument('--workers', type=parse_count, metavar='N', help='processes that load samples; 0 for none')
    add_device_option(group)
    return parser


def add_device_option(parser: Any) -> None:
    """Add `--device NAME` to a command or a group of its options."""
    parser.add_argument('--device', help='device, such as cuda:1 or cpu (default: the accelerator if there is one)')


def run_command(name: str, prog: str, argv: Sequence[str] | None = None) -> None:
    """Run a command of `poseplug.cli.commands`.

    Args:
        name: of the command.
        prog: name of the program in its help.
        argv: the arguments (default: those of the process).
    """
    command = load_command(name)
    description = command.description.replace(f'poseplug {name}', prog)
    parser = argparse.ArgumentParser(
        prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    run_program(parser, command.run, argv)


def _check_empty_texts(texts: Sequence[str]) -> None:
    """Refuse an argument that is an empty text: as a path it would be the current folder, as `--init` no weights."""
    for index, text in enumerate(texts):
        if text and not _EMPTY_OPTIONS.fullmatch(text):
            continue
        previous = texts[index - 1] if index else ''
        option = text.rstrip('=') or (previous if previous.startswith('--') else '')
        argument = f'the value of {option}' if option else f'argument {index + 1}'
        raise ConfigError(
            f'{argument} is an empty text, as of a shell variable that is not set; give a value, or leave it out'
        )


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse an output that is one of the files which the other arguments name."""
    inputs: list[str | Path] = []
    for name, value in vars(args).items():
        values = value if isinstance(value, list) else [value]
        if name not in OUTPUT_ARGUMENTS:
            inputs += [path for path in values if isinstance(path, (str, Path))]
    options_by_output: dict[str, str] = {}
    for name in OUTPUT_ARGUMENTS:
        output = getattr(args, name, None)
        if not isinstance(output, (str, Path)):
            continue
        check_outputs(inputs, [Path(output)], f'--{name}')
        # real paths, so that links and `..` do not hide that two outputs are one file
        first_option = options_by_output.setdefault(os.path.realpath(output), name)
        if first_option != name:
            raise ConfigError(f'--{first_option} and --{name} both name {output}; give each a file of its own')


def protect_negative_numbers(text: str) -> str:
    """Mark an argument such as '-5,10,60,140' as a value, which argparse would take for an option.

    Example:
        >>> protect_negative_numbers('-5,10,60,140'), protect_negative_numbers('--boxes')
        (' -5,10,60,140', '--boxes')
    """
    # argparse takes single negative numbers for values, and everything with a blank; float() ignores the blank.
    return f' {text}' if _NEGATIVE_NUMBERS.match(text) else text


def escape_unprintable_text() -> None:
    """Let stdout and stderr print characters that their encoding lacks, as in file names, by escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


def run_program(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> None:
    """Parse the arguments and run a command or another program, whose errors end it with one message.

    Args:
        parser: of the command.
        run: the command, called with the parsed arguments.
        argv: the arguments (default: those of the process).

    Raises:
        SystemExit: with code 2 after an error of poseplug, which is printed as one message on stderr; with code 130
            after Ctrl+C; with code 141 if the reader of the output has gone.
        PoseplugError: the error itself, if POSEPLUG_TRACE=1 is set.
    """
    escape_unprintable_text()
    texts = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args([protect_negative_numbers(text) for text in texts])
    logging.basicConfig(level=logging.WARNING, format='%(message)s', handlers=[StderrLogHandler()])
    try:
        _check_empty_texts(texts)
        _check_outputs(args)
        run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, as in `poseplug list | head`. Python flushes again at exit, where nothing may be left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # 128 + SIGPIPE, as a shell reports it
        raise SystemExit(141) from None
    except PoseplugError as error:
        if os.environ.get('POSEPLUG_TRACE'):
            raise
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        # 128 + SIGINT
        raise SystemExit(130) from None
