"""Numbers that are not finite: in which step they came up first, and what the model was given then.

`python -m trainer.finite runs/lbm/0a1b2c3d4e5f/not_finite/step-00000012-rank-0.pt` shows such a step's batch.
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from shards.files import write_bytes
from trainer.distributed import gather_from_ranks

NEVER = 2**62


class NotFiniteError(FloatingPointError):
    """Raised by a training in all processes; `ranks` are those whose losses were not finite in `step`, the first one.

    Where all losses were finite and their gradients' norm was not, these are all ranks.
    """

    def __init__(self, message: str, step: int, ranks: Sequence[int]):
        super().__init__(message)
        self.step, self.ranks = step, list(ranks)


class FirstBadStep:
    """The first step whose losses, and the first whose gradients' norm, were not finite: noted without waiting."""

    def __init__(self, device: torch.device):
        self._steps = torch.full((2,), NEVER, dtype=torch.int64, device=device)  # of losses, of norms

    def note(self, step: int, losses: Mapping[str, torch.Tensor], norm: torch.Tensor | None) -> None:
        """Look at this process's scalars of a step; norm None where it may overflow (fp16)."""
        is_fine = torch.stack([value.detach().isfinite().all() for value in losses.values()]).all()
        is_norm_fine = torch.ones_like(is_fine) if norm is None else norm.to(is_fine.device).isfinite()
        self._steps = torch.where(torch.stack([is_fine, is_norm_fine]), self._steps, self._steps.clamp(max=step))

    def forget(self) -> None:
        """Begin anew: what was not finite so far has passed."""
        self._steps.fill_(NEVER)

    def find(self, otherwise: int) -> tuple[int, list[int]]:
        """The first such step of all processes, else `otherwise`, and the ranks that had it; all call it together."""
        found = torch.stack(gather_from_ranks(self._steps)).tolist()  # (ranks, 2)
        first = min(min(steps) for steps in found)
        ranks = [rank for rank, (of_losses, _) in enumerate(found) if of_losses == first < NEVER]
        return (otherwise if first == NEVER else first), ranks or list(range(len(found)))


def batch_path(folder: Path, step: int, rank: int) -> Path:
    """Where a run's folder keeps what one process gave the model in a step."""
    return folder / "not_finite" / f"step-{step:08}-rank-{rank}.pt"


def save_batch(path: Path, clips: Sequence[str], batch: Mapping[str, torch.Tensor]) -> Path:
    """Write a batch and the keys of its clips, to be read by `load_batch`; raises OSError or ValueError on a full disk.

    A clip that data.on_error=skip replaced has a num_skipped above 0; its key is that of the clip that was left out.
    """
    content = io.BytesIO()
    torch.save({"clips": list(clips), "batch": {name: value.cpu() for name, value in batch.items()}}, content)
    return write_bytes(path, content.getvalue())


def load_batch(path: Path) -> tuple[list[str], dict[str, torch.Tensor]]:
    """The clips' keys and the batch of `save_batch`; raises ValueError for a file that is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content["clips"], content["batch"]
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: no batch of a training that stopped ({reason})") from None


def describe_batch(clips: Sequence[str], batch: Mapping[str, torch.Tensor]) -> str:
    """Lines for people: the clips, and shape, type, range and values that are not finite of each tensor."""
    rows = [f"{number} {key}" for number, key in enumerate(clips)]
    for name, value in batch.items():
        is_bad = ~value.isfinite()
        fine = value[~is_bad]
        span = f"{_number(fine.min())} to {_number(fine.max())}" if fine.numel() else "no finite value"
        rows.append(f"{name} {tuple(value.shape)} {value.dtype}: {span}")
        if is_bad.any():
            of_clips = [i for i in range(len(value)) if is_bad[i].any()]
            rows[-1] += f"; {int(is_bad.sum())} values are not finite, in clips {', '.join(map(str, of_clips))}"
    return "\n".join(rows)


def _number(value: torch.Tensor) -> Any:
    return f"{value.item():.6g}" if value.is_floating_point() else int(value)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    parser = argparse.ArgumentParser(prog="trainer.finite", description="Show the batch that a training stopped at.")
    parser.add_argument("file", type=Path, help="runs/.../not_finite/step-<step>-rank-<rank>.pt")
    options = parser.parse_args(arguments)
    try:
        print(describe_batch(*load_batch(options.file)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
