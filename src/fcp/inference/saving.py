"""Saving in the hub's format such that a failure leaves the model that was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin

from fcp.models.files import CARD_FILE, PRESENCE_FILE
from fcp.system.files import replace_files


class SafeHubMixin(ModelHubMixin):
    """The hub's mixin, whose own ``save_pretrained`` first removes the settings of the old model.

    Subclasses write their files in ``_save_pretrained``.
    """

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,  # noqa: ANN401  (as the hub's mixin takes it)
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,  # noqa: ANN401
    ) -> str | None:
        """Write a model folder; its files take the place of older ones once all are complete.

        Args:
            save_directory: Folder to write; made if missing. Its own model card stays.
            config: See ``huggingface_hub.ModelHubMixin``.
            repo_id: Id on the hub to push to; None for the folder's name.
            push_to_hub: Whether to push the model to the hub, too.
            model_card_kwargs: Values for the template of the model card.
            **push_to_hub_kwargs: Options of ``push_to_hub``.

        Returns:
            Address of the commit on the hub; None without ``push_to_hub``.

        Raises:
            FcpError: the folder cannot be made or written, or the disk is full.
        """
        folder = Path(save_directory)
        options = {"config": config, "model_card_kwargs": model_card_kwargs}
        with replace_files(folder, keep=(CARD_FILE,)) as place:
            super().save_pretrained(place, **options)
            judged = (place / PRESENCE_FILE).exists()
        if not judged:  # a judge of presence fitted to the older weights is not valid for these
            (folder / PRESENCE_FILE).unlink(missing_ok=True)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or folder.name, **options, **push_to_hub_kwargs)
