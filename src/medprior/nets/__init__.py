"""Networks in plain torch. They know nothing of scans, noise levels or priors."""

from .unet import UNet, UNetShape

__all__ = ["UNet", "UNetShape"]
