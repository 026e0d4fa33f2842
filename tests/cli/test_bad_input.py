"""Bad input of every kind: each is refused in one line that names it; nothing runs, hangs or is half written."""

import io
import json
import os
import pickle
import re
import resource
import shlex
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from bdsynth.formats import read_motion
from bdsynth.learning.checkpoint import save_checkpoint
from bdsynth.learning.weights import save_weights

pytestmark = pytest.mark.skipif(os.name != "posix", reason="timers, folders without permission")

MOST_SECONDS = 10
MARK = "payload_has_run"  # the file that malicious files would make


class Good:
    """Usable files, for making bad ones of them."""

    def __init__(self, files) -> None:
        self.files = files

    def motion(self, **changes) -> bytes:
        """A motion .npz with some fields changed, left out (None) or added."""
        with np.load(self.files.walking) as archive:
            fields = {**archive, **changes}
        stream = io.BytesIO()
        np.savez(stream, **{key: value for key, value in fields.items() if value is not None})
        return stream.getvalue()

    def positions(self) -> np.ndarray:
        return read_motion(self.files.walking).positions.copy()

    def bvh(self, pattern: str, replacement: str) -> str:
        """A BVH with one thing changed."""
        text, count = re.subn(pattern, replacement, self.files.running.read_text(), count=1, flags=re.DOTALL)
        assert count == 1
        return text

    def model(self, path: str, **changes) -> None:
        """Weights whose hash is right, with some of the description changed."""
        model = self.tiny()
        save_weights(path, model.tensors(), {**model.metadata(), **changes})

    def tiny(self):
        from bdsynth.behavior.model import load_model

        return load_model(self.files.weights)

    def checkpoint(self, name: str = "flow_ckpt_checkpoint_1") -> Path:
        model = self.tiny()
        save_checkpoint(Path(name), model.tensors(), model.metadata(), {"step": 1})
        return Path(name)

    def config(self, **changes) -> str:
        """A config with ``section__key=value`` changed."""
        data = yaml.safe_load((Path(__file__).parents[2] / "config" / "behavior_net_small.yaml").read_text())
        data["data"]["datapath"] = str(self.files.data)
        data["general"]["base_dir"] = "runs"
        for name, value in changes.items():
            section, key = name.split("__")
            data[section][key] = value
        return yaml.safe_dump(data)


class Payload:
    """What runs when a pickle is believed."""

    def __reduce__(self):
        return os.mkdir, (MARK,)


def put(name: str | Path, content: bytes | str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def evil() -> bytes:
    return pickle.dumps(Payload(), protocol=2)


def evil_pth(good: Good, name: str = "bad.pth") -> None:
    torch.save({"state_dict": {"a": torch.zeros(1), "b": Payload()}}, name)


def evil_bin(good: Good) -> None:
    evil_pth(good, "bad.bin")


def evil_array(name: str | Path, *fields: str) -> None:
    """An .npy, or an .npz with these fields, of which each would run when unpickled."""
    array = np.array([Payload()], dtype=object)
    np.savez(name, **dict.fromkeys(fields, array)) if fields else np.save(name, array, allow_pickle=True)


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def flipped(content: bytes, at: float = 0.5) -> bytes:
    changed = bytearray(content)
    changed[int(len(content) * at)] ^= 1
    return bytes(changed)


def openpose(numbers: list) -> str:
    return json.dumps({"people": [{"pose_keypoints_2d": numbers}]})


def alphapose(*counts: int) -> str:
    return json.dumps([{"image_id": f"{i}.jpg", "keypoints": [1.0] * n} for i, n in enumerate(counts)])


def picture() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(stream, "PNG")
    return stream.getvalue()


PNG = picture()
STICK_BVH = """HIERARCHY
ROOT hips
{
  OFFSET 0 0 0
  CHANNELS 3 Xrotation Yrotation Zrotation
  End Site
  {
    OFFSET 0 1 0
  }
}
MOTION
Frames: 2
Frame Time: 0.02
0 0 0
0 0 0
"""
CHECKPOINT = "flow_ckpt_checkpoint_1"
TRANSFER = "transfer --behavior {walking} --posture {running} --weights {weights} -o out.npz out.html"
POSTURE = f"{TRANSFER} --posture"
WEIGHTS = f"{TRANSFER} --weights"
LIFT = "lift -o out.npz --fps 25 --size 640x480"
EVALUATE = "evaluate --data data --weights {weights} --json out.json --report out.html"
TRAIN = "--gpu -1 --config bad.yaml"


def bad_motion(**changes) -> Callable[[Good], None]:
    return lambda good: put("bad.npz", good.motion(**changes))


def bad_positions(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Good], None]:
    return lambda good: put("bad.npz", good.motion(positions=change(good.positions())))


def bad_bvh(pattern: str, replacement: str) -> Callable[[Good], None]:
    return lambda good: put("bad.bvh", good.bvh(pattern, replacement))


def bad_header(shape: tuple[int, ...]) -> Callable[[Good], None]:
    return lambda good: put("bad.npz", zipped({**unzipped(good.motion()), "positions.npy": npy_header(shape)}))


def bad_config(**changes) -> Callable[[Good], None]:
    return lambda good: put("bad.yaml", good.config(**changes))


def bad(name: str, content: bytes | str) -> Callable[[Good], None]:
    return lambda good: put(name, content)


def folder(name: str) -> Callable[[Good], None]:
    return lambda good: Path(name).mkdir()


def nothing(good: Good) -> None:
    """The arguments are bad enough."""


def bad_weights(change: Callable[[bytes], bytes]) -> Callable[[Good], None]:
    return lambda good: put("bad.safetensors", change(good.files.weights.read_bytes()))


def described(metadata: object) -> Callable[[Good], None]:
    return lambda good: save_weights("bad.safetensors", {}, metadata)


def torch_file(name: str, content: object) -> Callable[[Good], None]:
    return lambda good: torch.save(content, name)


def not_finite_weights(good: Good) -> None:
    model = good.tiny()
    tensors = {name: tensor * float("nan") for name, tensor in model.tensors().items()}
    save_weights("bad.safetensors", tensors, model.metadata())


def damaged(part: str, change: Callable[[Path], object], name: str = CHECKPOINT) -> Callable[[Good], None]:
    return lambda good: change(good.checkpoint(name) / part)


def flip(file: Path) -> None:
    file.write_bytes(flipped(file.read_bytes()))


def dataset(change: Callable[[Path], object]) -> Callable[[Good], None]:
    def make(good: Good) -> None:
        shutil.copytree(good.files.data, "data")
        change(Path("data"))

    return make


def not_finite_clips(data: Path) -> None:
    positions = np.load(data / "positions.npy")
    positions[::5] = np.nan
    np.save(data / "positions.npy", positions)


def keypoints(good: Good) -> None:
    put("keypoints.json", alphapose(51, 51))


def both(*makers: Callable[[Good], object]) -> Callable[[Good], None]:
    def make(good: Good) -> None:
        for one in makers:
            one(good)

    return make


ALIAS_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
)
FIRST_NUMBER = r"(Frame Time: \S+\n)\S+"
FRAME_TIME = r"Frame Time: \S+"

# name: (command, what its error says, what makes the bad file). Names in braces stand for usable files.
CASES: dict[str, tuple[str, str, Callable[[Good], object]]] = {
    # --- Weights
    "weights cut": (
        f"{WEIGHTS} bad.safetensors",
        "bad.safetensors: ",
        bad_weights(lambda content: content[:-100]),
    ),
    "weights flipped": (f"{WEIGHTS} bad.safetensors", "bad.safetensors: is damaged", bad_weights(flipped)),
    "weights empty": (f"{WEIGHTS} bad.safetensors", "bad.safetensors: ", bad("bad.safetensors", "")),
    "weights are text": (f"{WEIGHTS} bad.safetensors", "no complete safetensors", bad("bad.safetensors", "text")),
    "weights of others": (
        f"{WEIGHTS} bad.safetensors",
        "bad.safetensors: is a safetensors file, but not one that bdsynth wrote",
        lambda good: save_file({"a": torch.zeros(2)}, "bad.safetensors"),
    ),
    "weights of another net": (
        f"{WEIGHTS} bad.safetensors",
        "holds a 'lifter', expected a behavior_net",
        described({"kind": "lifter"}),
    ),
    "description is a list": (f"{WEIGHTS} bad.safetensors", "bad.safetensors: its description", described([])),
    "description of a lifter is nothing": (
        f"{LIFT} keypoints.json --weights bad.safetensors",
        "its description",
        both(described(None), keypoints),
    ),
    "description without a rate": (
        f"{WEIGHTS} bad.safetensors",
        "bad.safetensors: ",
        lambda good: good.model("bad.safetensors", fps="x"),
    ),
    "description of no length": (
        f"{WEIGHTS} bad.safetensors",
        "bad.safetensors: ",
        lambda good: good.model("bad.safetensors", length=-4),
    ),
    "description without poses": (
        f"{WEIGHTS} bad.safetensors",
        "bad.safetensors: ",
        lambda good: good.model("bad.safetensors", space=[3]),
    ),
    "weights not finite": (f"{WEIGHTS} bad.safetensors", "holds a number that is not finite", not_finite_weights),
    "weights are a picture": (f"{WEIGHTS} bad.png", "bad.png: ", bad("bad.png", PNG)),
    "weights missing": (f"{WEIGHTS} bad.safetensors", "bad.safetensors: no such file", nothing),
    "weights without a flow": (
        "sample --posture {walking} --weights {flowless} -o out.npz",
        "tiny net has no flow",
        nothing,
    ),
    # --- Checkpoints
    "checkpoint without weights": (
        f"{WEIGHTS} {CHECKPOINT}",
        "model.safetensors: ",
        damaged("model.safetensors", Path.unlink),
    ),
    "checkpoint without state": (f"{WEIGHTS} {CHECKPOINT}", "training.pt: ", damaged("training.pt", Path.unlink)),
    "checkpoint without manifest": (
        f"{WEIGHTS} folder",
        "folder: holds no checkpoint",
        lambda good: Path("folder").mkdir(),
    ),
    "checkpoint altered": (
        f"{WEIGHTS} {CHECKPOINT}",
        "model.safetensors: is dam",
        damaged("model.safetensors", flip),
    ),
    "every checkpoint altered": (
        f"{WEIGHTS} ckpt",
        "ckpt: every checkpoint",
        damaged("training.pt", flip, f"ckpt/{CHECKPOINT}"),
    ),
    "manifest is no JSON": (
        f"{WEIGHTS} {CHECKPOINT}",
        "manifest.json: is damaged",
        damaged("manifest.json", lambda file: file.write_bytes(b"\xff{")),
    ),
    "manifest nested deeply": (
        f"{WEIGHTS} {CHECKPOINT}",
        "manifest.json: is damaged",
        damaged("manifest.json", lambda file: file.write_text("[" * 100_000)),
    ),
    # --- Pickles that would run
    "pickle as .pth": (f"{WEIGHTS} bad.pth", "bad.pth: is no", bad("bad.pth", evil())),
    "pickle as .pkl": (f"{WEIGHTS} bad.pkl", "bad.pkl: is no", bad("bad.pkl", evil())),
    "pickle as .safetensors": (f"{WEIGHTS} bad.safetensors", "bad.safetensors: ", bad("bad.safetensors", evil())),
    "PyTorch file": (f"{WEIGHTS} bad.pth", "bad.pth: is no plain checkpoint: reading it would execute", evil_pth),
    "PyTorch file of a lifter": (
        f"{LIFT} keypoints.json --weights bad.bin",
        "bad.bin: is no plain",
        both(evil_bin, keypoints),
    ),
    "PyTorch file of an embedding": (
        "compare {walking} {running} --method bpe --weights bad.pth",
        "bad.pth: is no plain",
        evil_pth,
    ),
    "PyTorch file of an appearance net": (
        "render {walking} --person synthetic:1 -o out.mp4 --weights bad.pth",
        "bad.pth: is no plain",
        evil_pth,
    ),
    "PyTorch file to evaluate": (f"{TRAIN} --pretrained_model bad.pth", "bad.pth: ", both(bad_config(), evil_pth)),
    "motion is a pickle": (f"{POSTURE} bad.pkl", "bad.pkl: neither BVH nor", bad("bad.pkl", evil())),
    "motion is an object array": (f"{POSTURE} bad.npy", "bad.npy: ", lambda good: evil_array("bad.npy")),
    "objects as positions": (
        f"{POSTURE} bad.npz",
        "bad.npz: field positions has type object",
        bad_motion(positions=np.array([Payload()])),
    ),
    "objects as keypoints": (
        f"{LIFT} bad.npz",
        "bad.npz: field kpts: ",
        lambda good: evil_array("bad.npz", "kpts"),
    ),
    "objects in the data": (
        EVALUATE,
        "positions.npy: cannot be opened",
        dataset(lambda data: evil_array(data / "positions.npy")),
    ),
    # --- BVH
    "bvh empty": (f"{POSTURE} bad.bvh", "bad.bvh: the file is empty", bad("bad.bvh", "")),
    "bvh binary": (f"{POSTURE} bad.bvh", "bad.bvh: not a BVH", bad("bad.bvh", b"HIERARCHY\n" + bytes(range(256)))),
    "bvh without motion": (f"{POSTURE} bad.bvh", "no MOTION line", bad_bvh("MOTION.*", "")),
    "bvh cut": (f"{POSTURE} bad.bvh", "numbers behind Frame Time", bad_bvh(rf"({FRAME_TIME}\n.{{500}}).*", r"\1")),
    "bvh with a channel less": (f"{POSTURE} bad.bvh", "bad.bvh, line ", bad_bvh("CHANNELS 6", "CHANNELS 5")),
    "bvh with endless channels": (f"{POSTURE} bad.bvh", "bad.bvh, line ", bad_bvh("CHANNELS 6", "CHANNELS 1e12")),
    "bvh with nan": (f"{POSTURE} bad.bvh", "found 'nan', expected a finite", bad_bvh(FIRST_NUMBER, r"\1nan")),
    "bvh with inf": (f"{POSTURE} bad.bvh", "found '-inf', expected a finite", bad_bvh(FIRST_NUMBER, r"\1-inf")),
    "bvh far away": (f"{POSTURE} bad.bvh", "bad.bvh: ", bad_bvh(FIRST_NUMBER, r"\g<1>1e300")),
    "bvh offset nan": (f"{POSTURE} bad.bvh", "OFFSET has 'nan'", bad_bvh(r"OFFSET \S+", "OFFSET nan")),
    "bvh without time": (f"{POSTURE} bad.bvh", "Frame Time is '0'", bad_bvh(FRAME_TIME, "Frame Time: 0")),
    "bvh too slow": (
        f"{POSTURE} bad.bvh",
        "bad.bvh: motion 'bad': fps is",
        bad_bvh(FRAME_TIME, "Frame Time: 1e300"),
    ),
    "bvh of endless frames": (
        f"{POSTURE} bad.bvh",
        "expected 99999999999",
        bad_bvh(r"Frames: \d+", f"Frames: {'9' * 40}"),
    ),
    "bvh without a joint": (
        "convert bad.bvh out.npz --skeleton h36m_17",
        "left_",
        lambda good: put("bad.bvh", STICK_BVH),
    ),
    "bvh not closed": (f"{POSTURE} bad.bvh", "bad.bvh, line ", bad_bvh(r"\}", "")),
    "bvh nested deeply": (
        f"{POSTURE} bad.bvh",
        "not closed",
        bad("bad.bvh", "HIERARCHY\nROOT a\n{\n" + "JOINT b\n{\n" * 5_000 + "MOTION\n"),
    ),
    "bvh of one frame": (
        f"{TRANSFER} --behavior bad.bvh",
        "is too short",
        bad_bvh(r"Frames: \d+(\nFrame Time: \S+\n[^\n]*\n).*", r"Frames: 1\1"),
    ),
    # --- Motion .npz
    "npz is no archive": (
        f"{POSTURE} bad.npz",
        "bad.npz: not an .npz",
        bad("bad.npz", b"PK\3\4 and nothing more"),
    ),
    "npz cut": (f"{POSTURE} bad.npz", "bad.npz: ", lambda good: put("bad.npz", good.motion()[:-40])),
    "npz flipped": (f"{POSTURE} bad.npz", "bad.npz: ", lambda good: put("bad.npz", flipped(good.motion(), 0.4))),
    "npz without positions": (f"{POSTURE} bad.npz", "field positions is missing", bad_motion(positions=None)),
    "npz without frames": (f"{POSTURE} bad.npz", "has no frame", bad_positions(lambda p: p[:0])),
    "npz of one frame": (f"{TRANSFER} --behavior bad.npz", "is too short", bad_positions(lambda p: p[:1])),
    "npz too short": (f"{TRANSFER} --behavior bad.npz", "is too short", bad_positions(lambda p: p[:7])),
    "npz of other dimensions": (f"{POSTURE} bad.npz", "bad.npz: ", bad_positions(lambda p: p[:, 0])),
    "npz of 16 joints": (f"{POSTURE} bad.npz", "16 joints, but skeleton", bad_positions(lambda p: p[:, :16])),
    "npz of text": (f"{POSTURE} bad.npz", "field positions has type", bad_positions(lambda p: p.astype(str))),
    "npz with nan": (
        f"{POSTURE} bad.npz",
        "is not finite in frame",
        bad_positions(lambda p: p * np.float32("nan")),
    ),
    "npz too far away": (f"{POSTURE} bad.npz", "is farther away", bad_positions(lambda p: p * np.float32(1e30))),
    "npz in a point": (f"{POSTURE} bad.npz", "legs of no length", bad_positions(lambda p: p * 0)),
    "npz without a rate": (f"{POSTURE} bad.npz", "fps is 0.0", bad_motion(fps=0.0)),
    "npz of an endless rate": (f"{POSTURE} bad.npz", "fps is 1e+300", bad_motion(fps=1e300)),
    "npz of an endless skeleton": (
        f"{POSTURE} bad.npz",
        "skeleton is not JSON",
        bad_motion(skeleton="[" * 100_000),
    ),
    "npz of a ring": (
        f"{POSTURE} bad.npz",
        "bad.npz: ",
        bad_motion(skeleton='{"name": "x", "joints": ["a", "b"], "parents": [1, 0]}'),
    ),
    "npz that claims too much": (f"{POSTURE} bad.npz", "is too large", bad_header((10**12, 17, 3))),
    "npz that holds less": (f"{POSTURE} bad.npz", "bytes, expected", bad_header((10**6, 17, 3))),
    "npz of zeros": (
        f"{LIFT} bad.npz",
        "bad.npz: field kpts is damaged",
        bad("bad.npz", zipped({"kpts.npy": bytes(6_000_000)})),
    ),
    "npz with paths for names": (
        f"{POSTURE} bad.npz",
        "bad.npz: not a bdsynth motion",
        lambda good: put(
            "bad.npz", zipped({f"../{name}": each for name, each in unzipped(good.motion()).items()})
        ),
    ),
    "npz with lines for a name": (
        f"{TRANSFER} --behavior bad.npz --behavior-start 9",
        "motion 'a; b?[31m'",
        bad_motion(name="a\nb\x1b[31m"),
    ),
    # --- Other files in place of motions
    "picture as motion": (f"{POSTURE} bad.png", "bad.png: neither BVH nor", bad("bad.png", PNG)),
    "picture to convert": ("convert bad.png out.bvh", "bad.png: neither BVH nor", bad("bad.png", PNG)),
    "picture to compare": ("compare bad.png {walking}", "bad.png: ", bad("bad.png", PNG)),
    "picture to lift": (f"{LIFT} bad.png", "bad.png: ", bad("bad.png", PNG)),
    "folder as motion": (f"{POSTURE} bad.npz", "bad.npz: is a folder", folder("bad.npz")),
    "folder as config": (f"{TRAIN}", "bad.yaml: cannot be read", folder("bad.yaml")),
    "folder without motions": (
        "neighbors {walking} --data bad --weights {weights}",
        "--data bad: ",
        folder("bad"),
    ),
    "file as data": ("evaluate --data {walking} --weights {weights} --json out.json", "not a prepared", nothing),
    "a NUL in a name": ("convert 'a\0.npz' out.bvh", "a\\x00.npz", nothing),
    "a name of many letters": (f"convert {'a' * 5000} out.bvh", "name too long", nothing),
    "a name of two lines": ("convert 'a\nb.npz' out.bvh", "a; b.npz: cannot be read", nothing),
    # --- Prepared data
    "data without positions": (
        EVALUATE,
        "positions.npy: is missing",
        dataset(lambda d: (d / "positions.npy").unlink()),
    ),
    "data cut": (
        EVALUATE,
        "data/",
        dataset(lambda d: put(d / "positions.npy", (d / "positions.npy").read_bytes()[:-99])),
    ),
    "data not finite": (EVALUATE, "has a position that is not finite", dataset(not_finite_clips)),
    "index is a list": (EVALUATE, "index.json: ", dataset(lambda data: put(data / "index.json", "[]"))),
    "index nested deeply": (
        EVALUATE,
        "index.json: cannot be read",
        dataset(lambda d: put(d / "index.json", "[" * 100_000)),
    ),
    # --- Configs
    "config missing": (TRAIN, "bad.yaml: cannot be read", nothing),
    "config empty": (TRAIN, "bad.yaml: should contain sections", bad("bad.yaml", "")),
    "config is a list": (TRAIN, "bad.yaml: should contain sections", bad("bad.yaml", "[1, 2]")),
    "config binary": (TRAIN, "bad.yaml: is not YAML", bad("bad.yaml", b"\x00\x01\xff")),
    "config with a Python object": (
        TRAIN,
        "bad.yaml:1: ",
        bad("bad.yaml", f"general: !!python/object/apply:os.mkdir [{MARK}]"),
    ),
    "config nested deeply": (TRAIN, "bad.yaml:1: is nested too deeply", bad("bad.yaml", "[" * 100_000)),
    "config of aliases": (TRAIN, "bad.yaml", bad("bad.yaml", ALIAS_BOMB)),
    "config with a key twice": (TRAIN, "the key 'a' occurs twice", bad("bad.yaml", "general: {a: 1, a: 2}")),
    "config of no experiment": (TRAIN, "general.experiment is 'x'", bad_config(general__experiment="x")),
    "config with an unknown key": (
        TRAIN,
        "training.gama: unknown key (did you mean",
        bad_config(training__gama=1),
    ),
    "config of a wrong type": (TRAIN, "training.n_epochs: should be", bad_config(training__n_epochs="many")),
    "config of two problems": (TRAIN, "data.mirror: ", bad_config(data__mirror=3, training__gamma="x")),
    "config with nan": (TRAIN, "training.lr_init: ", bad_config(training__lr_init=float("nan"))),
    "config that leaves its folder": (
        TRAIN,
        "general.project_name: should be a plain folder name",
        bad_config(general__project_name="../../evil"),
    ),
    "config without data": (TRAIN, "nowhere: not a prepared dataset", bad_config(data__datapath="nowhere")),
    "config in a file": (TRAIN, "bad.yaml/", bad_config(general__base_dir="bad.yaml")),
    # --- Keypoints
    "keypoints empty": (f"{LIFT} bad.json", "bad.json: the file is empty", bad("bad.json", "")),
    "keypoints of nobody": (f"{LIFT} bad.json", "bad.json: nobody was found", bad("bad.json", "[]")),
    "keypoints cut": (f"{LIFT} bad.json", "bad.json: not JSON", bad("bad.json", alphapose(51)[:-9])),
    "keypoints nested deeply": (f"{LIFT} bad.json", "bad.json: not JSON", bad("bad.json", "[" * 100_000)),
    "keypoints of 50 numbers": (
        f"{LIFT} bad.json",
        "keypoints has 50 numbers",
        bad("bad.json", alphapose(51, 50)),
    ),
    "keypoints of 74 numbers": (
        "search bad.json {walking}",
        "has 74 numbers",
        bad("bad.json", openpose([1.0] * 74)),
    ),
    "keypoints of text": (
        f"{LIFT} bad.json",
        "something that is no number",
        bad("bad.json", openpose(["a"] * 75)),
    ),
    "keypoints with nan": (f"{LIFT} bad.json", "not finite", bad("bad.json", alphapose(51).replace("1.0", "NaN"))),
    "keypoints of a map": (
        f"{LIFT} bad.json",
        "no keypoints of COCO",
        bad("bad.json", '{"type": "FeatureCollection"}'),
    ),
    "keypoints of lines": (f"{LIFT} bad.json", "'a; b' entry 0", bad("bad.json", json.dumps({"a\nb": [3]}))),
    # --- Results
    "result in no folder": (
        f"{TRANSFER} -o none/out.npz",
        "-o none/out.npz: the folder none does not exist",
        nothing,
    ),
    "result in a file": (f"{TRANSFER} -o file/out.npz", "the folder file does not exist", bad("file", "x")),
    "result is a folder": (f"{TRANSFER} -o out.npz", "-o out.npz: is a folder", folder("out.npz")),
    "result of no kind": (f"{TRANSFER} -o out.xyz", "-o out.xyz: expected a name that ends in", nothing),
    "result of a long name": (f"{TRANSFER} -o {'a' * 5000}.npz", "ame too long", nothing),
    "result with a NUL": (f"{TRANSFER} -o 'a\0.npz'", "-o a?.npz", nothing),
    "converted into a file": (
        "convert {walking} file/out.npz",
        "file/out.npz: cannot be written",
        bad("file", "x"),
    ),
    "converted to a long name": (f"convert {{walking}} {'a' * 5000}.bvh", ".bvh: cannot be written", nothing),
    "converted to a NUL": ("convert {walking} 'a\0.bvh'", "a?.bvh: cannot be written", nothing),
    # --- Flags
    "a GPU that is not there": (f"{TRANSFER} --gpu 7", "--gpu 7: should name devices out of 0, or -1", nothing),
    "a GPU of no number": (f"{TRANSFER} --gpu x", "--gpu: invalid int value: 'x'", nothing),
    "an unknown flag": (f"{TRANSFER} --colour red", "unrecognized arguments: --colour red", nothing),
    "an endless length": (f"{TRANSFER} --length 99999999999", "frames, expected at least 1 and at most", nothing),
    "an endless rate": ("convert {walking} out.npz --fps 1e9", "cannot resample to 1000000000.0 fps", nothing),
    "a rate that is none": ("convert {walking} out.npz --fps nan", "cannot resample to nan fps", nothing),
    "an unknown skeleton": ("convert {walking} out.npz --skeleton nope", "nope", nothing),
    "a start that is none": (f"{TRANSFER} --behavior-start nan", "is too short", nothing),
    "steps between checkpoints": (
        f"{TRAIN} --checkpoint-every-steps -3",
        "--checkpoint-every-steps: ",
        bad_config(),
    ),
    "an unknown key set": (f"{TRAIN} --set training.nope=1", "training.nope: unknown key", bad_config()),
    "a Python object set": (
        f"{TRAIN} --set 'training.gamma=!!python/object/apply:os.mkdir [{MARK}]'",
        "--set training.gamma",
        bad_config(),
    ),
    "an unknown precision": (f"{TRAIN} --precision 7", "--precision: invalid choice: '7'", bad_config()),
}


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.fixture
def in_time():
    """Fails what takes long, rather than waiting for it."""

    def late(*_):
        raise TimeoutError(f"takes more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)  # of computing: other programs may slow this one down
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def snapshot(where: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(where)): p.read_bytes() if p.is_file() else None for p in where.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(cli, files, tmp_path, capfd, recwarn, request, in_time, name):
    command, words, make = CASES[name]
    make(Good(files))
    if "GPU" in name:
        request.getfixturevalue("one_gpu")
    before = snapshot(tmp_path)
    recwarn.clear()
    result = cli(*shlex.split(command.format_map(vars(files))))
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("bdsynth: ") and result.err.endswith("\n") and words in result.err, result.err
    assert len(result.err.splitlines()) == 1 and result.err[:-1].isprintable()
    assert [str(warning.message) for warning in recwarn] == []  # they would be further lines
    assert tuple(capfd.readouterr()) == ("", "")
    assert not Path(MARK).exists()
    assert snapshot(tmp_path) == before


def test_the_table_is_long():
    assert len(CASES) >= 45


def test_the_payload_would_run():
    """The files that are refused above are no blanks."""
    pickle.loads(evil())
    assert Path(MARK).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(refused, files, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    motions = ("--behavior", files.walking, "--posture", files.running, "--weights", files.weights)
    assert "-o shut/out.npz: the folder shut is not yours" in refused("transfer", *motions, "-o", "shut/out.npz")


@pytest.mark.parametrize("output", ["out.npz", "out.bvh", "out.html"])
def test_a_full_disk_leaves_what_was_there(cli, files, tmp_path, output):
    """A limit on the size of files stands for it."""
    (tmp_path / output).write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    motions = ("--behavior", files.walking, "--posture", files.running, "--weights", files.weights)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        result = cli("transfer", *motions, "-o", output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert result.code == 2 and len(result.err.splitlines()) == 1, result
    assert f"{output}: cannot be written: File too large" in result.err
    assert snapshot(tmp_path) == {output: b"old"}
