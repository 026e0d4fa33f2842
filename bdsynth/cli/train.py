"""``bdsynth --config FILE``: training and evaluation of the experiment that a config names."""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bdsynth.cli.common import check_file
from bdsynth.errors import InputError, nearest

if TYPE_CHECKING:
    import numpy as np

# general.experiment -> module and class. A class has config_class; `evaluated`, the stages whose checkpoints it
# evaluates, the best first; evaluate(config, weights, device, debug, **flags), and in `evaluation_flags` which
# flags that takes. Instances have stages(only_flow).
EXPERIMENTS = {
    "behavior_net": ("bdsynth.behavior.experiment", "BehaviorExperiment"),
    "mt_vae": ("bdsynth.behavior.mt_vae_experiment", "MTVAEExperiment"),
    "shape_and_pose_net": ("bdsynth.appearance.experiment", "ShapePoseExperiment"),
    "vunet": ("bdsynth.appearance.vunet_experiment", "VUNetExperiment"),
    "video_pose_3d": ("bdsynth.lifting.experiment", "VideoPose3DExperiment"),
    "anatomy_3d": ("bdsynth.lifting.anatomy_experiment", "Anatomy3DExperiment"),
    "p_stmo": ("bdsynth.lifting.p_stmo_experiment", "PSTMOExperiment"),
    "p_stmo_pretrain": ("bdsynth.lifting.p_stmo_experiment", "PSTMOPretrainExperiment"),
    "bpe": ("bdsynth.similarity.experiment", "BodyPartExperiment"),
    "cvbae": ("bdsynth.appearance.experiment", "ShapePoseExperiment"),  # what the published code calls it
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", default="config/behavior_net.yaml", help="YAML file of the experiment")
    parser.add_argument("-m", "--mode", choices=("train", "infer"), default="train", help="train or evaluate")
    parser.add_argument(
        "--gpu", type=int, nargs="+", default=[0], help="GPU ids, several train in parallel; -1: CPU"
    )
    parser.add_argument("-r", "--restart", action="store_true", help="resume the run, with its saved config")
    parser.add_argument(
        "-f", "--flow", action="store_true", help="train only the flow, on the net of the run, for n_epochs"
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew where a run lies already")
    parser.add_argument("-d", "--debug", action="store_true", help="little data, ten steps per epoch")
    parser.add_argument(
        "-p", "--pretrained_model", metavar="DIR", help="evaluate the checkpoints of this folder"
    )
    parser.add_argument("--statistics", help="mean and std of poses, for published checkpoints")
    parser.add_argument(
        "--perceptual_weights", metavar="FILE", help="VGG16 or VGG19 for pictures, in place of the config's"
    )
    parser.add_argument(
        "--lpips_weights", nargs="+", metavar="FILE", help="AlexNet and VGG16, to evaluate pictures by LPIPS"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the config: section.key=value"
    )
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true", help="arithmetic")
    parser.add_argument("--checkpoint-every-steps", type=_count, metavar="N", help="also save inside epochs")
    parser.add_argument("--export", metavar="FILE", help="write the trained weights here too (.safetensors)")
    parser.add_argument("--half", action="store_true", help="write those of --export in half precision")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return count


def read_config(path: str | Path, overrides: list[str]):
    """The experiment class and the checked config of a YAML file.

    Raises:
        InputError: names the file and the key.
    """
    from bdsynth.learning.config import apply_overrides, load_yaml, parse_config

    data = apply_overrides(load_yaml(path), overrides)
    general = data.get("general")
    name = general.get("experiment") if isinstance(general, dict) else None
    if not isinstance(name, str) or name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        hint = nearest(str(name), EXPERIMENTS)
        raise InputError(f"{path}: general.experiment is {name!r}{hint}; known are {known}")
    module, cls = EXPERIMENTS[name]
    experiment_class = getattr(importlib.import_module(module), cls)
    return experiment_class, parse_config(data, experiment_class.config_class, path)


def run(args: argparse.Namespace) -> None:
    from bdsynth.learning.runs import RunFolder

    _check_flags(args)
    experiment_class, config = read_config(args.config, args.set)
    general = config.general
    folder = RunFolder(general.base_dir, general.experiment, general.project_name)
    resume = args.restart or args.flow
    if resume or (args.mode == "infer" and not args.pretrained_model):
        experiment_class, config = read_config(folder.require_config(), args.set)
    if args.perceptual_weights:
        config = _with_perceptual_weights(config, args.perceptual_weights)
    if args.mode == "infer" or args.pretrained_model:
        _infer(args, experiment_class, config, folder)
    else:
        _train(args, experiment_class, config, folder, resume)


def _check_flags(args: argparse.Namespace) -> None:
    if args.pretrained_model and (args.restart or args.flow):
        raise InputError("--pretrained_model evaluates finished weights; leave out --restart and --flow")
    if args.overwrite and args.restart:
        raise InputError("--overwrite starts anew and --restart goes on: give one of them")
    if (args.pretrained_model or args.mode == "infer") and (args.overwrite or args.export):
        raise InputError("--overwrite and --export belong to a training; --mode infer only evaluates")
    if args.lpips_weights and not (args.pretrained_model or args.mode == "infer"):
        raise InputError("--lpips_weights belongs to an evaluation: --mode infer")
    if args.half and not args.export:
        raise InputError("--half says how to write --export FILE, which is missing")
    if args.export:
        check_file("--export", args.export, (".safetensors",))


def _with_perceptual_weights(config, file: str):
    if "perceptual_weights" not in type(config.training).model_fields:
        raise InputError(f"--perceptual_weights: {config.general.experiment} looks at no pictures; leave it out")
    training = config.training.model_copy(update={"perceptual_weights": file})
    return config.model_copy(update={"training": training})


def _train(args: argparse.Namespace, experiment_class, config, folder, resume: bool) -> None:
    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.config import dump_config
    from bdsynth.learning.runs import is_main_process
    from bdsynth.learning.trainer import Diverged, Trainer, resolve_devices

    devices = resolve_devices(args.gpu)
    if folder.exists and not (resume or args.overwrite):
        folder.create()  # refuses, before any work
    experiment = experiment_class(config, debug=args.debug)
    stages = experiment.stages(only_flow=args.flow)
    if args.flow:
        _prepare_flow(args, experiment, folder)
    elif not resume:
        folder.create(overwrite=args.overwrite)
        folder.save_config(dump_config(config))
    trainer = Trainer(
        folder,
        config.general.seed,
        devices=devices,
        precision=args.precision,
        debug=args.debug,
        keep=config.logging.keep_checkpoints,
        checkpoint_every_steps=args.checkpoint_every_steps,
    )
    for stage in stages:
        try:
            summary = trainer.fit(stage, resume=resume)
        except Diverged as error:
            print(f"bdsynth: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        if is_main_process():
            print(f"{stage.name}: {summary['epochs']} epochs, {summary['steps']} steps", file=sys.stderr)
    if not is_main_process():
        return
    latest = latest_checkpoint(folder.ckpt, stages[-1].name)
    print(f"trained weights: {latest}")
    if args.export:
        from bdsynth.learning.weights import save_weights

        checkpoint = load_checkpoint(latest)
        weights = experiment.publishable(checkpoint.weights)
        if args.half:
            weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        save_weights(args.export, weights, checkpoint.metadata)
        print(f"wrote {args.export}")


def _prepare_flow(args: argparse.Namespace, experiment, folder) -> None:
    """Loads the run's net; clears a finished flow out of the way only when told to."""
    import shutil

    from bdsynth.learning.checkpoint import latest_checkpoint, load_checkpoint
    from bdsynth.learning.runs import is_main_process

    net = latest_checkpoint(folder.ckpt, "reg_ckpt")
    if net is None:
        raise InputError(f"--flow: {folder.ckpt} has no checkpoint reg_ckpt_*; train the net first")
    experiment.load_net(load_checkpoint(net).weights)
    flow = latest_checkpoint(folder.ckpt, "flow_ckpt")
    if flow is not None and args.overwrite:
        for old in folder.ckpt.glob("flow_ckpt_checkpoint_*") if is_main_process() else ():
            shutil.rmtree(old)
    elif flow is not None and load_checkpoint(flow).metadata["progress"]["finished"]:
        raise InputError(f"--flow: the flow of this run is trained ({flow}); --overwrite trains it again")


def _infer(args: argparse.Namespace, experiment_class, config, folder) -> None:
    from bdsynth.cli.common import device_of
    from bdsynth.learning.atomic import atomic_write
    from bdsynth.learning.checkpoint import latest_checkpoint

    flags = {flag: getattr(args, flag) for flag in ("statistics", "lpips_weights") if getattr(args, flag)}
    for flag in flags.keys() - set(experiment_class.evaluation_flags):
        raise InputError(f"--{flag}: {config.general.experiment} has no use for it; leave it out")
    given = Path(args.pretrained_model) if args.pretrained_model else None
    place = given or folder.ckpt
    found = (latest_checkpoint(place, stage) for stage in experiment_class.evaluated)
    weights = next((checkpoint for checkpoint in found if checkpoint), given)
    if weights is None:
        raise InputError(f"--mode infer: {place} has no checkpoint; train the run first")
    results = experiment_class.evaluate(config, weights, device_of(args), args.debug, **flags)
    print(results.table())
    target = folder.generated / "inference"
    target.mkdir(parents=True, exist_ok=True)
    files = {"metrics.json": results.to_json(weights=str(weights))}
    for name, picture in getattr(results, "grids", {}).items():  # of experiments that draw
        files[f"{name}.png"] = partial(_write_png, picture)
    for name, content in files.items():
        atomic_write(target / name, content)
        print(f"wrote {target / name}")
    if hasattr(results, "sections"):  # of experiments that have curves to show
        from bdsynth.display.report import write_report

        title = f"{config.general.project_name}, evaluated"
        print(f"wrote {write_report(target / 'report.html', title, results.sections(), command=args.command)}")


def _write_png(picture: np.ndarray, file: BinaryIO) -> None:
    from PIL import Image

    Image.fromarray(picture).save(file, "PNG")
