"""Grids of pictures: a row per person, what was drawn beside what it was drawn from."""

from __future__ import annotations

__all__ = ["person_grids", "picture_grid", "training_grid"]

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bdsynth.appearance.model import AppearanceModel
from bdsynth.appearance.pairs import other_people, same_people, spread
from bdsynth.datasets.image_batches import ImageSet

GAP, HEADER = 2, 16  # pixels between pictures, and above them for the captions


def picture_grid(columns: Mapping[str, Tensor]) -> np.ndarray:
    """Columns of pictures under their captions, one picture.

    Arguments:
        columns: caption to pictures (n, 3, S, S) in [-1, 1], as many in each.

    Returns:
        (H, W, 3) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    stack = torch.stack([column.detach().float().cpu() for column in columns.values()], dim=1)  # (n, C, 3, S, S)
    n, c, _, size, _ = stack.shape
    gray = ((stack.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 1, 3, 4, 2).numpy()
    sheet = np.full((HEADER + n * (size + GAP), c * (size + GAP) - GAP, 3), 255, np.uint8)
    for row, pictures in enumerate(gray):
        for column, picture in enumerate(pictures):
            y, x = HEADER + row * (size + GAP), column * (size + GAP)
            sheet[y : y + size, x : x + size] = picture
    image = Image.fromarray(sheet)
    font = ImageFont.load_default(min(11, max(8, size / 7)))
    for column, caption in enumerate(columns):
        ImageDraw.Draw(image).text((column * (size + GAP) + 2, 1), caption, "black", font)
    return np.array(image)


@torch.no_grad()
def person_grids(
    model: AppearanceModel, images: ImageSet, rows: np.ndarray, partners: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """One grid for each kind of partner: person, stickman, drawn, and the picture with the posture.

    The last is what should have been drawn where the partner is the same person.

    Arguments:
        model: whose net is in evaluation mode.
        images: where the pictures are.
        rows: (n,) pictures whose postures are drawn.
        partners: name of the grid to (n,) pictures of who is drawn in them; -1 leaves the row out.
    """
    grids = {}
    for name, people in partners.items():
        there = people >= 0
        if not there.any():
            continue
        rng = np.random.default_rng(0)
        batch = images.gather(rows[there], rng, people[there])
        shown = images.gather(people[there], rng, people[there])["pose_img"]
        drawn = model.draw(model.encode(batch["app_img"]), batch["stickman"])
        truth = "posture of" if name == "transfer" else "truth"
        columns = {"person": shown, "stickman": batch["stickman"], "drawn": drawn, truth: batch["pose_img"]}
        grids[name] = picture_grid(columns)
    return grids


def training_grid(model: AppearanceModel, images: ImageSet, n_rows: int = 4) -> dict[str, np.ndarray]:
    """Test pictures rebuilt, in new postures and on other people: the same ones whenever it is called.

    Returns:
        Grids by name, (H, W, 3) uint8.
    """
    rows = spread(images.rows, n_rows)
    partners = {
        "reconstruction": rows,
        "new_posture": same_people(images, rows, seed=0),
        "transfer": other_people(images, rows, seed=0),
    }
    training = model.net.training
    model.net.eval()
    try:
        return person_grids(model, images, rows, partners)
    finally:
        model.net.train(training)
