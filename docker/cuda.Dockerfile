# poseplug on NVIDIA GPUs. From the repository:
#   docker build -f docker/cuda.Dockerfile -t poseplug:cuda .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" poseplug:cuda train configs/cpm/cpm_lsp_368.py
# PyTorch's default build for Linux brings its CUDA libraries: the host needs the driver and NVIDIA's container toolkit.

FROM python:3.11-slim AS build
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY configs configs
COPY poseplug poseplug
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# OpenCV's shared libraries, and a C compiler for torch.compile
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt torch
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /wheels/*.whl && rm -r /wheels
RUN useradd --create-home poseplug
USER poseplug
WORKDIR /work
ENTRYPOINT ["poseplug"]
CMD ["--help"]
