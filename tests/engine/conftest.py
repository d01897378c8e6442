"""What tests of the training share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which a training has to end at step 2."""
    from fcp.engine.loop import Trainer

    step = Trainer.step

    def stop_at_two(trainer: Trainer, number: int, batches: object) -> object:
        if number == 2:
            raise RuntimeError("killed")
        return step(trainer, number, batches)

    @contextmanager
    def inside() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", stop_at_two)
            with pytest.raises(RuntimeError, match="killed"):
                yield

    return inside
