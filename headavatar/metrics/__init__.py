"""Image figures: PSNR, SSIM, LPIPS. Images are float RGB in [0, 1]."""
