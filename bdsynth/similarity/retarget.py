"""The operation: somebody in one video moves as somebody in another does, all of it in 2D.

Nets take a motion apart into what moves, what body it is and from where it is seen (Aberman et al., "Learning
Character-Agnostic Motion for Motion Retargeting in 2D", SIGGRAPH 2019), so that parts of different videos go
together.
"""

from __future__ import annotations

__all__ = ["RetargetingModel", "interpolate_2d", "load_retargeter", "picture_points", "retarget_2d"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bdsynth.camera import restore_screen
from bdsynth.errors import InputError
from bdsynth.learning.weights import fill
from bdsynth.motion import Motion
from bdsynth.published.similarity import read_retargeter
from bdsynth.similarity.retarget_networks import RetargetingNet
from bdsynth.skeletons import get_skeleton

HEIGHT = 512  # pixels of the pictures that the nets know
SHORTEST = 8  # frames that make one code of the motion
_SIGMA = 2.0  # frames over which tremor of detectors and nets is smoothed
_SKELETON = get_skeleton("openpose_15")
_ROOT = _SKELETON.index("pelvis")


@dataclass(eq=False)
class RetargetingModel:
    """A net with the statistics of the poses it knows.

    Arguments:
        net: one of the three kinds.
        mean, std: (15, 2) of 14 joints relative to the pelvis and the pelvis's speed, pixels of pictures 512 high.
        name: for tables.
    """

    net: RetargetingNet
    mean: np.ndarray
    std: np.ndarray
    name: str = "retargeting"

    @property
    def kind(self) -> str:
        """``skeleton``: takes motion and body apart; ``view``: motion and view; ``full``: all three."""
        return self.net.kind

    def to(self, device: str | torch.device) -> RetargetingModel:
        self.net.to(device)
        return self

    @torch.no_grad()
    def encode(self, points: np.ndarray) -> dict[str, Tensor]:
        """The codes of a motion by attribute ("motion", "body", "view").

        A motion whose length is no multiple of eight frames is made longer: its last pose is held.

        Arguments:
            points: (T, 15, 2) of openpose_15, pixels of a picture 512 high, y down.
        """
        step, n = self.net.step, len(points)
        longer = max(-(-n // step) * step, self.net.min_frames) - n
        points = np.pad(points, ((0, longer), (0, 0), (0, 0)), mode="edge")
        root = points[:, [_ROOT]]  # (T, 1, 2)
        speed = np.diff(root, axis=0, prepend=root[:1])
        rows = np.concatenate([np.delete(points - root, _ROOT, axis=1), speed], axis=1)  # (T, 15, 2)
        x = ((rows - self.mean) / self.std).reshape(len(rows), -1).T  # (30, T)
        return self.net.encode(torch.from_numpy(x[None]).float().to(next(self.net.parameters()).device))

    @torch.no_grad()
    def decode(self, codes: Mapping[str, Tensor], n_frames: int) -> np.ndarray:
        """The motion of codes, which may come from several: (T, 15, 2), its pelvis starting at about (0, 0)."""
        x = self.net.decode(codes)[0].T[:n_frames].double().cpu().numpy()  # (T, 30)
        rows = x.reshape(len(x), -1, 2) * self.std + self.mean
        path = rows[:, -1:].cumsum(axis=0)  # (T, 1, 2)
        return np.insert(rows[:, :-1], _ROOT, 0.0, axis=1) + path


def load_retargeter(
    path: str | Path, mean: str | Path | None = None, std: str | Path | None = None
) -> RetargetingModel:
    """A net of 2D retargeting from a file; its kind and sizes are told from the tensors.

    Arguments:
        path: the published weights (.pth, .pt), or the same tensors as .npz or .safetensors.
        mean, std: .npy files (15, 2) of the poses. By default meanpose.npy and stdpose.npy, for nets that know
            views meanpose_with_view.npy and stdpose_with_view.npy, in the folder of the weights, or in a folder
            mixamo_data there or beside it.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    path = Path(path)
    found = read_retargeter(path)
    net = RetargetingNet(found.kind, **found.sizes)
    fill(net, found.state, path)
    moments = {}
    for what, given in (("mean", mean), ("std", std)):
        file = _statistics_file(path, found.kind, what) if given is None else Path(given)
        moments[what] = _statistics(file)
    if (moments["std"] <= 0).any():
        raise InputError(f"{path}: the std of its poses is not positive everywhere")
    return RetargetingModel(net.eval().requires_grad_(False), **moments, name=path.name)


def retarget_2d(
    motion: Motion,
    body: Motion | None = None,
    view: Motion | None = None,
    *,
    model: RetargetingModel,
    size: tuple[int, int],
    body_size: tuple[int, int] | None = None,
    view_size: tuple[int, int] | None = None,
    smooth: bool = True,
    compat: bool = False,
) -> Motion:
    """What one person does, with the body of another, seen from where a third is seen.

    Joints come by name from any skeleton that has those of openpose_15. Where one is missing, it lies on the
    straight line between where it was seen before and after. Pictures are brought to a height of 512 pixels and
    joints smoothed over two frames before a net sees them.

    Arguments:
        motion: 2D; what to do. Its length, frame rate and picture are those of the result.
        body: 2D; who does it, for nets of kind skeleton and full. By default the person of ``motion``.
        view: 2D; seen from where, for nets of kind view and full. By default as ``motion`` is seen.
        model: of :func:`load_retargeter`.
        size: width and height of the picture of ``motion``.
        body_size, view_size: of the other ones; by default the same.
        smooth: smooth the result, too, over two frames.
        compat: do what the original program does: drop the frames after the last multiple of eight, leave a
            missing joint where it was seen last, scale ``view`` by the height of ``body``, and leave the result in
            a picture 512 high, starting at its middle.

    Returns:
        On openpose_15, in pixels of the picture of ``motion``, where it goes about the same place.

    Raises:
        InputError: motions that the net cannot read, or parts that it does not tell apart.
    """
    _check_parts(model, body, view)
    body_size, view_size = body_size or size, view_size or size
    if compat and body is not None:
        view_size = body_size
    points = picture_points(motion, size, compat)
    codes = model.encode(points)
    for part, other, its_size in (("body", body, body_size), ("view", view, view_size)):
        if other is not None:
            codes[part] = model.encode(picture_points(other, its_size, compat))[part]
    result = model.decode(codes, len(points))
    if compat:
        result = result + [int(size[0] * HEIGHT / size[1]) // 2, HEIGHT // 2]
    else:
        result = _placed(result, points[:, _ROOT].mean(0))
    name = (motion.name or "motion") + (f" on {body.name or 'body'}" if body is not None else "")
    name += f", seen as {view.name or 'view'}" if view is not None else ""
    scale = 1.0 if compat else size[1] / HEIGHT
    return Motion(scale * (_smooth(result) if smooth else result), _SKELETON, motion.fps, "px", name=name)


def interpolate_2d(
    a: Motion,
    b: Motion,
    *,
    model: RetargetingModel,
    size: tuple[int, int],
    b_size: tuple[int, int] | None = None,
    n: int = 5,
    keep: str | None = None,
    smooth: bool = True,
) -> list[Motion]:
    """Motions between two, by codes that are mixed in equal steps.

    Arguments:
        a, b: 2D, as :func:`retarget_2d` takes them; ``b`` is brought to the frame rate of ``a``, and the longer
            one cut at the length of the shorter.
        model: of :func:`load_retargeter`.
        size: width and height of the picture of ``a``.
        b_size: of that of ``b``; by default the same.
        n: how many motions, at least 2; the first is a, the last b, both as the net has them.
        keep: an attribute that stays as in ``a``: "motion", "body" or "view".
        smooth: smooth the results over two frames.

    Returns:
        n motions on openpose_15, in pixels of the picture of ``a``.

    Raises:
        InputError: motions that the net cannot read, or an attribute that it does not tell apart.
    """
    if n < 2:
        raise InputError(f"n is {n}, expected at least 2 motions")
    if keep is not None and keep not in model.net.attributes:
        raise InputError(f"keep is '{keep}', but {model.name} tells apart {', '.join(model.net.attributes)}")
    b = b.resample(a.fps)
    n_frames = min(a.n_frames, b.n_frames)
    ends = [
        picture_points(motion.slice(0, n_frames), its_size)
        for motion, its_size in ((a, size), (b, b_size or size))
    ]
    first, last = (model.encode(points) for points in ends)
    places = [points[:, _ROOT].mean(0) for points in ends]
    if keep == "motion":
        places[1] = places[0]
    results = []
    for w in np.linspace(0, 1, n):
        mixed = {key: code if key == keep else (1 - w) * code + w * last[key] for key, code in first.items()}
        points = _placed(model.decode(mixed, n_frames), (1 - w) * places[0] + w * places[1])
        points = (_smooth(points) if smooth else points) * size[1] / HEIGHT
        name = f"{a.name or 'a'} to {b.name or 'b'}, {w:.0%}"
        results.append(Motion(points, _SKELETON, a.fps, "px", name=name))
    return results


def picture_points(motion: Motion, size: tuple[int, int], compat: bool = False) -> np.ndarray:
    """The joints of a motion as the nets take them.

    Arguments:
        motion: 2D, of a skeleton that has the joints of openpose_15.
        size: width and height of its picture, pixels.
        compat: as in :func:`retarget_2d`.

    Returns:
        (T, 15, 2) float64 of openpose_15: complete, smoothed over two frames, pixels of a picture 512 high.

    Raises:
        InputError: a 3D motion, fewer than 8 frames, other joints, or a joint that is never seen.
    """
    who = f"motion '{motion.name}'" if motion.name else "motion"
    if motion.dims != 2:
        raise InputError(f"{who} is 3D, 2D retargeting takes keypoints of a video")
    if min(size) < 1:
        raise InputError(f"size is {size[0]}x{size[1]}, expected pixels")
    n = motion.n_frames
    if n < SHORTEST:
        raise InputError(f"{who} has {n} frames, 2D retargeting takes at least {SHORTEST}")
    if compat:
        motion = motion.slice(0, n // SHORTEST * SHORTEST)
    ever = np.broadcast_to(motion.seen.any(0), motion.seen.shape)
    read = motion.with_positions(motion.bridged(hold=compat).positions, ever).to_skeleton(_SKELETON)
    unseen = np.flatnonzero(read.confidence[0] == 0)
    if len(unseen):
        names = ", ".join(_SKELETON.joints[j] for j in unseen)
        raise InputError(f"{who}: {names} cannot be seen in any frame, 2D retargeting takes a whole body")
    points = read.positions.astype(np.float64)
    if motion.unit == "normalized":
        points = restore_screen(points, *size)
    return _smooth(points) * (HEIGHT / size[1])


def _placed(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The motion (T, J, 2) where the middle of its pelvis's path is ``place`` (2,)."""
    return points + (place - points[:, _ROOT].mean(0))


def _smooth(points: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(points, _SIGMA, axis=0)


def _check_parts(model: RetargetingModel, body: Motion | None, view: Motion | None) -> None:
    given = {"body": body is not None, "view": view is not None}
    for part, there in given.items():
        if there and part not in model.net.attributes:
            known = " and ".join(model.net.attributes)
            raise InputError(f"{model.name}: weights of kind {model.kind} tell {known} apart, they take no {part}")
    if not any(given.values()):
        parts = " or a ".join(name for name in model.net.attributes if name != "motion")
        raise InputError(f"{model.name}: weights of kind {model.kind} take a {parts} besides the motion")


# --- Statistics of poses -----------------------------------------------------------------------------------


def _statistics_file(weights: Path, kind: str, what: str) -> Path:
    """Where the published programs keep the mean or std of poses."""
    name = f"{what}pose.npy" if kind == "skeleton" else f"{what}pose_with_view.npy"
    here = weights.absolute().parent
    for folder in (here, here / "mixamo_data", here.parent / "mixamo_data"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{weights}: takes the mean and std of poses it was trained on; no {name} is beside it, give --{what} FILE"
    )


def _statistics(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: is no .npy file of numbers ({str(error).splitlines()[0]})") from None
    shape = getattr(values, "shape", None)  # an .npz has none
    if shape != (15, 2) or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise InputError(f"{path}: expected finite floating point numbers (15, 2), found shape {shape}")
    return values.astype(np.float64)
