"""What the commands share: options with dotted keys, and errors as one message without a traceback."""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from poseplug.core.errors import PoseplugError
from poseplug.core.progress import StderrLogHandler


def add_config_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add `--cfg-options KEY=VALUE ...` to a command that reads a config."""
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


class _KeyValueAction(argparse.Action):
    """Collects pairs in one dict; the option may be repeated."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **dict(values)})


def parse_cfg_option(text: str) -> tuple[str, Any]:
    """Parse one `KEY=VALUE`.

    Args:
        text: whose value is a literal such as `3`, `(1, 2)`, `true` or `dict(type='Name')`; anything else is a string,
            and no code is run.

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
        tree = ast.parse({'true': 'True', 'false': 'False'}.get(value.lower(), value).strip(), mode='eval')
        return key, ast.literal_eval(_DictCallTransformer().visit(tree))
    except (ValueError, SyntaxError):
        return key, value


class _DictCallTransformer(ast.NodeTransformer):
    """Turns `dict(name=value)`, as configs are written, into the literal `{'name': value}`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [k.arg for k in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(n) for n in names], [k.value for k in node.keywords])


def run_command(name: str, prog: str, argv: Sequence[str] | None = None) -> None:
    """Run a command of `poseplug.cli.commands`.

    Args:
        name: of the command's module.
        prog: what the help calls the program.
        argv: the arguments (default: those of the process).
    """
    module = importlib.import_module(f'poseplug.cli.commands.{name}')
    description = (module.__doc__ or '').replace(f'poseplug {name}', prog)
    parser = argparse.ArgumentParser(
        prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    main(parser, module.run, argv)


def main(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], argv: Sequence[str] | None = None
) -> None:
    """Parse the arguments and run a command.

    An error of poseplug is printed as one message on stderr and ends the process with code 2; with POSEPLUG_TRACE=1 it
    is raised.

    Args:
        parser: of the command.
        run: gets the parsed arguments.
        argv: the arguments (default: those of the process).
    """
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format='%(message)s', handlers=[StderrLogHandler()])
    try:
        run(args)
    except PoseplugError as error:
        if os.environ.get('POSEPLUG_TRACE'):
            raise
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
