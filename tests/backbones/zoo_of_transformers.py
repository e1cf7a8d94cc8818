"""Tiny random configurations of the vision models of transformers."""

from __future__ import annotations

from typing import Any

_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 64,
    "patch_size": 16,
}
_SWIN = {
    "image_size": 64,
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
}
_CONV = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", _VIT),
    "deit": ("DeiTForImageClassification", _VIT),
    "beit": ("BeitForImageClassification", _VIT),
    "swin": ("SwinForImageClassification", _SWIN),
    "swinv2": ("Swinv2ForImageClassification", _SWIN),
    "convnext": ("ConvNextForImageClassification", _CONV),
    "convnextv2": ("ConvNextV2ForImageClassification", _CONV),
    "resnet": ("ResNetForImageClassification", {"embedding_size": 16, **_CONV}),
    "regnet": ("RegNetForImageClassification", {"embedding_size": 16, "groups_width": 8, **_CONV}),
    "dinov2": ("Dinov2Model", _VIT),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", _VIT),
    "dinov3_vit": ("DINOv3ViTModel", {**_VIT, "num_register_tokens": 4}),
    "dinov3_convnext": ("DINOv3ConvNextModel", _CONV),
    "clip": ("CLIPVisionModelWithProjection", {**_VIT, "projection_dim": 24}),
    "siglip": ("SiglipVisionModel", _VIT),
    "siglip2": ("Siglip2VisionModel", {**_VIT, "num_patches": 16}),
    "metaclip_2": ("MetaClip2VisionModelWithProjection", {**_VIT, "projection_dim": 24}),
    "chinese_clip": ("ChineseCLIPVisionModel", _VIT),
    "blip": ("BlipVisionModel", _VIT),
    "altclip": ("AltCLIPVisionModel", _VIT),
    "groupvit": (
        "GroupViTVisionModel",
        {**_VIT, "depths": [1, 1], "num_group_tokens": [4, 0], "num_output_groups": [4, 2]},
    ),
    "mobilenet_v1": ("MobileNetV1ForImageClassification", {"depth_multiplier": 0.25}),
    "mobilenet_v2": ("MobileNetV2ForImageClassification", {"depth_multiplier": 0.25}),
    "mobilevit": (
        "MobileViTForImageClassification",
        {"hidden_sizes": [32, 40, 48], "neck_hidden_sizes": [8, 12, 16, 20, 24, 28, 64]},
    ),
    "mobilevitv2": ("MobileViTV2ForImageClassification", {"width_multiplier": 0.25}),
    "efficientnet": (
        "EfficientNetForImageClassification",
        {
            "width_coefficient": 0.25,
            "depth_coefficient": 0.25,
            "hidden_dim": 320,
            "image_size": 64,
        },
    ),
    "poolformer": ("PoolFormerForImageClassification", _CONV),
    "pvt": (
        "PvtForImageClassification",
        {"image_size": 64, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
        | {"num_attention_heads": [1, 1, 2, 2]},
    ),
    "pvt_v2": (
        "PvtV2ForImageClassification",
        {"image_size": 64, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
        | {"num_attention_heads": [1, 1, 2, 2]},
    ),
    "levit": (
        "LevitForImageClassification",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "depths": [1, 1, 1]}
        | {"num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8]},
    ),
    "cvt": (
        "CvtForImageClassification",
        {"embed_dim": [16, 16, 32], "num_heads": [1, 1, 2], "depth": [1, 2, 3]},
    ),
    "data2vec-vision": ("Data2VecVisionForImageClassification", _VIT),
    "vit_mae": ("ViTMAEModel", {**_VIT, "mask_ratio": 0.75}),
    "vit_msn": ("ViTMSNForImageClassification", _VIT),
    "hiera": (
        "HieraForImageClassification",
        {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1]}
        | {"num_heads": [1, 1, 2, 2], "masked_unit_size": [8, 8]},
    ),
    "focalnet": (
        "FocalNetForImageClassification",
        {"image_size": 64, "embed_dim": 16, "hidden_sizes": [16, 32, 64, 128]}
        | {"depths": [1, 1, 1, 1]},
    ),
    "bit": (
        "BitForImageClassification",
        {
            "embedding_size": 16,
            "hidden_sizes": [32, 64, 64, 64],
            "depths": [1, 1, 1, 1],
            "num_groups": 8,
        },
    ),
    "segformer": (
        "SegformerForImageClassification",
        {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
        | {"num_attention_heads": [1, 1, 2, 2]},
    ),
    "swiftformer": (
        "SwiftFormerForImageClassification",
        {"image_size": 64, "embed_dims": [16, 16, 32, 32], "depths": [1, 1, 1, 1]},
    ),
    "ijepa": ("IJepaForImageClassification", _VIT),
    "dpt": (
        "DPTModel",
        {**_VIT, "backbone_out_indices": [0, 1, 2], "neck_hidden_sizes": [16] * 3},
    ),
    "hgnet_v2": (
        "HGNetV2ForImageClassification",
        {"stem_channels": [3, 8, 16], "hidden_sizes": [16, 32, 48, 64]}
        | {"stage_in_channels": [16, 16, 32, 48], "stage_mid_channels": [8, 8, 16, 16]}
        | {"stage_out_channels": [16, 32, 48, 64], "stage_num_blocks": [1, 1, 1, 1]}
        | {"stage_numb_of_layers": [2, 2, 2, 2]},
    ),
    "glpn": (
        "GLPNModel",
        {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
        | {"num_attention_heads": [1, 1, 2, 2]},
    ),
    "vitdet": ("VitDetModel", {**_VIT, "pretrain_image_size": 64}),
    "donut-swin": ("DonutSwinModel", _SWIN),
    "textnet": ("TextNetForImageClassification", {"image_size": [64, 64]}),
    "pp_lcnet": ("PPLCNetForImageClassification", {}),
}
"""By type: the class, and settings that keep it small."""
