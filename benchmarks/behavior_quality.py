"""How good behavior models are, in one run: ``python benchmarks/behavior_quality.py DATASET``.

Measures trained models (--weights NAME=FILE) and small ones trained here with the same budget: the default
behavior net (of bones), the recurrent net with swapped start postures, the published net and objective (compat), a
plain conditional VAE and MT-VAE, beside copying the source, standing still and the real clips themselves; all on
the same sequences by the same judges (docs/behavior.md). Further --variants leave out what the default adds.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from bdsynth.behavior.evaluate import evaluate_performers
from bdsynth.behavior.experiment import COMPAT_IDLE_EPOCHS, BehaviorExperiment
from bdsynth.behavior.mt_vae_experiment import MTVAEExperiment
from bdsynth.behavior.performers import Loaded, load_performer
from bdsynth.datasets.prepared import PreparedDataset, write_prepared
from bdsynth.learning.checkpoint import latest_checkpoint
from bdsynth.learning.config import parse_config
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Trainer, resolve_devices

EPOCHS = 10  # that the steps are divided into, at most
KINEMATIC = {"net": "kinematic", "dim_hidden_b": 128, "reads_posture": True}
DEFAULT = {"swap_start": 0.5, "mix": 0.5, "information_max": 200, "gamma_step": 1e-4, "weight_velocity": 50,
           "weight_distance": 3, "weight_regressor": 1, "lr_regressor": 1e-3, "regressor_steps": 3,
           "tau": [0.4, 0.6, 0.75, 0.85, 0.95], "gamma": 0.4}  # fmt: skip
CHANGES, UNMIXED = KINEMATIC | {"reads_posture": False}, DEFAULT | {"mix": 0}
PUBLISHED = {"canonical": False, "normalize_size": False, "representation": "world", "mirror": False,
             "balance": "none", "min_seq_length": None}  # fmt: skip
# name -> experiment, and what differs from the defaults of its config: data, architecture, training
VARIANTS = {
    "behavior net": (BehaviorExperiment, {}, KINEMATIC, DEFAULT),
    "read back": (BehaviorExperiment, {}, KINEMATIC, DEFAULT | {"weight_cycle": 1}),
    "no mixing": (BehaviorExperiment, {}, KINEMATIC, UNMIXED),
    "reads changes": (BehaviorExperiment, {}, CHANGES, UNMIXED),
    "no swapping": (BehaviorExperiment, {}, CHANGES, UNMIXED | {"swap_start": 0}),
    "published loss": (BehaviorExperiment, {}, CHANGES, UNMIXED | {"weight_velocity": 0, "weight_distance": 0}),
    "less information": (BehaviorExperiment, {}, CHANGES, UNMIXED | {"information_max": 60}),
    "recurrent": (BehaviorExperiment, {}, {}, {"swap_start": 0.5}),
    "compat": (BehaviorExperiment, PUBLISHED, {}, {"objective": "compat", "clip_grad": None}),
    "vanilla cVAE": (BehaviorExperiment, {}, {"cvae": True}, {"n_epochs_flow": 0}),
    "MT-VAE": (MTVAEExperiment, {}, {}, {}),
}  # fmt: skip
BASELINES = ("behavior net", "recurrent", "compat", "vanilla cVAE", "MT-VAE")


def trained(name: str, dataset: PreparedDataset, args: argparse.Namespace, base: Path) -> Loaded:
    """A model of one variant, trained with ``args.steps`` batches."""
    cls, data, architecture, training = VARIANTS[name]
    lag, frames = max(1, round(dataset.fps / 30)), args.frames
    net = cls is BehaviorExperiment
    epochs = min(EPOCHS, args.steps)
    per_epoch = args.steps // epochs
    if training.get("objective") == "compat":  # its last epochs leave the net as it is
        epochs += COMPAT_IDLE_EPOCHS + 1
        dataset = without_short_clips(dataset, (frames + 1) * lag + 1, base / "long")
    if "net" in architecture:
        architecture = architecture | {"n_cosines": min(16, frames - 1)}
    flow = {"n_flows": 8, "flow_hidden_depth": 1, "flow_mid_channels_factor": 0.5}
    config = {
        "general": {"base_dir": str(base), "project_name": name.replace(" ", "_"), "seed": args.seed,
                    "experiment": "behavior_net" if net else "mt_vae"},
        "data": {"datapath": str(dataset.path), "sequential_frame_lag": lag,
                 **({"seq_length": frames} if net else {"seq_length": frames + 9, "n_cond": 10}), **data},
        "architecture": {**({"dim_hidden_b": args.dim, **flow} if net else {"dim_hidden": args.dim}),
                         **architecture},
        "training": {"batch_size": 64, "n_epochs": epochs, "steps_per_epoch": per_epoch, "lr_init": 1e-3,
                     "tau": [0.5, 0.75, 0.9], **({"n_epochs_flow": 3, "flow_lr": 1.5e-5} if net else {}),
                     **training},
        "logging": {"n_validation": 0, "keep_checkpoints": 1},
    }  # fmt: skip
    experiment = cls(parse_config(config, cls.config_class, "benchmark"))
    general = experiment.config.general
    folder = RunFolder(general.base_dir, general.experiment, general.project_name)
    folder.create()
    for stage in experiment.stages():
        Trainer(folder, args.seed, devices=resolve_devices(args.gpu), progress=False).fit(stage)
    weights = latest_checkpoint(folder.ckpt, "flow_ckpt") or latest_checkpoint(folder.ckpt, "reg_ckpt")
    return load_performer(weights, name)


def without_short_clips(dataset: PreparedDataset, least: int, folder: Path) -> PreparedDataset:
    """Of clips with ``least`` frames only: the published code shortens all sequences to fit the shortest clip."""
    clips = [(clip, dataset.motion(number)) for number, clip in enumerate(dataset.index) if clip.n_frames >= least]
    return write_prepared(folder, clips, name=dataset.name, licence=dataset.licence)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="a prepared data set (python -m data.mocap makes one)")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="trained models; variants named so are not trained",
    )
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(BASELINES), help="what is trained")
    parser.add_argument("--steps", type=int, default=2000, help="batches of 64 that each variant is trained with")
    parser.add_argument("--dim", type=int, default=256, help="width of their codes")
    parser.add_argument("--frames", type=int, default=50, help="frames of their sequences")
    parser.add_argument("--sequences", type=int, default=1000, help="of the test split, at most")
    parser.add_argument("--samples", type=int, default=50, help="samples per start posture")
    parser.add_argument("--gpu", type=int, nargs="+", default=[-1])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", metavar="FILE", help="write the numbers here too")
    parser.add_argument("--report", metavar="FILE", help="write a page with tables and curves here (.html)")
    args = parser.parse_args()
    files = dict(entry.partition("=")[::2] for entry in args.weights)
    if not all(files.values()):
        parser.error("--weights takes NAME=FILE, as in mine=runs/behavior_net/ckpt/mine")
    if not files and not args.variants:
        parser.error("nothing to measure: give --weights or --variants")
    dataset = PreparedDataset.open(args.dataset)
    say = partial(print, flush=True)
    models = [load_performer(file, name) for name, file in files.items()]
    with tempfile.TemporaryDirectory(prefix="bdsynth-behavior-") as base:
        for name in args.variants:
            if name not in files:
                say(f"training {name}")
                models.append(trained(name, dataset, args, Path(base)))
        results = evaluate_performers(
            models, dataset, n_samples=args.samples, max_sequences=args.sequences, seed=args.seed, say=say
        )
    budget = {"steps": args.steps, "dim": args.dim} if set(args.variants) - set(files) else {}
    print(f"\n{results.table()}")
    if args.json:
        Path(args.json).write_text(results.to_json(trained=budget, weights=files))
    if args.report:
        from bdsynth.display.report import write_report

        write_report(args.report, f"Behavior models on {dataset.name}", results.sections())


if __name__ == "__main__":
    main()
