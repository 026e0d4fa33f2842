"""What files and batches hold: one declaration per kind, from which documentation and tests are made."""

from __future__ import annotations

__all__ = [
    "FIELDS_ANNOTATIONS", "FIELDS_IMAGES", "FIELDS_INDEX", "FIELDS_LIFTING", "FIELDS_MOTIONS", "Field",
    "check_batch", "table",
]  # fmt: skip

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Field:
    """One entry of a batch or of a file.

    Arguments:
        shape: numbers, and symbols that stand for the same number in all fields of a batch.
        dtype: of the tensor, "float32", "int64" or "bool".
        unit: of its numbers; empty where they have none.
        meaning: in a few words.
        present: when the entry is there; empty: always.
    """

    shape: tuple[str | int, ...]
    dtype: str
    unit: str
    meaning: str
    present: str = ""


GRAY = "-1 black, 1 white"

# S pixels a side of a picture, s of a part crop, C channels of appearance (3, or 30 and then A = s), K joints
FIELDS_IMAGES: dict[str, Field] = {
    "pose_img": Field(("B", 3, "S", "S"), "float32", GRAY, "the picture"),
    "stickman": Field(("B", 3, "S", "S"), "float32", GRAY, "its joints, drawn"),
    "app_img": Field(
        ("B", "C", "A", "A"), "float32", GRAY, "what the partner looks like: ten part crops or a picture"
    ),
    "pose_img_inplane": Field(
        ("B", "C", "A", "A"), "float32", GRAY, "the picture as part crops, or moved about at random",
        "with part crops or augmentation",
    ),
    "reg_imgs": Field(
        ("B", "R", "C", "A", "A"), "float32", GRAY, "pictures for the regressor, the first is the picture itself",
        "with regressor images",
    ),
    "reg_targets": Field(
        ("B", "R", "K", 2), "float32", "of width and height", "joints of reg_imgs", "with regressor images"
    ),
    "keypoints": Field(("B", "K", 2), "float32", "of width and height", "joints of the picture"),
    "sample_ids": Field(("B", 1), "int64", "", "row of the picture"),
    "person": Field(("B",), "int64", "", "who is seen; 0 where unknown"),
}  # fmt: skip

FIELDS_MOTIONS: dict[str, Field] = {
    "keypoints": Field(("B", "T+1", "D"), "float32", "standard deviations", "poses, J joints of x, y, z"),
    "length": Field(("B",), "int64", "frames", "how many frames to read are real, each with its successor"),
    "action": Field(("B",), "int64", "", "number of the action"),
    "mirrored": Field(("B",), "bool", "", "left and right are swapped"),
    "index": Field(("B",), "int64", "", "number of the window"),
    "origin": Field(("B", 2), "float32", "m", "where the window's first pelvis stood"),
    "heading": Field(("B",), "float32", "rad", "where its first pose faced"),
    "scale": Field(("B",), "float32", "", "size of the body, as a multiple of the one it was brought to"),
    "paired_keypoints": Field(
        ("B", "T+1", "D"), "float32", "standard deviations", "a window of another action", "paired"
    ),
    "matched_keypoints": Field(
        ("B", "T+1", "D"), "float32", "standard deviations", "a window of the same action", "paired"
    ),
}


# annot_export.h5 of Human3.6M: a row per frame and camera, the rows of a video together and in order
FIELDS_ANNOTATIONS: dict[str, Field] = {
    "img_paths": Field(("N",), "bytes", "", "the picture, from the folder that holds processed/"),
    "p_ids": Field(("N",), "int", "", "subject: 1, 5, 6, 7, 8, 9, 11"),
    "f_ids": Field(("N",), "int", "", "frame of the video, from 1"),
    "action": Field(("N",), "int", "", "2 (Directions) to 16 (WalkTogether)"),
    "subaction": Field(("N",), "int", "", "take: 1 or 2"),
    "camera_id": Field(("N",), "int", "", "54138969, 55011271, 58860488 or 60457274"),
    "image_size": Field(("N", 2), "int", "px", "width, height"),
    "keypoints": Field(("N", 32, 2), "float32", "px", "joints in the picture"),
    "intrinsics_univ": Field(("N", 4), "float32", "px", "fx, x0, fy, y0 of the lens without distortion"),
    "extrinsics_univ": Field(("N", 3, 4), "float32", "mm", "world to camera, [R|t]"),
    "keypoints_3d_world": Field(("N", 32, 3), "float32", "mm", "joints in the world, z up"),
    "norm_keypoints": Field(("N", 32, 2), "float32", "of width and height", "joints in the picture", "optional"),
    "keypoints_3d": Field(("N", 32, 3), "float32", "mm", "joints before the camera", "optional"),
    "keypoints_3d_univ": Field(
        ("N", 32, 3), "float32", "mm", "the same with limbs of one length for everybody", "optional"
    ),
}  # fmt: skip

# index.p of DeepFashion, Market-1501 and own pictures
FIELDS_INDEX: dict[str, Field] = {
    "imgs": Field(("N",), "text", "", "the picture, from the folder of index.p"),
    "joints": Field(("N", 18, 2), "float64", "of width and height", "negative where missing"),
    "train": Field(("N",), "bool", "", "trains; otherwise tests"),
    "persons": Field(("N",), "int64", "", "who is seen", "in files that bdsynth wrote"),
    "joint_order": Field((), "text", "", "openpose_18 or market_18", "in files that bdsynth wrote"),
}

# the files that lifting nets share; F frames, J joints
FIELDS_LIFTING: dict[str, Field] = {
    "data_3d_h36m: positions_3d[subject][action]": Field(("F", 32, 3), "float32", "m", "world, z up, 50 fps"),
    "data_2d_h36m_*: positions_2d[subject][action][camera]": Field(
        ("F", "J", "2 or 3"), "float32", "px", "a third channel is a score; F is at least that of 3D"
    ),
    "score.pkl: {subject}_{action}.{camera}": Field(("F", 17), "float32", "", "confidence of the keypoints"),
    "data_train_3dhp: data[recording][0][camera][data_2d]": Field(("F", 17, 2), "float", "px", "25 or 50 fps"),
    "data_train_3dhp: data[recording][0][camera][data_3d]": Field(
        ("F", 17, 3), "float", "mm", "before the camera, of universal size"
    ),
    "data_test_3dhp: data[recording][data_2d, data_3d]": Field(("F", 17, "2, 3"), "float", "px, mm", "the same"),
    "data_test_3dhp: data[recording][valid]": Field(("F",), "float", "", "1 where a frame counts"),
}


def check_batch(
    batch: Mapping[str, torch.Tensor], fields: Mapping[str, Field], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Hold a batch against its declaration.

    Arguments:
        batch: name to tensor.
        fields: what it may and must hold.
        sizes: what symbols stand for, as far as that is known.

    Returns:
        What each symbol stands for in this batch.

    Raises:
        ValueError: an entry that is missing or unknown, another dtype, a shape that does not fit, or a number
            that is not finite.
    """
    known = dict(sizes or {})
    missing = [name for name, field in fields.items() if not field.present and name not in batch]
    unknown = [name for name in batch if name not in fields]
    if missing or unknown:
        raise ValueError(f"a batch without {missing} and with unknown {unknown}")
    for name, tensor in batch.items():
        field = fields[name]
        if tensor.dtype != getattr(torch, field.dtype):
            raise ValueError(f"{name} is {tensor.dtype}, expected {field.dtype}")
        if tensor.ndim != len(field.shape):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {field.shape}")
        for symbol, extent in zip(field.shape, tensor.shape, strict=True):
            expected = symbol if isinstance(symbol, int) else known.setdefault(symbol, extent)
            if extent != expected:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but {symbol} is {expected}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    return known


def table(fields: Mapping[str, Field]) -> str:
    """A declaration as a Markdown table."""
    lines = ["| key | shape | type | unit | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field in fields.items():
        shape = ", ".join(str(extent) for extent in field.shape)
        meaning = f"{field.meaning} ({field.present})" if field.present else field.meaning
        lines.append(f"| `{name}` | {shape} | {field.dtype} | {field.unit} | {meaning} |")
    return "\n".join(lines) + "\n"
