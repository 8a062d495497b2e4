"""PyTorch's process-wide settings in the processes of this package."""

import torch

from gala_rl.processes.allocator import keep_freed_memory


def set_torch_defaults(threads: int) -> None:
    """Compute in float32, on the CPU by default, with gradients, and reuse freed memory.

    The main program, which a new process imports, may have chosen otherwise for itself.

    Args:
        threads: threads of PyTorch.
    """
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    keep_freed_memory()
