"""PyTorch's process-wide defaults, as processes of the package compute with them."""

import torch


def set_torch_defaults() -> None:
    """Compute in float32, on the CPU where no device is named, and with gradients.

    The main program, which a new process imports, may have chosen otherwise for itself.
    """
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
