"""Stickmen: joints drawn as the picture from which the networks read a posture (behavior specification 2.9).

Pixel for pixel what OpenCV draws, a batch at a time: 8-connected lines of thickness 1, polygons filled by the
even-odd rule together with their outline, both with OpenCV's rounding and its way of clipping to the canvas.
"""

from __future__ import annotations

__all__ = ["draw_stickmen", "line_pixels", "polygon_pixels"]

import numpy as np

from bdsynth.datasets.joint_models import JointModel, Lines

FAR = 1 << 24  # pixels; whatever lies further away is drawn as if it lay there
FRACTION = 16  # bits of the fixed-point numbers in which edges of polygons advance

Pixels = tuple[np.ndarray, np.ndarray, np.ndarray]  # (P,) number of the line or polygon, (P,) x, (P,) y


def draw_stickmen(
    joints: np.ndarray, model: JointModel, size: int, width_height: np.ndarray | tuple[float, float]
) -> np.ndarray:
    """Stickmen of a batch.

    Arguments:
        joints: (B, K, 2) pixels of the pictures; negative or NaN where missing.
        model: which joints are what.
        size: S, of the square canvas.
        width_height: (2,) or (B, 2), the size of the pictures.

    Returns:
        (B, S, S, 3) uint8. Channel 0 has the left limbs (255) and the head (127), channel 1 the right limbs
        (255), head and body (127), channel 2 the body (255).
    """
    scale = size / np.broadcast_to(np.asarray(width_height, dtype=np.float64), (len(joints), 2))  # (B, 2)
    points = np.clip(np.nan_to_num(np.asarray(joints, dtype=np.float64) * scale[:, None], nan=-1.0), -FAR, FAR)
    valid = (points >= 0).all(-1)  # (B, K)
    canvas = np.zeros((len(points), size, size, 3), dtype=np.uint8)

    b, x, y = _bodies(points, valid, model.body, size)
    canvas[b, y, x, 1] = 127
    canvas[b, y, x, 2] = 255
    b, x, y = _limbs(points, valid, model.right_lines, size)
    canvas[b, y, x, 1] = 255
    b, x, y = _limbs(points, valid, model.left_lines, size)
    canvas[b, y, x, 0] = 255
    b, x, y = _head(points, valid, model, size)
    canvas[b, y, x, :2] = 127
    return canvas


def _pixel(points: np.ndarray) -> np.ndarray:
    """Coordinates are cut towards zero, where something is drawn and not earlier."""
    return points.astype(np.int64)


def _bodies(points: np.ndarray, valid: np.ndarray, body: tuple[int, ...], size: int) -> Pixels:
    corners, there = points[:, list(body)], valid[:, list(body)]  # (B, C, 2), (B, C)
    figure = np.flatnonzero(there.sum(1) > 2)
    # a missing corner becomes the one before it: an edge of no length fills nothing
    last = np.maximum.accumulate(np.where(there, np.arange(len(body)), -1), axis=1)  # (B, C)
    last = np.where(last < 0, there.shape[1] - 1 - there[:, ::-1].argmax(1)[:, None], last)
    corners = np.take_along_axis(corners, last[..., None], axis=1)
    polygon, x, y = polygon_pixels(_pixel(corners[figure]), size, size)
    return figure[polygon], x, y


def _limbs(points: np.ndarray, valid: np.ndarray, lines: Lines, size: int) -> Pixels:
    starts, ends = np.array(lines).T  # (L,), (L,)
    figure, line = np.nonzero(valid[:, starts] & valid[:, ends])
    start, end = points[figure, starts[line]], points[figure, ends[line]]
    number, x, y = line_pixels(_pixel(start), _pixel(end), size, size)
    return figure[number], x, y


def _head(points: np.ndarray, valid: np.ndarray, model: JointModel, size: int) -> Pixels:
    """Head and face; a line of the face is drawn only where it is shorter than the throat."""
    if model.head_lines:
        starts, ends = np.array(model.head_lines).T
        start, end = points[:, starts], points[:, ends]  # (B, L, 2)
        drawn = valid[:, starts] & valid[:, ends]  # (B, L)
    else:
        shoulders = [model.right_shoulder, model.left_shoulder]
        start = points[:, shoulders].mean(1, keepdims=True)  # (B, 1, 2)
        end = points[:, [model.headup]]
        drawn = valid[:, [*shoulders, model.headup]].all(1, keepdims=True)
    throat = np.where(drawn, np.linalg.norm(end - start, axis=-1), 0.0).max(1)  # (B,)
    if model.face:
        starts, ends = np.array(model.face).T
        face_start, face_end = points[:, starts], points[:, ends]
        short = np.linalg.norm(face_end - face_start, axis=-1) < throat[:, None]
        drawn = np.concatenate([drawn, valid[:, starts] & valid[:, ends] & short], axis=1)
        start, end = (np.concatenate(both, axis=1) for both in ((start, face_start), (end, face_end)))
    figure = np.nonzero(drawn)[0]
    number, x, y = line_pixels(_pixel(start[drawn]), _pixel(end[drawn]), size, size)
    return figure[number], x, y


# --- Lines -------------------------------------------------------------------------------------------------


def line_pixels(starts: np.ndarray, ends: np.ndarray, width: int, height: int) -> Pixels:
    """The pixels of 8-connected lines, those of ``cv2.line`` with thickness 1.

    Arguments:
        starts, ends: (N, 2) integers; they may lie outside of the canvas.
        width, height: of the canvas.

    Returns:
        (P,) number of the line, (P,) x and (P,) y, all on the canvas.
    """
    starts, ends, visible = _clip(starts, ends, width, height)
    number = np.flatnonzero(visible)
    starts, ends = starts[number], ends[number]
    backward = ends[:, :1] < starts[:, :1]  # lines are drawn from the left, so that ties fall alike
    starts, ends = np.where(backward, ends, starts), np.where(backward, starts, ends)

    dx, dy = (ends - starts).T  # dx >= 0
    steps = np.maximum(dx, np.abs(dy))
    line = np.repeat(np.arange(len(number)), steps + 1)  # (P,)
    first = np.cumsum(steps + 1) - (steps + 1)
    k = np.arange(len(line)) - first[line]
    minor = np.minimum(dx, np.abs(dy))
    offset = (2 * minor[line] * k + steps[line] - 1) // np.maximum(2 * steps[line], 1)
    offset[steps[line] == 0] = 0
    flat = (dx >= np.abs(dy))[line]
    x = starts[line, 0] + np.where(flat, k, offset)
    y = starts[line, 1] + np.where(flat, offset, k) * np.sign(dy)[line]
    return number[line], x, y


def _clip(starts: np.ndarray, ends: np.ndarray, width: int, height: int):
    """Cohen-Sutherland as OpenCV does it: ends (N, 2) moved onto the canvas, coordinates cut towards zero.

    Also returns whether anything of the line is visible; where nothing is, the ends may have been moved.
    """
    corner = np.array([width - 1, height - 1])
    ends = [np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)]

    def outside(axis: int) -> list[np.ndarray]:
        return [(p[:, axis] > corner[axis]).astype(np.int64) - (p[:, axis] < 0) for p in ends]  # -1, 0, 1

    def same_side(codes: list[np.ndarray]) -> np.ndarray:
        return (codes[0] != 0) & (codes[0] == codes[1])

    hidden = same_side(outside(0)) | same_side(outside(1))
    for axis in (1, 0):  # to top and bottom first, then, where still needed, to left and right
        for i in (0, 1):
            here = ends[i]
            side = outside(axis)[i]
            moved = np.flatnonzero((side != 0) & ~hidden)
            border = np.where(side[moved] < 0, 0, corner[axis])
            run = (ends[1] - ends[0])[moved].astype(np.float64)
            along = (border - here[moved, axis]) * run[:, 1 - axis] / run[:, axis]
            here[moved, 1 - axis] += np.trunc(along).astype(np.int64)
            here[moved, axis] = border
        if axis == 1:
            hidden = hidden | same_side(outside(0))
    return ends[0], ends[1], ~hidden


# --- Polygons ----------------------------------------------------------------------------------------------


def polygon_pixels(corners: np.ndarray, width: int, height: int) -> Pixels:
    """The pixels of filled polygons with their outline, those of ``cv2.fillPoly``; a pixel may come repeatedly.

    Arguments:
        corners: (N, C, 2) integers; polygons may cross themselves and leave the canvas.
        width, height: of the canvas.

    Returns:
        (P,) number of the polygon, (P,) x and (P,) y, all on the canvas.
    """
    c = corners.shape[1]
    starts = np.roll(corners, 1, axis=1).reshape(-1, 2).astype(np.int64)  # (N * C, 2)
    ends = corners.reshape(-1, 2).astype(np.int64)
    line, x, y = line_pixels(starts, ends, width, height)
    outline = line // c, x, y

    row, left, right = _spans(starts, ends, c, width, height)
    length = right - left + 1
    span = np.repeat(np.arange(len(row)), length)
    x = np.arange(len(span)) - (np.cumsum(length) - length - left)[span]
    number, y = np.divmod(row, height)
    return tuple(np.concatenate(both) for both in zip(outline, (number[span], x, y[span]), strict=True))


def _spans(starts: np.ndarray, ends: np.ndarray, c: int, width: int, height: int):
    """Where the even-odd rule fills: (R,) polygon * height + y, (R,) first and (R,) last x."""
    # An edge that leaves the canvas advances along its clipped self, whose ends are whole pixels again.
    p, q, _ = _clip(starts, ends, width, height)
    level = p[:, 1] == q[:, 1]
    p[level, 1], q[level, 1] = starts[level, 1], ends[level, 1]
    px, qx = p[:, 0] << FRACTION, q[:, 0] << FRACTION
    run, rise = qx - px, q[:, 1] - p[:, 1]
    slope = np.abs(run) // np.maximum(np.abs(rise), 1) * np.sign(run) * np.sign(rise)
    down = starts[:, 1] < ends[:, 1]
    top, bottom = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    from_x, from_y = np.where(down, px, qx), np.where(down, p[:, 1], q[:, 1])

    # (N, H, C): where each edge crosses each row
    y = np.arange(height)[:, None]
    edges = (top, bottom, from_x, from_y, slope)
    top, bottom, from_x, from_y, slope = (a.reshape(-1, 1, c) for a in edges)
    never = np.iinfo(np.int64).max
    crossings = np.where((top <= y) & (y < bottom), from_x + (y - from_y) * slope, never)
    crossings = np.sort(crossings, axis=-1).reshape(-1, c)

    rows, lefts, rights = [], [], []
    for pair in range(c // 2):
        row = np.flatnonzero(crossings[:, 2 * pair + 1] != never)
        left, right = -(-crossings[row, 2 * pair] >> FRACTION), crossings[row, 2 * pair + 1] >> FRACTION
        seen = (left < width) & (right >= 0)
        rows.append(row[seen])
        lefts.append(np.maximum(left[seen], 0))
        rights.append(np.minimum(right[seen], width - 1))
    return np.concatenate(rows), np.concatenate(lefts), np.concatenate(rights)
