"""The decoder's recurrence as one operation, for processors.

Autograd on a loop of cells adds a small product to the gradient of the weights at every frame, and reads and
writes that gradient each time. Here the gradients of many frames are laid side by side and multiplied at once.
Sums are the same but for their order. What is kept for the gradient is gates, cells, outputs and poses.

Gates lie apart, (L, 4, B, D), in torch's order: in, forget, candidate, out.
"""

from __future__ import annotations

__all__ = ["perform", "runs_here"]

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 320  # rows (frames times sequences) that one product adds to the gradient of the weights: fit a cache


def runs_here(*tensors: Tensor) -> bool:
    """Whether :func:`perform` may stand for the plain loop: on processors, in one precision, when not traced."""
    return (
        all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.float64) for t in tensors)
        and len({t.dtype for t in tensors}) == 1
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def perform(
    b: Tensor, start: Tensor, length: int, cell: tuple[Tensor, ...], out: tuple[Tensor, Tensor],
    before: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Tensor:  # fmt: skip
    """Poses of an LSTM cell that starts as the code and moves each pose by what it puts out.

    Arguments:
        b: first output and cell, (B, D).
        start: first pose, (B, N).
        length: frames L.
        cell: w_ih (4 D, N), w_hh (4 D, D), b_ih, b_hh (4 D,).
        out: weight (N, D) and bias (N,) of the layer from outputs to displacements.
        before: weight (N, N) and bias (N,) of a layer that poses pass before the cell, if any.

    Returns:
        (B, L, N).
    """
    tensors = (b, start, *cell, *out, *before)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return _Performance.apply(length, keep, *tensors)


def _tanh_(x: Tensor) -> Tensor:
    """In place, by way of the sigmoid: half the time of torch's own, and as exact to 1e-7."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _step(gates: Tensor, cell: Tensor, new_cell: Tensor, output: Tensor) -> None:
    """Turns sums (4, B, D) into gates in place; writes the cell after it and the output, both (B, D)."""
    enter, forget, candidate, leave = gates
    candidate.mul_(2)
    gates.sigmoid_()
    candidate.mul_(2).sub_(1)  # the hyperbolic tangent
    torch.mul(forget, cell, out=new_cell).addcmul_(enter, candidate)
    _tanh_(output.copy_(new_cell)).mul_(leave)


def _step_back(d: Tensor, gates: Tensor, cell: Tensor, new_cell: Tensor, d_output: Tensor, d_cell: Tensor) -> None:
    """Gradients of one frame: fills d (4, B, D), of the sums; d_cell (B, D) becomes that of the cell before."""
    sigmoid, tanh = torch.ops.aten.sigmoid_backward.grad_input, torch.ops.aten.tanh_backward.grad_input
    enter, forget, candidate, leave = gates
    bent = _tanh_(new_cell.clone())
    product = d_output * bent
    sigmoid(product, leave, grad_input=d[3])
    d_cell.add_(tanh(torch.mul(d_output, leave, out=product), bent, grad_input=product))
    sigmoid(torch.mul(d_cell, candidate, out=product), enter, grad_input=d[0])
    sigmoid(torch.mul(d_cell, cell, out=product), forget, grad_input=d[1])
    tanh(torch.mul(d_cell, enter, out=product), candidate, grad_input=d[2])
    d_cell.mul_(forget)


def _room(like: Tensor, *shape: int) -> Tensor:
    """Memory for much: numpy asks for it in large pages, which fresh memory is far cheaper in."""
    dtype = np.float64 if like.dtype == torch.float64 else np.float32
    return torch.from_numpy(np.empty(shape, dtype))


def _with_bias(w_ih: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """The biases as the weight of one more input, which is always one: (4 D, N + 1)."""
    return torch.cat([w_ih, (b_ih + b_hh).unsqueeze(1)], dim=1)


def _by_gate(weight: Tensor) -> Tensor:
    """(4 D, K) -> (4, K, D), a view."""
    return weight.view(4, len(weight) // 4, -1).transpose(1, 2)


class _Weights:
    """Gradients of the weights, added up over the frames of one chunk at a time."""

    def __init__(self, w_in: Tensor, w_hh: Tensor, frames: int, batch: int) -> None:
        self.inward, self.hh = torch.zeros_like(w_in), torch.zeros_like(w_hh)
        self.size = min(frames, max(1, CHUNK // batch))
        self.sums = w_hh.new_empty(self.size, batch, len(w_hh))

    def at(self, t: int) -> tuple[Tensor, Tensor]:
        """Where the gradient of frame t's sums goes, (B, 4 D), and the same by gate (4, B, D)."""
        d = self.sums[t % self.size]
        return d, d.view(len(d), 4, -1).transpose(0, 1)

    def add(self, t: int, x: Tensor, h: Tensor) -> None:
        """Frames t and later of its chunk are done; x (L, B, N + 1) and h (L, B, D) went in."""
        if t % self.size:
            return
        stop = min(len(x), t + self.size)
        d = self.sums[: stop - t].flatten(0, 1).t()
        self.inward.addmm_(d, x[t:stop].flatten(0, 1))
        self.hh.addmm_(d, h[t:stop].flatten(0, 1))

    def gradients(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order of a cell's parameters."""
        bias = self.inward[:, -1]
        return self.inward[:, :-1].contiguous(), self.hh, bias.clone(), bias.clone()


class _Performance(torch.autograd.Function):
    """See :func:`perform`; without ``keep`` only the last frame's gates are in memory."""

    @staticmethod
    def forward(ctx, length, keep, b, start, w_ih, w_hh, b_ih, b_hh, w_out, b_out, w_before, b_before):
        (batch, dim), (_, width), kept = b.shape, start.shape, length if keep else 1
        w_in = _with_bias(w_ih, b_ih, b_hh)
        gates = _room(b, kept, 4, batch, dim)
        cells, outputs = (_room(b, kept + 1, batch, dim) for _ in range(2))
        poses, read = start.new_empty(length + 1, batch, width), start.new_ones(kept, batch, width + 1)
        cells[0], outputs[0], poses[0] = b, b, start
        inward, recurrent, outward = _by_gate(w_in), _by_gate(w_hh), w_out.t()
        for t in range(length):
            at, now, after = (t, t, t + 1) if keep else (0, t % 2, (t + 1) % 2)
            read[at, :, :-1] = poses[t] if w_before is None else torch.addmm(b_before, poses[t], w_before.t())
            torch.bmm(outputs[now].expand(4, -1, -1), recurrent, out=gates[at])
            gates[at].baddbmm_(read[at].expand(4, -1, -1), inward)
            _step(gates[at], cells[now], cells[after], outputs[after])
            torch.addmm(b_out, outputs[after], outward, out=poses[t + 1])
            poses[t + 1] += poses[t]
        if keep:
            ctx.save_for_backward(w_in, w_hh, w_out, w_before, gates, cells, outputs, poses, read)
        return poses[1:].transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_poses):
        w_in, w_hh, w_out, w_before, gates, cells, outputs, poses, read = ctx.saved_tensors
        frames, batch, _ = read.shape
        weights = _Weights(w_in, w_hh, frames, batch)
        d_moves, d_read = torch.empty_like(poses[1:]), torch.empty_like(read)
        d_pose, d_output, d_cell = (torch.zeros_like(like) for like in (poses[0], outputs[0], cells[0]))
        for t in reversed(range(frames)):
            d_pose += d_poses[:, t]
            d_moves[t] = d_pose
            d_output.addmm_(d_pose, w_out)
            d, by_gate = weights.at(t)
            _step_back(by_gate, gates[t], cells[t], cells[t + 1], d_output, d_cell)
            torch.mm(d, w_hh, out=d_output)
            torch.mm(d, w_in, out=d_read[t])
            if w_before is None:
                d_pose += d_read[t, :, :-1]
            else:
                d_pose.addmm_(d_read[t, :, :-1], w_before)
            weights.add(t, read, outputs)
        d_moves = d_moves.flatten(0, 1)
        d_out = d_moves.t() @ outputs[1:].flatten(0, 1), d_moves.sum(0)
        d_before = None, None
        if w_before is not None:
            d_read = d_read[..., :-1].flatten(0, 1)
            d_before = d_read.t() @ poses[:-1].flatten(0, 1), d_read.sum(0)
        return None, None, d_output + d_cell, d_pose, *weights.gradients(), *d_out, *d_before
