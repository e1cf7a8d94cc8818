"""Pretrained backbones, their layers and their preprocessing."""
