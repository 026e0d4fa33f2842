"""Motion files: one reader and writer per format, loaded when first used."""

__all__ = [
    "parse_bvh",
    "format_bvh",
    "read_bvh",
    "read_motion",
    "read_motion_npz",
    "write_bvh",
    "write_motion",
    "write_motion_npz",
]

import importlib

_HOMES = {
    "bvh_text": ("parse_bvh", "format_bvh"),
    "bvh": ("read_bvh", "write_bvh"),
    "motion_npz": ("read_motion_npz", "write_motion_npz"),
    "read": ("read_motion", "write_motion"),
}


def __getattr__(name: str):
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
