"""Sets PyTorch's process-wide defaults in the processes of this package."""

import torch

from gala_rl.processes.allocator import keep_freed_memory


def set_torch_defaults(threads: int) -> None:
    """Set float32, the CPU and gradients as defaults, and reuse freed memory.

    A new process imports the user's main program, which may have set other defaults.

    Args:
        threads: threads of PyTorch.
    """
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    keep_freed_memory()
