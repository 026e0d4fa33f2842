"""Evaluation of an appearance model on one split of pictures of people."""

from __future__ import annotations

__all__ = ["Evaluation", "evaluate"]

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdsynth.appearance import metrics
from bdsynth.appearance.grids import person_grids
from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.pairs import knows_people, other_people, same_people, spread
from bdsynth.appearance.perceptual import VGG, load_lpips, load_vgg
from bdsynth.appearance.probe import posture_left
from bdsynth.datasets.human36m_pictures import Human36mPictures
from bdsynth.datasets.image_batches import ImageBatches, ImageSet
from bdsynth.datasets.images import read_pictures
from bdsynth.errors import InputError
from bdsynth.learning.frechet import frechet_distance

LAYER = "relu4_2"  # of the VGG: its mean over a picture is a feature of the picture
PERSON_LAYERS = ("relu1_2", "relu4_2")  # by which people are recognized: colors, and what they make up
CROP = 96  # pixels a side of the people that are recognized
PROBED = 2000  # pictures at most, of whose appearances the posture is read
CLIPS, FRAMES = 8, 16  # videos at most of which the temporal error is measured, and their length
GRID_ROWS = 8

TASKS = {
    "reconstruction": "a picture from its own appearance and posture",
    "new_posture": "a person in another of its postures",
    "transfer": "a person in somebody else's posture",
}
Numbers = dict[str, tuple[float, str]]  # name to the number and what it is
UNITS = {
    "ssim": "structural similarity, 1 is best",
    "mask_ssim": "the same inside the person's mask",
    "psnr": "dB",
    "lpips_alex": "LPIPS v0.1 on AlexNet, 0 is best",
    "lpips_vgg": "LPIPS v0.1 on VGG16, 0 is best",
}


@dataclass(frozen=True)
class Evaluation:
    """Numbers with the protocol that made them.

    Arguments:
        values: name to number, in the order of the table.
        units: name to what the number is.
        protocol: how it was measured.
        notes: what was left out, and why.
        grids: pictures (H, W, 3) uint8 to look at.
    """

    values: dict[str, float]
    units: dict[str, str]
    protocol: dict[str, object]
    notes: tuple[str, ...] = ()
    grids: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def table(self) -> str:
        wide = max(map(len, self.values), default=0)
        rows = [f"{key:<{wide}} {value:>9.4f}  {self.units[key]}" for key, value in self.values.items()]
        protocol = ", ".join(f"{key} {value}" for key, value in self.protocol.items())
        return "\n".join([*rows, *(f"left out: {note}" for note in self.notes), f"({protocol})"])

    def to_json(self, **more: object) -> str:
        content = {"values": self.values, "units": self.units, "protocol": self.protocol, "left_out": self.notes}
        return json.dumps({**content, **more}, indent=2) + "\n"


@torch.no_grad()
def evaluate(
    model: AppearanceModel,
    images: ImageSet,
    n_max: int = 8000,
    batch_size: int = 8,
    *,
    perceptual_weights: str | Path | None = None,
    lpips_weights: Sequence[str | Path] = (),
    seed: int = 0,
    workers: int = 2,
) -> Evaluation:
    """Reconstruction, the same person in another posture, other people's postures, and what appearance tells.

    Appearances are posterior means: nothing is drawn at random but who is paired with whom. Pictures are
    spread evenly over the split.

    Arguments:
        model: on any device.
        images: of the sizes of the model; usually the test split.
        n_max: pictures at most.
        batch_size: B.
        perceptual_weights: file with a VGG for features; Fréchet distance and recognition are left out without.
        lpips_weights: files with an AlexNet or VGG16 for LPIPS; left out without.
        seed: of the pairs, and of the regressor that looks for the posture.
        workers: threads that read pictures ahead.

    Raises:
        InputError: pictures that do not fit the model, that cannot be read, or unusable weights.
    """
    _check(model, images, n_max)
    vgg = None if perceptual_weights is None else load_vgg(perceptual_weights).to(model.device)
    lpips = {net.pnet_type: net.to(model.device) for net in map(load_lpips, lpips_weights)}
    rows = spread(images.rows, n_max)
    same, other = same_people(images, rows, seed), other_people(images, rows, seed)
    recognizes, notes = _can_recognize(images, rows), []
    found = _Measures(vgg, lpips, recognizes)
    if vgg is None:
        notes.append("Fréchet distance and recognition: no perceptual weights (--perceptual_weights FILE)")
    elif not recognizes:
        notes.append("recognition: needs two people or more, and three pictures or more of each")
    missing = [kind for kind in ("alex", "vgg") if kind not in lpips]
    if missing:
        notes.append(f"LPIPS ({', '.join(missing)}): no weights (--lpips_weights FILE)")
    notes.append("posture of what is drawn: needs a 2D detector")

    training = model.net.training
    model.net.eval()
    try:
        latents, joints, mask_source = _draw_people(model, images, rows, same, found, (batch_size, seed, workers))
        _draw_transfers(model, images, rows, other, found, (batch_size, seed, workers))
        grid_rows = spread(np.arange(len(rows)), GRID_ROWS)
        partners = {"reconstruction": rows, "new_posture": same, "transfer": other}
        some = {name: people[grid_rows] for name, people in partners.items()}
        grids = person_grids(model, images, rows[grid_rows], some)
        numbers = found.means()
        if vgg is not None:
            numbers |= _distances(found, vgg.name, {"new_posture": same, "transfer": other})
        if vgg is not None and recognizes:
            numbers |= _recognition(found, images, rows, {"new_posture": same, "transfer": other})
        if not knows_people(images):
            notes.append("new postures: these pictures do not say who is seen; transfers are between any two")
        numbers |= _posture(latents, joints, images.pictures.persons[rows], seed, notes)
        numbers |= _flicker(model, images, notes)
    finally:
        model.net.train(training)
    protocol = {
        "data": images.pictures.name,
        "split": images.split,
        "pictures": len(rows),
        "of": len(images),
        "people": len(np.unique(images.pictures.persons[rows])) if knows_people(images) else "unknown",
        "new postures": int((same >= 0).sum()),
        "transfers": int((other >= 0).sum()),
        "size": images.size,
        "appearance": "posterior means",
        "masks": mask_source,
        "seed": seed,
    }
    values, units = ({key: number[i] for key, number in numbers.items()} for i in (0, 1))
    return Evaluation(values, units, protocol, tuple(notes), grids)


def _check(model: AppearanceModel, images: ImageSet, n_max: int) -> None:
    sizes, pictures = model.sizes, images.pictures
    if n_max < 1:
        raise InputError(f"n_max is {n_max}, expected at least 1")
    if pictures.model != model.joint_model:
        raise InputError(f"the model draws postures of {model.joints}, the pictures have those of {pictures.name}")
    if images.inplane != model.inplane:
        kinds = ("whole pictures", "part crops")
        raise InputError(
            f"the model reads appearance from {kinds[model.inplane]}, the image set gives {kinds[images.inplane]}"
        )
    side = images.part_size if images.inplane else images.size
    if (images.size, side) != (sizes.spatial_size, sizes.input_size):
        raise InputError(
            f"the model takes pictures of {sizes.spatial_size} pixels and appearance of {sizes.input_size}, "
            f"the image set gives {images.size} and {side}"
        )


# --- Drawing -----------------------------------------------------------------------------------------------


class _Measures:
    """What is measured for each picture, by task; features of what is drawn and of what is true."""

    def __init__(self, vgg: VGG | None, lpips: dict[str, nn.Module], recognizes: bool) -> None:
        self.vgg, self.lpips, self.recognizes = vgg, lpips, recognizes
        self.lists: dict[tuple[str, str], list[np.ndarray]] = {}

    def _add(self, task: str, name: str, values: np.ndarray) -> None:
        self.lists.setdefault((task, name), []).append(values)

    def __getitem__(self, key: tuple[str, str]) -> np.ndarray:
        return np.concatenate(self.lists[key])

    def compare(self, task: str, drawn: Tensor, truth: Tensor, masks: np.ndarray) -> None:
        """Drawn against true pictures (B, 3, S, S) in [-1, 1]; masks (B, S, S)."""
        a, b = _gray(drawn), _gray(truth)
        value, local = metrics.ssim(a, b)
        self._add(task, "ssim", value)
        self._add(task, "mask_ssim", metrics.inside(local, masks))
        self._add(task, "psnr", metrics.psnr(a, b))
        for kind, net in self.lpips.items():
            self._add(task, f"lpips_{kind}", net(drawn, truth).flatten().double().cpu().numpy())

    def look(self, task: str, pictures: Tensor, masks: np.ndarray) -> None:
        """Features (B, D) of the pictures, and of the people alone."""
        if self.vgg is not None:
            self._add(task, "features", self._pooled(pictures, (LAYER,)))
            if self.recognizes:
                self._add(task, "people", self._pooled(_people_alone(pictures, masks), PERSON_LAYERS))

    def _pooled(self, pictures: Tensor, layers: Sequence[str]) -> np.ndarray:
        features = self.vgg(pictures)
        pooled = [features[layer].mean((2, 3)) for layer in layers]
        if len(pooled) > 1:  # each counts alike
            pooled = [F.normalize(feature) for feature in pooled]
        return torch.cat(pooled, 1).double().cpu().numpy()

    def means(self) -> Numbers:
        """Over the pictures."""
        numbers = {}
        for task, name in itertools.product(TASKS, UNITS):
            values = self[task, name] if (task, name) in self.lists else np.empty(0)
            if np.isfinite(values).any():  # no mask may hold anything
                unit = f"{UNITS[name]}; {TASKS[task]}" if name == "ssim" else UNITS[name]
                numbers[f"{task}_{name}"] = float(np.nanmean(values)), unit
        return numbers


def _draw_people(model, images, rows, same, found, how) -> tuple[list[Tensor], Tensor, str]:
    """Pictures rebuilt, and in the appearance of another picture of the person, against the true ones.

    Returns:
        Posterior means of the first PROBED pictures of an even spread, their joints (n, K, 2), and where masks
        came from.
    """
    probed = np.isin(rows, spread(rows, PROBED))
    means, joints, sources, at = [], [], set(), 0
    for batch in _batches(images, rows, np.where(same >= 0, same, rows), how):
        batch = {key: value.to(model.device) for key, value in batch.items()}
        here, truth = slice(at, at + len(batch["pose_img"])), batch["pose_img"]
        at = here.stop
        masks, source = _masks(images, rows[here])
        sources.add(source)
        appearance = model.encode(batch.get("pose_img_inplane", truth))
        drawn = model.draw(appearance, batch["stickman"])
        found.compare("reconstruction", drawn, truth, masks)
        found.look("reconstruction", drawn, masks)
        found.look("truth", truth, masks)
        means.append([mean[torch.from_numpy(probed[here])] for mean in appearance.means])
        joints.append(batch["keypoints"][torch.from_numpy(probed[here])])
        paired = same[here] >= 0
        if paired.any():
            there = torch.from_numpy(np.flatnonzero(paired)).to(model.device)
            drawn = model.draw(model.encode(batch["app_img"][there]), batch["stickman"][there])
            found.compare("new_posture", drawn, truth[there], masks[paired])
            found.look("new_posture", drawn, masks[paired])
    latents = [torch.cat(part) for part in zip(*means, strict=True)]
    return latents, torch.cat(joints), " and ".join(sorted(sources))


def _draw_transfers(model, images, rows, other, found, how) -> None:
    """People in the postures of others; there is no truth, so that only features are taken."""
    there = other >= 0
    if found.vgg is None or not there.any():
        return
    at = 0
    for batch in _batches(images, rows[there], other[there], how):
        drawn = model.draw(model.encode(batch["app_img"]), batch["stickman"])
        found.look("transfer", drawn, _masks(images, rows[there][at : at + len(drawn)])[0])
        at += len(drawn)


def _batches(images: ImageSet, rows: np.ndarray, partners: np.ndarray, how) -> Iterator[dict[str, Tensor]]:
    from tqdm import tqdm

    batch_size, seed, workers = how
    batches = ImageBatches(images, rows, partners, batch_size, (seed, 0), workers)
    return iter(tqdm(batches, desc="drawing", unit="batch", leave=False, disable=None))


def _gray(pictures: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [-1, 1] to (B, S, S, 3) in [0, 1]."""
    return ((pictures.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()


def _masks(images: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Where the people are, (n, S, S) bool: by ``maskSequence`` beside ``imageSequence``, else by the joints."""
    files = []
    for path in map(images.pictures.path, rows.tolist()):
        parts = ["maskSequence" if part == "imageSequence" else part for part in path.parts]
        files.append(Path(*parts).with_suffix(".png") if "maskSequence" in parts else None)
    if all(file is not None and file.is_file() for file in files):
        masks = [torch.from_numpy(mask)[None, None, :, :, 0].float() for mask in read_pictures(files)]
        size = (images.size, images.size)
        sized = [F.interpolate(mask, size, mode="bilinear", antialias=True) for mask in masks]
        return torch.cat(sized)[:, 0].numpy() > 127, "files"
    joints = images.pictures.fractions(rows) * images.size
    return metrics.person_masks(joints, images.pictures.model, images.size), "joints"


def _people_alone(pictures: Tensor, masks: np.ndarray) -> Tensor:
    """(B, 3, CROP, CROP): the box around each person, gray where nobody is."""
    crops = []
    for picture, mask in zip(pictures, masks, strict=True):
        y, x = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = np.s_[:, y[0] : y[-1] + 1, x[0] : x[-1] + 1] if len(y) else np.s_[:]
        alone = (picture * torch.from_numpy(mask).to(picture))[box]
        crops.append(F.interpolate(alone[None], (CROP, CROP), mode="bilinear", antialias=True))
    return torch.cat(crops)


# --- Numbers -----------------------------------------------------------------------------------------------


def _distances(found: _Measures, name: str, partners: dict[str, np.ndarray]) -> Numbers:
    """Fréchet distances of what is drawn to the true pictures that have the same postures."""
    feature = f"{name} {LAYER} pooled"
    rows = {"reconstruction": slice(None), **{task: other >= 0 for task, other in partners.items()}}
    results = {}
    for task, there in rows.items():
        truth = found["truth", "features"][there]
        if len(truth) > 1:
            distance = frechet_distance(found[task, "features"], truth)
            unit = f"Fréchet distance on {feature}, of {len(truth)} pictures ({truth.shape[1]} dimensions)"
            results[f"{task}_frechet_{name}_{LAYER}"] = distance, unit
    return results


def _can_recognize(images: ImageSet, rows: np.ndarray) -> bool:
    """Whether everybody has a picture beside the one that is drawn from and the one whose posture is drawn."""
    people, counts = np.unique(images.pictures.persons[rows], return_counts=True)
    return knows_people(images) and len(people) > 1 and counts.min() > 2


def _recognition(found, images, rows, partners) -> Numbers:
    """How often drawn people are nearest to the right person's true pictures."""
    persons, gallery = images.pictures.persons[rows], found["truth", "people"]

    def share(queries: np.ndarray, posture: np.ndarray, person: np.ndarray) -> float:
        places = np.searchsorted(rows, person)  # of the pictures drawn from, where they are in the gallery
        inside = rows[np.minimum(places, len(rows) - 1)] == person
        hidden = np.stack([posture, np.where(inside, places, -1)], axis=1)
        wanted = images.pictures.persons[person]
        return float(metrics.recognized(queries, wanted, gallery, persons, hidden).mean())

    everything = np.arange(len(rows))
    among = f"share nearest to the right one of {len(np.unique(persons))} people"
    results = {"truth_recognized": (share(gallery, everything, rows), f"{among}, for true pictures")}
    for task, other in partners.items():
        there = other >= 0
        value = share(found[task, "people"], everything[there], other[there])
        results[f"{task}_recognized"] = value, f"{among}, {TASKS[task]}"
    return results


def _posture(latents, joints, persons, seed: int, notes: list[str]) -> Numbers:
    if (left := posture_left(latents, joints, spread(persons, len(joints)), seed)) is None:
        notes.append("posture left in the appearance: too few pictures")
        return {}
    return {
        "posture_left": (left["ratio"], "error of joints read off the appearance, 1 is that of the mean posture"),
        "posture_left_error": (left["regressor"], "% of the width, of the regressor on people it has not seen"),
        "posture_mean_error": (left["mean"], "% of the width, of each person's mean posture"),
    }


def _flicker(model: AppearanceModel, images: ImageSet, notes: list[str]) -> Numbers:
    """The temporal error of videos of the data, each drawn in the appearance of its first frame."""
    if not len(starts := _clips(images)):
        notes.append(f"temporal error: these pictures are no videos of {FRAMES} frames")
        return {}
    errors, changes = [], []
    for start in starts:
        rows = np.arange(start, start + FRAMES)
        batch = images.gather(rows, np.random.default_rng(0), np.full(FRAMES, start))
        drawn = _gray(model.draw(model.encode(batch["app_img"][:1]), batch["stickman"]))
        truth = _gray(batch["pose_img"])
        errors.append(metrics.temporal_error(drawn, truth))
        changes.append(metrics.temporal_error(np.zeros_like(truth), truth))
    what = f"of {len(starts)} videos of {FRAMES} frames"
    return {
        "temporal_error": (float(np.mean(errors)), f"gray levels of 1, changes from frame to frame, {what}"),
        "temporal_still": (float(np.mean(changes)), "the same for a picture that stands still"),
    }


def _clips(images: ImageSet) -> np.ndarray:
    """First rows of clips of the split, evenly over all there are."""
    if not isinstance(images.pictures, Human36mPictures):
        return np.empty(0, np.int64)
    chosen = np.zeros(len(images.pictures), dtype=bool)
    chosen[images.rows] = True
    videos = images.pictures.file.videos
    fits = [v.start for v in videos if v.stop - v.start >= FRAMES and chosen[v.start : v.start + FRAMES].all()]
    return spread(np.array(fits, dtype=np.int64), CLIPS)
