"""Tiny downloads for the tests of this folder."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def raw_h36m_maker(human36m_files):
    """The function ``make_raw_h36m`` of human36m_files.py: writes a tiny download of Human3.6M."""
    return human36m_files.make_raw_h36m


@pytest.fixture(scope="session")
def human36m_files():
    """The module human36m_files.py beside this file."""
    return _module("human36m_files")


@pytest.fixture(scope="session")
def people_files():
    """The module people_files.py beside this file."""
    return _module("people_files")


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module
