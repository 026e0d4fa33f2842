"""Motion capture as a detector would see it: random cameras, and what detectors get wrong.

Many windows at a time: B windows of T frames of J joints. Everything is drawn from a NumPy generator.
"""

from __future__ import annotations

__all__ = [
    "WORLD", "CameraRanges", "Cameras", "DetectorNoise", "covered_joints", "detect", "in_picture", "project",
    "random_cameras",
]  # fmt: skip

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from bdsynth.datasets.face import FACE_JOINTS, face_frame, hidden_face
from bdsynth.skeletons import Skeleton, get_skeleton

WORLD = get_skeleton("h36m_coco_22")  # of motions that are projected: what every kind of keypoints is made of
BODY = get_skeleton("h36m_17")  # its first joints
NEAREST = 0.2  # metres before the camera; what is nearer is not seen
LOOKED_AT = 8  # frames of a window from which the place of its camera is chosen
SIZES = ((1920, 1080), (1920, 1080), (1280, 720), (640, 480), (1000, 1000), (1080, 1920))  # common ones more often


# --- Cameras -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CameraRanges:
    """How cameras stand; every azimuth is as likely.

    Arguments:
        pitch: least, most frequent and largest angle in degrees by which they look down at the person.
        distance: least and largest, metres from the person; farther where somebody who walks about would
            otherwise leave the picture.
        focal: least and largest focal length in halves of the picture's width; less where nothing else holds
            the person.
        roll: standard deviation in degrees.
        margin: share of the picture that the person fills at most.
        cropped: share of the windows in which the person may reach beyond the picture.
    """

    pitch: tuple[float, float, float] = (-5.0, 8.0, 35.0)
    distance: tuple[float, float] = (2.0, 7.0)
    focal: tuple[float, float] = (0.9, 2.5)
    roll: float = 1.5
    margin: float = 0.92
    cropped: float = 0.05


@dataclass(frozen=True, eq=False)
class Cameras:
    """B pinhole cameras.

    Arguments:
        rotation: (B, 3, 3) float32, world to camera (x right, y down, z ahead).
        translation: (B, 3) float32 metres; ``camera = rotation @ world + translation``.
        intrinsic: (B, 9) float32 fx, fy, cx, cy in normalized screen coordinates, and five zeros: no distortion.
        size: (B, 2) int64, width and height of the pictures in pixels.
    """

    rotation: np.ndarray
    translation: np.ndarray
    intrinsic: np.ndarray
    size: np.ndarray

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(B, T, J, 3) in the world to the same in the cameras, float32."""
        b, t, j, _ = points.shape
        turned = points.reshape(b, t * j, 3).astype(np.float32, copy=False) @ self.rotation.transpose(0, 2, 1)
        return (turned + self.translation[:, None]).reshape(b, t, j, 3)


def random_cameras(bodies: np.ndarray, random: np.random.Generator, ranges: CameraRanges | None = None) -> Cameras:
    """A camera for each window, from which the person is seen in the picture, somewhere.

    Arguments:
        bodies: (B, T, J, 3) metres, world, z up.
        random: of it everything is drawn.
        ranges: how they stand; None: CameraRanges().
    """
    ranges = ranges or CameraRanges()
    n = len(bodies)
    some = bodies[:, :: max(1, bodies.shape[1] // LOOKED_AT)].reshape(n, -1, 3)
    some = np.ascontiguousarray(some.transpose(0, 2, 1), np.float32)  # (B, 3, P): coordinates first is faster
    center = (some.min(-1) + some.max(-1)) / 2  # (B, 3)
    pitch = np.radians(random.triangular(*ranges.pitch, n))
    azimuth, roll = random.uniform(-np.pi, np.pi, n), np.radians(random.normal(0, ranges.roll, n))
    distance = random.uniform(*ranges.distance, n)
    focal = random.uniform(*ranges.focal, n)
    size = np.array(SIZES)[random.integers(len(SIZES), size=n)]
    half = np.stack([np.ones(n), size[:, 1] / size[:, 0]], axis=-1)  # (B, 2) of the picture
    beyond = np.where(random.random(n) < ranges.cropped, random.uniform(1.0, 1.8, n), 1.0)
    place = random.triangular(-1, 0, 1, (n, 2))

    rotation = _turned("z", roll) @ _looking(azimuth, pitch)
    local = rotation.astype(np.float32) @ (some - center[..., None])  # (B, 3, P)
    distance = np.maximum(distance, 1.0 - local[:, 2].min(-1))
    low, high = _extent(local, distance)
    fits = (2 * ranges.margin * half / (high - low)).min(1)  # (B,) the longest focal length that holds them
    narrow = ranges.focal[0] > fits * beyond
    if narrow.any():  # step back where even the widest lens does not
        distance[narrow] *= (ranges.focal[0] / (fits * beyond))[narrow]
        low[narrow], high[narrow] = _extent(local[narrow], distance[narrow])
        fits = (2 * ranges.margin * half / (high - low)).min(1)
    focal = np.minimum(focal, fits * beyond)

    room = np.maximum(ranges.margin * half - focal[:, None] * (high - low) / 2, 0.0)
    angles = np.arctan(place * room / focal[:, None]) - np.arctan((low + high) / 2)  # (B, 2) to pan and to tilt
    turn = _turned("x", angles[:, 1]) @ _turned("y", angles[:, 0])
    local[:, 2] += distance[:, None].astype(np.float32)
    low, high = _extent(turn.astype(np.float32) @ local, np.zeros(n))  # not quite where it was wanted: perspective
    fits = (ranges.margin * half / np.maximum(-low, high)).min(1)
    focal = np.minimum(focal, fits * beyond)
    rotation = turn @ rotation
    translation = turn[:, :, 2] * distance[:, None] - np.einsum("bij,bj->bi", rotation, center)
    intrinsic = np.zeros((n, 9), np.float32)
    intrinsic[:, :2] = focal[:, None]
    return Cameras(rotation.astype(np.float32), translation.astype(np.float32), intrinsic, size)


def _looking(azimuth: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """(B, 3, 3) of cameras that look into a direction, down by pitch: rows right, down and ahead."""
    zero = np.zeros_like(azimuth)
    right = np.stack([np.sin(azimuth), -np.cos(azimuth), zero], axis=-1)
    flat = np.stack([np.cos(azimuth), np.sin(azimuth), zero], axis=-1)
    ahead = np.cos(pitch)[:, None] * flat - np.sin(pitch)[:, None] * (0.0, 0.0, 1.0)
    return np.stack([right, np.cross(ahead, right), ahead], axis=1)


def _turned(axis: str, angle: np.ndarray) -> np.ndarray:
    """(B, 3, 3) that move what lies ahead to the right (y) or down (x), or turn the picture (z)."""
    i, j = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}[axis]
    matrix = np.tile(np.eye(3), (len(angle), 1, 1))
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, i, j], matrix[:, j, i] = np.sin(angle), -np.sin(angle)
    return matrix


def _extent(local: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 2) least and largest x / z, y / z of points (B, 3, P) around what is looked at from a distance."""
    flat = local[:, :2] / (local[:, 2:] + distance[:, None, None].astype(np.float32))
    return flat.min(-1).astype(float), flat.max(-1).astype(float)


# --- Pictures ----------------------------------------------------------------------------------------------


def project(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Points in camera coordinates (B, T, J, 3) to normalized screen coordinates (B, T, J, 2)."""
    lens = cameras.intrinsic[:, :4, None, None]  # (B, 4, 1, 1)
    front = 1 / np.maximum(points[..., 2], NEAREST)
    seen = np.empty((*points.shape[:3], 2), np.float32)
    for axis in (0, 1):
        seen[..., axis] = points[..., axis] * front * lens[:, axis] + lens[:, 2 + axis]
    return seen


def in_picture(keypoints: np.ndarray, points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """(B, T, J) bool: which joints lie in the picture and before the camera."""
    half = (cameras.size[:, 1] / cameras.size[:, 0]).astype(np.float32)[:, None, None]
    x, y, z = np.abs(keypoints[..., 0]), np.abs(keypoints[..., 1]), points[..., 2]
    return (x <= 1) & (y <= half) & (z > NEAREST)


TRUNK = 0.11  # metres from its axis to its surface


def covered_joints(points: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(B, T, J) bool: which joints the person's own trunk hides, and which points of the face the head hides.

    Arguments:
        points: (B, T, J, 3) in camera coordinates.
        skeleton: "h36m_17", or "h36m_coco_22", of which the face counts too.
    """
    index = skeleton.index
    x, y, z = np.moveaxis(points, -1, 0).copy()  # (B, T, J) each
    front = 1 / np.maximum(z, NEAREST)
    x, y = x * front, y * front
    low, high = index("pelvis"), index("thorax")
    start_x, start_y, start_z = (of[:, :, low, None] for of in (x, y, z))
    axis_x, axis_y, axis_z = (of[:, :, high, None] - of[:, :, low, None] for of in (x, y, z))
    x, y = x - start_x, y - start_y
    along = (x * axis_x + y * axis_y) / np.maximum(axis_x**2 + axis_y**2, 1e-9)
    along = np.clip(along, 0, 1)  # of the way from pelvis to thorax
    depth = start_z + along * axis_z
    aside = ((x - along * axis_x) ** 2 + (y - along * axis_y) ** 2) * depth**2
    covered = (aside < TRUNK**2) & (z > depth + TRUNK)
    if skeleton.has("nose_tip"):
        left = points[:, :, index("left_ear")] - points[:, :, index("right_ear")]
        frame = face_frame(points[:, :, index("head")] - points[:, :, high], left)
        face = [index(joint) for joint in FACE_JOINTS]
        covered[:, :, face] |= hidden_face(frame, -points[:, :, index("head")])
    return covered


def detect(
    points: np.ndarray,
    cameras: Cameras,
    skeleton: Skeleton,
    n_features: int,
    noise: DetectorNoise | None = None,
    random: np.random.Generator | None = None,
    step: int = 1,
) -> np.ndarray:
    """Joints in camera coordinates to what a network is given, (B, T, J_in, n_features) float32.

    Arguments:
        points: (B, T, 22, 3) on WORLD.
        cameras: of the B windows.
        skeleton: of the keypoints, "h36m_17" or "coco_17", whose nose is the nose's tip.
        n_features: 2, or 3 with a confidence.
        noise: what the detector gets wrong, drawn from ``random``; None: nothing, and it is sure of everything.
        step: frames of the recording from one frame of the window to the next.
    """
    if skeleton == BODY:
        joints: slice | list[int] = slice(0, BODY.n_joints)
        points = points[:, :, joints]
    else:
        joints = [WORLD.index("nose_tip" if joint == "nose" else joint) for joint in skeleton.joints]
    own = points[:, :, joints]  # (B, T, J_in, 3)
    keypoints = project(own, cameras)
    if noise is None:
        sure = np.ones((*keypoints.shape[:3], n_features - 2), np.float32)
        return np.concatenate([keypoints, sure], axis=-1)
    covered = covered_joints(points, BODY if skeleton == BODY else WORLD)[:, :, joints]
    seen = in_picture(keypoints, own, cameras)
    confidence = n_features == 3
    return noise(keypoints, skeleton, random, covered=covered, seen=seen, step=step, confidence=confidence)


# --- Detectors ---------------------------------------------------------------------------------------------

# How far detectors are off in relation to a knee: hips are hidden in flesh, wrists and ankles are fast.
_SPREAD = {
    "hip": 1.3, "pelvis": 1.1, "wrist": 1.3, "ankle": 1.2, "elbow": 1.1, "knee": 1.0, "shoulder": 0.9, "head": 0.9,
    "eye": 0.5, "ear": 0.6, "nose": 0.6, "tip": 0.5,
}  # fmt: skip
_LIMBS = (("elbow", "wrist"), ("knee", "ankle"))  # what is lost or swapped together, of each side


@dataclass(frozen=True)
class DetectorNoise:
    """What a detector of 2D keypoints gets wrong. Lengths are in sizes of the person in the picture.

    Arguments:
        jitter: standard deviation of a knee; other joints differ, wrists, ankles and hips are worse.
        drift: share of the jitter's variance that changes slowly; the rest is new in every frame.
        memory: correlation of the slow part from one frame to the next.
        tails: degrees of freedom of Student's t: below about 10, some joints of some windows are far off.
        covered: how many times worse joints are that something covers.
        missing, missing_limb: share of frames in which a joint, or a forearm or shank with its ends, is not found.
        swapped: share of frames in which the left and the right arm, or leg, are taken for each other.
        duration: frames, of those spells on average.
    """

    jitter: float = 0.01
    drift: float = 0.7
    memory: float = 0.95
    tails: float = 6.0
    covered: float = 2.5
    missing: float = 0.01
    missing_limb: float = 0.01
    swapped: float = 0.01
    duration: float = 8.0

    def __call__(
        self,
        keypoints: np.ndarray,
        skeleton: Skeleton,
        random: np.random.Generator,
        *,
        covered: np.ndarray | None = None,
        seen: np.ndarray | None = None,
        step: int = 1,
        confidence: bool = True,
    ) -> np.ndarray:
        """Keypoints as detected.

        Arguments:
            keypoints: (B, T, J, 2) normalized, where the joints are.
            skeleton: what the J joints are.
            random: of it everything is drawn.
            covered: (B, T, J) bool, joints that something hides; found worse, and with less confidence.
            seen: (B, T, J) bool, joints that lie in the picture; the others are missing.
            step: frames of the recording from one frame of the window to the next.
            confidence: without it nothing is missing, since nothing would say so.

        Returns:
            (B, T, J, 3) float32: x, y, and a confidence in [0, 1] that is lower where the error is larger.
            Missing joints are (0, 0, 0). Without confidence (B, T, J, 2).
        """
        size = _size(keypoints)[:, None, None]  # (B, 1, 1)
        worse = np.array([_spread(joint) for joint in skeleton.joints], np.float32)[None, None]  # (1, 1, J)
        if covered is not None:
            worse = np.where(covered, np.float32(self.covered) * worse, worse)
        error = (self.jitter * worse)[..., None] * self._wander(keypoints.shape, random, step)  # in sizes
        places = self._confuse(keypoints, skeleton, random, step) + size[..., None] * error
        if not confidence:
            return places
        found = np.empty((*keypoints.shape[:3], 3), np.float32)
        found[..., :2] = places
        far = np.sqrt(np.square(error).sum(-1))
        unsure = random.standard_normal(far.shape, np.float32)
        found[..., 2] = np.clip(0.97 * np.exp(-far / np.float32(0.05)) + np.float32(0.06) * unsure, 0.02, 1.0)
        found[self._lost(keypoints.shape[:3], skeleton, random, step)] = 0.0
        if seen is not None:
            found[~seen] = 0.0
        return found

    def _wander(self, shape: tuple[int, ...], random: np.random.Generator, step: int) -> np.ndarray:
        """(B, T, J, 2) of unit variance: a slow and a fast part, heavy tails over joints and windows."""
        b, _, j, _ = shape
        memory = self.memory**step
        slow = random.standard_normal(shape, np.float32)
        slow[:, 1:] *= np.float32(np.sqrt(1 - memory**2))  # an autoregressive process that is stationary at once
        slow = lfilter(np.float32([1]), np.float32([1, -memory]), slow, axis=1)
        fast = random.standard_normal(shape, np.float32)
        tails = np.sqrt((self.tails - 2) / random.chisquare(self.tails, (b, 1, j, 1))).astype(np.float32)
        slow *= np.float32(np.sqrt(self.drift)) * tails
        fast *= np.float32(np.sqrt(1 - self.drift)) * tails
        return slow + fast

    def _confuse(
        self, keypoints: np.ndarray, skeleton: Skeleton, random: np.random.Generator, step: int
    ) -> np.ndarray:
        """Spells in which arms or legs are taken for those of the other side."""
        pairs = [[j for j, joint in enumerate(skeleton.joints) if joint.endswith(limb)] for limb in _LIMBS]
        spells = _spells((*keypoints.shape[:2], len(pairs)), self.swapped, self.duration / step, random)
        if not spells.any():
            return keypoints
        keypoints = keypoints.copy()
        for k, joints in enumerate(pairs):
            rows, frames = np.nonzero(spells[..., k])
            other = [skeleton.mirror[j] for j in joints]
            keypoints[rows[:, None], frames[:, None], joints] = keypoints[rows[:, None], frames[:, None], other]
        return keypoints

    def _lost(
        self, shape: tuple[int, ...], skeleton: Skeleton, random: np.random.Generator, step: int
    ) -> np.ndarray:
        """(B, T, J) bool: spells in which joints and limbs are not found."""
        lost = _spells(shape, self.missing, self.duration / step, random)
        limbs = [
            [skeleton.index(f"{side}_{joint}") for joint in limb] for side in ("left", "right") for limb in _LIMBS
        ]
        together = _spells((*shape[:2], len(limbs)), self.missing_limb, self.duration / step, random)
        for k, joints in enumerate(limbs):
            lost[..., joints] |= together[..., k, None]
        return lost


def _spread(joint: str) -> float:
    return _SPREAD.get(joint.split("_")[-1], 1.0)


def _size(keypoints: np.ndarray) -> np.ndarray:
    """(B,) of the person in the picture: the longer side of the box around the joints, on average."""
    some = keypoints[:, :: max(1, keypoints.shape[1] // LOOKED_AT)]
    return (some.max(2) - some.min(2)).max(-1).mean(1).astype(np.float32)


def _spells(shape: tuple[int, ...], share: float, duration: float, random: np.random.Generator) -> np.ndarray:
    """(B, T, K) bool: spells of geometric length that cover ``share`` of the frames; each of B and K by itself.

    Spells begin as a Poisson process does, some before the window.
    """
    b, t, k = shape
    duration = max(1.0, duration)
    before = round(4 * duration)  # longer ones are rare
    n = random.poisson(-np.log1p(-share) / duration * b * k * (t + before))
    row, column = random.integers(b, size=n), random.integers(k, size=n)
    start = random.integers(-before, t, size=n)
    stop = start + random.geometric(1 / duration, n)
    reach = stop > 0
    row, column, start, stop = row[reach], column[reach], start[reach], stop[reach]
    change = np.zeros((b, t + 1, k), np.int16)
    np.add.at(change, (row, np.maximum(start, 0), column), 1)
    np.add.at(change, (row, np.minimum(stop, t), column), -1)
    return change.cumsum(1, dtype=np.int16)[:, :t] > 0
