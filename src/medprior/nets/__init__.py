"""Networks in plain torch. They know nothing of scans, noise levels or priors."""

from .unet import Featured, UNet, UNetShape

__all__ = ["Featured", "UNet", "UNetShape"]
