"""Networks: one conditional U-Net for all space dims."""
