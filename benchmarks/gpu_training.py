"""Train `small`'s two stages on a GPU that is there for some minutes: promptable stage, then head.

Each stage is `fcp train` with its recipe. A few steps come first; their pace says how many fit into
the stage's seconds, and the run goes on to that many from its checkpoint. Started again with the
same ``--out``, an interrupted run goes on.

Here, once (photos at training size and starting weights, 20 MB; see its own text):

    python benchmarks/training_pack.py --data-root DATA --mobilenet MOBILENET --out .pack

There, with the code and that folder, and nothing else:

    PYTHONPATH=src python benchmarks/gpu_training.py --pack .pack --out runs/gpu --seconds 440

``runs/gpu/times.json`` has steps and seconds; ``runs/gpu/segmenter/segmenter.safetensors`` and the
folder ``runs/gpu/small`` are the models. EfficientNet-Lite2's weights and
the start of the promptable stage come from the `small` that lies with the code, whose backbone was
frozen and so is ImageNet's. ``--segmenter start=null`` starts the promptable stage from the
ImageNet weights of MobileNetV2 instead. Without a GPU: ``--device cpu``, for a try at toy size.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

NEEDS = {
    "accelerate": "accelerate",
    "huggingface_hub": "huggingface_hub",
    "numpy": "numpy",
    "PIL": "pillow",
    "pycocotools": "pycocotools",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "tensorboard": "tensorboard",
    "tifffile": "tifffile",
    "torch": "torch",
    "transformers": "transformers>=5",
    "yaml": "pyyaml",
}
PROBE = 30  # steps that the pace is taken from …
PROBE_LOG = 10  # … by the last so many of them, when everything is warm
MARGIN = 0.85  # part of the time left that is planned for; the rest is for what comes around steps
SEGMENTER_SHARE = 0.5  # of the seconds

Report = Callable[[str], None]


def missing_packages(names: Mapping[str, str] = NEEDS) -> list[str]:
    """Return what to install of the packages that training needs: import name → pip's name."""
    return [pip for name, pip in names.items() if importlib.util.find_spec(name) is None]


def extract_start(out: Path) -> tuple[Path, Path]:
    """Write the encoders of the shipped `small` as starting weights.

    Returns:
        File of EfficientNet-Lite2 with the published names, and folder of a promptable stage.
    """
    from safetensors.torch import save_file

    from fcp.engine.train_segmenter import WEIGHTS
    from fcp.models.checkpoint import load_model
    from fcp.models.loading import find_model

    model = load_model(find_model("small"))
    backbone = {k: v for k, v in model.backbone.state_dict().items() if not k.startswith("mid_")}
    out.mkdir(parents=True, exist_ok=True)
    save_file(backbone, out / "efficientnet_lite2.safetensors")
    save_file(model.segmenter.state_dict(), out / WEIGHTS)
    return out / "efficientnet_lite2.safetensors", out


def train_to(
    steps: int, recipe: str, settings: Sequence[str], *, data_root: Path, out: Path, report: Report
) -> float:
    """Train a stage to its step ``steps``, from its checkpoint if it has one.

    Returns:
        Seconds a step of the last row of its log.
    """
    from fcp.engine.checkpoints import CHECKPOINT_FILE
    from fcp.engine.recipe import find_recipe
    from fcp.engine.tracking import LOG_FILE, read_log
    from fcp.engine.train import train

    train(
        find_recipe(recipe),
        overrides=(*settings, f"optim.iterations={steps}"),
        data_root=data_root,
        out=out,
        resume=(out / CHECKPOINT_FILE).exists(),
        report=report,
    )
    return float(read_log(out / LOG_FILE)[-1]["seconds_per_step"])


def train_for(
    seconds: float,
    recipe: str,
    settings: Sequence[str],
    *,
    data_root: Path,
    out: Path,
    probe: int = PROBE,
    report: Report = print,
) -> dict[str, float]:
    """Train a stage for about so many seconds, its preparation included.

    Args:
        seconds: Duration, s.
        recipe: Name or file of the recipe.
        settings: Overrides ``key=value``, without the number of steps.
        data_root: Folder of the data sets.
        out: Folder of the run; an interrupted one goes on to the steps it had.
        probe: Number of steps that the pace is taken from.
        report: Function that takes each line of output.

    Returns:
        ``steps``; ``seconds_per_step``; ``seconds`` of everything, so that what the steps did not
        take was preparation.
    """
    from fcp.models.files import RECIPE_FILE

    start, kept = time.monotonic(), out / RECIPE_FILE
    run = partial(train_to, recipe=recipe, data_root=data_root, out=out, report=report)
    steps = json.loads(kept.read_text())["optim"]["iterations"] if kept.exists() else probe
    if steps == probe:
        rows = f"optim.log_every={min(PROBE_LOG, probe)}"
        pace = run(probe, settings=(*settings, rows, f"optim.checkpoint_every={probe}"))
        left = seconds - (time.monotonic() - start)
        steps = probe + max(0, int(MARGIN * left / pace))
        report(f"{out.name}: {pace:.3f} s a step, {left:.0f} s left: {steps} steps in all")
    pace = run(steps, settings=(*settings, "optim.log_every=50", "optim.checkpoint_every=500"))
    return {"steps": steps, "seconds_per_step": pace, "seconds": time.monotonic() - start}


def parse() -> argparse.Namespace:
    """Parse the command's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, required=True, help="folder of training_pack.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=440, help="of both stages together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--probe", type=int, default=PROBE, help="steps that show the pace")
    for stage, recipe in (("segmenter", "tiny-segmenter"), ("head", "small")):
        parser.add_argument(f"--{stage}-recipe", default=recipe)
        parser.add_argument(f"--{stage}", nargs="*", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def settings_of(stage: str, pack: Path, out: Path) -> list[str]:
    """Return the overrides that this machine and the pack ask for; the user's own win over them."""
    backbone, start = extract_start(out / "start")
    if stage == "segmenter":
        own = [f"backbone_weights={pack / 'mobilenet_v2'}", f"start={start}", "objects=true"]
        return [*own, "optim.batch=32", "optim.average=0.999"]
    own = [f"backbone_weights={backbone}", f"segmenter_folder={out / 'segmenter'}"]
    return [*own, "optim.batch=16", "optim.precision=bf16"]


def main() -> None:
    """Train both stages and write ``times.json``."""
    start, arguments = time.monotonic(), parse()
    if missing := missing_packages():
        sys.exit(f"missing packages: pip install {' '.join(missing)}")
    import torch

    from fcp.engine.processes import processes

    device, out = processes().device, arguments.out
    if device.type != arguments.device:
        sys.exit(f"--device {arguments.device}: torch {torch.__version__} has {device.type} alone")
    torch.set_float32_matmul_precision("high")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    times: dict[str, object] = {"torch": torch.__version__, "device": name}
    stages = {
        "segmenter": (arguments.segmenter_recipe, arguments.segmenter, SEGMENTER_SHARE),
        "small": (arguments.head_recipe, arguments.head, 1.0),
    }
    for stage, (recipe, more, until) in stages.items():
        settings = [*settings_of(stage, arguments.pack, out), *more]
        times[stage] = train_for(
            until * arguments.seconds - (time.monotonic() - start),
            recipe,
            settings,
            data_root=arguments.pack,
            out=out / stage,
            probe=arguments.probe,
        )
        (out / "times.json").write_text(json.dumps(times, indent=2) + "\n")
    print(json.dumps(times, indent=2))


if __name__ == "__main__":
    main()
