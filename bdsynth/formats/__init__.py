"""Motion files: one reader and writer per format, loaded when first used."""

__all__ = [
    "parse_bvh",
    "format_bvh",
    "read_bvh",
    "read_csv_motion",
    "read_motion",
    "read_motion_npz",
    "read_trc",
    "write_bvh",
    "write_csv_motion",
    "write_glb",
    "write_motion",
    "write_motion_npz",
    "write_trc",
    "load_npz",
    "load_pickle",
    "PeopleIndex",
    "read_people_index",
    "write_people_index",
    "read_keypoints_2d",
    "read_positions_3d",
    "read_scores",
    "write_keypoints_2d",
    "write_positions_3d",
    "write_scores",
    "read_3dhp_test",
    "read_3dhp_train",
    "write_3dhp_test",
    "write_3dhp_train",
]

import importlib

_HOMES = {
    "bvh_text": ("parse_bvh", "format_bvh"),
    "bvh": ("read_bvh", "write_bvh"),
    "csv_motion": ("read_csv_motion", "write_csv_motion"),
    "gltf": ("write_glb",),
    "trc": ("read_trc", "write_trc"),
    "motion_npz": ("read_motion_npz", "write_motion_npz"),
    "pickles": ("load_npz", "load_pickle"),
    "people_index": ("PeopleIndex", "read_people_index", "write_people_index"),
    "lifting_npz": (
        "read_keypoints_2d",
        "read_positions_3d",
        "read_scores",
        "write_keypoints_2d",
        "write_positions_3d",
        "write_scores",
    ),
    "mpi_inf_3dhp_npz": ("read_3dhp_test", "read_3dhp_train", "write_3dhp_test", "write_3dhp_train"),
    "read": ("read_motion", "write_motion"),
}


def __getattr__(name: str):
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
