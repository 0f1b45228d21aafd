"""What the commands share: options in dotted keys, and errors that are told, not traced."""

from __future__ import annotations

import argparse
import ast
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from poseplug.errors import ConfigError, PoseplugError
from poseplug.progress import ScreenHandler


def add_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give a command that takes a config `--cfg-options KEY=VALUE ...` and `--plugins NAME ...`."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=option,
        action=Options,
        default={},
        metavar='KEY=VALUE',
        help='settings over those of the config, such as model.head.type=HeatmapHead model.codec.refine=dark',
    )
    return add_plugins(parser)


def add_plugins(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Give a command `--plugins NAME ...`, which `main` imports before the command runs."""
    parser.add_argument(
        '--plugins',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME',
        help='installed plugins to import, by package or entry point (a part that a config names finds its own)',
    )
    return parser


class Options(argparse.Action):
    """Collects pairs into one dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **dict(values)})


def option(text: str) -> tuple[str, Any]:
    """`key=value` with the value read as a literal (number, tuple, dict(type='Name'), ...), or kept as a string."""
    key, equals, value = text.partition('=')
    if not equals or not key:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    try:
        tree = ast.parse({'true': 'True', 'false': 'False'}.get(value.lower(), value).strip(), mode='eval')
        return key, ast.literal_eval(DictCalls().visit(tree))
    except (ValueError, SyntaxError):
        return key, value


class DictCalls(ast.NodeTransformer):
    """Reads `dict(name=value)`, as configs are written, as the literal `{'name': value}`; nothing is run."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        names = [k.arg for k in node.keywords]
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args or None in names:
            return node
        return ast.Dict([ast.Constant(n) for n in names], [k.value for k in node.keywords])


def command(name: str, prog: str, words: Sequence[str] | None = None) -> None:
    """Run poseplug/commands/NAME.py, which its help calls `prog`, on `words` (default: those of the process)."""
    module = importlib.import_module(f'poseplug.commands.{name}')
    about = (module.__doc__ or '').replace(f'poseplug {name}', prog)
    parser = argparse.ArgumentParser(prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.arguments(parser)
    main(parser, module.run, words)


def main(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], words: Sequence[str] | None = None
) -> None:
    """Run a command; an error of ours is one message on stderr and exit code 2, its trace with POSEPLUG_TRACE=1."""
    args = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING, format='%(message)s', handlers=[ScreenHandler()])
    try:
        if getattr(args, 'plugins', []):
            from poseplug import plugins

            plugins.use(args.plugins)
        run(args)
    except PoseplugError as error:
        if os.environ.get('POSEPLUG_TRACE'):
            raise
        print(f'{"config" if isinstance(error, ConfigError) else type(error).__name__}: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
