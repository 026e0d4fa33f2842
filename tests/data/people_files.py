"""A small drawn person in pictures and videos, and its keypoints in the formats of several detectors."""

import json
from pathlib import Path

import numpy as np

from bdsynth.skeletons import get_skeleton

# A standing person in a square of 1 x 1, x to the right and y down; openpose_18.
BODY = {
    "nose": (0.5, 0.12), "neck": (0.5, 0.22), "right_shoulder": (0.4, 0.22), "right_elbow": (0.34, 0.36),
    "right_wrist": (0.3, 0.5), "left_shoulder": (0.6, 0.22), "left_elbow": (0.66, 0.36), "left_wrist": (0.7, 0.5),
    "right_hip": (0.44, 0.52), "right_knee": (0.43, 0.72), "right_ankle": (0.42, 0.94), "left_hip": (0.56, 0.52),
    "left_knee": (0.57, 0.72), "left_ankle": (0.58, 0.94), "right_eye": (0.48, 0.1), "left_eye": (0.52, 0.1),
    "right_ear": (0.46, 0.11), "left_ear": (0.54, 0.11),
}  # fmt: skip
COLORS = {"right_wrist": (255, 0, 0), "left_wrist": (0, 255, 0), "nose": (0, 0, 255)}


def person(left: float, top: float, side: float, skeleton: str = "openpose_18") -> np.ndarray:
    """(J, 3) x, y and confidence of a person who fills a square; the joints BODY lacks are 0, 0, 0."""
    joints = get_skeleton(skeleton).joints
    rows = [(left + BODY[j][0] * side, top + BODY[j][1] * side, 0.9) if j in BODY else (0, 0, 0) for j in joints]
    return np.array(rows, dtype=np.float64)


def draw(joints: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, 3): a gray ramp with a square of 5 pixels in its own color on both wrists and the nose."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = (80 + np.arange(width) * 80 // width)[None, :, None]
    skeleton = get_skeleton("openpose_18")
    for joint, color in COLORS.items():
        x, y = joints[skeleton.index(joint), :2].round().astype(int)
        picture[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = color
    return picture


def color_center(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """(x, y) of the middle of the pixels near a color, counted in pixel edges as joints are."""
    near = np.abs(picture.astype(int) - color).max(-1) < 110
    ys, xs = np.nonzero(near)
    return np.array([xs.mean() + 0.5, ys.mean() + 0.5])


def write_video(path: Path, frames: list[np.ndarray], fps: float = 10, rotation: int = 0) -> None:
    import subprocess

    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    plain = path.with_name(f"plain_{path.name}") if rotation else path
    writer = imageio_ffmpeg.write_frames(
        str(plain), (width, height), fps=fps, macro_block_size=2, quality=9, ffmpeg_log_level="error",
        pix_fmt_out="yuv444p", output_params=["-movflags", "+faststart"] if path.suffix == ".mp4" else None,
    )  # fmt: skip
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    if rotation:
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", str(rotation)]
        subprocess.run([*ffmpeg, "-i", str(plain), "-c", "copy", str(path)], check=True)
        plain.unlink()


def write_picture(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def alphapose(frames: dict[str, list[np.ndarray]], tracked: bool = False) -> list[dict]:
    """Entries of (17, 3) people by the name of their picture."""
    return [
        {"image_id": image, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 2.5,
         **({"idx": [float(number)]} if tracked else {})}
        for image, people in frames.items()
        for number, joints in enumerate(people)
    ]  # fmt: skip


def openpose(people: list[np.ndarray]) -> dict:
    """A frame of (J, 3) people."""
    found = [{"person_id": [-1], "pose_keypoints_2d": joints.ravel().tolist()} for joints in people]
    return {"version": 1.3, "people": found}


def coco(pictures: dict[str, tuple[int, int]], people: dict[str, list[np.ndarray]]) -> dict:
    """Annotations of (17, 3) people; visible where their confidence is above 0."""
    images = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, (name, size) in enumerate(pictures.items(), start=1)
    ]
    ids = {image["file_name"]: image["id"] for image in images}
    annotations = []
    for name, found in people.items():
        for joints in found:
            flags = np.where(joints[:, 2:] > 0, 2, 0)
            numbers = np.concatenate([joints[:, :2], flags], axis=1).ravel().tolist()
            annotations.append(
                {"image_id": ids[name], "keypoints": numbers, "num_keypoints": int((flags > 0).sum())}
            )
    return {"images": images, "annotations": annotations}
