"""Picture quality by the field's protocol, and MATLAB-like bicubic resizing."""

from .pixels import shave, to_network, to_uint8, y_channel
from .psnr import psnr
from .resize import crop_to_multiple, resize_bicubic
from .ssim import ssim

__all__ = ["crop_to_multiple", "psnr", "resize_bicubic", "shave", "ssim", "to_network", "to_uint8", "y_channel"]
