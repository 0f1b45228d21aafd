"""Settings of the parts of MMPose's models as settings of poseplug's parts.

A part is added by a function here that returns its settings, entered in `BACKBONES`, `HEADS` or `CODECS`. What is not
understood is refused by a `NotTranslatedError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from whole_models import translate_hrformer, translate_pvt, translate_swin

Settings = dict[str, Any]
_IGNORED = ('type', '_scope_', 'init_cfg', 'norm_cfg', 'act_cfg', 'loss', 'decoder', 'in_channels', 'out_channels')
_STRIDE = 4


class NotTranslatedError(Exception):
    """A model of MMPose has no equal here; the message says what is missing."""


def _check_settings(spec: Mapping[str, Any], **expected: Any) -> None:
    """Raise if a part has a setting beside those that are read, unless it has the expected value."""
    for key, value in spec.items():
        # `...` stands for a setting that is read, whatever its value.
        if key not in _IGNORED and (key not in expected or expected[key] not in (value, ...)):
            raise NotTranslatedError(f'{spec["type"]} with {key}={value!r}')


# --- backbones --------------------------------------------------------------------------------------------------------


def _translate_hrnet(spec: Mapping[str, Any]) -> Settings:
    stages = [spec['extra'][f'stage{i}'] for i in (1, 2, 3, 4)]
    width = stages[1]['num_channels'][0]
    expected = [[64], [width, 2 * width], [width * k for k in (1, 2, 4)], [width * k for k in (1, 2, 4, 8)]]
    if [stage['num_channels'] for stage in stages] != expected or [s['num_modules'] for s in stages] != [1, 1, 4, 3]:
        raise NotTranslatedError('HRNet of other stages')
    if not stages[3].get('multiscale_output'):
        return dict(type='HRNet', width=width)
    if spec['extra'].get('upsample') != dict(mode='bilinear', align_corners=False):
        raise NotTranslatedError('HRNet with all its feature maps')
    return dict(type='HRNet', width=width, out_strides=(4, 8, 16, 32), upsample_mode='bilinear')


def _translate_resnet(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, depth=...)
    return dict(type='ResNet', depth=spec['depth'])


def _translate_cspnext(spec: Mapping[str, Any]) -> Settings:
    # Settings that the CSPNeXt here cannot change, with the only values that are published.
    fixed = dict(arch='P5', expand_ratio=0.5, channel_attention=True, out_indices=[4])
    _check_settings(spec, widen_factor=..., deepen_factor=..., **fixed)
    factors = {key: float(spec[key]) for key in ('widen_factor', 'deepen_factor')}
    return dict(type='CSPNeXt', **factors, out_strides=(32,))


def _translate_vit(spec: Mapping[str, Any]) -> Settings:
    # A size by name, or spelled out for the small one, which has other heads than its namesake.
    arch = spec['arch']
    if isinstance(arch, str):
        return dict(type='ViT', arch=arch[0].upper())
    if arch != dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536):
        raise NotTranslatedError(f'VisionTransformer of {arch}')
    return dict(type='ViT', arch='S')


RESNET_VARIANTS: dict[str, Settings] = {
    'ResNetV1d': dict(deep_stem=True, pool_shortcut=True),
    'ResNeXt': dict(groups=32, width_per_group=4),
    'SEResNet': dict(se_ratio=16),
    'ResNeSt': dict(block='split_attention', deep_stem=True, pool_shortcut=True),
    'SCNet': dict(block='self_calibrated'),
}


def _translate_resnet_variant(spec: Mapping[str, Any]) -> Settings:
    return {**_translate_resnet(spec), **RESNET_VARIANTS[spec['type']]}


def _translate_mobilenet_v2(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, widen_factor=1.0, out_indices=[7])
    return dict(type='MobileNetV2', last_channels=1280)


def _translate_shufflenet_v1(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, groups=3)
    return dict(type='ShuffleNetV1')


def _translate_shufflenet_v2(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, widen_factor=1.0)
    return dict(type='ShuffleNetV2', last_channels=1024)


def _translate_vgg(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, depth=...)
    return dict(type='VGG', depth=spec['depth'])


def _translate_lite_hrnet(spec: Mapping[str, Any]) -> Settings:
    num_modules = tuple(spec['extra']['stages_spec']['num_modules'])
    usual = num_modules == (2, 4, 2)
    return dict(type='LiteHRNet') if usual else dict(type='LiteHRNet', num_modules=num_modules)


def _translate_vipnas(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, depth=50)
    return dict(type=spec['type'].replace('_', ''))


BACKBONES: dict[str, Callable[[Any], Settings]] = {
    'HRNet': _translate_hrnet,
    'ResNet': _translate_resnet,
    'CSPNeXt': _translate_cspnext,
    'mmpretrain.VisionTransformer': _translate_vit,
    'SwinTransformer': translate_swin,
    'HRFormer': translate_hrformer,
    'PyramidVisionTransformer': translate_pvt,
    'PyramidVisionTransformerV2': translate_pvt,
    **dict.fromkeys(RESNET_VARIANTS, _translate_resnet_variant),
    'LiteHRNet': _translate_lite_hrnet,
    'MobileNetV2': _translate_mobilenet_v2,
    'ShuffleNetV1': _translate_shufflenet_v1,
    'ShuffleNetV2': _translate_shufflenet_v2,
    'VGG': _translate_vgg,
    'ViPNAS_MobileNetV3': _translate_vipnas,
    'ViPNAS_ResNet': _translate_vipnas,
}

# --- heads ------------------------------------------------------------------------------------------------------------


def _translate_heatmap_head(spec: Mapping[str, Any]) -> Settings:
    hidden = dict(conv_out_channels=..., conv_kernel_sizes=...)
    _check_settings(spec, deconv_out_channels=..., deconv_kernel_sizes=..., final_layer=..., **hidden)
    # MMPose's defaults: three deconvolutions; None for none.
    widths, kernels = spec.get('deconv_out_channels', (256, 256, 256)), spec.get('deconv_kernel_sizes', ())
    if widths is None:
        layers = zip(spec.get('conv_kernel_sizes', ()), spec.get('conv_out_channels', ()), strict=True)
        conv_layers = tuple(layers)
        return dict(type='HeatmapHead', conv_layers=conv_layers) if conv_layers else dict(type='HeatmapHead')
    if not widths and spec['final_layer'] == dict(kernel_size=3, padding=1):
        return dict(type='SimpleHead')
    if set(widths) != {256} or set(kernels) - {4}:
        raise NotTranslatedError(f'HeatmapHead of {widths}, {kernels}')
    return dict(type='DeconvHead')


def _translate_simcc_head(spec: Mapping[str, Any]) -> Settings:
    deconvs = dict(deconv_type='vipnas', deconv_out_channels=..., deconv_num_groups=...)
    _check_settings(spec, input_size=..., in_featuremap_size=..., simcc_split_ratio=2.0, **deconvs)
    if 'deconv_num_groups' in spec:
        return dict(type='SimCCHead', **_read_grouped_deconvs(spec))
    if 'deconv_out_channels' in spec:
        return dict(type='SimCCHead', deconv_out_channels=tuple(spec['deconv_out_channels'] or ()))
    return dict(type='SimCCHead')


def _read_grouped_deconvs(spec: Mapping[str, Any]) -> Settings:
    """Channels and groups of ViPNAS's deconvolutions, each one number for all."""
    widths, groups = (set(spec.get(f'deconv_{k}', [n])) for k, n in (('out_channels', 144), ('num_groups', 16)))
    if len(widths) != 1 or len(groups) != 1:
        raise NotTranslatedError(f'deconvolutions of {widths} channels in {groups} groups')
    return dict(deconv_out_channels=widths.pop(), deconv_groups=groups.pop())


def _translate_vipnas_head(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, deconv_out_channels=..., deconv_num_groups=...)
    return dict(type='DeconvHead', **_read_grouped_deconvs(spec))


def _translate_regression_head(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, num_joints=...)
    return dict(type=spec['type'])


def _translate_integral_head(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, num_joints=..., in_featuremap_size=..., debias=..., beta=...)
    return dict(type='IntegralHead', **{key: spec[key] for key in ('debias', 'beta') if key in spec})


def _translate_rtmcc_head(spec: Mapping[str, Any]) -> Settings:
    attention = dict(dropout_rate=0.0, drop_path=0.0, act_fn='SiLU', use_rel_bias=False, pos_enc=False)
    attention |= dict(hidden_dims=256, s=128, expansion_factor=2)
    fixed = dict(simcc_split_ratio=2.0, final_layer_kernel_size=7, gau_cfg=attention)
    _check_settings(spec, input_size=..., in_featuremap_size=..., **fixed)
    return dict(type='RTMCCHead')


HEADS: dict[str, Callable[[Any], Settings]] = {
    'HeatmapHead': _translate_heatmap_head,
    'SimCCHead': _translate_simcc_head,
    'RTMCCHead': _translate_rtmcc_head,
    'DSNTHead': _translate_integral_head,
    'RLEHead': _translate_regression_head,
    'RegressionHead': _translate_regression_head,
    'ViPNASHead': _translate_vipnas_head,
}

# --- codecs -----------------------------------------------------------------------------------------------------------


def _read_grid(spec: Mapping[str, Any]) -> Settings:
    """Input size and stride, and the stride alone where it is not the usual one."""
    stride = round(spec['input_size'][0] / spec['heatmap_size'][0])
    size = dict(input_size=tuple(spec['input_size']))
    return size if stride == _STRIDE else size | dict(stride=stride)


def _translate_msra(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, input_size=..., heatmap_size=..., sigma=..., unbiased=..., blur_kernel_size=...)
    grid = _read_grid(spec)
    # MMPose has sigmas in cells.
    settings = dict(**grid, sigma_px=float(spec['sigma'] * grid.get('stride', _STRIDE)))
    if not spec.get('unbiased'):
        return dict(type='MSRAHeatmap', **settings)
    kernel = {key: spec[key] for key in ('blur_kernel_size',) if key in spec}
    return dict(type='DARKHeatmap', **settings, **kernel)


def _translate_udp(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, input_size=..., heatmap_size=..., sigma=..., heatmap_type='combined')
    grid = _read_grid(spec)
    if spec.get('heatmap_type') == 'combined':
        return dict(type='UDPCombined', **grid)
    sigma_px = float(spec['sigma'] * grid.get('stride', _STRIDE))
    return dict(type='UDPHeatmap', **grid, sigma_px=sigma_px, blur_kernel_size=11)


def _translate_simcc(spec: Mapping[str, Any]) -> Settings:
    _check_settings(
        spec, input_size=..., sigma=..., simcc_split_ratio=2.0, normalize=..., use_dark=False, decode_visibility=True
    )
    sigma = spec['sigma']
    settings = dict(sigma=tuple(sigma) if isinstance(sigma, list) else sigma)
    if 'normalize' in spec:
        settings |= dict(normalize=spec['normalize'])
    else:
        settings |= dict(from_logits=False)
    return dict(type='SimCC', input_size=tuple(spec['input_size']), **settings)


def _translate_regression(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, input_size=...)
    return dict(type='Regression', input_size=tuple(spec['input_size']))


def _translate_integral(spec: Mapping[str, Any]) -> Settings:
    _check_settings(spec, input_size=..., heatmap_size=..., sigma=..., normalize=True)
    return dict(type='Integral', **_read_grid(spec), sigma_px=float(spec['sigma'] * _STRIDE))


CODECS: dict[str, Callable[[Any], Settings]] = {
    'MSRAHeatmap': _translate_msra,
    'UDPHeatmap': _translate_udp,
    'SimCCLabel': _translate_simcc,
    'RegressionLabel': _translate_regression,
    'IntegralRegressionLabel': _translate_integral,
}
