"""The one training loop. An experiment plugs in as a `Stage`; the `Trainer` does the rest.

Promise: on the CPU, a training that was stopped or killed at any moment and resumed gives the
same numbers, bit for bit, as one that never stopped. To that end the order of the batches is a
function of (seed, epoch), all generators are seeded anew at the start of each epoch, and a
checkpoint inside an epoch holds their states and the position.

Several devices are several processes. In one step, process r of n takes batch ``n * step + r``;
gradients are averaged over the processes before each optimizer step. The first process writes.
"""

__all__ = [
    "Diverged",
    "Interrupted",
    "Stage",
    "Trainer",
    "resolve_devices",
    "seed_everything",
]

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from bdsynth.errors import InputError
from bdsynth.learning.checkpoint import (
    Checkpoint,
    checkpoint_name,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from bdsynth.learning.devices import make_fabric, resolve_devices
from bdsynth.learning.interruption import Interrupted, StopRequest
from bdsynth.learning.parallel import (
    average_gradients,
    average_values,
    gather,
    largest,
    own_batches,
    share_tensors,
)
from bdsynth.learning.randomness import (
    derived_seed,
    random_states,
    restore_random_states,
    seed_everything,
)
from bdsynth.learning.reporting import Progress, Report
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.stage import Batch, Stage

_DEBUG_STEPS = 10
_MOST_LEFT_OUT = 10


class Diverged(RuntimeError):
    """The gradients stayed infinite or not a number."""


class Trainer:
    """Trains stages, one after the other, in one run folder.

    Args:
        run: where checkpoints and logs go.
        seed: of everything random.
        devices: CUDA devices; None or ``[-1]`` is the CPU.
        precision: ``bf16-mixed`` computes the forward pass in bfloat16.
        debug: ten steps per epoch.
        keep: how many checkpoints of a stage stay.
        checkpoint_every_steps: also save inside epochs.
        checkpoint_every_epochs: save after so many epochs (after the last one in any case).
        log_every_steps: how often single steps go to TensorBoard.
        progress: a bar, or a line per epoch, on stderr.

    Attributes:
        fabric: Lightning Fabric, for what a stage needs of it.
        device: where batches and networks are.
        epoch, step: complete epochs and, over all epochs, steps.
    """

    def __init__(
        self,
        run: RunFolder,
        seed: int,
        devices: Sequence[int] | None = None,
        precision: Literal["32-true", "bf16-mixed"] = "32-true",
        debug: bool = False,
        keep: int = 3,
        checkpoint_every_steps: int | None = None,
        checkpoint_every_epochs: int = 1,
        log_every_steps: int = 100,
        progress: bool = True,
    ) -> None:
        self.run = run
        self.seed = seed
        self.debug = debug
        self.fabric = make_fabric(devices, precision)
        self.device = self.fabric.device
        self.epoch = self.step = 0
        self._keep = keep
        self._checkpoint_every_steps = checkpoint_every_steps
        self._checkpoint_every_epochs = checkpoint_every_epochs
        self._log_every_steps = log_every_steps
        self._is_first = self.fabric.global_rank == 0
        self._shows_progress = progress and self._is_first
        seed_everything(seed)

    # ----------------------------------------------------------------------------------------
    # The loop
    # ----------------------------------------------------------------------------------------

    def fit(self, stage: Stage, resume: bool = False) -> dict[str, Any]:
        """Train a stage to its end.

        Args:
            stage: what to train; its networks are moved to the device.
            resume: go on from the latest checkpoint of the stage. Without one, start; if it is
                finished, return at once.

        Returns:
            ``stage``, ``epochs``, ``steps``, and the last epoch's ``train`` and ``validation``.

        Raises:
            InputError: not resuming, but there are checkpoints; none of them is whole; they do
                not fit the stage; there are no batches; a checkpoint cannot be written.
            Interrupted: SIGINT or SIGTERM came; a checkpoint is saved.
            Diverged: ten steps in a row had no finite gradient; earlier checkpoints stay.
        """
        self._stage = stage
        self.epoch = self.step = self._epoch_step = 0
        self._sums: dict[str, tuple[Any, int]] = {}  # name: total and count over the epoch
        self._norms: dict[str, float] = {}
        self._left_out = dict.fromkeys(stage.optimizers, 0)
        self._last: dict[str, dict[str, float]] = {"train": {}, "validation": {}}

        latest = latest_checkpoint(self.run.ckpt, stage.name)
        if latest is not None and not resume:
            raise InputError(f"{latest}: this was trained before; --restart resumes it")
        for module in stage.modules.values():
            module.to(self.device)
        states = None
        if latest is not None:
            states = self._restore(load_checkpoint(latest))
        share_tensors(net.state_dict() for net in stage.modules.values())
        modes = {part: part.training for net in stage.modules.values() for part in net.modules()}

        if self.epoch < stage.epochs:
            first = self._is_first
            report = Report(self.run.log, stage.name, self.epoch, self.step) if first else None
            progress = Progress(stage.name, stage.epochs, self._shows_progress)
            with StopRequest() as self._stop:
                try:
                    while self.epoch < stage.epochs:
                        for part, mode in modes.items():
                            part.training = mode
                        self._run_epoch(report, progress, states)
                        states = None
                finally:
                    progress.close()
                    if report is not None:
                        report.close()
        return {"stage": stage.name, "epochs": self.epoch, "steps": self.step, **self._last}

    def _run_epoch(
        self, report: Report | None, progress: Progress, states: dict[str, Any] | None
    ) -> None:
        stage, rank, world = self._stage, self.fabric.global_rank, self.fabric.world_size
        seed_everything(derived_seed(self.seed, stage.name, self.epoch, rank))
        batches = stage.batches(self.epoch)
        steps = len(batches) // world
        if steps == 0:
            raise InputError(
                f"{stage.name}: {len(batches)} batches for {world} device(s); "
                "the data should have more samples, or training.batch_size be smaller"
            )
        if self.debug:
            steps = min(steps, _DEBUG_STEPS)
        own = own_batches(batches, self._epoch_step, steps, rank, world)
        if states is not None:  # only now: making and passing batches may have drawn numbers
            restore_random_states(states, self.device)
        left = steps * (stage.epochs - self.epoch) - self._epoch_step
        progress.begin(self.step, self.step + left)

        for batch in own:
            values = self._run_step(batch)
            if report is not None and self.step % self._log_every_steps == 0:
                report.step(self.step, {name: float(value) for name, value in values.items()})
            progress.step(self._averages)
            every = self._checkpoint_every_steps
            self._save_or_stop(bool(every) and self.step % every == 0 and self._epoch_step < steps)

        rates = {name: known.param_groups[0]["lr"] for name, known in stage.optimizers.items()}
        averages = average_values(self._averages(), self.device)
        self._last = {"train": averages, "validation": self._validate()}
        for scheduler in stage.schedulers.values():
            scheduler.step()
        if report is not None:
            report.epoch(self.epoch, self.step, rates, **self._last)
            report.pictures(self.step, self._pictures())
        progress.epoch(self.epoch, {**averages, **self._last["validation"]})

        self.epoch, self._epoch_step, self._sums = self.epoch + 1, 0, {}
        is_last = self.epoch == stage.epochs
        self._save_or_stop(is_last or self.epoch % self._checkpoint_every_epochs == 0)

    def _run_step(self, batch: Batch) -> dict[str, Tensor | float]:
        self._norms = {}
        for optimizer in self._stage.optimizers.values():
            optimizer.zero_grad(set_to_none=True)  # no checkpoint holds gradients
        with self.fabric.autocast():
            logged = {**self._stage.step(self.place(batch), self), **self._norms}
        values = {
            name: value.detach().double() if isinstance(value, Tensor) else float(value)
            for name, value in logged.items()
        }
        for name, value in values.items():  # summed where they are: reading makes a GPU wait
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        self._epoch_step += 1
        self.step += 1
        return values

    def _averages(self) -> dict[str, float]:
        return {name: float(total) / count for name, (total, count) in self._sums.items()}

    def _pictures(self) -> dict[str, np.ndarray]:
        states = random_states(self.device)  # other processes draw no pictures
        try:
            with torch.no_grad(), self.fabric.autocast():
                return self._stage.pictures(self)
        finally:
            restore_random_states(states, self.device)

    def _validate(self) -> dict[str, float]:
        # Validation may take long and changes nothing, so a signal breaks it off; a resumed
        # training begins it again, with the same random numbers.
        states = random_states(self.device)
        try:
            self._stop.at_once = self.fabric.world_size == 1
            with torch.no_grad(), self.fabric.autocast():
                return dict(self._stage.validate(self, self.epoch))
        except Interrupted:
            restore_random_states(states, self.device)
            self._save()
            raise
        finally:
            self._stop.at_once = False

    # ----------------------------------------------------------------------------------------
    # What a stage calls
    # ----------------------------------------------------------------------------------------

    def place(self, batch: Batch) -> Batch:
        """The batch with its tensors on the device."""
        return {
            name: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }

    def backward(self, loss: Tensor, retain_graph: bool = False) -> None:
        """Add the gradients of ``loss``, a scalar, to those of the parameters."""
        with torch.autocast(self.device.type, enabled=False):
            self.fabric.backward(loss, retain_graph=retain_graph)

    def optimizer_step(self, optimizer: Optimizer, clip: float | None = None) -> float:
        """Change the parameters of ``optimizer`` along their gradients, then clear these.

        A step whose gradients are not finite is left out.

        Args:
            optimizer: one of the stage's.
            clip: the largest norm over all gradients; longer ones are scaled down to it.

        Returns:
            The norm before clipping, which is also logged.

        Raises:
            Diverged: this was the tenth step in a row to be left out.
        """
        optimizers = self._stage.optimizers
        name = next(name for name, known in optimizers.items() if known is optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        average_gradients(parameters)
        if clip is None:
            norm = float(get_total_norm([p.grad for p in parameters if p.grad is not None]))
        else:
            norm = float(clip_grad_norm_(parameters, clip))

        if math.isfinite(norm):
            optimizer.step()
            self._left_out[name] = 0
        else:
            self._leave_out_step(name, norm)
        optimizer.zero_grad(set_to_none=True)
        self._norms["grad_norm" if len(optimizers) == 1 else f"grad_norm/{name}"] = norm
        return norm

    def _leave_out_step(self, name: str, norm: float) -> None:
        self._left_out[name] += 1
        what = f"{self._stage.name}: the gradient norm of '{name}' is {norm}"
        where = f"step {self.step + 1}, epoch {self.epoch + 1}"
        if self._left_out[name] == _MOST_LEFT_OUT:
            raise Diverged(
                f"{what} for {_MOST_LEFT_OUT} steps in a row ({where}); a lower learning rate or "
                f"clipping may help; the checkpoints in {self.run.ckpt} are from before"
            )
        if self._is_first:
            print(f"{what} ({where}): step left out", file=sys.stderr)

    # ----------------------------------------------------------------------------------------
    # Saving and resuming
    # ----------------------------------------------------------------------------------------

    def _save_or_stop(self, due: bool) -> None:
        code = largest(self._stop.code or 0, self.device)  # it may have reached one process only
        if due or code:
            self._save()
        if code:
            raise Interrupted(code)

    def _save(self) -> None:
        stage = self._stage
        processes = gather({"random": random_states(self.device), "sums": self._sums})
        if self._is_first:
            position = {
                "stage": stage.name,
                "epoch": self.epoch,
                "epoch_step": self._epoch_step,
                "step": self.step,
                "finished": self.epoch >= stage.epochs,
            }
            weights = stage.weights()
            training = {
                **position,
                "modules": _module_states(stage, weights),
                "optimizers": {k: known.state_dict() for k, known in stage.optimizers.items()},
                "schedulers": {k: known.state_dict() for k, known in stage.schedulers.items()},
                "extra": stage.extra_state(),
                "left_out": self._left_out,
                "last": self._last,
                "processes": processes,
            }
            folder = self.run.ckpt / checkpoint_name(stage.name, self.step)
            save_checkpoint(folder, weights, {**stage.metadata(), "progress": position}, training)
            prune_checkpoints(self.run.ckpt, stage.name, self._keep)
        self.fabric.barrier()

    def _restore(self, checkpoint: Checkpoint) -> dict[str, Any] | None:
        """Take back what `_save` wrote; the random states, if that was inside an epoch."""
        stage, training = self._stage, checkpoint.training
        try:
            for name, module in stage.modules.items():
                saved = training["modules"][name]
                published = {key: checkpoint.weights[at] for key, at in saved["weights"].items()}
                module.load_state_dict({**saved["own"], **published})
            for name, optimizer in stage.optimizers.items():
                optimizer.load_state_dict(training["optimizers"][name])
            for name, scheduler in stage.schedulers.items():
                scheduler.load_state_dict(training["schedulers"][name])
            stage.load_extra_state(training["extra"])
            self.epoch, self.step = training["epoch"], training["step"]
            self._epoch_step = training["epoch_step"]
            self._left_out, self._last = training["left_out"], training["last"]
            processes = training["processes"]
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{checkpoint.folder}: does not fit the configuration ({reason})"
            ) from error
        if self._epoch_step == 0:
            return None  # the next epoch begins with its own seed
        if len(processes) != self.fabric.world_size:
            raise InputError(
                f"{checkpoint.folder}: was saved inside an epoch on {len(processes)} device(s); "
                f"--gpu should name as many, not {self.fabric.world_size}"
            )
        own = processes[self.fabric.global_rank]
        self._sums = {
            name: (total.to(self.device) if isinstance(total, Tensor) else total, count)
            for name, (total, count) in own["sums"].items()
        }
        return own["random"]


def _module_states(stage: Stage, weights: dict[str, Tensor]) -> dict[str, Any]:
    """The states of all modules; a tensor that is among ``weights`` only by its name there."""

    def place(tensor: Tensor) -> tuple[Any, ...]:
        return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()

    published = {place(tensor): name for name, tensor in weights.items()}
    states = {}
    for name, module in stage.modules.items():
        state = module.state_dict()
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        at = {key: published.get(place(tensor)) for key, tensor in tensors.items()}
        at = {key: known for key, known in at.items() if known is not None}
        own = {key: value for key, value in state.items() if key not in at}
        states[name] = {"weights": at, "own": own}
    return states
