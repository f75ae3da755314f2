# SPDX-License-Identifier: GPL-2.0-or-later
"""User-mode Linux gets its library on processors that need it, and on those alone."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from lab import xstate


def test_other_processors_need_nothing() -> None:
    assert xstate.preloaded("flags : fpu avx2 avx512f amx_bf16") == {}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_library_is_built_once_and_can_be_loaded(tmp_path: Path) -> None:
    made = xstate.preloaded("flags : fpu amx_tile", tmp_path)
    library = Path(made["LD_PRELOAD"])
    assert library.is_relative_to(tmp_path)
    assert ctypes.CDLL(str(library)).ptrace is not None
    before = library.stat().st_mtime_ns
    assert xstate.preloaded("flags : fpu amx_tile", tmp_path) == made
    assert library.stat().st_mtime_ns == before
