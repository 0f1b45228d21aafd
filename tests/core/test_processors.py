"""What the processors can do."""

from poseplug.core import processors


def test_instructions_are_read_from_the_flags_of_the_cpu(monkeypatch, tmp_path):
    class Flags(type(tmp_path)):
        def read_text(self):
            return 'flags : fpu avx512_bf16 amx_tile'

    monkeypatch.setattr(processors, 'Path', Flags)
    assert processors.has_bfloat16_instructions()
    monkeypatch.setattr(Flags, 'read_text', lambda self: 'flags : fpu avx2 avx512f')
    assert not processors.has_bfloat16_instructions()
