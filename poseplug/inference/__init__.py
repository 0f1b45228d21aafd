"""Predicting with a trained model.

What every part of this package needs is imported here first, without collecting garbage meanwhile: an import makes
next to none, and looking for it again and again costs a fifth of the time.
"""

import gc

collecting = gc.isenabled()
gc.disable()
try:
    import mmengine.registry  # noqa: F401
    import torch  # noqa: F401
finally:
    if collecting:
        gc.enable()
