"""The parameters with which a run starts, if they are those of another run."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gala_rl.app.policies import selected_checkpoint
from gala_rl.checks.checkpoint import check_vector
from gala_rl.config.resolved import ResolvedConfig
from gala_rl.errors import StorageError
from gala_rl.learners.optimizers import state_size
from gala_rl.records.run_folder import RunFolder


class Initial:
    """Means over the learners of another run.

    Args:
        config: config of the new run, with `init_from`, that `check_init` has passed.
        size: P of the new run.

    Attributes:
        tensors: `parameters` [P] and, with `init_optimizer`, `optimizer` [S].

    Raises:
        UserError: when the checkpoint is damaged, or of another network.
    """

    tensors: dict[str, Tensor]

    def __init__(self, config: ResolvedConfig, size: int) -> None:
        assert config.init_from is not None
        if Path(config.init_from).is_file():  # The copy of a run that is started anew.
            self.tensors = load_file(config.init_from)
            self._origin = {"copy": config.init_from}
            return
        _, saved = selected_checkpoint(config.init_from, config.init_checkpoint)
        lengths = {"parameters": size}
        if config.init_optimizer:
            lengths["optimizer"] = state_size(config.algorithm, size)
        parts = [saved.load(rank).tensors for rank in saved.learners()]
        for tensors in parts:
            for name, length in lengths.items():
                check_vector(saved, tensors, name, length)
        self.tensors = {
            name: torch.stack([tensors[name] for tensors in parts]).mean(dim=0) for name in lengths
        }
        self._origin = {"run": str(Path(config.init_from).absolute())}
        self._origin["agent_steps"] = str(saved.agent_steps)

    def write(self, folder: RunFolder) -> None:
        """Write the copy that the run's processes read.

        Raises:
            StorageError: when it cannot be written.
        """
        try:
            save_file(self.tensors, folder.initial_file, self._origin)
        except OSError as error:
            raise StorageError(f"{folder.initial_file} cannot be written ({error})") from error
