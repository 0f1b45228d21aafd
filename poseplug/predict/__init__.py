"""Prediction with a trained model: images, videos, detectors, tracking and result files.

The heavy imports that all modules of this package need come first here, with garbage collection off: an import creates
almost no garbage, and collecting meanwhile costs a fifth of the import time.
"""

import gc

_gc_was_enabled = gc.isenabled()
gc.disable()
try:
    import mmengine.registry  # noqa: F401
    import torch  # noqa: F401
finally:
    if _gc_was_enabled:
        gc.enable()
