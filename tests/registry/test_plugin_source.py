"""Which parts a source registers, read without running it."""

from __future__ import annotations

import sys

import pytest

from poseplug import registry
from poseplug.registry import Registry
from poseplug.registry.plugin_source import KINDS, files, read, registered
from poseplug.registry.registries import qualified_name


def list_registered(source: str) -> list[tuple[str, str, str]]:
    return [tuple(part) for part in registered('pack', source.encode())]


@pytest.mark.parametrize(
    ('source', 'parts'),
    [
        ('@CODECS.register_module()\nclass A: ...', [('codec', 'A', 'pack.A')]),
        ('@registry.METRICS.register_module()\ndef a(): ...', [('metric', 'a', 'pack.a')]),
        ('@CODECS.register_module(name=None)\nclass A: ...', [('codec', 'A', 'pack.A')]),
        ('@MODELS.register_module("B", force=True)\nclass A: ...', [('model', 'B', 'pack.A')]),
        (
            '@HOOKS.register_module(name=["B", "C"])\nclass A: ...',
            [('hook', 'B', 'pack.A'), ('hook', 'C', 'pack.A')],
        ),
        ('SOURCES.register_module(name="B", module=other.A)', [('source', 'B', 'pack.A')]),
        ('SOURCES.register_module(module=A)', [('source', 'A', 'pack.A')]),
        ('SOURCES.register_module("B", False, A)', [('source', 'B', 'pack.A')]),
        ('LOOPS.register_module()(A)', [('loop', 'A', 'pack.A')]),
        ('def enter():\n    SAMPLERS.register_module("B")(A)', [('sampler', 'B', 'pack.A')]),
        ('from poseplug.registry import CODECS as C\n@C.register_module()\nclass A: ...', [('codec', 'A', 'pack.A')]),
        ('@dataclass\n@CODECS.register_module()\n@final\nclass A: ...', [('codec', 'A', 'pack.A')]),
        ('register_skeleton(Skeleton("hand", joints))', [('skeleton', 'hand', 'pack.hand')]),
        ('register_skeleton(replace(HAND, name="paw"))', [('skeleton', 'paw', 'pack.paw')]),
        ('HAND = Skeleton(name="hand")\nskeleton.register_skeleton(HAND)', [('skeleton', 'hand', 'pack.hand')]),
        ('@pytest.register_module()\nclass A: ...', []),
        ('@CODECS.register_module\nclass A: ...', []),
        ('CODECS.register_module(name=f"{x}")(A)', []),
        ('for s in SKELETONS:\n    register_skeleton(s)', []),
        ('register_skeleton()\nCODECS.register_module()', []),
        ('# CODECS.register_module(name="A", module=A)', []),
    ],
)
def test_parts_are_read_from_literal_names_in_a_source(source, parts):
    assert list_registered(source) == parts


def test_a_source_is_not_run_and_warns_of_nothing():
    assert list_registered('@CODECS.register_module()\nclass A: "\\d"\nraise SystemExit') == [('codec', 'A', 'pack.A')]


def test_the_demo_plugin_has_one_codec(root, monkeypatch):
    monkeypatch.syspath_prepend(root / 'demo' / 'plugin')
    location = 'poseplug_offsets.disk_offset.DiskOffset'
    assert read('poseplug_offsets') == ((('codec', 'DiskOffset', location),), ())


def test_the_sources_of_the_package_say_what_they_register():
    for kind, each in registry.REGISTRIES.items():
        registered_names = {
            name for name in each.list_names() if qualified_name(each.get(name)).startswith('poseplug.')
        }
        read_names = {name for module in registry.plugins.BUILTIN[kind] for name in read(module).of(kind)}
        assert read_names == registered_names, kind


def test_every_registry_is_read_by_its_name():
    ours = {name: value.name for name, value in vars(registry).items() if isinstance(value, Registry)}
    assert ours.items() <= KINDS.items()


def test_a_package_is_read_with_all_its_modules_and_a_stray_file_alone(tmp_path, monkeypatch):
    for file in ('pack/__init__.py', 'pack/door.py', 'pack/deep/__init__.py', 'pack/deep/one.py', 'space/door.py'):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('raise SystemExit')
    (tmp_path / 'space' / 'beside.py').write_text('')
    (tmp_path / 'alone_here.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    every = ['pack', 'pack.deep', 'pack.deep.one', 'pack.door']
    assert sorted(name for name, _ in files('pack')) == every
    assert sorted(name for name, _ in files('pack.door')) == every
    assert sorted(name for name, _ in files('pack.deep')) == ['pack.deep', 'pack.deep.one']
    assert [name for name, _ in files('space.door')] == ['space.door']
    assert [name for name, _ in files('alone_here')] == ['alone_here']
    assert not list(files('no_such_package')) + list(files('sys')) + list(files('space'))
    assert not {'pack', 'space', 'alone_here'} & set(sys.modules)


def test_files_that_are_not_python_are_reported_and_the_others_read(tmp_path, monkeypatch):
    (tmp_path / 'torn').mkdir()
    (tmp_path / 'torn' / '__init__.py').write_text('@CODECS.register_module()\nclass A: ...')
    (tmp_path / 'torn' / 'bad.py').write_bytes(b'register_module(\x00')
    (tmp_path / 'torn' / 'odd.py').write_bytes(b'register_module("\xff")')
    (tmp_path / 'torn' / 'image.py').write_bytes(b'\x00\xff')
    monkeypatch.syspath_prepend(tmp_path)
    reading = read('torn')
    assert reading.of('codec') == {'A': 'torn.A'}
    assert [fault.partition(' (')[0] for fault in reading.faults] == [
        'torn.bad cannot be read',
        'torn.odd cannot be read',
    ]
