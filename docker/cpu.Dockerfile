# poseplug on a CPU. From the repository:
#   docker build -f docker/cpu.Dockerfile --build-arg TORCH_INDEX=URL -t poseplug:cpu .
#   docker run --rm -v "$PWD:/work" poseplug:cpu predict photo.jpg
# TORCH_INDEX names the package index of PyTorch's builds for CPUs; without it pip installs the larger default build.

FROM python:3.11-slim AS build
WORKDIR /src
COPY setup.py pyproject.toml README.md LICENSE ./
COPY configs configs
COPY poseplug poseplug
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH_INDEX=
# OpenCV's shared libraries
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /wheels/*.whl && rm -r /wheels
RUN useradd --create-home poseplug
USER poseplug
WORKDIR /work
ENTRYPOINT ["poseplug"]
CMD ["--help"]
