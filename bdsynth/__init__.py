"""bdsynth: who moves, how the body stands, what it does; taken apart and put together again.

The functions that people call, loaded when first used::

    import bdsynth

    behavior, posture = bdsynth.read_motion("jump.bvh"), bdsynth.read_motion("idle.bvh")
    bdsynth.write_motion("jump_on_idle.bvh", bdsynth.transfer(behavior, posture, keep_bone_lengths=True))
"""

__version__ = "0.1.0"

# name -> module that defines it
_EXPORTS = {
    "InputError": "bdsynth.errors",
    "Motion": "bdsynth.motion",
    "Skeleton": "bdsynth.skeletons",
    "get_skeleton": "bdsynth.skeletons",
    "read_motion": "bdsynth.formats",
    "write_motion": "bdsynth.formats",
    "load_model": "bdsynth.behavior.model",
    "transfer": "bdsynth.behavior.transfer",
    "render": "bdsynth.appearance.render",
    "load_appearance": "bdsynth.appearance.model",
    "person_from_picture": "bdsynth.appearance.people",
    "person_from_dataset": "bdsynth.appearance.people",
    "sample": "bdsynth.behavior.sample",
    "interpolate": "bdsynth.behavior.sample",
    "neighbors": "bdsynth.behavior.neighbors",
    "lift": "bdsynth.lifting.lift",
    "load_lifter": "bdsynth.lifting.model",
    "detect": "bdsynth.perception.detect",
    "triangulate": "bdsynth.perception.triangulation",
    "animate": "bdsynth.pipeline",
    "compare": "bdsynth.similarity.compare",
    "search": "bdsynth.similarity.search",
    "load_embedding": "bdsynth.similarity.model",
    "retarget_2d": "bdsynth.similarity.retarget",
    "load_retargeter": "bdsynth.similarity.retarget",
    "evaluate": "bdsynth.behavior.evaluate",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'bdsynth' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
