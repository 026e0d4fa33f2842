"""Evaluation of a lifter on sequences with 3D truth, by the published protocols."""

from __future__ import annotations

__all__ = ["evaluate"]

from collections.abc import Sequence

import numpy as np

from bdsynth.datasets.lifting_sequences import LiftingSequence
from bdsynth.errors import InputError
from bdsynth.lifting.metrics import LiftingEvaluation, measure, measure_mpi
from bdsynth.lifting.model import LiftingModel

SHORTEST = 3  # frames


def evaluate(
    model: LiftingModel,
    sequences: Sequence[LiftingSequence],
    name: str = "",
    *,
    flip: bool = True,
    fast: bool = False,
    compat: bool = False,
) -> LiftingEvaluation:
    """Lifts every sequence and compares it with its truth.

    Sequences of fewer than SHORTEST frames have no acceleration and are left out. Poses are relative to the root.
    Totals are means over actions; on MPI-INF-3DHP over frames, by its protocol.

    Arguments:
        model: on any device.
        sequences: with the joints that the model reads and gives.
        name: of the data, for the table.
        flip: lift mirrored sequences too, and average.
        fast: see :meth:`LiftingModel.predict`.
        compat: leave what temporal convolution models say of the root as it is, so that it counts as an error.

    Raises:
        InputError: there is no sequence, or one has other joints than the model reads.
    """
    from bdsynth.lifting.experiment import features_of

    if all(len(sequence) < SHORTEST for sequence in sequences):
        raise InputError(f"{name}: there is no sequence of {SHORTEST} frames or more to evaluate on")
    mpi = model.skeleton_out.name == "mpi_inf_3dhp_17"
    keeps_root = compat and model.kind != "p_stmo"
    rows = []
    whole = [sequence for sequence in sequences if len(sequence) >= SHORTEST]
    for sequence in whole:
        predicted = model.predict(features_of(sequence, model), flip, fast, relative=not keeps_root)
        counts = slice(None) if sequence.valid is None else sequence.valid
        truth = sequence.positions.copy()
        truth[:, model.skeleton_out.root] = 0
        title = " ".join(filter(None, (sequence.subject, sequence.action, sequence.camera)))
        if mpi:
            rows.append(measure_mpi(predicted[counts], truth[counts], title, model.skeleton_out))
        else:
            root = "kept" if keeps_root else "zeroed"
            rows.append(measure(predicted[counts], truth[counts], title, sequence.action, predicted_root=root))
    protocol = {
        "data": name, "model": model.name, "sequences": len(rows), "frames": int(np.sum([r.frames for r in rows])),
        "too short": len(sequences) - len(whole), "test-time flip": flip, "fast": fast,
    }  # fmt: skip
    return LiftingEvaluation(tuple(rows), protocol, "frames" if mpi else "actions")
