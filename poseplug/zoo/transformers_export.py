"""ViTPose as transformers' VitPose: the names of its weights, and the folder that `from_pretrained` loads."""

from __future__ import annotations

__all__ = ['TRANSFORMERS_RULES', 'export_transformers_folder', 'join_attention_projections']

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.files.atomic import write_atomically
from poseplug.files.output_guard import check_outputs
from poseplug.zoo.name_rules import invert_rules

_LAYER = r'backbone\.encoder\.layer\.(\d+)\.'
# Of weights whose three projections of attention are joined (`join_attention_projections`).
TRANSFORMERS_RULES: tuple[tuple[str, str], ...] = (
    (r'backbone\.embeddings\.position_embeddings', r'backbone.pos_embed'),
    (r'backbone\.embeddings\.patch_embeddings\.projection\.(.+)', r'backbone.patch_embed.proj.\1'),
    (_LAYER + r'attention\.attention\.qkv\.(.+)', r'backbone.blocks.\1.attn.qkv.\2'),
    (_LAYER + r'attention\.output\.dense\.(.+)', r'backbone.blocks.\1.attn.proj.\2'),
    (_LAYER + r'layernorm_before\.(.+)', r'backbone.blocks.\1.norm1.\2'),
    (_LAYER + r'layernorm_after\.(.+)', r'backbone.blocks.\1.norm2.\2'),
    (_LAYER + r'mlp\.(.+)', r'backbone.blocks.\1.mlp.\2'),
    (r'backbone\.layernorm\.(.+)', r'backbone.norm.\1'),
    (r'head\.deconv1\.(.+)', r'head.deconvs.0.\1'),
    (r'head\.batchnorm1\.(.+)', r'head.deconvs.1.\1'),
    (r'head\.deconv2\.(.+)', r'head.deconvs.3.\1'),
    (r'head\.batchnorm2\.(.+)', r'head.deconvs.4.\1'),
    (r'head\.conv\.(.+)', r'head.predict.heatmap.\1'),
)
_PROJECTIONS = ('query', 'key', 'value')
_JOINED_NAME = re.compile(r'(.+\.attention\.attention\.)qkv(\..+)')
_QUERY_NAME = re.compile(r'(.+\.attention\.attention\.)query(\..+)')


def join_attention_projections(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the weights of queries, keys and values, which are one tensor here, under the name `qkv`.

    Args:
        state_dict: weights by name; those without such projections are returned as they are.

    Returns:
        The weights by name.
    """
    joined: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        match = _QUERY_NAME.fullmatch(name)
        parts = [] if match is None else [f'{match[1]}{part}{match[2]}' for part in _PROJECTIONS]
        if match is not None and all(part in state_dict for part in parts):
            joined[f'{match[1]}qkv{match[2]}'] = torch.cat([state_dict[part] for part in parts])
        elif not re.search(r'\.attention\.attention\.(key|value)\.', name):
            joined[name] = value
    return joined


def export_transformers_folder(model: Any, source: Path, out: Path) -> list[Path]:
    """Write a ViTPose as the folder that transformers' `VitPoseForPoseEstimation.from_pretrained` loads.

    Args:
        model: with its weights.
        source: their file, for messages.
        out: the new folder.

    Returns:
        The files: weights, config, and settings of the image processor.

    Raises:
        ConfigError: `out` is not empty, or has the source in it.
        CheckpointError: the model is no ViTPose of transformers.
    """
    from safetensors.torch import save

    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f'--out {out}: the folder is not empty; name a new one')
    files = [out / name for name in ('model.safetensors', 'config.json', 'preprocessor_config.json')]
    check_outputs([source], files)
    state = _rename_state(model.state_dict(), source)
    out.mkdir(parents=True, exist_ok=True)
    settings = _describe_model(model), _describe_processor(model)
    contents = [save(state, {'format': 'pt'}), *(json.dumps(part, indent=1).encode() for part in settings)]
    for file, content in zip(files, contents, strict=True):
        write_atomically(file, content)
    return files


def _rename_state(model_state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The weights by the names of transformers, of contiguous tensors of their own."""
    state: dict[str, Tensor] = {}
    for name, value in model_state.items():
        names = [text for rule in invert_rules(TRANSFORMERS_RULES) for text in rule.list_sources(name)]
        if not names:
            raise CheckpointError(
                f"{source} has {name}, which transformers' VitPose has not; --to hf is for ViTPose, of one set of "
                f'keypoints, with the simple or the classic head'
            )
        match = _JOINED_NAME.fullmatch(names[0])
        if name == 'backbone.pos_embed':
            # Transformers adds the first position, that of a class token, to all others.
            value = torch.cat([torch.zeros_like(value[:, :1]), value], dim=1)
        if match is None:
            state[names[0]] = value.contiguous()
            continue
        for part, weight in zip(_PROJECTIONS, value.chunk(3), strict=True):
            state[f'{match[1]}{part}{match[2]}'] = weight.contiguous()
    return state


def _describe_model(model: Any) -> dict[str, Any]:
    """The content of config.json."""
    backbone, skeleton = model.network.backbone, model.skeleton
    width, height = model.codec.input_size
    block: Any = backbone.blocks[0]
    backbone_settings = dict(
        model_type='vitpose_backbone',
        image_size=[height, width],
        patch_size=[*backbone.patch_embed.proj.kernel_size],
        hidden_size=backbone.patch_embed.proj.out_channels,
        num_hidden_layers=len(backbone.blocks),
        num_attention_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features // block.mlp.fc1.in_features,
        layer_norm_eps=_find_norm(backbone).eps,
        # transformers counts the embedding as stage 0, so that this is the last block
        out_indices=[len(backbone.blocks)],
    )
    labels = {str(index): name for index, name in enumerate(skeleton.keypoints)}
    return dict(
        architectures=['VitPoseForPoseEstimation'],
        model_type='vitpose',
        backbone_config=backbone_settings,
        id2label=labels,
        label2id={name: int(index) for index, name in labels.items()},
        edges=[[skeleton.index(start), skeleton.index(end)] for start, end in skeleton.limbs],
        use_simple_decoder='head.deconvs.0.weight' not in model.state_dict(),
    )


def _find_norm(backbone: nn.Module) -> nn.LayerNorm:
    return next(module for module in backbone.modules() if isinstance(module, nn.LayerNorm))


def _describe_processor(model: Any) -> dict[str, Any]:
    """The content of preprocessor_config.json, with ImageNet's mean and standard deviation, as of ViTPose."""
    width, height = model.codec.input_size
    return dict(
        image_processor_type='VitPoseImageProcessor',
        do_affine_transform=True,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
        size=dict(height=height, width=width),
    )
