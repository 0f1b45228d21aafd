"""A stand-in for the package timm: what `TimmBackbone` uses, and three small networks."""

from torch import nn

NETWORKS = {'small': 'NCHW', 'small_nhwc': 'NHWC', 'small_plain': None}
STAGES = ((4, 2), (6, 4), (8, 4), (10, 8))  # channels and stride of the maps


def list_models():
    return list(NETWORKS)


def is_model(name):
    return name in NETWORKS


def create_model(name, pretrained=False, features_only=False, out_indices=None, width=1):
    if name not in NETWORKS:
        raise RuntimeError(f'Unknown model ({name})')
    assert features_only
    return Network(NETWORKS[name], tuple(range(len(STAGES))) if out_indices is None else out_indices, width, pretrained)


class Info:
    def __init__(self, out_indices, width):
        self.out_indices, self.width = out_indices, width

    def channels(self):
        return [self.width * STAGES[i][0] for i in self.out_indices]

    def reduction(self):
        return [STAGES[i][1] for i in self.out_indices]


class Network(nn.ModuleList):
    """Convolutions up to the last requested map."""

    def __init__(self, output_fmt, out_indices, width, pretrained):
        shapes = [(3, 1), *((width * c, s) for c, s in STAGES)]
        pairs = list(zip(shapes, shapes[1:], strict=False))[: max(out_indices) + 1]
        super().__init__(nn.Conv2d(c, out, 3, to // at, 1) for (c, at), (out, to) in pairs)
        self.feature_info, self.pretrained = Info(out_indices, width), pretrained
        if output_fmt:
            self.output_fmt = output_fmt

    def forward(self, x):
        maps = []
        for layer in self:
            x = layer(x)
            maps.append(x)
        outputs = [maps[i] for i in self.feature_info.out_indices]
        return [m.permute(0, 2, 3, 1) for m in outputs] if getattr(self, 'output_fmt', None) == 'NHWC' else outputs
