"""What makes appearance good, in one run: ``python benchmarks/appearance_quality.py DATAPATH``.

Trains small nets with the same budget on the same pictures and measures them on the same test people: the
default objective; compat, whose regressor gives the encoder no gradient; no regressor at all; and the VUNet
baseline. ``posture_left`` says how much of the posture a fresh regressor still reads off the appearance
(docs/appearance.md), 1 being none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from bdsynth.appearance.evaluate import evaluate
from bdsynth.appearance.experiment import PictureExperiment, ShapePoseExperiment, image_set
from bdsynth.appearance.vunet_experiment import VUNetExperiment
from bdsynth.learning.config import parse_config
from bdsynth.learning.runs import RunFolder
from bdsynth.learning.trainer import Trainer, resolve_devices

VARIANTS = {
    "default": (ShapePoseExperiment, {}),
    "compat": (ShapePoseExperiment, {"objective": "compat"}),
    "no regressor": (ShapePoseExperiment, {"train_regressor": False}),
    "vunet": (VUNetExperiment, {}),
}
MEASURES = (
    "reconstruction_ssim", "reconstruction_mask_ssim", "reconstruction_lpips_alex", "new_posture_ssim",
    "new_posture_mask_ssim", "new_posture_lpips_alex", "posture_left",
)  # fmt: skip


def experiment_of(name: str, args: argparse.Namespace, base: Path) -> PictureExperiment:
    cls, changes = VARIANTS[name]
    config = {
        "general": {"base_dir": str(base), "project_name": name.replace(" ", "_"), "experiment": "cvbae",
                    "seed": args.seed},
        "data": {"dataset": args.dataset, "datapath": args.datapath, "spatial_size": args.size,
                 "inplane_normalize": args.inplane, "box_factor": 1, "bottleneck_factor": args.bottleneck},
        "architecture": {"nf_start": args.nf_start, "nf_max": args.nf_max},
        "training": {
            "batch_size": args.batch, "end_iteration": args.iterations, "steps_per_epoch": args.iterations,
            "lr": args.lr, "adam_betas": [0.9, 0.99], "vgg_weights": [8, 0.1, 0.1, 0, 0, 0],
            "perceptual_weights": args.perceptual_weights, "ema": 0.99, "data_init": True,
        } | changes | ({} if name == "vunet" or changes.get("train_regressor") is False
                       else {"reg_steps": args.reg_steps, "weight_regressor": args.weight_regressor})
          | ({} if name == "vunet" else {"information_max": args.information_max, "gamma_step": args.gamma_step}),
        "logging": {"n_validation": 0},
    }  # fmt: skip
    return cls(parse_config(config, cls.config_class, "benchmark"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datapath", help="pictures with several people, such as data.synthetic writes")
    parser.add_argument("--dataset", default="SyntheticHumans")
    parser.add_argument("--perceptual_weights", required=True, help="file with a VGG16 or VGG19")
    parser.add_argument("--lpips_weights", nargs="+", default=[], help="files with an AlexNet or VGG16")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1.5e-4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--bottleneck", type=int, default=2)
    parser.add_argument("--inplane", action="store_true", help="appearance from part crops")
    parser.add_argument("--nf-start", type=int, default=16)
    parser.add_argument("--nf-max", type=int, default=64)
    parser.add_argument("--reg-steps", type=int, default=5)
    parser.add_argument("--weight-regressor", type=float, default=20.0)
    parser.add_argument("--information-max", type=float, default=30000.0, help="nats")
    parser.add_argument("--gamma-step", type=float, default=1e-10, help="slow enough for a short training")
    parser.add_argument("--pictures", type=int, default=960, help="of the test split, at most")
    parser.add_argument("--gpu", type=int, nargs="+", default=[-1])
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--json", help="write the numbers here too")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="bdsynth-appearance-") as base:
        for name in args.variants:
            experiment = experiment_of(name, args, Path(base))
            general = experiment.config.general
            folder = RunFolder(general.base_dir, general.experiment, general.project_name)
            folder.create()
            devices = resolve_devices(args.gpu)
            trainer = Trainer(folder, args.seed, devices=devices, precision=args.precision, progress=False)
            (stage,) = experiment.stages()
            trainer.fit(stage)
            images = image_set(experiment.pictures, "test", experiment.config.data)
            results[name] = evaluate(
                experiment.model.frozen(), images, args.pictures, lpips_weights=args.lpips_weights, seed=args.seed
            ).values
            print(
                f"{name}: {', '.join(f'{m} {results[name][m]:.4f}' for m in MEASURES if m in results[name])}",
                flush=True,
            )
    print(f"\n{args.size} x {args.size}, {args.iterations} steps of {args.batch}, {args.pictures} test pictures")
    print(f"{'':<28}" + "".join(f"{name:>14}" for name in results))
    for measure in MEASURES:
        if any(measure in values for values in results.values()):
            cells = [f"{values[measure]:.4f}" if measure in values else "" for values in results.values()]
            print(f"{measure:<28}" + "".join(f"{cell:>14}" for cell in cells))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
